"""A recurrent layer in C++, forward and backward, for CPUs.

XLA packs the recurrent weights for its product again at each time step, which
takes longer than the product of 32 rows itself, and pointwise parts are passes
over memory. Here weights are packed once an update, a step's pointwise part
reads sums that are still in the caches, and the products that need no state
before run over all real time steps at once. The equations are those of the
cell's `rules.Rule`, and so are the results except for rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import rules
from rnnvae_jax.ops.native import library

_GATES = {'lstm': 4, 'gru': 3}
_ACTIVE = 4  # Activations of a unit, of either cell.


def run(
  cell: rules.Spec,
  weights: rules.Weights,
  state_mask: jax.Array | None,
  x: jax.Array,
  mask: jax.Array,
  state: rules.State,
  steps: jax.Array,
  reverse: bool,
) -> tuple[rules.State, jax.Array]:
  """See `recurrence.run`; `steps` int32[] is the number of real time steps."""
  size = state[0].shape[-1]
  # Whole panels of units: units without weights stay 0, and so do their
  # gradients.
  extra = -size % library.panel_columns(cell.kernel)
  if extra:
    number = _GATES[cell.kernel]
    weights = {
      name: _pad_gates(array, number if name != 'recurrent_bias' else 1, extra)
      for name, array in weights.items()
    }
    kernel = weights['recurrent_kernel']
    weights['recurrent_kernel'] = jnp.pad(kernel, [(0, extra), (0, 0)])
    pad = lambda array: jnp.pad(array, [(0, 0), (0, extra)])
    state = tuple(map(pad, state))
    state_mask = None if state_mask is None else pad(state_mask)
  kept = jnp.zeros(0) if state_mask is None else state_mask
  after, outputs = _run(
    cell.kernel, reverse, weights, kept, x, mask, state, steps
  )
  if extra:
    after, outputs = jax.tree.map(lambda a: a[..., :size], (after, outputs))
  return after, outputs


def _pad_gates(array, number, extra):
  """float[..., G H] -> float[..., G (H + extra)]."""
  gates = array.reshape(*array.shape[:-1], number, -1)
  gates = jnp.pad(gates, [(0, 0)] * array.ndim + [(0, extra)])
  return gates.reshape(*array.shape[:-1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(kernel, reverse, weights, state_mask, x, mask, state, steps):
  arguments = weights, state_mask, x, mask, state, steps
  return _forward(kernel, reverse, *arguments)[0]


def _forward(kernel, reverse, weights, state_mask, x, mask, state, steps):
  length, rows, inputs = x.shape
  size = state[0].shape[-1]
  columns = _GATES[kernel] * size
  common = _common(weights, state_mask, x, mask, state, steps)
  *after, outputs, stored, _ = _call(
    f'rnnvae_{kernel}_forward',
    [
      *_shapes(state),
      _float(length, rows, size),
      # All activations, and all states but h.
      _words((_ACTIVE + len(state) - 1) * length * rows * size),
      _words((inputs + size) * columns + 2 * rows * size),
    ],
    *common,
    weights['bias'],
    weights.get('recurrent_bias', jnp.zeros(0)),
    reverse=reverse,
  )
  saved = weights, state_mask, x, mask, state, steps, outputs, stored
  return (tuple(after), outputs), saved


def _backward(kernel, reverse, saved, cotangents):
  weights, state_mask, x, mask, state, steps, outputs, stored = saved
  d_after, d_outputs = cotangents
  length, rows, inputs = x.shape
  size = state[0].shape[-1]
  columns = _GATES[kernel] * size
  bias = weights['bias']
  padded = inputs + -inputs % library.panel_columns(kernel)
  *d_state, d_x, d_kernel, d_recurrent, sums, _ = _call(
    f'rnnvae_{kernel}_backward',
    [
      *_shapes((*state, x, weights['kernel'], weights['recurrent_kernel'])),
      _float(*bias.shape[:-1], _ACTIVE * size),
      _words(
        (padded + size + 2 * rows) * columns
        + (1 + len(state) + _ACTIVE * length) * rows * size
      ),
    ],
    *_common(weights, state_mask, x, mask, state, steps),
    outputs,
    stored,
    *d_after,
    d_outputs,
    reverse=reverse,
  )
  d_weights = {
    'kernel': d_kernel,
    'recurrent_kernel': d_recurrent,
    'bias': sums[..., :columns],
  }
  if 'recurrent_bias' in weights:
    # Its gate's recurrent product is the last activation.
    d_bias = sums[..., -size:]
    d_weights['recurrent_bias'] = jnp.sum(d_bias.reshape(-1, size), axis=0)
  return d_weights, None, d_x, None, tuple(d_state), None


_run.defvjp(_forward, _backward)


def _common(weights, state_mask, x, mask, state, steps):
  """The arguments of both directions."""
  kernels = weights['kernel'], weights['recurrent_kernel']
  return jnp.int32(steps), mask, x, *kernels, state_mask, *state


def _call(name, results, *arrays, reverse):
  """Calls a handler of the library."""
  call = jax.ffi.ffi_call(name, results, vmap_method='sequential')
  return call(*arrays, reverse=np.bool_(reverse))


def _float(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _shapes(arrays):
  return [_float(*array.shape) for array in arrays]


def _words(number):
  """Memory of which a part may never be written.

  It is not declared as float32, so that nothing looks for NaNs there.
  """
  return jax.ShapeDtypeStruct((number,), jnp.uint32)
