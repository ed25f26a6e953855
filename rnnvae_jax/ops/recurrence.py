"""A recurrent layer, input product included, as one differentiable function.

It runs the steps of a cell's `rules.Rule`, arranged for speed:

- Time is cut into blocks. The input products of a block are computed as one
  matrix product; each phase of a step is a recurrent product and a pointwise
  part.
- The backward loop computes no weight gradients. The gradient of a step is
  linear in the gradient of its state, with coefficients that are computed for a
  whole block before the loop. Weight gradients are computed after the loop, as
  one product a block.
- The loops stop after the last block with a real token, so one compiled program
  serves all lengths, and short batches take less time.

Arrays are time-major: T, B, features. The state of a row does not change where
its mask is False.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax.ops import members, products, rules

# Backends with loops or a whole layer of their own; see `Options.loops`.
HANDWRITTEN = ('native', 'cluster')


class Options(NamedTuple):
  """How a layer runs; no option changes the result, except for rounding."""

  reverse: bool = False  # Whether to read from the last token to the first.
  precision: str = 'float32'  # See `products.PRECISIONS`.
  # Largest number of time steps in a block; 0: all, in loops of static length.
  block: int = 4
  # What runs the loops: 'xla' or 'cluster' (NVIDIA GPUs); or the whole layer:
  # 'native' (CPUs).
  loops: str = 'xla'
  interpret: bool = False  # Whether GPU kernels run on a CPU, for tests.


def run(
  cell: rules.Spec,
  weights: rules.Weights,
  x: jax.Array,
  mask: jax.Array,
  state: rules.State,
  options: Options = Options(),  # noqa: B008  A constant.
  state_mask: jax.Array | None = None,
) -> tuple[rules.State, jax.Array]:
  """Runs one direction of one layer over all time steps.

  Args:
    cell: the cell, which must have a rule.
    weights: kernel float[F, G H], bias float[G H], or float[B, G H] of each
      row, recurrent_kernel float[H, G H], and the vectors of the cell's rule.
    x: float[T, B, F].
    mask: bool[T, B], True on real tokens, which come first in a row.
    state: float[B, H] each, before the first token.
    options: how the layer runs.
    state_mask: float[B, H], multiplies the states that recurrent products read;
      a constant, without a gradient.

  Raises:
    ValueError: the cell has no rule, or a `state_mask` with GPU kernels, which
      do not support it.

  Returns:
    The state after each row's last token (first, when reversed), and the
    outputs float[T, B, H], which are undefined where the mask is False.
  """
  if options.loops == 'cluster' and state_mask is not None:
    raise ValueError(
      f'loops = {options.loops!r} does not support a state_mask (dropout on '
      'states).'
    )
  length = x.shape[0]
  # Packing the weights does not pay for a single step, as in decoding.
  if options.loops == 'native' and length > 1:
    from rnnvae_jax.ops import recurrence_native as native  # Only if needed.

    return native.run(
      cell,
      weights,
      state_mask,
      x,
      mask,
      state,
      num_steps(mask),
      options.reverse,
    )
  # Not longer than T: a decoding step would compute a whole block otherwise.
  block = min(options.block or length, length) or 1
  if length % block:
    pad = lambda array: jnp.pad(
      array, [(0, -length % block)] + [(0, 0)] * (array.ndim - 1)
    )
    x, mask = pad(x), pad(mask)
  steps = num_steps(mask) if options.block and length > 1 else length
  options = options._replace(block=block)
  after, outputs = _run(
    cell, options, weights, state_mask, x, mask, state, steps
  )
  return after, outputs[:length]


def num_steps(mask: jax.Array) -> jax.Array:
  """Steps until no row has a real token: bool[T, B] -> int32[]."""
  return members.largest(jnp.max(jnp.sum(mask, axis=0, dtype=jnp.int32)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(cell, options, weights, state_mask, x, mask, state, steps):
  return _forward(cell, options, weights, state_mask, x, mask, state, steps)[0]


def _forward(cell, options, weights, state_mask, x, mask, state, steps):
  """((last states, outputs), what the backward pass needs)."""
  rule, precision = cell.require_rule(), options.precision
  length, size, reverse = x.shape[0], options.block, options.reverse
  rounded = _rounded(weights, options) | {'state_mask': state_mask}
  loops = _loops(options)
  # states[t] is the state before token t (after it, when reversed). Entries
  # that the loop does not reach keep the initial state.
  states = jax.tree.map(
    lambda first: jnp.broadcast_to(first, (length + 1, *first.shape)), state
  )

  def block(number, loop):
    state, states, activations = loop
    first, count = _extent(number, size, steps, reverse)
    state, now, active = loops.forward(
      cell,
      options,
      rounded,
      _gates(precision, rounded, _slice(x, first, size)),
      _slice(mask, first, size),
      state,
      count,
    )
    put = lambda array, part: jax.lax.dynamic_update_slice_in_dim(
      array, part, first + (not reverse), 0
    )
    states = jax.tree.map(put, states, now)
    activations = jax.lax.dynamic_update_slice_in_dim(
      activations, active, first, 0
    )
    return state, states, activations

  loop = state, states, _no_activations(rule, state, length)
  after, states, activations = _over_blocks(size, length, steps, block, loop)
  outputs = states[0][:-1] if reverse else states[0][1:]
  saved = weights, state_mask, x, mask, steps, states, activations
  return (after, outputs), saved


def _backward(cell, options, saved, cotangents):
  weights, state_mask, x, mask, steps, states, activations = saved
  d_after, d_outputs = cotangents
  rule, precision = cell.require_rule(), options.precision
  size, reverse = options.block, options.reverse
  rounded = _rounded(weights, options)
  # The right operands of the backward products, computed once.
  rounded |= {
    f'{name}_transposed': products.transposed(rounded[name])
    for name in ('kernel', 'recurrent_kernel')
  }
  rounded['state_mask'] = state_mask
  loops = _loops(options)

  def block(number, loop):
    d_state, d_x, d_weights = loop
    first, count = _extent(number, size, steps, not reverse)
    part = functools.partial(_slice, first=first, size=size)
    x_now = part(x)
    before = jax.tree.map(lambda s: _slice(s, first + reverse, size), states)
    after = jax.tree.map(
      lambda s: _slice(s, first + (not reverse), size), states
    )
    active = part(activations)
    valid = part(mask)[:, :, None].astype(x.dtype)
    coefficients = rule.coefficients(rounded, active, before, after, valid)
    d_state, d_states = loops.backward(
      cell, options, rounded, coefficients, part(d_outputs), d_state, count
    )
    d_gates, d_now = rule.finish(
      precision, rounded, coefficients, d_states, before, after
    )
    d_now['kernel'] = products.outer(x_now, d_gates, precision)
    shared = range(d_gates.ndim - weights['bias'].ndim)
    d_now['bias'] = jnp.sum(d_gates, axis=tuple(shared))
    d_weights = jax.tree.map(jnp.add, d_weights, d_now)
    d_x_now = products.dot(d_gates, rounded['kernel_transposed'], precision)
    d_x_now = d_x_now.astype(x.dtype)
    d_x = jax.lax.dynamic_update_slice_in_dim(d_x, d_x_now, first, 0)
    return d_state, d_x, d_weights

  loop = d_after, jnp.zeros_like(x), jax.tree.map(jnp.zeros_like, weights)
  d_state, d_x, d_weights = _over_blocks(size, x.shape[0], steps, block, loop)
  return d_weights, None, d_x, None, d_state, None


_run.defvjp(_forward, _backward)


class Loops(NamedTuple):
  """The sequential loops over a block of S steps, forward and backward.

  Attributes:
    forward: (cell, options, weights, gates[S, B, G H], mask[S, B], state,
      count) -> the state after the first `count` steps, all states
      [S, B, H], and activations [S, B, A H]. After `count` steps the states
      are those before the block, and activations are finite.
    backward: (cell, options, weights, coefficients, d_outputs[S, B, H],
      d_state, count) -> the gradients of the state before the block, and of
      all states, [S, B, H] each; 0 for steps after `count`.
  """

  forward: Callable
  backward: Callable


def _loop_forward(cell, options, weights, gates, mask, state, count):
  rule, precision = cell.require_rule(), options.precision

  def step(number, loop):
    state, states, activations = loop
    time = count - 1 - number if options.reverse else number
    new, active = _step(rule, precision, weights, gates[time], state)
    valid = mask[time][:, None]
    state = jax.tree.map(lambda a, b: jnp.where(valid, a, b), new, state)
    put = lambda array, x: array.at[time].set(x)
    return state, jax.tree.map(put, states, state), put(activations, active)

  spread = lambda x: jnp.broadcast_to(x, (gates.shape[0], *x.shape))
  activations = _no_activations(rule, state, gates.shape[0])
  loop = state, jax.tree.map(spread, state), activations
  return jax.lax.fori_loop(0, count, step, loop)


def _loop_backward(
  cell, options, weights, coefficients, d_outputs, d_state, count
):
  rule, precision = cell.require_rule(), options.precision

  def step(number, loop):
    d_state, d_states = loop
    time = number if options.reverse else count - 1 - number
    d_state = (d_state[0] + d_outputs[time], *d_state[1:])
    put = lambda array, d: array.at[time].set(d)
    d_states = jax.tree.map(put, d_states, d_state)
    now = jax.tree.map(lambda c: c[time], coefficients)
    return _step_back(rule, precision, weights, now, d_state), d_states

  steps = d_outputs.shape[0]
  zeros = jax.tree.map(lambda d: jnp.zeros((steps, *d.shape)), d_state)
  return jax.lax.fori_loop(0, count, step, (d_state, zeros))


def _step(rule, precision, weights, gates, state):
  """Runs one step; returns the new state and the activations [..., A H]."""
  follows = state[0]
  active: rules.State = ()
  all_gates = rules.split(gates, rule.phases[-1].gates[1])
  for phase in rule.phases:
    product = products.dot(
      rules.masked(weights, follows), rules.columns(weights, phase), precision
    )
    follows, new_active = phase.forward(
      weights,
      all_gates[slice(*phase.gates)],
      rules.split(product, phase.gates[1] - phase.gates[0]),
      state,
      active,
    )
    active += new_active
  return follows, rules.join(*active) if active else state[0][..., :0]


def _step_back(rule, precision, weights, now, d_state):
  """Maps the gradient of the state after a step to that of the state before."""
  handed_back: rules.State = ()
  for phase in reversed(rule.phases):
    d_product = rules.join(*phase.backward(now, d_state, handed_back))
    d_follows = products.dot(d_product, rules.rows(weights, phase), precision)
    handed_back += (rules.masked(weights, d_follows),)
  return rule.before(now, d_state, handed_back)


def _no_activations(rule, state, steps):
  """An array of zeros for the activations of `steps` steps."""
  rows, size = state[0].shape
  columns = size * sum(phase.num_activations for phase in rule.phases)
  return jnp.zeros((steps, rows, columns), state[0].dtype)


def _loops(options: Options) -> Loops:
  # Imported only if needed.
  if options.loops == 'cluster':
    from rnnvae_jax.ops import recurrence_cluster as cluster

    return Loops(cluster.forward, cluster.backward)
  return Loops(_loop_forward, _loop_backward)


def _over_blocks(size, length, steps, block, loop):
  """Runs the blocks that have real tokens, without a loop if there is one."""
  if size == length:
    return block(0, loop)
  return jax.lax.fori_loop(0, -(-steps // size), block, loop)


def _extent(number, size, steps, reverse):
  """First time step and number of steps of the `number`th block to run."""
  if reverse:
    number = -(-steps // size) - 1 - number
  first = size * number
  return first, jnp.minimum(size, steps - first)


def _slice(array, first, size):
  return jax.lax.dynamic_slice_in_dim(array, first, size)


def _gates(precision, weights, x):
  bias = weights['bias']
  return products.dot(x, weights['kernel'], precision) + rules.aligned(bias, x)


def _rounded(weights: rules.Weights, options: Options) -> rules.Weights:
  """Rounds the kernels to the products' precision, once for all steps."""
  kernels = {
    name: products.rounded(weights[name], options.precision)
    for name in ('kernel', 'recurrent_kernel')
  }
  return weights | kernels
