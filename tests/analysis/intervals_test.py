"""Intervals of shares against their definitions and published examples."""

import math

from absl.testing import absltest, parameterized

from rnnvae_jax.analysis import intervals


class WilsonTest(parameterized.TestCase):
  @parameterized.parameters((0, 7), (3, 7), (50, 80), (7, 7))
  def test_its_ends_are_z_standard_errors_away(self, successes, count):
    z = 1.7
    share = intervals.wilson(successes, count, z)
    self.assertEqual(share.value, successes / count)
    for end in (share.low, share.high):
      error = math.sqrt(end * (1 - end) / count)
      self.assertAlmostEqual(abs(share.value - end), z * error, places=12)
    self.assertLessEqual(share.low, share.value)
    self.assertGreaterEqual(share.high, share.value)

  def test_no_success_has_a_closed_form(self):
    share = intervals.wilson(0, 10)
    z2 = intervals.Z_95**2
    self.assertEqual(share.low, 0)
    self.assertAlmostEqual(share.high, z2 / (10 + z2), places=12)

  @parameterized.parameters((0, 0), (3, 2), (-1, 2))
  def test_what_is_no_share_is_refused(self, successes, count):
    with self.assertRaisesRegex(ValueError, f'{successes} of {count}'):
      intervals.wilson(successes, count)


class DifferenceTest(absltest.TestCase):
  def test_is_newcombe_s_example(self):
    # Newcombe 1998, table II, method 10: 56 of 70 against 48 of 80.
    found = intervals.difference(
      intervals.wilson(56, 70), intervals.wilson(48, 80)
    )
    self.assertAlmostEqual(found.value, 0.2, places=12)
    self.assertAlmostEqual(found.low, 0.0524, places=4)
    self.assertAlmostEqual(found.high, 0.3339, places=4)


if __name__ == '__main__':
  absltest.main()
