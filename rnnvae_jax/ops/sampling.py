"""Filters of a next-token distribution, and decoding as one compiled loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_BLOCK = 128  # Entries of a block of the cumulative sum.
_FEWEST_ROWS = 16  # Steps of fewer rows are not faster.


class Settings(NamedTuple):
  """How the next token is chosen; traced, so changes need no recompilation."""

  temperature: jax.Array  # float32[]; 0: greedy.
  top_k: jax.Array  # int32[]; 0: all.
  top_p: jax.Array  # float32[] in (0, 1]; 1: all.


def filter_logits(
  logits: jax.Array, settings: Settings, forbidden: jax.Array
) -> jax.Array:
  """The log-probabilities to draw from, up to a constant a row.

  The temperature is applied first, then the k most likely tokens are kept, and
  of these the smallest set with probability at least p (nucleus sampling,
  Holtzman et al., arXiv:1904.09751).

  Args:
    logits: float[B, V].
    settings: temperature 0 is read as 1 here; see `choose`.
    forbidden: bool[V], ids never drawn.

  Returns:
    float[B, V], -inf for tokens that may not be drawn. The most likely token
    that is not forbidden may always be drawn.
  """
  logits = jnp.where(forbidden[None, :], -jnp.inf, logits)
  temperature = jnp.where(settings.temperature > 0, settings.temperature, 1.0)
  logits = logits / temperature
  # Sorting the vocabulary costs more than the model's step, so it is done only
  # where top-k or top-p is asked for.
  return jax.lax.cond(
    (settings.top_k > 0) | (settings.top_p < 1.0),
    lambda: _truncate(logits, settings),
    lambda: logits,
  )


def _truncate(logits, settings):
  size = logits.shape[-1]
  order = jnp.argsort(-logits, axis=-1)
  ranked = jnp.take_along_axis(logits, order, axis=-1)
  rank = jnp.arange(size)[None, :]
  keep = (settings.top_k == 0) | (rank < settings.top_k)
  ranked = jnp.where(keep, ranked, -jnp.inf)
  probabilities = jax.nn.softmax(ranked, axis=-1)
  before = jnp.cumsum(probabilities, axis=-1) - probabilities
  # At p = 1 all tokens are kept, even if the cumulative sum rounds to 1 early.
  keep = (before < settings.top_p) | (settings.top_p >= 1.0) | (rank == 0)
  ranked = jnp.where(keep, ranked, -jnp.inf)
  back = jnp.argsort(order, axis=-1)
  return jnp.take_along_axis(ranked, back, axis=-1)


def choose(
  keys: jax.Array, logits: jax.Array, settings: Settings, forbidden: jax.Array
) -> jax.Array:
  """The next token of each row: key[B], float[B, V] -> int32[B]."""
  filtered = filter_logits(logits, settings, forbidden)
  return jax.lax.cond(
    settings.temperature > 0,
    lambda: draw(keys, filtered),
    lambda: jnp.argmax(filtered, axis=-1).astype(jnp.int32),
  )


def draw(keys: jax.Array, logits: jax.Array) -> jax.Array:
  """Draws from each row's softmax: key[B], float[B, V] -> int32[B].

  Inverts the cumulative distribution, with one uniform number a row.
  `jax.random.categorical` draws one number a logit, which is most of its cost.
  The cumulative sum is computed over blocks first, then within a block. A token
  of probability 0 is never drawn; float32 resolves probabilities down to about
  1e-7.
  """
  rows, size = logits.shape
  pad = -size % _BLOCK
  largest = jnp.max(logits, axis=-1, keepdims=True)
  weights = jnp.pad(jnp.exp(logits - largest), ((0, 0), (0, pad)))
  weights = weights.reshape(rows, -1, _BLOCK)
  uniform = jax.vmap(jax.random.uniform)(keys)

  def first_above(cumulative, threshold):
    """The first entry above the threshold; its weight is above 0."""
    below_all = cumulative[:, -1] * (1.0 - 2.0**-23)
    threshold = jnp.clip(threshold, 0.0, below_all)
    return jnp.argmax(cumulative > threshold[:, None], axis=-1)

  block_sums = jnp.cumsum(jnp.sum(weights, axis=-1), axis=-1)
  threshold = uniform * block_sums[:, -1]
  block = first_above(block_sums, threshold)
  row = jnp.arange(rows)
  before = jnp.where(block > 0, block_sums[row, block - 1], 0.0)
  within = jnp.cumsum(weights[row, block], axis=-1)
  place = first_above(within, threshold - before)
  return (block * _BLOCK + place).astype(jnp.int32)


def decode(
  step: Callable[[Any, jax.Array], tuple[Any, jax.Array]],
  carry: Any,
  keys: jax.Array,
  settings: Settings,
  *,
  forbidden: jax.Array,
  max_length: int,
  bos: int,
  eos: int,
) -> tuple[jax.Array, jax.Array]:
  """Draws sentences token by token until all have ended.

  Whenever half of the rows have ended, the others continue without them: the
  loop is a cascade of loops, each over half the rows of the previous one.

  Args:
    step: (carry, tokens int32[B]) -> (carry, logits float[B, V]), for any B.
    carry: the model's state before bos and other data of a row, such as its
      latents: a tree of arrays whose first axis is rows.
    keys: key[B]; step t of row b draws with fold_in(keys[b], t), so a row's
      sentence does not depend on the other rows.
    settings: how a token is chosen.
    forbidden: bool[V], ids never drawn.
    max_length: tokens, eos counted.
    bos: id of the first input.
    eos: id that ends a sentence, and fills the rest of its row.

  Returns:
    int32[B, max_length] tokens, and int32[B] lengths with eos; a sentence cut
    by max_length has no eos.
  """
  rows = keys.shape[0]

  def decode_token(loop):
    time, numbers, keys, carry, last, ended, tokens, lengths = loop
    carry, logits = step(carry, last)
    now = jax.vmap(jax.random.fold_in, (0, None))(keys, time)
    chosen = choose(now, logits, settings, forbidden)
    chosen = jnp.where(ended, eos, chosen)
    tokens = tokens.at[numbers, time].set(chosen)
    lengths = lengths.at[numbers].add(~ended)
    ended = ended | (chosen == eos)
    return time + 1, numbers, keys, carry, chosen, ended, tokens, lengths

  loop = (
    jnp.int32(0),
    jnp.arange(rows),
    keys,
    carry,
    jnp.full((rows,), bos, jnp.int32),
    jnp.zeros((rows,), bool),
    jnp.full((rows, max_length), eos, jnp.int32),
    jnp.zeros((rows,), jnp.int32),
  )
  while True:
    fewer = rows // 2 if rows >= 2 * _FEWEST_ROWS else 0

    def enough_rows_unfinished(loop, fewer=fewer):
      time, ended = loop[0], loop[5]
      return (time < max_length) & (jnp.sum(~ended) > fewer)

    loop = jax.lax.while_loop(enough_rows_unfinished, decode_token, loop)
    if not fewer:
      return loop[6], loop[7]
    time, *row_arrays, tokens, lengths = loop
    unfinished = jnp.argsort(row_arrays[-1], stable=True)[:fewer]
    row_arrays = jax.tree.map(lambda x, rows=unfinished: x[rows], row_arrays)
    loop = time, *row_arrays, tokens, lengths
    rows = fewer


def beam_search(
  step: Callable[[Any, jax.Array], tuple[Any, jax.Array]],
  carry: Any,
  *,
  rows: int,
  beam_size: int,
  length_penalty: jax.Array,
  forbidden: jax.Array,
  max_length: int,
  bos: int,
  eos: int,
) -> tuple[jax.Array, jax.Array]:
  """Beam search: the sentence with the best score that each row's beams find.

  The score of a sentence is its log-probability divided by
  ((5 + length) / 6)**penalty (Wu et al., arXiv:1609.08144). The loop ends when
  no beam of any row can still exceed the best sentence that has ended.

  Args:
    step: (carry, tokens int32[N]) -> (carry, logits float[N, V]), for any N.
    carry: the model's state before bos and other data of a row: a tree of
      arrays whose first axis is rows.
    rows: B.
    beam_size: K, static.
    length_penalty: float[], at least 0.
    forbidden: bool[V], ids that are never chosen.
    max_length: tokens, eos counted.
    bos: id of the first input.
    eos: id that ends a sentence, and fills the rest of its row.

  Returns:
    int32[B, max_length] tokens, and int32[B] lengths with eos. For a row in
    which no sentence has ended within max_length, the most likely prefix,
    without eos.
  """
  row = jnp.arange(rows)[:, None]
  flat = lambda x: x.reshape(rows * beam_size, *x.shape[2:])
  beams = lambda x: x.reshape(rows, beam_size, *x.shape[1:])
  spread = lambda x: jnp.repeat(x, beam_size, axis=0)

  def normalised(score, length):
    return score / ((5.0 + length) / 6.0) ** length_penalty

  def can_improve(loop):
    time, _, _, alive, _, done, _, _ = loop
    # Log-probabilities are negative, so the longest length gives the largest
    # score.
    bound = normalised(alive[:, 0], max_length)
    return (time < max_length) & jnp.any(bound > done[:, 0])

  def extend_beams(loop):
    time, carry, last, alive, tokens, done, done_tokens, done_lengths = loop
    carry, logits = step(carry, flat(last))
    logits = jnp.where(forbidden[None, :], -jnp.inf, logits)
    scores = alive[:, :, None] + beams(jax.nn.log_softmax(logits, axis=-1))
    size = scores.shape[-1]
    # Each beam has one eos, so at most K of 2 K candidates end.
    count = min(2 * beam_size, beam_size * size)
    best, place = jax.lax.top_k(scores.reshape(rows, -1), count)
    beam, token = place // size, (place % size).astype(jnp.int32)
    extended = tokens[row, beam].at[:, :, time].set(token)
    ends = token == eos
    # Sentences that end now compete with those that have ended.
    ended = jnp.where(ends, normalised(best, time + 1.0), -jnp.inf)
    done, kept = jax.lax.top_k(
      jnp.concatenate([done, ended], axis=1), beam_size
    )
    keep_best = lambda old, new: jnp.concatenate([old, new], axis=1)[row, kept]
    done_tokens = keep_best(done_tokens, extended)
    lengths = jnp.full(ends.shape, time + 1, jnp.int32)
    done_lengths = keep_best(done_lengths, lengths)
    # The other candidates stay alive.
    alive, kept = jax.lax.top_k(jnp.where(ends, -jnp.inf, best), beam_size)
    beam = beam[row, kept]
    carry = jax.tree.map(lambda x: flat(beams(x)[row, beam]), carry)
    last, tokens = token[row, kept], extended[row, kept]
    return time + 1, carry, last, alive, tokens, done, done_tokens, done_lengths

  none = jnp.full((rows, beam_size), -jnp.inf)
  blank = jnp.full((rows, beam_size, max_length), eos, jnp.int32)
  loop = (
    jnp.int32(0),
    jax.tree.map(spread, carry),
    jnp.full((rows, beam_size), bos, jnp.int32),
    none.at[:, 0].set(0.0),  # All beams begin alike, so only one counts.
    blank,
    none,
    blank,
    jnp.zeros((rows, beam_size), jnp.int32),
  )
  loop = jax.lax.while_loop(can_improve, extend_beams, loop)
  time, _, _, _, tokens, done, done_tokens, done_lengths = loop
  found = jnp.isfinite(done[:, 0])
  return (
    jnp.where(found[:, None], done_tokens[:, 0], tokens[:, 0]),
    jnp.where(found, done_lengths[:, 0], time),
  )
