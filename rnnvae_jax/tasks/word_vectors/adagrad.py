"""The loss of GloVe, and its minimisation by AdaGrad as one program.

Pennington, Socher & Manning 2014, equation 8:
sum over i, j of f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2, where f(x) is
(x / x_max)^alpha, at most 1. The loss here is half of it, as in the authors'
program.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax.ops import embedding


class State(NamedTuple):
  """Weights and sums of squared gradients.

  Attributes:
    table: float32[2 V, E + 1], words and then contexts; the last column has
      their biases.
    squares: float32[2 V, E + 1].
  """

  table: jax.Array
  squares: jax.Array


class Entries(NamedTuple):
  """Some entries of the matrix; those of value 0 change nothing.

  Attributes:
    rows: int32[..., B].
    columns: int32[..., B].
    values: float32[..., B].
  """

  rows: jax.Array
  columns: jax.Array
  values: jax.Array


class Weighting(NamedTuple):
  """How much an entry counts, f(x) = min(1, x / x_max)^alpha."""

  x_max: float
  alpha: float


def init(key: jax.Array, size: int, features: int) -> State:
  """Small random weights; the sums of squares begin at 1.

  Args:
    key: random key.
    size: V.
    features: E.
  """
  shape = 2 * size, features + 1
  table = jax.random.uniform(key, shape, minval=-0.5, maxval=0.5) / features
  return State(table, jnp.ones(shape))


def loss(
  words: jax.Array,
  contexts: jax.Array,
  values: jax.Array,
  weighting: Weighting,
) -> tuple[jax.Array, jax.Array]:
  """The loss of entries, and the residual times f: float[B] each.

  Args:
    words: float[B, E + 1], vectors and biases.
    contexts: float[B, E + 1].
    values: float[B], counts; an entry of 0 has the loss 0.
    weighting: of counts.
  """
  is_real = values > 0
  counts = jnp.where(is_real, values, 1.0)
  scale = jnp.minimum(counts / weighting.x_max, 1.0) ** weighting.alpha
  scale = jnp.where(is_real, scale, 0.0)
  products = jnp.sum(words[:, :-1] * contexts[:, :-1], axis=1)
  residual = products + words[:, -1] + contexts[:, -1] - jnp.log(counts)
  return 0.5 * scale * jnp.square(residual), scale * residual


def step(
  state: State, entries: Entries, learning_rate: float, weighting: Weighting
) -> tuple[State, jax.Array]:
  """An update for B entries, and the sum of their losses before it.

  Each entry's gradient, times the learning rate, is squared and added to the
  sums of squares; then all gradients are added up and divided by the sums'
  roots. With B = 1 this is AdaGrad. The authors' program differs in that its
  roots do not have the entry's own square, which is needed here for words that
  are in many entries of an update.
  """
  size = len(state.table) // 2
  places = jnp.concatenate([entries.rows, size + entries.columns])
  weights = state.table[places]
  words, contexts = jnp.split(weights, 2)
  losses, slopes = loss(words, contexts, entries.values, weighting)
  ones = jnp.ones_like(slopes)[:, None]
  others = jnp.concatenate(
    [
      jnp.concatenate([contexts[:, :-1], ones], axis=1),
      jnp.concatenate([words[:, :-1], ones], axis=1),
    ]
  )
  gradients = learning_rate * jnp.tile(slopes, 2)[:, None] * others
  squares = _add(state.squares, places, jnp.square(gradients))
  updates = gradients / jnp.sqrt(squares[places])
  return State(_add(state.table, places, -updates), squares), losses.sum()


@functools.partial(
  jax.jit, static_argnames=('weighting',), donate_argnames=('state',)
)
def steps(
  state: State, entries: Entries, learning_rate: float, weighting: Weighting
) -> tuple[State, jax.Array]:
  """K updates as one program.

  Args:
    state: its arrays are given away.
    entries: of [K, B].
    learning_rate: the factor of gradients.
    weighting: of counts.

  Returns:
    The state, and float[K], the sums of losses.
  """

  def body(state, some):
    return step(state, some, learning_rate, weighting)

  return jax.lax.scan(body, state, entries)


def _add(table: jax.Array, places: jax.Array, rows: jax.Array) -> jax.Array:
  """Adds rows to those of a table, in an order that is always the same."""
  if jax.default_backend() == 'gpu':
    return table + embedding.sums_by_id(rows, places, len(table))
  return table.at[places].add(rows)
