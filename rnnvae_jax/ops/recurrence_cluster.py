"""The sequential loops of `recurrence` as persistent CUDA kernels.

One kernel runs all time steps. Its recurrent weights stay in the registers and
shared memory of a cluster of thread blocks, which exchange states, and the
gradients of states, through each other's shared memory. `ops.cluster` describes
the kernels and what they need.
"""

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops.cluster import calls


def forward(cell, options, weights, gates, mask, state, count):
  """See `recurrence.Loops`. Also runs the steps after `count`, all masked."""
  del count
  (steps, rows, _), size = gates.shape, state[0].shape[-1]
  room = _room(cell, options, size)
  zeros = jnp.zeros(size, gates.dtype)  # LSTM kernels do not read the bias.
  bias = weights.get('recurrent_bias', zeros)
  like = lambda number: jax.ShapeDtypeStruct(
    (steps, rows, number * room), gates.dtype
  )
  num_active = sum(p.num_activations for p in cell.require_rule().phases)
  *states, active = _call(
    cell,
    options,
    False,
    room,
    (
      _pad(gates, size, room),
      _padded_kernel(weights, size, room),
      _pad(bias, size, room),
      mask,
      *(_pad(s, size, room) for s in state),
    ),
    [*(like(1) for _ in state), like(num_active)],
  )
  states = tuple(_cut(s, size, room) for s in states)
  last = 0 if options.reverse else -1
  return tuple(s[last] for s in states), states, _cut(active, size, room)


def backward(cell, options, weights, coefficients, d_outputs, d_state, count):
  """See `recurrence.Loops`. Also runs the steps after `count`, all masked."""
  del count
  size = d_outputs.shape[-1]
  room = _room(cell, options, size)
  pad = lambda x: _pad(x, size, room)
  d_outputs, d_state = pad(d_outputs), jax.tree.map(pad, d_state)
  like = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)
  if cell.kernel == 'lstm':
    names = ['from_c', 'to_o', 'h_to_c', 'keep']
    masks = [coefficients['mask'][:, :, 0]]
  else:
    names, masks = ['products', 'keep'], []
  read = jax.tree.leaves([coefficients[name] for name in names])
  d_all = _call(
    cell,
    options,
    True,
    room,
    (
      d_outputs,
      _padded_kernel(weights, size, room),
      *d_state,
      *map(pad, read),
      *masks,
    ),
    [*(like(d_outputs) for _ in d_state), *(like(d) for d in d_state)],
  )
  d_all = tuple(_cut(d, size, room) for d in d_all)
  return d_all[len(d_state) :], d_all[: len(d_state)]


def _call(cell, options, is_backward, room, arguments, results):
  kind = cell.kernel
  name = calls.target(kind, options.precision, room, options.interpret)
  return jax.ffi.ffi_call(name, results, vmap_method='sequential')(
    *arguments,
    lstm=np.int32(kind == 'lstm'),
    backward=np.int32(is_backward),
    reverse=np.int32(options.reverse),
  )


def _room(cell, options, size):
  """Hidden units of the kernel that runs `size` of them."""
  room = calls.padded_size(cell.kernel, options.precision, size)
  if not room:
    raise ValueError(
      f'There is no CUDA kernel for {size} {options.precision} units of cell '
      f'{cell.name}.'
    )
  return room


def _padded_kernel(weights, size, room):
  kernel = _pad(weights['recurrent_kernel'], size, room)
  return jnp.pad(kernel, ((0, room - size), (0, 0)))


def _pad(x, size, room):
  """Pads each block of H columns of [..., n H] with zeros.

  Units without weights and input keep a state and a gradient of 0.
  """
  if size == room:
    return x
  blocks = x.reshape(*x.shape[:-1], -1, size)
  ends = ((0, 0),) * (blocks.ndim - 1) + ((0, room - size),)
  return jnp.pad(blocks, ends).reshape(*x.shape[:-1], -1)


def _cut(x, size, room):
  """Undoes `_pad`."""
  if size == room:
    return x
  blocks = x.reshape(*x.shape[:-1], -1, room)
  return blocks[..., :size].reshape(*x.shape[:-1], -1)
