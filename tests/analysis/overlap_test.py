"""Overlaps counted by hand."""

import math

from absl.testing import absltest, parameterized

from rnnvae_jax.analysis import overlap

words = str.split


class BleuTest(absltest.TestCase):
  def test_of_the_references_is_100(self):
    sentences = [words('a b c d e'), words('f g h i')]
    self.assertAlmostEqual(overlap.bleu(sentences, sentences), 100.0)

  def test_is_the_geometric_mean_of_four_precisions(self):
    got = overlap.bleu([words('a b c d e')], [words('a b c d f')])
    want = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    self.assertAlmostEqual(got, want)

  def test_a_short_hypothesis_is_penalised(self):
    got = overlap.bleu([words('a b c d')], [words('a b c d e f')])
    self.assertAlmostEqual(got, 100 * math.exp(1 - 6 / 4))

  def test_tokens_are_taken_as_they_are(self):
    self.assertLess(
      overlap.bleu([words("a b c don't")], [words("a b c don ' t")]), 60
    )

  def test_a_token_may_be_a_space(self):
    self.assertLess(overlap.bleu([list('ab cdef')], [list('abcd ef')]), 60)
    self.assertAlmostEqual(overlap.bleu([list(' a\n ')], [list(' a\n ')]), 100)

  def test_wants_a_reference_each(self):
    with self.assertRaisesRegex(ValueError, 'got 1 and 0'):
      overlap.bleu([], [words('a')])


class SelfBleuTest(absltest.TestCase):
  def test_of_one_sentence_again_and_again_is_100(self):
    self.assertAlmostEqual(overlap.self_bleu([words('a b c d e')] * 3), 100.0)

  def test_of_two_is_bleu_both_ways(self):
    pair = [words('a b c d e'), words('a b c d f')]
    self.assertAlmostEqual(
      overlap.self_bleu(pair), overlap.bleu(pair, pair[::-1])
    )

  def test_finds_the_nearest_among_all_others(self):
    sentences = [words('a b c d e'), words('k l m n o'), words('a b c d e')]
    self.assertGreater(overlap.self_bleu(sentences), 50)
    with self.assertRaisesRegex(ValueError, 'at least 2'):
      overlap.self_bleu(sentences[:1])


class DistinctTest(parameterized.TestCase):
  @parameterized.parameters((1, 3 / 6), (2, 3 / 6), (3, 2 / 6), (4, 0.0))
  def test_counts_different_ngrams_within_sentences(self, order, want):
    sentences = [words('a b a'), words('a b c')]
    self.assertAlmostEqual(overlap.distinct(sentences, order), want)


class NoveltyTest(absltest.TestCase):
  def test_is_the_share_not_seen_in_training(self):
    training = [words('a b'), words('c')]
    sentences = [words('a b'), words('a b c'), words('b a'), words('c')]
    self.assertEqual(overlap.novelty(sentences, training), 0.5)
    with self.assertRaisesRegex(ValueError, 'at least one'):
      overlap.novelty([], training)


if __name__ == '__main__':
  absltest.main()
