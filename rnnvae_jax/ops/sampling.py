"""Filters of a next-token distribution, and decoding as one compiled loop."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Settings(NamedTuple):
  """How the next token is chosen; scalars, traced, hence no recompile."""

  temperature: jax.Array  # float32[]; 0: greedy.
  top_k: jax.Array  # int32[]; 0: all.
  top_p: jax.Array  # float32[] in (0, 1]; 1: all.


def filter_logits(
  logits: jax.Array, settings: Settings, forbidden: jax.Array
) -> jax.Array:
  """The log-probabilities to draw from, up to a constant a row.

  Temperature first, then the k likeliest, then of these the smallest set with
  probability at least p (nucleus sampling, Holtzman et al., arXiv:1904.09751).

  Args:
    logits: float[B, V].
    settings: temperature 0 is read as 1 here; see `choose`.
    forbidden: bool[V], ids never drawn.

  Returns:
    float[B, V], -inf where a token may not be drawn. The likeliest allowed
    token always may.
  """
  logits = jnp.where(forbidden[None, :], -jnp.inf, logits)
  temperature = jnp.where(settings.temperature > 0, settings.temperature, 1.0)
  logits = logits / temperature
  # Sorting the vocabulary costs more than the model's step: only on demand.
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
  # At p = 1 nothing is cut, whatever the cumulative sum rounds to.
  keep = (before < settings.top_p) | (settings.top_p >= 1.0) | (rank == 0)
  ranked = jnp.where(keep, ranked, -jnp.inf)
  back = jnp.argsort(order, axis=-1)
  return jnp.take_along_axis(ranked, back, axis=-1)


def choose(
  keys: jax.Array, logits: jax.Array, settings: Settings, forbidden: jax.Array
) -> jax.Array:
  """The next token of each row: key[B], float[B, V] -> int32[B]."""
  filtered = filter_logits(logits, settings, forbidden)
  drawn = jax.vmap(jax.random.categorical)(keys, filtered)
  greedy = jnp.argmax(filtered, axis=-1)
  chosen = jnp.where(settings.temperature > 0, drawn, greedy)
  return chosen.astype(jnp.int32)


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

  Args:
    step: (carry, tokens int32[B]) -> (carry, logits float[B, V]).
    carry: the model's state before bos.
    keys: key[B]; step t of row b draws with fold_in(keys[b], t), so a row's
      sentence does not depend on the other rows.
    settings: how a token is chosen.
    forbidden: bool[V], ids never drawn.
    max_length: tokens, eos counted.
    bos: the first input.
    eos: ends a sentence, and fills the rest of its row.

  Returns:
    int32[B, max_length] tokens, and int32[B] lengths with eos; a sentence cut
    by max_length has no eos.
  """
  rows = keys.shape[0]
  tokens = jnp.full((rows, max_length), eos, jnp.int32)
  lengths = jnp.zeros((rows,), jnp.int32)

  def unfinished(loop):
    time, _, _, ended, _, _ = loop
    return (time < max_length) & ~jnp.all(ended)

  def one(loop):
    time, carry, last, ended, tokens, lengths = loop
    carry, logits = step(carry, last)
    now = jax.vmap(jax.random.fold_in, (0, None))(keys, time)
    chosen = choose(now, logits, settings, forbidden)
    chosen = jnp.where(ended, eos, chosen)
    tokens = jax.lax.dynamic_update_index_in_dim(tokens, chosen, time, 1)
    lengths = lengths + ~ended
    return time + 1, carry, chosen, ended | (chosen == eos), tokens, lengths

  first = jnp.full((rows,), bos, jnp.int32)
  ended = jnp.zeros((rows,), bool)
  loop = jnp.int32(0), carry, first, ended, tokens, lengths
  _, _, _, _, tokens, lengths = jax.lax.while_loop(unfinished, one, loop)
  return tokens, lengths
