"""The sequential loops of `recurrence` in C++, for CPUs.

XLA packs the recurrent weights for its product again at each time step, which
takes longer than the product of 32 rows itself. Here they are packed once an
update; a task then computes all time steps of some rows, product and pointwise
part alike. The equations are those of the cell's `rules.Rule`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops.native import library

# The order in which the C++ code reads the coefficients of a cell's rule.
_FACTORS = {
  'lstm': lambda now: (
    *now['from_c'],
    now['h_to_c'],
    now['keep'],
    now['to_o'],
    1.0 - now['mask'],
  ),
  'gru': lambda now: (now['keep'], *now['products']),
}


def pack(kernel: jax.Array) -> jax.Array:
  """float[K, N] -> float[panels, K, columns], the last columns padded with 0.

  The product reads a panel, that is some columns of all rows, from beginning to
  end.
  """
  columns = library.panel_columns()
  rows, size = kernel.shape
  kernel = jnp.pad(kernel, [(0, 0), (0, -size % columns)])
  return kernel.reshape(rows, -1, columns).transpose(1, 0, 2)


def forward(cell, options, weights, gates, mask, state, count):
  """See `recurrence.Loops`."""
  steps = gates.shape[0]
  rows, size = state[0].shape
  num_active = sum(phase.num_activations for phase in cell.rule.phases)
  results = _call(
    f'rnnvae_{cell.kernel}_forward',
    [(rows, size)] * len(state)
    + [(steps, rows, size)] * len(state)
    + [(steps, rows, num_active * size)],
    count,
    mask,
    weights['packed'],
    gates,
    _or_nothing(weights['state_mask']),
    _or_nothing(weights.get('recurrent_bias')),
    *state,
    reverse=options.reverse,
  )
  number = len(state)
  return tuple(results[:number]), tuple(results[number:-1]), results[-1]


def backward(cell, options, weights, coefficients, d_outputs, d_state, count):
  """See `recurrence.Loops`."""
  steps = d_outputs.shape[0]
  rows, size = d_state[0].shape
  results = _call(
    f'rnnvae_{cell.kernel}_backward',
    [(rows, size)] * len(d_state) + [(steps, rows, size)] * len(d_state),
    count,
    weights['packed'],
    d_outputs,
    _or_nothing(weights['state_mask']),
    *d_state,
    *_FACTORS[cell.kernel](coefficients),
    reverse=options.reverse,
  )
  number = len(d_state)
  return tuple(results[:number]), tuple(results[number:])


def _call(name, shapes, count, *arrays, reverse):
  """Calls a handler of the library; its results are float32 of these shapes."""
  library.load()
  call = jax.ffi.ffi_call(
    name,
    [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
    vmap_method='sequential',
  )
  return call(jnp.int32(count), *arrays, reverse=np.bool_(reverse))


def _or_nothing(array):
  return jnp.zeros(0) if array is None else array
