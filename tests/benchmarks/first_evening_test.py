"""The benchmark of README's first commands times what it says."""

import os

from absl.testing import absltest

from benchmarks import first_evening


class FirstEveningTest(absltest.TestCase):
  def test_moments_are_those_of_the_first_lines(self):
    folder = self.create_tempdir()
    script = folder.create_file(
      'run.py',
      'import time\n'
      'for line in ("Task: x", "step 1: valid 3", "step 2: valid 2", "end"):\n'
      '  time.sleep(0.1)\n'
      '  print(line, flush=True)\n',
    )
    seconds, moments = first_evening.follow(
      f'python {script.full_path}', folder.full_path, os.environ
    )
    self.assertEqual(list(moments), ['first_line', 'first_sample'])
    self.assertGreaterEqual(moments['first_line'], 0.1)
    self.assertGreaterEqual(
      moments['first_sample'] - moments['first_line'], 0.05
    )
    # Two lines come after it.
    self.assertGreaterEqual(seconds - moments['first_sample'], 0.15)

  def test_a_command_that_fails_is_an_error(self):
    with self.assertRaisesRegex(ValueError, 'failed'):
      first_evening.follow('python -c raise', os.getcwd(), os.environ)

  def test_parts_add_up(self):
    moments = {'first_line': 10.0, 'first_sample': 40.0, 'trained': 150.0}
    got = first_evening.parts(70.0, 175.0, moments)
    self.assertEqual(got['total'], 245.0)
    self.assertEqual(got['training_with_validations'], 140.0)
    self.assertEqual(got['evaluation_and_samples'], 25.0)


if __name__ == '__main__':
  absltest.main()
