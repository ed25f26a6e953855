import collections
import functools
import itertools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnvae_jax.ops import sampling

EPS = np.finfo(np.float32).eps
ROWS, VOCAB = 7, 11


def settings(temperature=1.0, top_k=0, top_p=1.0):
  return sampling.Settings(
    jnp.float32(temperature), jnp.int32(top_k), jnp.float32(top_p)
  )


def forbid(*ids, size=VOCAB):
  mask = np.zeros(size, bool)
  mask[list(ids)] = True
  return mask


def logits_of(rows=ROWS, seed=0):
  rng = np.random.default_rng(seed)
  return np.float32(2 * rng.normal(size=(rows, VOCAB)))


def reference(logits, forbidden, temperature, top_k, top_p):
  """The distribution to draw from, float64[B, V], one row at a time."""
  rows = []
  for row in np.float64(logits):
    row = np.where(forbidden, -np.inf, row / (temperature or 1.0))
    order = sorted(range(len(row)), key=lambda i: -row[i])
    order = order[: top_k or None]
    weights = np.exp(row[order] - row[order[0]])
    weights /= weights.sum()
    # The smallest set that reaches p: a token is in while those before it
    # have not.
    size = sum(weights[:i].sum() < top_p for i in range(len(order)))
    size = len(order) if top_p == 1.0 else size
    probabilities = np.zeros(len(row))
    probabilities[order[:size]] = weights[:size] / weights[:size].sum()
    rows.append(probabilities)
  return np.stack(rows)


@jax.jit
def distribution(logits, forbidden, settings):
  filtered = sampling.filter_logits(logits, settings, forbidden)
  return jax.nn.softmax(filtered, axis=-1)


class FilterLogitsTest(parameterized.TestCase):
  @parameterized.parameters(
    (1.0, 0, 1.0),
    (0.5, 0, 1.0),
    (3.0, 0, 1.0),
    (1.0, 4, 1.0),
    (1.0, 1, 1.0),
    (1.0, 50, 1.0),
    (1.0, 0, 0.8),
    (1.0, 0, 0.3),
    (1.0, 0, 1e-6),
    (0.7, 5, 0.9),
    (2.0, 3, 0.6),
  )
  def test_match_the_definition(self, temperature, top_k, top_p):
    logits, forbidden = logits_of(), forbid(0, 6)
    got = distribution(logits, forbidden, settings(temperature, top_k, top_p))
    want = reference(logits, forbidden, temperature, top_k, top_p)
    np.testing.assert_array_equal(got > 0, want > 0)
    # The quotient of logit and temperature rounds, then softmax: an exponent,
    # exp, V additions and a division.
    size = np.max(np.abs(logits)) / temperature
    np.testing.assert_allclose(got, want, rtol=EPS * (4 * size + VOCAB + 8))

  def test_a_full_nucleus_keeps_a_token_below_rounding(self):
    # Before the last token the cumulative sum is 1 in float32.
    logits = np.float32([[0.0, -25.0, -30.0]])
    got = sampling.filter_logits(logits, settings(top_k=3), np.zeros(3, bool))
    np.testing.assert_array_equal(got, logits)

  def test_the_nucleus_is_that_of_the_k_likeliest(self):
    # Of 0.4, 0.3, 0.2, 0.1 the first two reach 0.7; of the three likeliest,
    # 4/9, 3/9, 2/9, the first two reach 0.75, of all four they do not.
    logits = np.log(np.float32([[0.1, 0.4, 0.2, 0.3]]))
    nobody = np.zeros(4, bool)
    both = distribution(logits, nobody, settings(top_k=3, top_p=0.75))
    alone = distribution(logits, nobody, settings(top_p=0.75))
    np.testing.assert_array_equal(both[0] > 0, [False, True, False, True])
    np.testing.assert_array_equal(alone[0] > 0, [False, True, True, True])

  def test_equal_logits_are_cut_to_exactly_k(self):
    got = distribution(
      np.zeros((3, 5), np.float32), forbid(1, size=5), settings(top_k=2)
    )
    np.testing.assert_array_equal(np.sum(got > 0, axis=1), np.full(3, 2))

  def test_entropy_rises_with_temperature(self):
    entropies = []
    for temperature in (0.2, 0.5, 1.0, 2.0, 8.0):
      got = distribution(logits_of(), forbid(0), settings(temperature))
      probabilities = np.float64(got)
      terms = probabilities * np.log(np.maximum(probabilities, 1e-300))
      entropies.append(-np.sum(terms, axis=1))
    self.assertTrue(np.all(np.diff(entropies, axis=0) > 0), entropies)
    self.assertLess(np.max(entropies), np.log(VOCAB - 1))

  def test_another_setting_needs_no_other_program(self):
    fn = jax.jit(sampling.filter_logits)
    for each in (settings(), settings(0.5, 3, 0.9), settings(0.0)):
      fn(logits_of(), each, forbid(0))
    self.assertEqual(fn._cache_size(), 1)


