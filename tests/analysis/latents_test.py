"""Duplicates, folds, neighbours and maps, against brute force."""

import collections
import os
import sys
import types
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.analysis import latents


class GroupsTest(absltest.TestCase):
  def test_duplicates_and_cut_copies_have_one_number(self):
    long = 'Forty letters and digits are what it is that counts, no more'
    texts = (
      'The cook ate.',
      'the COOK ate !',
      'the cook ate it .',
      long,
      long[:53] + ' ...',
      '!!',
      '?!',
      '!!',
    )
    numbers = latents.groups(texts)
    self.assertEqual(numbers.tolist(), [0, 0, 1, 2, 2, 3, 4, 3])
    self.assertEqual(latents.firsts(numbers).tolist(), [0, 2, 3, 5, 6])

  def test_a_label_has_to_occur_in_different_texts(self):
    values = ['a', 'a', 'b', 'b', '', '', 'c']
    numbers = np.array([0, 1, 2, 2, 3, 4, 5])
    self.assertEqual(
      latents.usable(values, numbers, 2).tolist(),
      [True, True, False, False, False, False, False],
    )


class FoldsTest(parameterized.TestCase):
  @parameterized.parameters(2, 3, 5)
  def test_no_group_is_divided_and_labels_are_spread(self, count):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 60, 200)
    of_group = rng.choice(3, 60, p=(0.6, 0.3, 0.1))
    labels = of_group[numbers]
    folds = latents.folds(labels, numbers, count, seed=1)
    self.assertEqual(set(folds.tolist()), set(range(count)))
    folds_of = collections.defaultdict(set)
    for number, fold in zip(numbers.tolist(), folds.tolist(), strict=True):
      folds_of[number].add(fold)
    self.assertEqual({len(found) for found in folds_of.values()}, {1})
    for label in range(3):
      heads = latents.firsts(numbers)
      own = heads[labels[heads] == label]
      counts = np.bincount(folds[own], minlength=count)
      self.assertLessEqual(counts.max() - counts.min(), 1)
    again = latents.folds(labels, numbers, count, seed=1)
    np.testing.assert_array_equal(folds, again)
    other = latents.folds(labels, numbers, count, seed=2)
    self.assertTrue((folds != other).any())

  def test_too_few_different_texts_are_refused(self):
    with self.assertRaisesRegex(ValueError, '2 different texts make no 3'):
      latents.folds(np.array([0, 1, 1]), np.array([0, 1, 1]), 3, 0)


class NearestTest(absltest.TestCase):
  def test_are_those_of_brute_force(self):
    rng = np.random.default_rng(0)
    points = rng.integers(-2, 3, (50, 3)).astype(np.float32)  # Many are tied.
    queries = np.concatenate([points[:4], rng.normal(size=(5, 3))])
    with mock.patch.object(latents, '_BLOCK', 400):
      places, distances = latents.nearest(queries, points, 7)
    for query, near, apart in zip(queries, places, distances, strict=True):
      ranked = sorted(
        (float(np.sqrt(sum((query - point) ** 2))), i)
        for i, point in enumerate(points.astype(np.float64))
      )[:7]
      self.assertEqual([i for _, i in ranked], near.tolist())
      np.testing.assert_allclose([d for d, _ in ranked], apart, rtol=1e-12)


class MapsTest(absltest.TestCase):
  def test_principal_components_are_those_of_the_covariance(self):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 4)) * (3.0, 2.0, 1.0, 0.5)
    found = latents.pca(points)
    values, axes = np.linalg.eigh(np.cov(points.T))
    for component in (0, 1):
      self.assertAlmostEqual(
        found[:, component].var(ddof=1), values[-1 - component], places=9
      )
      axis = axes[:, -1 - component]
      axis = axis * np.sign(axis[np.abs(axis).argmax()])
      want = (points - points.mean(axis=0)) @ axis
      np.testing.assert_allclose(found[:, component], want, atol=1e-9)

  def test_what_points_do_not_have_is_0(self):
    line = np.arange(5.0)[:, None]
    np.testing.assert_allclose(latents.pca(line)[:, 0], np.arange(-2.0, 3.0))
    self.assertEqual(np.abs(latents.pca(line)[:, 1]).max(), 0)
    same = np.ones((6, 3))
    for places in latents.coordinates(same, 0).values():
      self.assertTrue(np.isfinite(places).all())
    for count in (1, 2, 3):
      self.assertEqual(latents.tsne(np.eye(count, 4), 0).shape, (count, 2))

  def test_distant_clusters_stay_apart_and_seeds_repeat(self):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 5)).astype(np.float32)
    points[20:] += 30
    places = latents.tsne(points, seed=1)
    first, second = places[:20], places[20:]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    within = max(
      np.linalg.norm(x - x.mean(axis=0), axis=1).max() for x in (first, second)
    )
    self.assertGreater(apart, 2 * within)
    np.testing.assert_array_equal(places, latents.tsne(points, seed=1))

  def test_umap_is_drawn_where_it_is_installed(self):
    asked = []

    class Umap:
      def __init__(self, random_state):
        asked.append(random_state)

      def fit_transform(self, points):
        return points[:, :2]

    module = types.ModuleType('umap')
    module.UMAP = Umap
    # `find_spec` asks for it.
    module.__spec__ = types.SimpleNamespace(name='umap')
    points = np.random.default_rng(0).normal(size=(3, 4))
    with mock.patch.dict(sys.modules, umap=module):
      found = latents.coordinates(points, 7)
    self.assertEqual(asked, [7])
    np.testing.assert_array_equal(found['umap'], points[:, :2])
    with mock.patch.object(latents.importlib.util, 'find_spec', lambda _: None):
      self.assertEqual(set(latents.coordinates(points, 7)), {'pca', 'tsne'})

  def test_a_map_is_written(self):
    path = os.path.join(self.create_tempdir().full_path, 'map.png')
    values = ['a', 'b', '', 'a']
    places = {'pca': np.eye(4, 2), 'tsne': np.eye(4, 2)}
    latents.draw(places, values, 'title', path)
    with open(path, 'rb') as file:
      self.assertEqual(file.read(4), b'\x89PNG')


if __name__ == '__main__':
  absltest.main()
