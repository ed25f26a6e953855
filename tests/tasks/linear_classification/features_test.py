"""n-grams of sentences against counts made by loops."""

import collections

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import vocab
from rnnvae_jax.tasks.linear_classification import features

EOS, UNK = vocab.EOS, vocab.UNK
# Ids from 4 on are words.
SENTENCES = ([4, 5, 4, 5, 6], [5], [], [6, UNK, 4, 5], [4, 5, 6, 6, 6])


def packed(sentences):
  ended = [np.array([*ids, EOS], np.int32) for ids in sentences]
  return np.concatenate(ended), np.array([len(ids) for ids in ended])


def n_grams(ids, shortest, longest):
  """All n-grams without an unknown word, in the order of their places."""
  for length in range(shortest, longest + 1):
    for start in range(len(ids) - length + 1):
      gram = tuple(ids[start : start + length])
      if UNK not in gram:
        yield gram


class FeaturesTest(parameterized.TestCase):
  @parameterized.product(shortest=(1, 2), longest=(2, 3), min_count=(1, 2, 3))
  def test_are_the_n_grams_and_their_counts(self, shortest, longest, min_count):
    counted = collections.Counter(
      gram for ids in SENTENCES for gram in n_grams(ids, shortest, longest)
    )
    want = sorted(
      (gram for gram, count in counted.items() if count >= min_count),
      key=lambda gram: (len(gram), gram),
    )
    tokens, _ = packed(SENTENCES)
    found = features.NGramFeatures.fit(tokens, 9, shortest, longest, min_count)
    self.assertLen(found, len(want))
    self.assertCountEqual(
      [tuple(found.tokens_of(i)) for i in range(len(found))], want
    )
    # Other sentences, one of them with words that were never seen.
    others = [*SENTENCES, [7, 4, 5, 8], [6, 6, 6, 6]]
    counts = found.matrix(*packed(others)).toarray()
    for ids, row in zip(others, counts, strict=True):
      by_hand = collections.Counter(n_grams(ids, shortest, longest))
      got = {tuple(found.tokens_of(i)): n for i, n in enumerate(row) if n}
      kept = {gram: n for gram, n in by_hand.items() if gram in want}
      self.assertEqual(got, kept)

  def test_other_sentences_change_no_row(self):
    tokens, lengths = packed(SENTENCES)
    found = features.NGramFeatures.fit(tokens, 9, 1, 3)
    together = found.matrix(tokens, lengths).toarray()
    for row, ids in zip(together, SENTENCES, strict=True):
      alone = found.matrix(*packed([ids])).toarray()
      np.testing.assert_array_equal(alone[0], row)

  def test_no_n_gram_is_refused(self):
    tokens, _ = packed([[4, 5], [UNK]])
    with self.assertRaisesRegex(ValueError, '3 to 4 tokens occurs 1 times'):
      features.NGramFeatures.fit(tokens, 9, 3, 4)

  def test_weightings_are_those_of_scikit_learn(self):
    from sklearn.feature_extraction import text

    tokens, lengths = packed(SENTENCES)
    found = features.NGramFeatures.fit(tokens, 9, 1, 2)
    counts = found.matrix(tokens, lengths)
    presence = features.weighted(counts, 'presence').toarray()
    np.testing.assert_array_equal(presence, counts.toarray() > 0)
    want = text.TfidfTransformer().fit_transform(counts).toarray()
    frequency = features.inverse_frequency(counts)
    got = features.weighted(counts, 'tf_idf', frequency).toarray()
    # Products and sums of at most 11 terms.
    np.testing.assert_allclose(got, want, rtol=16 * np.finfo(float).eps)
    self.assertEqual(counts.max(), 3)  # Was not changed.


if __name__ == '__main__':
  absltest.main()