choose = jax.jit(sampling.choose)


class ChooseTest(parameterized.TestCase):
  @parameterized.parameters((0, 1.0), (3, 1.0), (0, 0.5))
  def test_at_temperature_zero_takes_the_likeliest_allowed(self, top_k, top_p):
    logits, forbidden = logits_of(), forbid(2, 5)
    keys = jax.random.split(jax.random.key(0), ROWS)
    got = choose(keys, logits, settings(0.0, top_k, top_p), forbidden)
    want = np.argmax(np.where(forbidden, -np.inf, logits), axis=1)
    np.testing.assert_array_equal(got, want)
    self.assertEqual(got.dtype, jnp.int32)
    # The forbidden tokens would have been taken somewhere.
    self.assertTrue(np.any(want != np.argmax(logits, axis=1)))


class DrawTest(parameterized.TestCase):
  @parameterized.parameters(1, 6, 128, 129, 1_000)
  def test_draws_from_the_softmax(self, size):
    rows = 40_009
    rng = np.random.default_rng(size)
    logits = np.float32(rng.normal(size=size))
    logits[rng.permutation(size)[: size // 3]] = -np.inf
    keys = jax.random.split(jax.random.key(1), rows)
    wide = jnp.broadcast_to(logits, (rows, size))
    drawn = np.asarray(jax.jit(sampling.draw)(keys, wide))
    exact = np.exp(np.float64(logits) - np.float64(logits).max())
    exact /= exact.sum()
    observed = np.bincount(drawn, minlength=size)
    self.assertEqual(observed[exact == 0].sum(), 0)
    enough = rows * exact >= 5
    observed = [*observed[enough], observed[~enough].sum()]
    expected = rows * np.array([*exact[enough], exact[~enough].sum()])
    cells = expected > 0
    statistic = np.sum(
      (np.array(observed)[cells] - expected[cells]) ** 2 / expected[cells]
    )
    freedom = max(np.sum(cells) - 1, 1)
    self.assertLess(statistic, stats.chi2.isf(1e-4, freedom))

  def test_never_draws_what_cannot_be_whatever_the_uniform_number(self):
    # One possible token in a block of impossible ones, at every place.
    size, rows = 300, 300
    logits = np.where(np.eye(rows, size, dtype=bool), 0.0, -np.inf)
    for seed in range(20):
      keys = jax.random.split(jax.random.key(seed), rows)
      drawn = jax.jit(sampling.draw)(keys, jnp.float32(logits))
      np.testing.assert_array_equal(drawn, np.arange(rows))


# The chain of the decoding tests: what follows depends on the last token.
CHAIN_BOS, CHAIN_EOS, CHAIN_WORDS, CHAIN_FORBIDDEN = 0, 1, (2, 3, 4), 5
CHAIN_SIZE = 6
CHAIN = np.float32(
  [
    [0.9, 0.1, 0.5, -0.6, 0.7, 1.3],  # After bos.
    [9.0, 9.0, 9.0, 9.0, 9.0, 9.0],  # After eos, whose logits none may use.
    [0.2, 0.6, -0.7, 0.4, 0.1, 2.0],
    [1.5, -0.3, 0.8, 0.3, -0.9, 0.3],
    [0.4, 0.5, 0.2, 1.1, 0.0, 1.9],
  ]
)


def chain_step(carry, tokens):
  """Counts its calls, and answers with the row of the last token."""
  return carry + 1, jnp.asarray(CHAIN)[jnp.minimum(tokens, 4)]


@functools.partial(jax.jit, static_argnums=2)
def _decode_chain(keys, settings, max_length):
  return sampling.decode(
    chain_step,
    jnp.zeros(keys.shape[0], jnp.int32),
    keys,
    settings,
    forbidden=jnp.asarray(forbid(CHAIN_BOS, CHAIN_FORBIDDEN, size=CHAIN_SIZE)),
    max_length=max_length,
    bos=CHAIN_BOS,
    eos=CHAIN_EOS,
  )


def decode_chain(*args):
  """keys, settings, max_length -> NumPy's tokens and lengths."""
  return jax.device_get(_decode_chain(*args))


def keys_of(rows):
  return jax.random.split(jax.random.key(0), rows)


def chain_sentences(max_length, *filters):
  """Each possible sentence and its exact probability."""
  forbidden = forbid(CHAIN_BOS, CHAIN_FORBIDDEN, size=CHAIN_SIZE)
  follow = reference(CHAIN, forbidden, *filters)
  ended = [
    (*words, CHAIN_EOS)
    for length in range(max_length)
    for words in itertools.product(CHAIN_WORDS, repeat=length)
  ]
  cut = list(itertools.product(CHAIN_WORDS, repeat=max_length))
  return {
    sentence: np.prod(
      [follow[a, b] for a, b in itertools.pairwise((CHAIN_BOS, *sentence))]
    )
    for sentence in ended + cut
  }


class DecodeTest(parameterized.TestCase):
  @parameterized.parameters((1.0, 0, 1.0), (0.7, 0, 1.0), (1.3, 3, 0.9))
  @pytest.mark.slow
  def test_draws_whole_sentences_from_their_distribution(self, *filters):
    rows, max_length = 20_011, 4
    exact = chain_sentences(max_length, *filters)
    self.assertAlmostEqual(sum(exact.values()), 1.0, delta=1e-12)
    tokens, lengths = decode_chain(
      keys_of(rows), settings(*filters), max_length
    )
    counts = collections.Counter(
      tuple(row[:length])
      for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)
    )
    self.assertLessEqual(set(counts), {s for s, p in exact.items() if p > 0})
    # The approximation by chi-square wants about five expected in each cell:
    # rarer sentences share one.
    cells = [
      (counts[sentence], rows * probability)
      for sentence, probability in exact.items()
    ]
    common = [cell for cell in cells if cell[1] >= 5]
    rare = np.sum([cell for cell in cells if cell[1] < 5] or [(0, 0)], axis=0)
    if rare[1] > 0:
      common.append(tuple(rare))
    observed, expected = np.transpose(common)
    statistic = np.sum((observed - expected) ** 2 / expected)
    quantile = stats.chi2.isf(1e-4, len(common) - 1)
    self.assertGreater(len(common), 20)
    self.assertLess(statistic, quantile)

  def test_at_temperature_zero_follows_the_likeliest_tokens(self):
    tokens, lengths = decode_chain(keys_of(97), settings(0.0), 5)
    # bos -> 4 -> 3 -> 2 -> eos by the table's largest allowed logits.
    np.testing.assert_array_equal(tokens, [[4, 3, 2, 1, 1]] * 97)
    np.testing.assert_array_equal(lengths, [4] * 97)

  def test_a_length_counts_eos_and_eos_fills_the_row(self):
    tokens, lengths = decode_chain(keys_of(97), settings(), 5)
    self.assertSetEqual(set(lengths.tolist()), {1, 2, 3, 4, 5})
    for row, length in zip(tokens, lengths, strict=True):
      self.assertTrue(np.all(row[length:] == CHAIN_EOS))
      self.assertFalse(np.any(row[: length - 1] == CHAIN_EOS))
      self.assertTrue(length == 5 or row[length - 1] == CHAIN_EOS)
    # Some are cut, and these have no eos.
    self.assertTrue(np.any(tokens[lengths == 5, -1] != CHAIN_EOS))
    self.assertTrue(np.any(tokens[lengths == 5, -1] == CHAIN_EOS))

  def test_a_sentence_does_not_depend_on_the_other_rows(self):
    keys = keys_of(97)
    order = np.array([12, 4, 96])
    tokens, lengths = decode_chain(keys, settings(), 5)
    some, some_lengths = decode_chain(keys[order], settings(), 5)
    np.testing.assert_array_equal(some, tokens[order])
    np.testing.assert_array_equal(some_lengths, lengths[order])

  def test_a_longer_limit_only_goes_on_with_what_it_cut(self):
    keys = keys_of(97)
    short, lengths = decode_chain(keys, settings(), 3)
    longer, _ = decode_chain(keys, settings(), 5)
    np.testing.assert_array_equal(longer[:, :3], short)
    self.assertEqual(np.max(lengths), 3)

  def test_stops_when_all_rows_have_ended(self):
    stops, max_length = np.array([2, 5, 1]), 8  # When each row says eos, 0.
    counted = []

    def step(calls, tokens):
      jax.debug.callback(counted.append, calls)
      ends = (calls + 1 == stops)[:, None]
      return calls + 1, jnp.where(ends, np.eye(2)[:1], np.eye(2)[1:])

    tokens, lengths = sampling.decode(
      step,
      jnp.int32(0),
      keys_of(len(stops)),
      settings(0.0),
      forbidden=np.zeros(2, bool),
      max_length=max_length,
      bos=1,
      eos=0,
    )
    jax.effects_barrier()
    self.assertLen(counted, 5)
    np.testing.assert_array_equal(lengths, stops)
    want = np.arange(1, max_length + 1)[None, :] < stops[:, None]
    np.testing.assert_array_equal(tokens, want)


BOS_ID, EOS_ID, WORDS, LONGEST, BEAM_ROWS = 0, 1, 4, 5, 3


def second_order(seed, rows=BEAM_ROWS):
  """A model whose next word depends on two, of each row its own."""
  rng = np.random.default_rng(seed)
  table = np.float32(2 * rng.normal(size=(rows, WORDS, WORDS, WORDS)))

  def step(carry, tokens):
    before, tables = carry
    every = jnp.arange(len(tokens))
    return (tokens, tables), tables[every, before, tokens]

  return table, step, (jnp.zeros(rows, jnp.int32), jnp.asarray(table))


def score_of(table, sentence):
  """The log-probability of a sentence of a row, in float64."""
  score, before, last = 0.0, 0, BOS_ID
  for word in sentence:
    logits = np.float64(table[before, last])
    logits[BOS_ID] = -np.inf
    score += logits[word] - np.logaddexp.reduce(logits)
    before, last = last, word
  return score


def brute_force(table, penalty):
  """The best sentence of a row, of all there are."""
  words = [word for word in range(WORDS) if word not in (BOS_ID, EOS_ID)]
  sentences = [
    (*inner, EOS_ID)
    for count in range(LONGEST)
    for inner in itertools.product(words, repeat=count)
  ]
  return max(
    sentences,
    key=lambda s: score_of(table, s) / ((5 + len(s)) / 6) ** penalty,
  )


class BeamSearchTest(parameterized.TestCase):
  def search(self, step, carry, beam_size, penalty=0.0, max_length=LONGEST):
    forbidden = np.zeros(WORDS, bool)
    forbidden[BOS_ID] = True
    search = jax.jit(
      functools.partial(
        sampling.beam_search,
        step,
        rows=BEAM_ROWS,
        beam_size=beam_size,
        forbidden=jnp.asarray(forbidden),
        max_length=max_length,
        bos=BOS_ID,
        eos=EOS_ID,
      )
    )
    tokens, lengths = search(carry, length_penalty=jnp.float32(penalty))
    return [
      tuple(row[:length].tolist())
      for row, length in zip(np.asarray(tokens), lengths, strict=True)
    ]

  @parameterized.product(seed=(0, 1, 2), penalty=(0.0, 0.7, 2.0))
  def test_enough_beams_find_the_best_of_all_sentences(self, seed, penalty):
    table, step, carry = second_order(seed)
    got = self.search(step, carry, 2 ** (LONGEST - 1), penalty)
    self.assertEqual(got, [brute_force(rows, penalty) for rows in table])

  @pytest.mark.slow
  def test_one_beam_is_never_worse_than_greedy(self):
    better = 0
    for seed in range(4):
      table, step, carry = second_order(seed)
      forbidden = jnp.zeros(WORDS, bool).at[BOS_ID].set(True)
      tokens, lengths = sampling.decode(
        step,
        carry,
        jax.random.split(jax.random.key(0), BEAM_ROWS),
        sampling.Settings(jnp.float32(0), jnp.int32(0), jnp.float32(1)),
        forbidden=forbidden,
        max_length=LONGEST,
        bos=BOS_ID,
        eos=EOS_ID,
      )
      found = self.search(step, carry, 1)
      for row in range(BEAM_ROWS):
        greedy = tuple(np.asarray(tokens)[row, : lengths[row]].tolist())
        if greedy[-1] != EOS_ID:  # It was cut, which beams need not be.
          continue
        scores = [score_of(table[row], s) for s in (found[row], greedy)]
        self.assertGreaterEqual(scores[0], scores[1] - 1e-6)
        better += scores[0] > scores[1] + 1e-6
    self.assertGreater(better, 0)

  def test_a_sentence_that_does_not_end_is_cut(self):
    def step(carry, tokens):
      logits = jnp.array([0.0, -jnp.inf, 1.0, 0.0])
      return carry, jnp.broadcast_to(logits, (len(tokens), WORDS))

    got = self.search(step, jnp.zeros(BEAM_ROWS), 3)
    self.assertEqual(got, [(2,) * LONGEST] * BEAM_ROWS)

  def test_stops_when_nothing_better_can_come(self):
    calls = []

    def step(carry, tokens):
      jax.debug.callback(lambda: calls.append(1))
      logits = jnp.array([0.0, 5.0, 0.0, 0.0])
      return carry, jnp.broadcast_to(logits, (len(tokens), WORDS))

    got = self.search(step, jnp.zeros(BEAM_ROWS), 2, max_length=40)
    jax.effects_barrier()
    self.assertEqual(got, [(EOS_ID,)] * BEAM_ROWS)
    self.assertLen(calls, 1)


if __name__ == '__main__':
  absltest.main()
