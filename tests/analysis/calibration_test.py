"""Calibration against closed forms and loops over bins."""

import os
import tempfile

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from rnnvae_jax.analysis import calibration

# Sums and quotients of a few hundred float64 numbers in [0, 1].
ATOL = 1e-12


def random_predictions(count=311, classes=4, seed=0):
  rng = np.random.default_rng(seed)
  log_probs = np.log(rng.dirichlet(np.full(classes, 0.7), count))
  return log_probs, rng.integers(0, classes, count)


def constant_predictions(confidence, right, count):
  """Two classes; label 0 has this probability, and is right so many times."""
  probs = np.tile([confidence, 1 - confidence], (count, 1))
  return np.log(probs), np.arange(count) >= right


class ErrorTest(parameterized.TestCase):
  @parameterized.parameters(1, 7, 15)
  def test_equal_widths_are_those_of_a_loop_over_bins(self, bins):
    log_probs, labels = random_predictions()
    probs = np.exp(log_probs)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    want = 0.0
    for number in range(bins):
      low, high = number / bins, (number + 1) / bins
      chosen = [low < c <= high for c in confidence]
      if any(chosen):
        gap = right[chosen].mean() - confidence[chosen].mean()
        want += abs(gap) * np.mean(chosen)
    got = calibration.expected_calibration_error(log_probs, labels, bins)
    self.assertAlmostEqual(got, want, delta=ATOL)

  @parameterized.parameters((300, 1), (300, 15), (15, 15))
  def test_adaptive_bins_hold_equally_many(self, count, bins):
    log_probs, labels = random_predictions(count)
    probs = np.exp(log_probs)
    order = np.argsort(probs.max(axis=1))
    confidence = probs.max(axis=1)[order]
    right = (probs.argmax(axis=1) == labels)[order]
    gaps = right.reshape(bins, -1).mean(axis=1)
    gaps = gaps - confidence.reshape(bins, -1).mean(axis=1)
    curve = calibration.reliability(log_probs, labels, bins, adaptive=True)
    self.assertEqual(set(curve.counts), {count // bins})
    self.assertAlmostEqual(curve.error, np.abs(gaps).mean(), delta=ATOL)
    self.assertAlmostEqual(curve.largest_error, np.abs(gaps).max(), delta=ATOL)

  def test_fewer_texts_than_bins_are_a_bin_each(self):
    log_probs, labels = random_predictions(7)
    curve = calibration.reliability(log_probs, labels, 15, adaptive=True)
    self.assertEqual(list(curve.counts), [1] * 7)
    confidence = np.sort(np.exp(log_probs).max(axis=1))
    np.testing.assert_allclose(curve.confidence, confidence, atol=ATOL)
    np.testing.assert_allclose(curve.low, curve.high)

  @parameterized.parameters(False, True)
  def test_probabilities_that_are_shares_have_no_error(self, adaptive):
    parts = [
      constant_predictions(right / 20, right, 20) for right in (11, 14, 17)
    ]
    log_probs = np.concatenate([x for x, _ in parts])
    labels = np.concatenate([y for _, y in parts])
    # Adaptive bins are of one confidence each only if there are three.
    for bins in (3,) if adaptive else (15, 3):
      error = calibration.expected_calibration_error(
        log_probs, labels, bins, adaptive
      )
      self.assertAlmostEqual(error, 0, delta=ATOL)

  def test_a_constant_confidence_is_off_by_its_distance_from_the_accuracy(self):
    log_probs, labels = constant_predictions(0.9, 25, 50)
    curve = calibration.reliability(log_probs, labels)
    self.assertAlmostEqual(curve.error, 0.4, delta=ATOL)
    self.assertAlmostEqual(curve.low.item(), 13 / 15, delta=ATOL)
    self.assertAlmostEqual(curve.high.item(), 14 / 15, delta=ATOL)

  def test_a_confidence_on_an_end_belongs_to_the_bin_below(self):
    log_probs, labels = np.log([[0.75, 0.25]]), np.array([0])
    curve = calibration.reliability(log_probs, labels, bins=4)
    self.assertEqual((curve.low.item(), curve.high.item()), (0.5, 0.75))


class ScoresTest(parameterized.TestCase):
  @parameterized.parameters(2, 5)
  def test_brier_score_has_closed_forms(self, classes):
    labels = np.arange(3 * classes) % classes
    even = np.full((len(labels), classes), -np.log(classes))
    self.assertAlmostEqual(
      calibration.brier_score(even, labels), 1 - 1 / classes, delta=ATOL
    )
    self.assertAlmostEqual(
      calibration.nll(even, labels), np.log(classes), delta=ATOL
    )
    with np.errstate(divide='ignore'):
      certain = np.log(np.eye(classes)[labels])
    self.assertEqual(calibration.brier_score(certain, labels), 0)
    wrong = (labels + 1) % classes
    self.assertEqual(calibration.brier_score(certain, wrong), 2)

  def test_figures_have_all_of_them(self):
    log_probs, labels = random_predictions()
    found = calibration.figures(log_probs, labels)
    picked = log_probs[np.arange(len(labels)), labels]
    self.assertAlmostEqual(found['nll_per_text'], -picked.mean(), delta=ATOL)
    self.assertLen(found, 4)

  @parameterized.parameters(
    (np.zeros((3, 2)), [0, 1], r'\(3, 2\)'),
    (np.zeros((2, 2)), [0, 2], r'\[0, 2\]'),
    (np.zeros((0, 2)), [], 'no texts'),
  )
  def test_what_does_not_fit_is_refused(self, log_probs, labels, message):
    with self.assertRaisesRegex(ValueError, message):
      calibration.brier_score(log_probs, np.array(labels, int))


class PlotTest(absltest.TestCase):
  @pytest.mark.slow
  def test_a_diagram_is_written(self):
    log_probs, labels = random_predictions()
    curve = calibration.reliability(log_probs, labels)
    path = os.path.join(tempfile.mkdtemp(), 'reliability.png')
    calibration.plot({'before': curve, 'after': curve}, path)
    with open(path, 'rb') as file:
      self.assertEqual(file.read(4), b'\x89PNG')


if __name__ == '__main__':
  absltest.main()
