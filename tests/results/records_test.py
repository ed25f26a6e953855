"""Curves are over the time of training alone."""

import json

from absl.testing import absltest

from rnnvae_jax.results import records

# Ten steps a second; a validation of 30 s, and a stop of an hour.
TIMES = {10: 1.0, 20: 2.0, 30: 33.0, 40: 34.0, 50: 3_635.0, 60: 3_636.0}
FIGURE = 'valid_perplexity'


def lines_of_a_run():
  lines = [
    {'step': step, 'time': time, 'train/loss': 1.0}
    for step, time in TIMES.items()
  ]
  lines.insert(2, {'step': 20, 'time': 32.0, 'valid/perplexity': 9.0})
  lines.append({'step': 60, 'time': 3_640.0, 'valid/perplexity': 8.0})
  return lines


class CurveTest(absltest.TestCase):
  def curve(self, lines, tail=''):
    folder = self.create_tempdir()
    text = '\n'.join([*map(json.dumps, lines), tail])
    folder.create_file('metrics.jsonl', text)
    return records.curve(folder.full_path, FIGURE)

  def test_is_over_the_time_of_training_alone(self):
    # Two calls of 1 s, then six.
    wanted = [(round(2 / 60, 2), 9.0), (round(6 / 60, 2), 8.0)]
    self.assertEqual(self.curve(lines_of_a_run()), wanted)

  def test_leaves_out_what_is_not_finite_or_cut_short(self):
    wanted = self.curve(lines_of_a_run())
    infinite = {'step': 60, 'time': 3_640.0, 'valid/perplexity': 'inf'}
    got = self.curve([*lines_of_a_run(), infinite], tail='{"step": 70, "ti')
    self.assertEqual(got, wanted)

  def test_is_unknown_where_calls_were_not_written(self):
    validation = {'step': 70, 'time': 3_650.0, 'valid/perplexity': 8.0}
    self.assertEqual(self.curve([*lines_of_a_run(), validation]), [])

  def test_is_empty_for_what_does_not_train_in_steps(self):
    folder = self.create_tempdir().full_path
    self.assertEqual(records.curve(folder, FIGURE), [])


if __name__ == '__main__':
  absltest.main()
