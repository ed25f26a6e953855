"""Thresholds by brute force, and the optimality of the linear classifier."""

import itertools

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.analysis import units


def texts(count=60, num_units=5, seed=0):
  """Units of small integers, with ties; unit 3 follows the class."""
  rng = np.random.default_rng(seed)
  positive = rng.random(count) < 0.4
  features = rng.integers(-3, 4, (count, num_units)).astype(np.float32)
  features[:, 3] -= 2 * positive
  return features, positive


def best_accuracy(values, positive):
  """Of all thresholds on one unit, both ways round."""
  edges = [-np.inf, *(np.unique(values) + 0.5)]
  rules = [sign * (values - edge) > 0 for edge in edges for sign in (1, -1)]
  return max(np.mean(rule == positive) for rule in rules)


class ThresholdsTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_are_the_best_of_all(self, seed):
    features, positive = texts(seed=seed)
    found = units.thresholds(features, positive)
    want = [best_accuracy(values, positive) for values in features.T]
    np.testing.assert_allclose(found.accuracy, want, rtol=1e-12)
    # Applied to the texts that they were fitted to they are as good as stated.
    right = units.correct(found, features, positive)
    np.testing.assert_allclose(right.mean(axis=0), want, rtol=1e-12)
    self.assertEqual(found.sign[3], -1)
    self.assertFalse((features == found.value).any())

  def test_small_samples_are_exact(self):
    for values in itertools.product((0, 1, 2), repeat=4):
      for classes in itertools.product((False, True), repeat=4):
        features = np.float32(values)[:, None]
        positive = np.array(classes)
        found = units.thresholds(features, positive)
        want = best_accuracy(features[:, 0], positive)
        self.assertAlmostEqual(found.accuracy.item(), want, places=12)
        right = units.correct(found, features, positive)
        self.assertAlmostEqual(right.mean(), want, places=12)

  def test_a_constant_unit_guesses_the_larger_class(self):
    positive = np.array([True, False, False])
    found = units.thresholds(np.ones((3, 1)), positive)
    self.assertAlmostEqual(found.accuracy.item(), 2 / 3)
    self.assertTrue(np.isinf(found.value).all())


class CorrelationsTest(absltest.TestCase):
  def test_are_pearson_s(self):
    features, positive = texts()
    features[:, 1] = 7.0
    found = units.correlations(features, positive)
    self.assertEqual(found[1], 0)
    for unit in (0, 2, 3, 4):
      want = np.corrcoef(features[:, unit], positive)[0, 1]
      self.assertAlmostEqual(found[unit], want, places=12)


class ProbeTest(absltest.TestCase):
  def test_its_weights_are_the_optimum_of_the_penalised_likelihood(self):
    features, positive = texts(400)
    features[:, 1] = 7.0  # Constant: its weight is 0.
    strength = 0.5
    probe = units.fit_probe(
      features, positive, features, positive, strengths=(strength,)
    )
    standard = (features - probe.mean) / probe.scale
    odds = standard @ probe.weights + probe.bias
    np.testing.assert_allclose(odds, probe.log_odds(features), rtol=1e-12)
    slope = strength * standard.T @ (positive - 1 / (1 + np.exp(-odds)))
    # At the optimum a weight's slope is its sign, and within [-1, 1] where the
    # weight is 0. The solver stops at 1e-4 of the first gradient.
    first = strength * np.abs(standard.T @ (positive - 0.5)).sum()
    tolerance = 1e-3 * first
    for weight, value in zip(probe.weights, slope, strict=True):
      if weight:
        self.assertAlmostEqual(value, np.sign(weight), delta=tolerance)
      else:
        self.assertLessEqual(abs(value), 1 + tolerance)
    self.assertEqual(probe.weights[1], 0)
    self.assertEqual(np.argmax(np.abs(probe.weights)), 3)

  def test_validation_texts_choose_the_strength(self):
    features, positive = texts(400)
    valid, valid_positive = texts(200, seed=1)
    probe = units.fit_probe(features, positive, valid, valid_positive)
    accuracies = {}
    for strength in units.STRENGTHS:
      other = units.fit_probe(
        features, positive, valid, valid_positive, (strength,)
      )
      accuracies[strength] = other.correct(valid, valid_positive).mean()
    best = max(accuracies.values())
    self.assertEqual(
      probe.strength, min(s for s, a in accuracies.items() if a == best)
    )


if __name__ == '__main__':
  absltest.main()
