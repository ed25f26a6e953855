"""Linear-chain conditional random fields.

A sequence of tags scores the sum of the emissions of its tags, of the
transitions between neighbours, and of its first and its last tag. Its
probability is exp(score) over the sum of all sequences' (Lafferty et al. 2001).

The forward recursion is a matrix product a step: exp(transitions) is computed
once, and the exponentials of a step are scaled by the largest. The gradient is
not that of the loop. Marginals follow from the last token back, by

  p(i at t - 1, j at t) = A[t - 1, i] E[i, j] p(j at t) / S[t, j],
  S[t, j] = sum over i of A[t - 1, i] E[i, j],

where A is the scaled forward variable and E the exponential of transitions. So
no number of the backward pass is above 1 / S, and the gradient of the
transitions is one product over all tokens after the loop.

Without weights (None) tags do not depend on each other: the same functions of
a softmax at each token.

At a token, tags that are less likely than the likeliest by a factor of 1e-38
count as that unlikely. A move that is not allowed has the score `FORBIDDEN`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import products, recurrence

# Far below the score of any sequence, and finite: no difference is NaN.
FORBIDDEN = -1e9
_TINY = float(np.finfo(np.float32).tiny)
_MOST_TERMS = 64


class Weights(NamedTuple):
  """Scores of tags beside each other, and of the first and the last tag."""

  transitions: jax.Array  # float[K, K], of the column's tag after the row's.
  start: jax.Array  # float[K]
  end: jax.Array  # float[K]


def constrained(weights: Weights | None, allowed: Weights) -> Weights:
  """Forbids moves.

  Args:
    weights: scores; None: all are 0.
    allowed: bool arrays of the same shapes, True where a move is allowed.
  """
  forbid = lambda score, legal: jnp.where(legal, score, FORBIDDEN)
  return Weights(*map(forbid, weights or (0.0, 0.0, 0.0), allowed))


def nll(
  emissions: jax.Array,
  tags: jax.Array,
  mask: jax.Array,
  weights: Weights | None,
) -> jax.Array:
  """Nats of each row's tags: float[B]; 0 for a row without a token.

  Args:
    emissions: float[B, T, K].
    tags: int[B, T].
    mask: bool[B, T], True on real tokens, which come first in a row.
    weights: of the field; None: tags do not depend on each other.
  """
  found = score(emissions, tags, mask, weights)
  return log_partition(emissions, mask, weights) - found


def score(
  emissions: jax.Array,
  tags: jax.Array,
  mask: jax.Array,
  weights: Weights | None,
) -> jax.Array:
  """The score of each row's tags: float[B]; see `nll`.

  Comparisons in place of indices, whose gradients are sums in any order.
  """
  is_tag = jax.nn.one_hot(tags, emissions.shape[2]) * mask[:, :, None]
  total = jnp.sum(emissions * is_tag, axis=(1, 2))
  if weights is None:
    return total
  before = products.dot(is_tag[:, :-1], weights.transitions)
  total += jnp.sum(before * is_tag[:, 1:], axis=(1, 2))
  follows = jnp.concatenate([mask[:, 1:], jnp.zeros_like(mask[:, :1])], axis=1)
  last = jnp.sum(is_tag * ~follows[:, :, None], axis=1)
  total += jnp.sum(is_tag[:, 0] * weights.start[None], axis=1)
  return total + jnp.sum(last * weights.end[None], axis=1)


def log_partition(
  emissions: jax.Array, mask: jax.Array, weights: Weights | None
) -> jax.Array:
  """log of the sum of exp(score) over all sequences: float[B]; see `nll`."""
  if weights is None:
    logs = jax.nn.logsumexp(emissions, axis=2)
    return jnp.sum(jnp.where(mask, logs, 0.0), axis=1)
  time_major = jnp.swapaxes(emissions, 0, 1), jnp.swapaxes(mask, 0, 1)
  return _log_partition(*time_major, weights)


def marginals(
  emissions: jax.Array, mask: jax.Array, weights: Weights | None
) -> jax.Array:
  """The probability of each tag at each token: float[B, T, K]; see `nll`.

  0 where the mask is False.
  """
  if weights is None:
    return jnp.where(mask[:, :, None], jax.nn.softmax(emissions, axis=2), 0.0)
  mask = jnp.swapaxes(mask, 0, 1)
  _, saved = _forward(jnp.swapaxes(emissions, 0, 1), mask, weights)
  return jnp.swapaxes(_smoothed(saved)[0], 0, 1)


def viterbi(
  emissions: jax.Array, mask: jax.Array, weights: Weights | None
) -> tuple[jax.Array, jax.Array]:
  """The best tags of each row.

  No pointers are kept: the best tag before the one that was chosen is found
  again, for that one alone.

  Args:
    emissions: see `nll`, as all arguments.
    mask: bool[B, T].
    weights: of the field.

  Returns:
    int32[B, T], 0 where the mask is False; and their scores, float[B].
  """
  if weights is None:
    best_tags = jnp.argmax(emissions, axis=2).astype(jnp.int32)
    highest = jnp.where(mask, jnp.max(emissions, axis=2), 0.0)
    return jnp.where(mask, best_tags, 0), jnp.sum(highest, axis=1)
  x, valid = jnp.swapaxes(emissions, 0, 1), jnp.swapaxes(mask, 0, 1)
  steps = _steps(valid)
  first = weights.start[None] + x[0]
  best = jnp.zeros_like(x).at[0].set(first)

  def forward(t, loop):
    state, best = loop
    found = _best_moves(state, weights.transitions) + x[t]
    state = jnp.where(valid[t][:, None], found, state)
    return state, best.at[t].set(state)

  state, best = jax.lax.fori_loop(1, steps, forward, (first, best))
  state += weights.end[None]
  before = jnp.transpose(weights.transitions)  # A row for each tag.

  def backward(number, loop):
    tag, tags = loop
    t = steps - 1 - number
    tags = tags.at[t].set(jnp.where(valid[t], tag, 0))
    earlier = best[jnp.maximum(t - 1, 0)] + before[tag]
    found = jnp.argmax(earlier, axis=1).astype(jnp.int32)
    return jnp.where(valid[t], found, tag), tags

  last = jnp.argmax(state, axis=1).astype(jnp.int32)
  tags = jnp.zeros(valid.shape, jnp.int32)
  _, tags = jax.lax.fori_loop(0, steps, backward, (last, tags))
  total = jnp.where(valid[0], jnp.max(state, axis=1), 0.0)
  return jnp.swapaxes(tags, 0, 1), total


def _best_moves(state, transitions):
  """max_k state[b, k] + transitions[k, j]: float[B, K].

  Term by term, XLA computes many j at a time; of `jnp.max` only one.
  """
  size = len(transitions)
  if size > _MOST_TERMS:  # They would be compiled for too long.
    return jnp.max(state[:, :, None] + transitions[None], axis=1)
  terms = (state[:, k : k + 1] + transitions[k][None] for k in range(size))
  return functools.reduce(jnp.maximum, terms)


def n_best(
  emissions: jax.Array, mask: jax.Array, weights: Weights | None, count: int
) -> tuple[jax.Array, jax.Array]:
  """The best sequences of each row, the best one first.

  Args:
    emissions: see `nll`.
    mask: bool[B, T].
    weights: of the field.
    count: N, how many.

  Returns:
    int32[B, N, T], 0 where the mask is False; and their scores, float[B, N],
    -inf where there are fewer sequences that are allowed.
  """
  x, valid = jnp.swapaxes(emissions, 0, 1), jnp.swapaxes(mask, 0, 1)
  length, rows, size = x.shape
  if weights is None:
    zeros = jnp.zeros(size)
    weights = Weights(jnp.zeros((size, size)), zeros, zeros)
  steps = _steps(valid)
  # float[B, N, K], of the N best sequences up to here that end with a tag.
  state = jnp.full((rows, count, size), -jnp.inf)
  state = state.at[:, 0].set(weights.start[None] + x[0])
  pointers = jnp.zeros((length, rows, count, size), jnp.int32)

  def forward(t, loop):
    state, pointers = loop
    moves = state[:, :, :, None] + weights.transitions[None, None]
    moves = jnp.swapaxes(moves.reshape(rows, count * size, size), 1, 2)
    found, where = jax.lax.top_k(moves, count)  # [B, K, N]
    found = jnp.swapaxes(found, 1, 2) + x[t][:, None]
    pointers = pointers.at[t].set(jnp.swapaxes(where, 1, 2))
    return jnp.where(valid[t][:, None, None], found, state), pointers

  state, pointers = jax.lax.fori_loop(1, steps, forward, (state, pointers))
  state = (state + weights.end[None, None]).reshape(rows, count * size)
  total, last = jax.lax.top_k(state, count)

  def backward(number, loop):
    place, tags = loop  # int[B, N], of rank and tag: n K + k.
    t = steps - 1 - number
    is_real = valid[t][:, None]
    tags = tags.at[t].set(jnp.where(is_real, place % size, 0))
    earlier = pointers[t].reshape(rows, count * size)
    earlier = jnp.take_along_axis(earlier, place, axis=1)
    return jnp.where(is_real & (t > 0), earlier, place), tags

  tags = jnp.zeros((length, rows, count), jnp.int32)
  _, tags = jax.lax.fori_loop(0, steps, backward, (last, tags))
  total = jnp.where(total > FORBIDDEN / 2, total, -jnp.inf)
  return jnp.transpose(tags, (1, 2, 0)), total


# -- the sum over all sequences, time-major ------------------------------------


class _Saved(NamedTuple):
  """What the backward pass needs."""

  scaled: jax.Array  # A float[T, B, K], at most 1.
  sums: jax.Array  # S float[T, B, K]; of the first token 1.
  factors: jax.Array  # E float[K, K], at most 1.
  last: jax.Array  # float[B, K], p of the last token.
  mask: jax.Array  # bool[T, B]
  steps: jax.Array  # int32[], steps with a token.


@jax.custom_vjp
def _log_partition(emissions, mask, weights):
  return _forward(emissions, mask, weights)[0]


def _forward(emissions, mask, weights):
  """float[T, B, K], bool[T, B] -> (float[B], what the backward pass needs)."""
  steps = _steps(mask)
  shift = jnp.max(weights.transitions)
  factors = jnp.exp(weights.transitions - shift)

  def put(arrays, t, values):
    return tuple(a.at[t].set(v) for a, v in zip(arrays, values, strict=True))

  def scale(state):
    largest = jnp.max(state, axis=1, keepdims=True)
    return largest, jnp.exp(state - largest)

  def step(t, loop):
    state, largest, scaled, *saved = loop
    sums = jnp.maximum(products.dot(scaled, factors), _TINY)
    new = jnp.log(sums) + largest + shift + emissions[t]
    state = jnp.where(mask[t][:, None], new, state)
    largest, scaled = scale(state)
    return state, largest, scaled, *put(saved, t, (scaled, sums))

  state = weights.start[None] + emissions[0]
  largest, scaled = scale(state)
  ones = jnp.ones_like(emissions)
  loop = state, largest, scaled, ones.at[0].set(scaled), ones
  state, _, _, scaled, sums = jax.lax.fori_loop(1, steps, step, loop)
  state += weights.end[None]
  total = jax.nn.logsumexp(state, axis=1)
  last = jnp.where(mask[0][:, None], jax.nn.softmax(state, axis=1), 0.0)
  saved = _Saved(scaled, sums, factors, last, mask, steps)
  return jnp.where(mask[0], total, 0.0), saved


def _smoothed(saved):
  """p float[T, B, K], and p / S of the tokens that are not the first."""

  def step(number, loop):
    now, p, ratios = loop
    t = saved.steps - 1 - number
    is_real = saved.mask[t][:, None]
    ratio = now / saved.sums[t]
    p = p.at[t].set(jnp.where(is_real, now, 0.0))
    ratios = ratios.at[t].set(jnp.where(is_real, ratio, 0.0))
    before = products.contract(ratio, saved.factors, 1, 1, 'float32')
    before *= saved.scaled[jnp.maximum(t - 1, 0)]
    return jnp.where(is_real, before, now), p, ratios

  zeros = jnp.zeros_like(saved.scaled)
  loop = saved.last, zeros, zeros
  _, p, ratios = jax.lax.fori_loop(0, saved.steps, step, loop)
  return p, ratios[1:]


def _backward(saved, cotangent):
  p, ratios = _smoothed(saved)
  p *= cotangent[None, :, None]
  ratios *= cotangent[None, :, None]
  size = p.shape[2]
  flat = lambda array: array.reshape(-1, size)
  pairs = products.contract(
    flat(saved.scaled[:-1]), flat(ratios), 0, 0, 'float32'
  )
  end = jnp.sum(saved.last * cotangent[:, None], axis=0)
  weights = Weights(pairs * saved.factors, jnp.sum(p[0], axis=0), end)
  return p, None, weights


_log_partition.defvjp(_forward, _backward)


def _steps(mask):
  """Steps of the loops: bool[T, B] -> int32[] or, where it is static, int."""
  if jax.default_backend() != 'cpu':
    return mask.shape[0]  # A loop of dynamic length costs more than it saves.
  return recurrence.num_steps(mask)
