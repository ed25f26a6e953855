"""Count models against counting by hand, published figures and themselves."""

import collections
import fractions
import itertools
import os

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import corpora, vocab
from rnnvae_jax.tasks.ngrams import counts as ngrams
from rnnvae_jax.tasks.ngrams import task as task_lib

V = 9
A, B, C, END = 4, 5, 6, vocab.EOS
# Sentences: two alike, one empty.
TEXT = np.array(
  [A, B, A, END, A, B, C, A, END, C, END, A, B, A, END, END, B, B, C, A, END]
)
# Every context of up to three tokens that a sentence may have.
CONTEXTS = np.array(
  [
    [vocab.PAD] * (3 - len(tokens)) + list(tokens)
    for length in (0, 1, 2, 3)
    for words in itertools.product((A, B, C, 7), repeat=length)
    for tokens in (
      [(vocab.BOS, *words)] if length < 3 else [words, (vocab.BOS, *words[1:])]
    )
  ]
)


def sentences(ids):
  """Lists of ids, a begin mark first and the end mark last."""
  found, now = [], [vocab.BOS]
  for i in ids:
    now.append(int(i))
    if i == vocab.EOS:
      found.append(now)
      now = [vocab.BOS]
  return found


def kneser_ney(ids, order, modified):
  """p(token | context) as a function, from the definitions, in fractions."""
  grams = [collections.Counter() for _ in range(order + 1)]
  for sentence in sentences(ids):
    for end, length in itertools.product(
      range(1, len(sentence)), range(1, order + 1)
    ):
      if end - length + 1 >= 0:
        grams[length][tuple(sentence[end - length + 1 : end + 1])] += 1
  adjusted = [None]
  for length in range(1, order + 1):
    counts = collections.Counter()
    for gram, count in grams[length].items():
      lefts = {g[0] for g in grams[min(length + 1, order)] if g[1:] == gram}
      raw = length == order or gram[0] == vocab.BOS
      counts[gram] = count if raw else len(lefts)
    adjusted.append(counts)

  def discount(length, count):
    if not count:
      return fractions.Fraction(0)
    n = collections.Counter(adjusted[length].values())
    level = min(count, 3)
    if not n[1]:
      return fractions.Fraction(level if modified else 1, 2)
    base = fractions.Fraction(n[1], n[1] + 2 * n[2])
    value = base
    if modified:
      ratio = fractions.Fraction(n[level + 1], max(n[level], 1))
      value = level - (level + 1) * base * ratio
    return min(max(value, fractions.Fraction(1, 20)), level)

  def probability(token, context, length):
    if length == 0:
      return fractions.Fraction(1, V - 2)  # Neither pad nor bos.
    shorter = probability(token, context, length - 1)
    history = tuple(context[len(context) - length + 1 :])
    if vocab.PAD in history or len(history) < length - 1:
      return shorter
    follows = {
      gram: count
      for gram, count in adjusted[length].items()
      if gram[:-1] == history
    }
    total = sum(follows.values())
    if not total:
      return shorter
    own = follows.get((*history, token), 0)
    left = sum(discount(length, count) for count in follows.values())
    return (own - discount(length, own) + left * shorter) / total

  return lambda token, context: probability(token, context, order)


