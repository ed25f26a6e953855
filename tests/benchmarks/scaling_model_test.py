"""The cost model agrees with what XLA counts in compiled updates."""

import json
import os
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized
import pytest

from benchmarks import scaling_model

ROOT = pathlib.Path(__file__).parents[2]


class ModelTest(parameterized.TestCase):
  @pytest.mark.slow
  def test_compiled_updates_cost_what_the_model_says(self):
    path = os.path.join(self.create_tempdir().full_path, 'counts.json')
    command = ['-m', 'benchmarks.scaling_model', '--check', f'--json={path}']
    subprocess.run(
      [sys.executable, *command],
      check=True,
      cwd=ROOT,
      timeout=600,
      env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    counts = json.loads(pathlib.Path(path).read_text())['ours']
    model = counts['model']
    self.assertEqual([*counts['devices']], ['1', '2', '4', '8'])
    for count, found in counts['devices'].items():
      with self.subTest(count):
        # All but the products: gates, softmax, dropout; here a tenth at most.
        share = found['flops_per_token'] / model['flops_per_token']
        self.assertBetween(share, 1.0, 1.1)
        self.assertAlmostEqual(
          found['flops_per_parameter'], model['flops_per_parameter'], delta=2
        )
        # The state, and some numbers and integers of the text.
        self.assertBetween(found['arguments'] - model['state'], 0, 10_000)
        alone = count == '1'
        self.assertEqual(found['exchanges of arrays'], 0 if alone else 1)
        sums = 0 if alone else found['exchanged'] - model['exchanged']
        self.assertBetween(sums, 0, 64)

  def test_an_exchange_is_a_ring_in_and_between_machines(self):
    device = scaling_model.Accelerator(1, 1, 1, 1, 100.0, 10.0, 2, 0, 0.0)
    seconds = lambda count: scaling_model.exchange_seconds(8.0, count, device)
    self.assertEqual(seconds(1), 0.0)
    # Each of two sends half of 8 bytes twice.
    self.assertAlmostEqual(seconds(2), 2 * 4 / 100)
    # And of its 4 bytes half to the other machine, twice.
    self.assertAlmostEqual(seconds(4), 2 * 4 / 100 + 2 * 2 / 10)

  def test_parameters_are_those_of_the_matrices(self):
    model = scaling_model.Model(7, 3, 5, 2)
    first, second = 3 * 5 * (3 + 5) + 4 * 5, 3 * 5 * (5 + 5) + 4 * 5
    self.assertEqual(
      scaling_model.parameters(model), 7 * 3 + first + second + 7 * 5 + 7
    )

  def test_tables_have_a_row_for_each_case(self):
    rows = scaling_model.table().splitlines()
    self.assertLen(rows, 2 + 4 * len(scaling_model.CASES))
    rows = scaling_model.memory_table().splitlines()
    self.assertLen(rows, 2 + len(scaling_model.CASES))


if __name__ == '__main__':
  absltest.main()
