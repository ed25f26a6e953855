"""Several seeds of one config: means and sample standard deviations."""

import contextlib
import io
import json
import os

from absl.testing import absltest

from rnnvae_jax.results import seeds


class ReportTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path

  def report(self, *results):
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
      spread = seeds.report(results, self.workdir, 'language_model')
    with open(os.path.join(self.workdir, 'seeds.json')) as file:
      self.assertEqual(json.load(file), spread)
    return spread, stdout.getvalue()

  def test_means_and_deviations_are_of_each_split(self):
    spread, printed = self.report(
      *(
        {'test': {'perplexity': p, 'corpus': 'x', 'is_new': True}}
        for p in (10.0, 12.0, 17.0)
      )
    )
    # Mean 13; squares 9, 1 and 16; 26 / 2.
    self.assertEqual(
      spread,
      {'test': {'perplexity': {'mean': 13.0, 'std': 13**0.5, 'seeds': 3}}},
    )
    self.assertIn('3 seeds, mean ± deviation', printed)
    self.assertIn('13 ± 3.6', printed)

  def test_an_infinite_figure_has_an_infinite_mean(self):
    # In files null stands for infinity.
    spread, printed = self.report(
      {'test': {'perplexity': 10.0}}, {'test': {'perplexity': None}}
    )
    self.assertEqual(
      spread['test']['perplexity'], {'mean': None, 'std': None, 'seeds': 2}
    )
    self.assertIn('inf', printed)

  def test_one_seed_has_no_deviation(self):
    spread, _ = self.report({'valid': {'perplexity': 10.0}})
    self.assertEqual(
      spread['valid']['perplexity'], {'mean': 10.0, 'std': None, 'seeds': 1}
    )


if __name__ == '__main__':
  absltest.main()
