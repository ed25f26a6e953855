"""Directions of labels, the judge of texts, and what stays of content."""

import math

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.analysis import attributes


class DirectionTest(parameterized.TestCase):
  def points(self):
    rng = np.random.default_rng(0)
    labels = np.arange(900) % 3
    points = rng.normal(size=(900, 4))
    points[labels == 1, 2] += 3
    points[labels == 2, 0] -= 9  # Of a third label, which does not matter.
    return points, labels

  def test_means_are_moved_onto_each_other(self):
    points, labels = self.points()
    found = attributes.direction(points, labels == 0, labels == 1)
    moved = points[labels == 0].mean(axis=0) + found
    np.testing.assert_allclose(moved, points[labels == 1].mean(axis=0))

  def test_the_normal_is_that_of_the_plane_between(self):
    points, labels = self.points()
    found = attributes.direction(
      points, labels == 0, labels == 1, attributes.PROBE
    )
    length = np.linalg.norm(found)
    # Errors of the fitted normal: about 1 / sqrt(600) in each of three others,
    # of a slope of 3.
    self.assertGreater(found[2] / length, 0.99)
    apart = points[labels == 1].mean(axis=0) - points[labels == 0].mean(axis=0)
    self.assertAlmostEqual(length, found / length @ apart, places=9)

  def test_random_directions_have_the_length_and_the_span(self):
    points, _ = self.points()
    points[:, 1] = 5.0  # Which no direction changes.
    found = attributes.random_directions(points, 300, 2.5, seed=1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 2.5)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-9)
    # Most of the spread is in the first latent.
    self.assertGreater(np.mean(found[:, 0] ** 2), np.mean(found[:, 3] ** 2))
    again = attributes.random_directions(points, 300, 2.5, seed=1)
    np.testing.assert_array_equal(found, again)


class TextClassifierTest(absltest.TestCase):
  def test_words_and_pairs_tell_labels(self):
    rng = np.random.default_rng(0)
    labels, sentences = [], []
    for _ in range(200):
      # The same words: their order tells.
      label = ('down', 'up')[rng.integers(2)]
      pair = [5, 6] if label == 'up' else [6, 5]
      noise = rng.integers(7, 12, 3).tolist()
      order = (noise, pair) if rng.random() < 0.5 else (pair, noise)
      sentences.append(np.concatenate(order))
      labels.append(label)
    judge = attributes.TextClassifier.fit(sentences[:150], labels[:150])
    self.assertEqual(judge.predict(sentences[150:]).tolist(), labels[150:])
    self.assertEqual(
      judge.predict([np.array([], int), np.array([99])]).shape, (2,)
    )


class ContentTest(absltest.TestCase):
  def test_function_words_and_marks_are_no_content(self):
    for word in ('the', 'did', 'not', 'NOT', ',', '7', '.', ''):
      self.assertFalse(attributes.is_content(word), word)
    for word in ('Cook', 'eat', '7th', 'soup'):
      self.assertTrue(attributes.is_content(word), word)

  def test_kept_words_are_counted_once_each(self):
    before = [['the', 'cook', 'ate', 'soup', 'soup'], ['a', 'ship', 'sailed']]
    after = [['the', 'cook', 'ate', 'a', 'soup'], ['the', 'boat', 'sailed']]
    # cook, ate, soup of cook, ate, soup, soup; sailed of ship, sailed.
    self.assertAlmostEqual(attributes.content_kept(before, after), 4 / 6)
    self.assertEqual(attributes.content_kept(before, before), 1)
    self.assertTrue(math.isnan(attributes.content_kept([['the']], [['a']])))


if __name__ == '__main__':
  absltest.main()
