"""The hot programs cost no more than the committed baseline says."""

from absl.testing import absltest
import jax
import pytest

from benchmarks import cost


class CostTest(absltest.TestCase):
  @pytest.mark.slow
  def test_no_program_costs_more_than_the_baseline(self):
    baselines = cost.load()
    if cost.key() not in baselines:
      self.skipTest(f'no baseline for {cost.key()}')
    # Tests check for NaN, which compiles other programs.
    with jax.debug_nans(False):
      now = cost.measure()
    self.assertEqual(cost.regressions(baselines[cost.key()], now), [])

  def test_finds_what_has_grown(self):
    before = {'a': {'flops': 100.0, 'bytes': 7.0}}
    now = {'a': {'flops': 103.0, 'bytes': 7.1}}
    self.assertLen(cost.regressions(before, now), 1)
    self.assertIn('flops', cost.regressions(before, now)[0])


if __name__ == '__main__':
  absltest.main()
