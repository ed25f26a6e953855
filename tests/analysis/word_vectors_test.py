"""Distances, neighbours and analogies against brute force and gensim."""

from absl.testing import absltest, parameterized
from gensim.models import keyedvectors
import numpy as np
import pytest
from scipy import stats

from rnnvae_jax.analysis import word_vectors

# gensim's own, which its multiplicative rule calls.
pytestmark = pytest.mark.filterwarnings('ignore:Call to deprecated .init_sims.')

SIZE, FEATURES = 29, 7
COUNT = 5


def table(seed=0):
  rng = np.random.default_rng(seed)
  # Of different lengths, so that what ignores them is seen.
  lengths = rng.uniform(0.5, 3, (SIZE, 1))
  return np.float32(rng.normal(size=(SIZE, FEATURES)) * lengths)


def names():
  return [f'w{i}' for i in range(SIZE)]


def in_gensim(vectors):
  made = keyedvectors.KeyedVectors(FEATURES)
  made.add_vectors(names(), vectors)
  return made


class DistancesTest(absltest.TestCase):
  def test_are_those_of_a_right_angle(self):
    x, y = np.float32([[3, 0], [2, 2]]), np.float32([[0, 4], [-1, -1]])
    np.testing.assert_allclose(word_vectors.distances(x, y), [1, 2])
    np.testing.assert_allclose(
      word_vectors.distances(x, y, 'euclidean'), [5, np.sqrt(18)]
    )

  def test_cosine_is_invariant_to_scale(self):
    x, y = table(0), table(1)
    np.testing.assert_allclose(
      word_vectors.distances(8 * x, y / 4), word_vectors.distances(x, y)
    )

  def test_a_vector_of_zeros_is_at_a_right_angle_to_all(self):
    zeros = np.zeros_like(table())
    np.testing.assert_array_equal(word_vectors.distances(zeros, table()), 1)
    np.testing.assert_array_equal(word_vectors.unit(zeros), zeros)


class NeighboursTest(parameterized.TestCase):
  @parameterized.product(
    measure=word_vectors.MEASURES, block=(1, 2 * SIZE, 2**24)
  )
  def test_are_those_of_brute_force(self, measure, block):
    self.enter_context(
      absltest.mock.patch.object(word_vectors, '_BLOCK', block)
    )
    vectors, queries = table(), table(1)[:3]
    out = [np.array([2, 4]), np.array([], int), np.array([7])]
    found = word_vectors.neighbours(vectors, queries, COUNT, measure, out)
    for i, query in enumerate(np.float64(queries)):
      far = np.linalg.norm(vectors - query, axis=1)
      if measure == 'cosine':
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        far = 1 - vectors @ query / lengths
      far[out[i]] = np.inf
      order = np.argsort(far)[:COUNT]
      np.testing.assert_array_equal(found.rows[i], order)
      np.testing.assert_allclose(found.distances[i], far[order], rtol=1e-6)

  def test_are_found_where_squares_lose_their_digits(self):
    # Far from the origin |v|^2 has no digits left for these differences.
    vectors = np.float32(1_000 + np.arange(40)[:, None] / 64)
    found = word_vectors.neighbours(vectors, vectors[:1], 3, 'euclidean')
    np.testing.assert_array_equal(found.rows[0, 0], 0)
    np.testing.assert_array_equal(found.distances[0, 0], 0)

  def test_no_more_are_found_than_there_are(self):
    found = word_vectors.neighbours(table(), table()[:1], 99)
    self.assertLen(found.rows[0], SIZE)
    out = [np.arange(SIZE)]
    found = word_vectors.neighbours(table(), table()[:1], 99, excluded=out)
    self.assertEmpty(found.rows[0])


class AnalogiesTest(parameterized.TestCase):
  @parameterized.product(
    rule_name=(('add', 'most_similar'), ('multiply', 'most_similar_cosmul')),
    block=(1, 2 * SIZE, 2**24),
  )
  def test_are_those_of_gensim(self, rule_name, block):
    rule, name = rule_name
    self.enter_context(
      absltest.mock.patch.object(word_vectors, '_BLOCK', block)
    )
    rng = np.random.default_rng(2)
    questions = [rng.choice(SIZE, 3, replace=False) for _ in range(11)]
    found = word_vectors.analogies(table(), np.array(questions), rule, COUNT)
    ask = getattr(in_gensim(table()), name)
    for (a, b, c), rows, scores in zip(questions, *found, strict=True):
      want = ask(positive=[f'w{b}', f'w{c}'], negative=[f'w{a}'], topn=COUNT)
      self.assertEqual([f'w{row}' for row in rows], [w for w, _ in want])
      # A sum of 7 products of unit vectors, and a few operations more.
      np.testing.assert_allclose(
        scores, [score for _, score in want], rtol=3e-6, atol=3e-6
      )

  def test_no_spelling_of_the_question_s_words_answers(self):
    vectors = np.float32([[1, 0], [0, 1], [1, 1], [0.9, 1], [0.5, 1]])
    ask = lambda same: word_vectors.analogies(
      vectors, np.array([[0, 0, 1]]), same=same
    ).rows.tolist()
    self.assertEqual(ask(None), [[4]])
    self.assertEqual(ask(np.array([0, 1, 2, 3, 1])), [[3]])

  def test_none_are_asked_or_left(self):
    none = word_vectors.analogies(table(), np.zeros((0, 3), int))
    self.assertEqual(none.rows.shape, (0, 1))
    asked = np.array([[0, 1, 2]])
    self.assertEqual(word_vectors.analogies(table()[:3], asked).rows.size, 0)


class SimilarityTest(absltest.TestCase):
  def test_is_the_correlation_of_ranks(self):
    rng = np.random.default_rng(3)
    pairs = rng.choice(SIZE, (13, 2))
    ratings = np.round(rng.uniform(0, 5, 13))  # With ties.
    found = word_vectors.similarity(table(), pairs, ratings)
    cosines = 1 - word_vectors.distances(*table()[pairs.T])
    ranks = stats.rankdata(cosines), stats.rankdata(ratings)
    self.assertAlmostEqual(found.spearman, np.corrcoef(*ranks)[0, 1], places=12)
    self.assertAlmostEqual(
      found.pearson, np.corrcoef(cosines, ratings)[0, 1], places=12
    )


if __name__ == '__main__':
  absltest.main()
