"""Sums over the rows of a batch, wherever these rows are.

Where several devices train together, each has a part of a batch's rows, and
what is computed from all rows takes an exchange between the devices. Where one
device has all rows, these functions return what they are given, and compile to
nothing.

A loss must be the same number on every device, so every sum over rows in it is
a `total`. Gradients flow through the exchange: what `jax.grad` of such a loss
gives on each device is its own rows' share of the gradient times the number of
devices, and `mean` of the shares is the gradient of the whole batch.
"""

from typing import Any

import jax

AXIS = 'data'  # Of the mesh of devices among which rows are divided.


def parts() -> int:
  """The number of devices among which the rows are divided."""
  try:
    return jax.lax.axis_size(AXIS)
  except NameError:  # Nothing is divided here.
    return 1


def total(sums: Any) -> Any:
  """Adds up a tree of sums over the rows of each device."""
  return jax.lax.psum(sums, AXIS) if parts() > 1 else sums


def mean(tree: Any) -> Any:
  """The mean over devices of each array of a tree, in one exchange."""
  if parts() == 1:
    return tree
  # All are ready before any is sent, so the compiler makes one message of them.
  return jax.lax.pmean(jax.lax.optimization_barrier(tree), AXIS)


def all_of(array: jax.Array) -> jax.Array:
  """The rows of all devices in their order: [B / D, ...] -> [B, ...]."""
  if parts() == 1:
    return array
  return jax.lax.all_gather(array, AXIS, tiled=True)


def own(array: jax.Array, axis: int = 0) -> jax.Array:
  """This device's part of the rows: [..., B, ...] -> [..., B / D, ...]."""
  if parts() == 1:
    return array
  size = array.shape[axis] // parts()
  first = jax.lax.axis_index(AXIS) * size
  return jax.lax.dynamic_slice_in_dim(array, first, size, axis)
