"""WEAT against a closed form, brute force and the lists' published sizes."""

import itertools

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.analysis import association, association_words


def angles(*degrees):
  radians = np.deg2rad(degrees)
  return np.float32(np.stack([np.cos(radians), np.sin(radians)], axis=1))


def sets(seed, sizes=(4, 3, 5, 2)):
  rng = np.random.default_rng(seed)
  return [np.float32(rng.normal(size=(size, 6))) for size in sizes]


def brute_force(first, second, a, b):
  """Effect size and the statistic of every partition."""

  def cosine(x, y):
    return x @ y / (np.linalg.norm(x) * np.linalg.norm(y))

  first, second, a, b = map(np.float64, (first, second, a, b))
  s = [
    np.mean([cosine(w, x) for x in a]) - np.mean([cosine(w, x) for x in b])
    for w in [*first, *second]
  ]
  size = len(first)
  effect = (np.mean(s[:size]) - np.mean(s[size:])) / np.std(s, ddof=1)
  statistics = [
    sum(s[i] for i in chosen)
    - sum(s[i] for i in range(len(s)) if i not in chosen)
    for chosen in itertools.combinations(range(len(s)), size)
  ]
  return effect, statistics


class WeatTest(parameterized.TestCase):
  def test_is_the_closed_form_in_the_plane(self):
    # s is cos - sin of the angle: 1 and 1 against -1 and -1.
    found = association.weat(
      angles(0, 0), angles(90, 90), angles(0), angles(90)
    )
    self.assertAlmostEqual(found.effect_size, 2 / np.sqrt(4 / 3), places=6)
    self.assertAlmostEqual(found.statistic, 4, places=6)
    # Of 6 partitions none has a larger statistic, and one the same.
    self.assertEqual((found.p_value, found.partitions), (0, 6))
    turned = association.weat(
      angles(90, 90), angles(0, 0), angles(0), angles(90)
    )
    self.assertAlmostEqual(turned.effect_size, -found.effect_size, places=6)
    self.assertEqual(turned.p_value, 5 / 6)

  @parameterized.parameters(*range(5))
  def test_is_brute_force_where_sets_differ_in_size(self, seed):
    found = association.weat(*sets(seed))
    effect, statistics = brute_force(*sets(seed))
    self.assertAlmostEqual(found.effect_size, effect, places=10)
    self.assertAlmostEqual(found.statistic, statistics[0], places=10)
    larger = sum(value > statistics[0] + 1e-12 for value in statistics)
    self.assertTrue(found.exact)
    self.assertEqual(found.partitions, 35)
    self.assertEqual(found.p_value, larger / 35)

  def test_sampled_partitions_are_near_the_exact_share(self):
    exact = association.weat(*sets(0)).p_value
    samples = 4_000
    with absltest.mock.patch.object(association, 'MOST_EXACT', 0):
      found = association.weat(*sets(0), samples=samples, seed=3)
      again = association.weat(*sets(0), samples=samples, seed=3)
    self.assertEqual(found, again)
    self.assertFalse(found.exact)
    # The observed partition counts as well: 1 / 35 more. Five deviations.
    share = exact + 1 / 35
    spread = 5 * np.sqrt(share * (1 - share) / samples)
    self.assertBetween(found.p_value, share - spread, share + spread)

  def test_does_not_depend_on_lengths(self):
    longer = [vectors * 4 for vectors in sets(1)]
    self.assertEqual(association.weat(*longer), association.weat(*sets(1)))

  def test_refuses_what_has_no_answer(self):
    first, second, a, b = sets(0)
    with self.assertRaisesRegex(ValueError, 'a set of words is empty'):
      association.weat(first, second[:0], a, b)
    with self.assertRaisesRegex(ValueError, 'the same association'):
      association.weat(first, second, a, a)


class WordsTest(absltest.TestCase):
  def test_have_the_sizes_of_the_paper_s_table(self):
    # Caliskan et al. 2017, table 1: numbers of target and attribute words.
    want = [
      (25, 25), (25, 25), (32, 25), (16, 25), (16, 8),
      (8, 8), (8, 8), (8, 8), (6, 7), (8, 8),
    ]  # fmt: skip
    found = association_words.TESTS.values()
    for test, (targets, attributes) in zip(found, want, strict=True):
      for words in test.targets:
        self.assertLen(set(words.words), targets, words.name)
      for words in test.attributes:
        self.assertLen(set(words.words), attributes, words.name)


if __name__ == '__main__':
  absltest.main()
