"""Calibration against a grid, and its limits."""

from absl.testing import absltest
import numpy as np

from rnnvae_jax.tasks import _calibration


def nats(calibration, scores, labels):
  log_probs = calibration.log_probs(scores)
  return -np.mean(log_probs[np.arange(len(labels)), labels])


class CalibrationTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.labels = rng.integers(3, size=400)
    # Three times as sure as they should be, and biased.
    self.scores = 3 * (np.eye(3)[self.labels] + rng.normal(size=(400, 3)))
    self.scores += np.array([0.0, 2.0, -1.0])

  def test_a_known_temperature_is_found(self):
    # Labels occur exactly as often as softmax(scores / temperature) says, so
    # the slope of the likelihood is exactly 0 there.
    shares = np.array([[0.5, 0.25, 0.25], [0.75, 0.125, 0.125]])
    for temperature in (0.3, 1.0, 2.5):
      scores, labels = [], []
      for row in shares:
        for label, share in enumerate(row):
          scores += [temperature * np.log(row)] * int(8 * share)
          labels += [label] * int(8 * share)
      found = _calibration.fit(np.array(scores), np.array(labels))
      np.testing.assert_allclose(1 / found.scale, temperature, rtol=1e-5)
      probs = np.exp(found.log_probs(np.array(scores)))
      np.testing.assert_allclose(
        np.unique(probs.round(4), axis=0), shares[[0, 1]], atol=1e-4
      )

  def test_no_other_scale_is_better(self):
    found = _calibration.fit(self.scores, self.labels)
    np.testing.assert_array_equal(found.offsets, np.zeros(3))
    least = nats(found, self.scores, self.labels)
    for scale in np.geomspace(0.05, 20, 200):
      other = _calibration.Calibration(scale, np.zeros(3))
      self.assertLessEqual(least, nats(other, self.scores, self.labels) + 1e-9)
    self.assertLess(least, nats(_calibration.none(3), self.scores, self.labels))

  def test_with_offsets_mean_probabilities_are_the_shares(self):
    # What the gradient of the offsets says at the optimum.
    found = _calibration.fit(self.scores, self.labels, with_offsets=True)
    means = np.exp(found.log_probs(self.scores)).mean(axis=0)
    shares = np.bincount(self.labels) / 400
    np.testing.assert_allclose(means, shares, atol=1e-4)
    without = _calibration.fit(self.scores, self.labels)
    self.assertLess(
      nats(found, self.scores, self.labels),
      nats(without, self.scores, self.labels),
    )

  def test_the_unit_of_scores_does_not_matter(self):
    found = _calibration.fit(self.scores, self.labels).log_probs(self.scores)
    scaled = 1e4 * self.scores
    other = _calibration.fit(scaled, self.labels).log_probs(scaled)
    np.testing.assert_allclose(found, other, atol=1e-4)

  def test_equal_scores_and_no_mistakes_are_finite(self):
    for scores in (np.zeros((4, 2)), np.eye(2)[[0, 1, 1, 0]]):
      found = _calibration.fit(scores, np.array([0, 1, 1, 0]))
      self.assertTrue(np.isfinite(found.log_probs(scores)).all())


if __name__ == '__main__':
  absltest.main()
