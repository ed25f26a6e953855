"""The synthetic grammar."""

import collections
import math

from absl.testing import absltest
import numpy as np

from rnnvae_jax.data.sources import grammar


def _ambiguous() -> bool:
  """Whether two derivations spell one sentence, by exhaustion.

  Walks over pairs of derivations. A state is, for each of the two, its sentence
  type, its slot and the words by which it is ahead of the other; and whether
  they have parted.
  """
  types = grammar.sentence_types()

  def step(state):
    """All ways to fill the next slot: (choice, new state)."""
    kind, slot, rest = state
    for phrase in types[kind][2][slot]:
      yield phrase, (kind, slot + 1, rest + phrase)

  start = [
    ((i, 0, ()), (j, 0, ()), i != j)
    for i in range(len(types))
    for j in range(i, len(types))
  ]
  seen, stack = set(start), start
  while stack:
    a, b, parted = stack.pop()
    at_end = [s[1] == len(types[s[0]][2]) for s in (a, b)]
    if all(at_end):
      if parted and a[2] == b[2]:
        return True
      continue
    # In step while both derivations are the same; then the one behind moves.
    if not parted:
      successors = [(x, y, p != q) for p, x in step(a) for q, y in step(b)]
    elif at_end[1] or (not at_end[0] and len(a[2]) <= len(b[2])):
      successors = [(x, b, True) for _, x in step(a)]
    else:
      successors = [(a, y, True) for _, y in step(b)]
    for (i, m, x), (j, n, y), parted in successors:
      common = min(len(x), len(y))
      if x[:common] != y[:common]:
        continue
      state = ((i, m, x[common:]), (j, n, y[common:]), parted)
      if state not in seen:
        seen.add(state)
        stack.append(state)
  return False


class GrammarTest(absltest.TestCase):
  def test_distributions_sum_to_one(self):
    total = 0.0
    for _, probability, slots in grammar.sentence_types():
      total += probability
      for slot in slots:
        self.assertAlmostEqual(sum(slot.values()), 1, places=12)
        self.assertGreater(min(slot.values()), 0)
    self.assertAlmostEqual(total, 1, places=12)

  def test_no_sentence_has_two_derivations(self):
    self.assertFalse(_ambiguous())

  def test_entropy_is_the_mean_surprise_of_samples(self):
    records = grammar.sample(4_000, seed=1)
    surprise = [-grammar.log_prob(r['text'].split()) for r in records]
    error = np.mean(surprise) - grammar.entropy()
    # Fixed seed, so this either holds for ever or not at all.
    self.assertLess(abs(error), 2 * np.std(surprise) / math.sqrt(4_000))

  def test_entropy_is_that_of_all_sentences_of_one_type(self):
    # The 99,630 ways to fill all slots but the last two.
    _, _, slots = grammar.sentence_types()[0]
    strings = collections.Counter({(): 1.0})
    for slot in slots[:-2]:
      longer = collections.Counter()
      for words, p in strings.items():
        for phrase, q in slot.items():
          longer[words + phrase] += p * q
      strings = longer
    p = np.array(list(strings.values()))
    want = sum(-q * math.log(q) for slot in slots[:-2] for q in slot.values())
    self.assertAlmostEqual(-(p * np.log(p)).sum(), want, places=9)
    self.assertLen(p, 99_630)

  def test_log_prob_of_a_sentence_is_the_product_of_its_choices(self):
    text = 'the sailors near the harbour will not sail the boat tomorrow .'
    factors = 0.3 * 0.4 * 0.2 * 0.3
    rank_1_of = {n: 1 / sum(1 / k for k in range(1, n + 1)) for n in (2, 3, 4)}
    third, second, fourth = rank_1_of[3], rank_1_of[2], rank_1_of[4]
    want = factors * third  # the
    want *= 0.6 * third  # no adjective, sailors
    want *= 0.3 * second  # near the harbour
    want *= 0.7 * third  # will not, no adverb, sail
    want *= 0.85 * second * 0.6 * fourth  # the boat
    want *= 0.4 * third  # tomorrow
    self.assertAlmostEqual(
      grammar.log_prob(text.split()), math.log(want), places=12
    )

  def test_what_the_grammar_cannot_say_has_no_probability(self):
    for text in ('', 'the sailors sails .', 'the sailor sailed', 'a . .'):
      self.assertEqual(grammar.log_prob(text.split()), -math.inf)
      self.assertIsNone(grammar.factors(text.split()))

  def test_a_sentence_has_the_factors_that_it_was_drawn_with(self):
    for record in grammar.sample(300, seed=5):
      want = {factor: record[factor] for factor in grammar.FACTORS}
      self.assertEqual(grammar.factors(record['text'].split()), want)

  def test_samples_depend_on_the_seed_alone(self):
    self.assertEqual(grammar.sample(5, seed=2), grammar.sample(9, seed=2)[:5])
    self.assertNotEqual(grammar.sample(5, seed=2), grammar.sample(5, seed=3))

  def test_factors_have_their_frequencies(self):
    records = grammar.sample(4_000, seed=4)
    for factor, values in grammar.FACTORS.items():
      counts = collections.Counter(r[factor] for r in records)
      self.assertEqual(set(counts), set(values))
      for value, p in values.items():
        deviation = abs(counts[value] / 4_000 - p)
        self.assertLess(deviation, 3 * math.sqrt(p * (1 - p) / 4_000))

  def test_splits_are_short_sentences_of_few_words(self):
    splits = grammar.splits()
    sizes = {split: len(records) for split, records in splits.items()}
    self.assertEqual(sizes, {'train': 20_000, 'valid': 2_000, 'test': 2_000})
    sentences = [r['text'].split() for r in splits['train']]
    self.assertBetween(len({w for s in sentences for w in s}), 60, 150)
    self.assertBetween(np.mean([len(s) for s in sentences]), 5, 12)
    self.assertGreater(len({len(s) for s in sentences}), 8)


if __name__ == '__main__':
  absltest.main()
