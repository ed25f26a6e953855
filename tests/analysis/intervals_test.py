"""Wilson's interval against its definition."""

import math

from absl.testing import absltest, parameterized

from rnnvae_jax.analysis import intervals


class WilsonTest(parameterized.TestCase):
  @parameterized.parameters((0, 10), (3, 10), (10, 10), (1, 1), (817, 1_000))
  def test_bounds_are_the_shares_that_are_z_deviations_away(self, count, total):
    share = count / total
    for bound in intervals.wilson(count, total):
      deviation = math.sqrt(bound * (1 - bound) / total)
      self.assertAlmostEqual(abs(share - bound), 1.96 * deviation, places=12)

  def test_what_is_no_share_is_refused(self):
    for count, total in ((0, 0), (-1, 3), (4, 3)):
      with self.assertRaisesRegex(ValueError, f'{count} of {total}'):
        intervals.wilson(count, total)


if __name__ == '__main__':
  absltest.main()
