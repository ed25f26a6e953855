"""Mutual information of Gaussians, whose value is an integral."""

import math

from absl.testing import absltest, parameterized
import numpy as np
from scipy import integrate, special

from rnnvae_jax.analysis import information


def truth(shift):
  """I(label; x) of two equally likely labels with x ~ N(-+shift, 1), nats.

  H(label) - H(label | x), by quadrature.
  """

  def conditional(x):
    density = math.exp(-0.5 * (x - shift) ** 2) / math.sqrt(2 * math.pi)
    return density * np.logaddexp(0, -2 * shift * x)

  return math.log(2) - integrate.quad(conditional, -12, 12 + shift)[0]


def draw(shift, seed, count, size=1):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 2, count)
  points = rng.normal(size=(count, size))
  points[:, 0] += np.where(labels == 1, shift, -shift)
  return points, labels


class EntropyTest(absltest.TestCase):
  def test_is_that_of_the_shares(self):
    labels = np.array([0, 0, 2, 3])
    self.assertAlmostEqual(information.entropy(labels), 1.5 * math.log(2))
    self.assertEqual(information.entropy(np.zeros(5, int)), 0)


class LowerBoundTest(absltest.TestCase):
  def test_is_tight_for_the_true_posterior_and_below_for_others(self):
    points, labels = draw(1.0, 0, 20_000)
    odds = np.where(labels == 1, 2.0, -2.0) * points[:, 0]
    nats = np.logaddexp(0, -odds)
    found = information.lower_bound(labels, nats)
    error = nats.std() / math.sqrt(len(nats))
    self.assertLess(abs(found - truth(1.0)), 3 * error)
    for factor in (0.3, 3.0):
      other = information.lower_bound(labels, np.logaddexp(0, -factor * odds))
      self.assertLess(other, found - 3 * error)


class ByNeighboursTest(parameterized.TestCase):
  @parameterized.parameters((0.0, 1), (0.7, 1), (2.0, 1), (1.0, 2))
  def test_is_that_of_gaussians(self, shift, size):
    found = [
      information.by_neighbours(*draw(shift, seed, 500, size))
      for seed in range(8)
    ]
    # Fixed seeds, so this either holds for ever or not at all.
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    self.assertLess(abs(np.mean(found) - truth(shift)), 4 * error)

  def test_is_the_formula_by_loops(self):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(23, 2))
    labels = np.array([0] * 11 + [1] * 8 + [2] * 3 + [3])
    k, terms = 3, []
    kept = labels != 3  # Of one point.
    points_kept, labels_kept = points[kept], labels[kept]
    for i, (point, label) in enumerate(
      zip(points_kept, labels_kept, strict=True)
    ):
      apart = [math.dist(point, other) for other in points_kept]
      same = sorted(
        apart[j]
        for j in range(len(apart))
        if j != i and labels_kept[j] == label
      )
      own = min(k, len(same))
      within = sum(d <= same[own - 1] for d in apart) - 1
      terms.append(
        special.digamma(own)
        - special.digamma(len(same) + 1)
        - special.digamma(within)
      )
    want = special.digamma(len(terms)) + np.mean(terms)
    found = information.by_neighbours(points, labels, k)
    self.assertAlmostEqual(found, want, places=12)


if __name__ == '__main__':
  absltest.main()
