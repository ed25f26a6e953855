"""Probes find what was planted, and nothing where there is nothing."""

import math

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.analysis import intervals, latents, probes

COUNT = 1_200


def gaussians(shift, seed=0, count=COUNT, size=4):
  """Points of two labels, whose means are 2 `shift` apart in one direction."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 2, count)
  points = rng.normal(size=(count, size))
  points[:, 2] += np.where(labels == 1, shift, -shift)
  return points, labels


def best(shift):
  """The accuracy of the best rule: the standard normal below `shift`."""
  return 0.5 * (1 + math.erf(shift / math.sqrt(2)))


def folds_of(labels, count=4):
  return latents.folds(labels, np.arange(len(labels)), count, 0)


class CrossValidateTest(parameterized.TestCase):
  @parameterized.parameters(0.5, 1.0, 2.0)
  def test_a_planted_direction_is_found_at_its_accuracy(self, shift):
    points, labels = gaussians(shift)
    want = best(shift)
    error = math.sqrt(want * (1 - want) / COUNT)
    found = probes.cross_validate(
      probes.LINEAR, points, labels, folds_of(labels)
    )
    accuracy = np.mean(found.labels == labels)
    # The best rule is off by its own error; a fitted one may lose as much.
    self.assertLess(abs(accuracy - want), 3 * error)
    near = probes.cross_validate(
      probes.NEIGHBOURS, points, labels, folds_of(labels), 20
    )
    self.assertBetween(np.mean(near.labels == labels), want - 0.08, want + 0.03)

  @parameterized.parameters(*probes.KINDS)
  def test_shuffled_labels_are_at_chance(self, kind):
    points, labels = gaussians(2.0)
    labels = np.random.default_rng(1).permutation(labels)
    found = probes.cross_validate(kind, points, labels, folds_of(labels))
    right = int(np.sum(found.labels == labels))
    share = intervals.wilson(right, COUNT, z=3.0)
    self.assertBetween(0.5, share.low, share.high)

  def test_nats_are_those_of_the_posterior(self):
    points, labels = gaussians(1.0, count=4_000)
    found = probes.cross_validate(
      probes.LINEAR, points, labels, folds_of(labels)
    )
    # log-odds of two Gaussians: 2 shift x.
    odds = np.where(labels == 1, 2, -2) * points[:, 2]
    want = np.logaddexp(0, -odds)
    # Five fitted numbers cost half a nat each for all fitted points together,
    # twice that for others, and the spread of .001 to all labels costs .001.
    self.assertLess(abs(found.nats.mean() - want.mean()), 0.004)

  def test_neighbours_vote_as_brute_force_does(self):
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    folds = folds_of(labels)
    found = probes.cross_validate(probes.NEIGHBOURS, points, labels, folds, 5)
    for i, point in enumerate(points):
      others = np.flatnonzero(folds != folds[i])
      apart = [math.dist(point, points[j]) for j in others]
      near = labels[others[np.argsort(apart)[:5]]]
      votes = np.bincount(near, minlength=3)
      winners = np.flatnonzero(votes == votes.max())
      want = near[0] if near[0] in winners else winners[0]
      self.assertEqual(found.labels[i], want)

  def test_one_label_alone_is_guessed(self):
    labels = np.array([0, 0, 1, 1])
    folds = np.array([0, 0, 1, 1])
    found = probes.cross_validate(probes.LINEAR, np.eye(4), labels, folds)
    self.assertEqual(found.labels.tolist(), [1, 1, 0, 0])
    self.assertTrue(np.isfinite(found.nats).all())

  def test_sparse_features_are_read(self):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    sentences = [
      np.append(rng.integers(4, 9, 3), 9 + label) for label in labels
    ]
    words = probes.bag_of_words(sentences, 11)
    for kind in probes.KINDS:
      found = probes.cross_validate(kind, words, labels, folds_of(labels), 1)
      self.assertGreater(np.mean(found.labels == labels), 0.9)


class FeaturesTest(absltest.TestCase):
  def test_counts_have_length_1(self):
    found = probes.bag_of_words([np.array([4, 6, 4]), np.array([], int)], 8)
    want = np.zeros((2, 8))
    want[0, 4], want[0, 6] = 2 / math.sqrt(5), 1 / math.sqrt(5)
    np.testing.assert_allclose(found.toarray(), want, rtol=1e-12)

  def test_means_are_of_known_words(self):
    rows, values = np.array([4, 6]), np.float32([[1, 2], [3, 6]])
    sentences = [np.array([6, 4, 5, 4]), np.array([5])]
    found = probes.mean_vectors(sentences, rows, values)
    np.testing.assert_allclose(found, [[5 / 3, 10 / 3], [0, 0]], rtol=1e-7)


class AccuracyTest(absltest.TestCase):
  def test_of_different_texts_it_is_wilson_s(self):
    guessed, labels = np.array([0] * 10), np.array([0] * 7 + [1] * 3)
    found = probes.accuracy(guessed, labels, np.arange(10))
    want = intervals.wilson(7, 10)
    self.assertEqual(found, want)
    self.assertEqual(probes.chance(labels), 0.7)

  def test_copies_do_not_narrow_it(self):
    guessed, labels = np.zeros(10, int), np.array([0] * 7 + [1] * 3)
    once = probes.accuracy(guessed, labels, np.arange(10))
    copies = [np.tile(x, 6) for x in (guessed, labels, np.arange(10))]
    self.assertEqual(probes.accuracy(*copies), once)
    # A share that is no whole number of groups is between two.
    found = probes.accuracy(
      np.zeros(3, int), np.array([0, 0, 1]), np.array([0, 1, 1])
    )
    self.assertEqual(found.low, intervals.wilson(1, 2).low)
    self.assertEqual(found.high, intervals.wilson(2, 2).high)
    self.assertAlmostEqual(found.value, 2 / 3)


if __name__ == '__main__':
  absltest.main()
