"""The test set of agreement, and its measure with models that are known."""

import collections

from absl.testing import absltest
import numpy as np

from rnnvae_jax.analysis import agreement

WORDS = {'the', 'of', 'is', 'are', 'was', 'were'} | {
  noun for pair in agreement.NOUNS[:4] for noun in pair
}
SINGULAR = {pair[0] for pair in agreement.NOUNS}


def is_singular(word):
  return word in SINGULAR


class AgreementTest(absltest.TestCase):
  def test_the_right_verb_has_the_number_of_the_first_noun(self):
    items = agreement.items(WORDS)
    for item in items:
      self.assertEqual(item.right in ('is', 'was'), is_singular(item.words[1]))
      self.assertEqual(
        item.wrong in ('are', 'were'), is_singular(item.words[1])
      )
      self.assertTrue({*item.words, item.right, item.wrong} <= WORDS)
      nouns = item.words[4::3]
      self.assertLen(nouns, item.between)
      other = sum(is_singular(n) != is_singular(item.words[1]) for n in nouns)
      self.assertEqual(other, item.attractors)
    # 4 nouns of 2 numbers by 2 verbs; ordered pairs; ordered triples.
    counts = np.bincount([item.between for item in items])
    np.testing.assert_array_equal(counts, [16, 4 * 3 * 4 * 2, 24 * 8 * 2])
    self.assertLen(set(items), len(items))

  def test_prepositions_verbs_and_numbers_meet_equally_often(self):
    words = {'the'}.union(*agreement.NOUNS[:4], *agreement.VERBS)
    for links in (1, 2, 3):
      known = words | set(agreement._LINKS[:links])
      met = collections.Counter(
        (link, item.right, *map(is_singular, item.words[1::3]))
        for item in agreement.items(known, limit=10**6)
        for link in item.words[2:3]
      )
      # The right verb has the subject's number; one noun between, and two.
      self.assertLen(met, links * len(agreement.VERBS) * (2**2 + 2**3))
      for between, nouns in ((1, 4 * 3), (2, 4 * 3 * 2)):
        of_between = {n for met, n in met.items() if len(met) == between + 3}
        self.assertEqual(of_between, {nouns})

  def test_a_limit_draws_some(self):
    items = agreement.items(WORDS, limit=10)
    self.assertLen(items, 30)
    self.assertEqual(items, agreement.items(WORDS, limit=10))
    self.assertNotEqual(items, agreement.items(WORDS, limit=10, seed=1))

  def test_who_goes_by_the_nearest_noun_errs_at_attractors(self):
    def nearest(items):
      singular = [is_singular(item.words[-1]) for item in items]
      says = ['is' if s else 'are' for s in singular]
      agrees = [
        (word == 'is') == (item.right in ('is', 'was'))
        for word, item in zip(says, items, strict=True)
      ]
      return np.where(agrees, 2.0, -2.0)

    measured = agreement.measure(agreement.items(WORDS), nearest)
    accuracy = {
      (g['between'], g['attractors']): g['accuracy'] for g in measured
    }
    self.assertEqual(accuracy[0, 0], 1.0)
    self.assertEqual(accuracy[1, 0], 1.0)
    self.assertEqual(accuracy[1, 1], 0.0)
    self.assertEqual(accuracy[2, 1], 0.5)

  def test_a_vocabulary_without_its_words_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'has 1, 1 and 1'):
      agreement.items({'of', 'is', 'are', 'bank', 'banks'})


if __name__ == '__main__':
  absltest.main()