class NGramsTest(parameterized.TestCase):
  @parameterized.product(order=(1, 2, 3), modified=(True, False))
  def test_equals_the_definitions_on_every_context(self, order, modified):
    smoothing = 'modified_kneser_ney' if modified else 'kneser_ney'
    model = ngrams.NGrams.fit(TEXT, V, order, smoothing)
    wanted = kneser_ney(TEXT, order, modified)
    got = np.exp(model.next_log_probs(CONTEXTS))
    for row, context in enumerate(CONTEXTS.tolist()):
      for token in range(V):
        if token not in (vocab.PAD, vocab.BOS):
          np.testing.assert_allclose(
            got[row, token], float(wanted(token, context)), rtol=1e-12
          )

  @parameterized.product(order=(0, 1, 2, 3, 4), smoothing=ngrams.SMOOTHINGS)
  def test_probabilities_sum_to_one_on_every_context(self, order, smoothing):
    model = ngrams.NGrams.fit(TEXT, V, order, smoothing)
    sums = np.exp(model.next_log_probs(CONTEXTS)).sum(axis=1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-12)

  @parameterized.product(order=(0, 1, 2, 4), smoothing=ngrams.SMOOTHINGS)
  def test_scores_are_those_of_one_token_after_the_other(
    self, order, smoothing
  ):
    model = ngrams.NGrams.fit(TEXT, V, order, smoothing)
    held_out = np.array([C, B, 7, vocab.EOS, A, B, A, vocab.EOS, B, B])
    wanted = []
    context = [vocab.PAD] * 9 + [vocab.BOS]
    for token in held_out:
      wanted.append(model.next_log_probs(np.array([context]))[0, token])
      start = [vocab.PAD] * 9 + [vocab.BOS]
      context = start if token == vocab.EOS else [*context[1:], token]
    np.testing.assert_allclose(model.log_probs(held_out), wanted, rtol=1e-12)

  def test_without_smoothing_what_was_not_seen_is_impossible(self):
    model = ngrams.NGrams.fit(TEXT, V, 2, 'maximum_likelihood')
    # Of 6 sentences 3 begin with A; of 7 A, 3 have B next; of 5 B, 2 have C.
    scores = model.log_probs(np.array([A, B, C, C]))
    np.testing.assert_allclose(np.exp(scores[:3]), [3 / 6, 3 / 7, 2 / 5])
    self.assertEqual(scores[3], -np.inf)

  @parameterized.parameters(*ngrams.SMOOTHINGS)
  def test_a_text_that_is_there_twice_has_mass_left(self, smoothing):
    twice = np.tile(TEXT, 2)
    got = ngrams.NGrams.fit(twice, V, 2, smoothing).orders[-1]
    if smoothing == 'maximum_likelihood':
      self.assertEqual(got.rest.min(), 0)
      return
    self.assertGreater(got.rest.min(), 0)
    discounts = ngrams._discounts(np.array([2, 4, 6]), 'modified' in smoothing)
    want = [0.5, 1.0, 1.5] if 'modified' in smoothing else [0.5] * 3
    np.testing.assert_array_equal(discounts, want)

  def test_orders_longer_than_every_sentence_add_nothing(self):
    longest = ngrams.NGrams.fit(TEXT, V, 5)  # bos, A, B, C, A, end is 6 long.
    more = ngrams.NGrams.fit(TEXT, V, 9)
    self.assertLen(more.orders, 6)
    again = ngrams.NGrams.fit(TEXT, V, 6)
    np.testing.assert_array_equal(more.log_probs(TEXT), again.log_probs(TEXT))
    self.assertLen(longest.orders, 5)

  def test_a_stream_begins_behind_one_of_its_own_tokens(self):
    stream = TEXT[TEXT != vocab.EOS]
    model = ngrams.NGrams.fit(stream, V, 3, bos=B)
    scores = model.log_probs(stream[:1])
    wanted = model.next_log_probs(np.array([[vocab.PAD, B]]))[0, stream[0]]
    np.testing.assert_allclose(scores, wanted, rtol=1e-12)
    # It is a token like others: one more context, not one more event.
    grams = ngrams._distinct(stream, V, 1, B)[0]
    self.assertEqual(grams.counts.sum(), len(stream))

  def test_the_uniform_model_s_perplexity_is_the_number_of_words(self):
    model = ngrams.NGrams.fit(TEXT, V, 0)
    np.testing.assert_allclose(np.exp(-model.log_probs(TEXT).mean()), V - 2)
    # Where each is known, `<unk>` is none of them.
    known = TEXT[(TEXT != vocab.EOS) & (TEXT != vocab.UNK)]
    model = ngrams.NGrams.fit(known, V, 0, unknown=False)
    np.testing.assert_allclose(np.exp(-model.log_probs(known).mean()), V - 4)
    probs = np.exp(
      ngrams.NGrams.fit(known, V, 3, unknown=False).next_log_probs(CONTEXTS)
    )
    np.testing.assert_allclose(probs.sum(axis=1), 1.0)
    np.testing.assert_array_equal(probs[:, vocab.UNK], 0.0)

  def test_text_without_ends_never_ends(self):
    stream = TEXT[TEXT != vocab.EOS]
    model = ngrams.NGrams.fit(stream, V, 3)
    np.testing.assert_allclose(
      np.exp(model.next_log_probs(CONTEXTS)[:, vocab.EOS]), 0.0
    )
    self.assertLen(model.sample(jax.random.key(0), 50), 50)

  @parameterized.parameters('modified_kneser_ney', 'maximum_likelihood')
  def test_decoding_steps_are_given_the_same_probabilities(self, smoothing):
    model = ngrams.NGrams.fit(TEXT, V, 3, smoothing)
    task = task_lib.NGrams(model)
    rows = np.array(
      [[vocab.BOS, A, B, vocab.EOS, C, A], [vocab.BOS, B, B, A, A, vocab.EOS]]
    )
    carry = task.start({}, len(rows), None)
    contexts = np.full((len(rows), 6), vocab.PAD)
    for tokens in rows.T:
      carry, logits = task.step({}, carry, jnp.asarray(tokens), None)
      # Behind a sentence another one begins.
      read = np.where(tokens == vocab.EOS, vocab.BOS, tokens)
      contexts = np.concatenate([contexts[:, 1:], read[:, None]], axis=1)
      want = np.maximum(model.next_log_probs(contexts), -1e3)
      np.testing.assert_allclose(logits, want, rtol=1e-6)

  def test_samples_are_as_frequent_as_probable(self):
    model = ngrams.NGrams.fit(TEXT, V, 2)
    drawn = collections.Counter(
      tuple(model.sample(jax.random.key(seed), 2)) for seed in range(2_000)
    )
    # Chi-square of the first two tokens, those rarely expected together.
    rest, rest_drawn = 0.0, 0
    first = np.exp(model.next_log_probs(np.array([[vocab.BOS]]))[0])
    statistic, cells = 0.0, 0
    for token in range(V):
      if token == vocab.EOS:
        pairs = {(token,): first[token]}
      else:
        after = np.exp(model.next_log_probs(np.array([[vocab.BOS, token]]))[0])
        pairs = {(token, n): first[token] * after[n] for n in range(V)}
      for pair, probability in pairs.items():
        wanted = 2_000 * probability
        if wanted < 5:
          rest, rest_drawn = rest + wanted, rest_drawn + drawn[pair]
        else:
          statistic += (drawn[pair] - wanted) ** 2 / wanted
          cells += 1
    statistic += (rest_drawn - rest) ** 2 / rest if rest else rest_drawn
    # 99.9% point of chi-square, Wilson and Hilferty.
    limit = cells * (1 - 2 / (9 * cells) + 3.09 * np.sqrt(2 / (9 * cells))) ** 3
    self.assertLess(statistic, limit)

  def test_what_is_saved_is_loaded(self):
    path = os.path.join(self.create_tempdir().full_path, 'counts.npz')
    model = ngrams.NGrams.fit(TEXT, V, 3)
    model.save(path)
    loaded = ngrams.NGrams.load(path)
    np.testing.assert_array_equal(
      loaded.next_log_probs(CONTEXTS), model.next_log_probs(CONTEXTS)
    )
    self.assertEqual(os.listdir(os.path.dirname(path)), ['counts.npz'])

  def test_a_damaged_file_is_named(self):
    path = os.path.join(self.create_tempdir().full_path, 'counts.npz')
    ngrams.NGrams.fit(TEXT, V, 3).save(path)
    with open(path, 'r+b') as file:
      file.truncate(200)
    with self.assertRaisesRegex(ValueError, 'counts.npz is damaged'):
      ngrams.NGrams.load(path)

  def test_bad_arguments_are_named(self):
    with self.assertRaisesRegex(ValueError, "'good_turing' is unknown"):
      ngrams.NGrams.fit(TEXT, V, 2, 'good_turing')
    with self.assertRaisesRegex(ValueError, 'order = -1'):
      ngrams.NGrams.fit(TEXT, V, -1)
    with self.assertRaisesRegex(ValueError, 'ids go from 2 to 6'):
      ngrams.NGrams.fit(TEXT, 5, 2)
    with self.assertRaisesRegex(ValueError, 'ids go from -1'):
      ngrams.NGrams.fit(TEXT, V, 2).log_probs(np.array([-1]))

  @parameterized.parameters(
    ('modified_kneser_ney', 3, 148.28),
    ('modified_kneser_ney', 5, 141.16),
    ('kneser_ney', 3, 150.60),
    ('kneser_ney', 5, 143.51),
  )
  @pytest.mark.corpus
  def test_treebank_perplexities_are_the_published_ones(
    self, smoothing, order, perplexity
  ):
    text = corpora.build('ptb', protocol='mikolov')
    tokens = text.splits['train'].tokens
    model = ngrams.NGrams.fit(tokens, len(text.vocab), order, smoothing)
    scores = model.log_probs(text.splits['test'].tokens)
    self.assertLen(scores, 82_430)
    self.assertAlmostEqual(np.exp(-scores.mean()), perplexity, delta=0.05)

  @pytest.mark.corpus
  def test_shakespeare_s_bits_a_character_are_the_known_ones(self):
    text = corpora.build('tiny_shakespeare', stream=True)
    tokens = text.splits['train'].tokens
    uniform = ngrams.NGrams.fit(tokens, len(text.vocab), 0, unknown=False)
    np.testing.assert_allclose(np.exp(-uniform.log_probs(tokens)), 65)
    model = ngrams.NGrams.fit(tokens, len(text.vocab), 7, unknown=False)
    scores = model.log_probs(text.splits['valid'].tokens)
    bits = -scores.mean() / np.log(2)
    self.assertAlmostEqual(bits, 2.188, delta=0.005)


if __name__ == '__main__':
  absltest.main()
