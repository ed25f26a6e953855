"""Loop bounds and branch numbers that all members of a `vmap` share.

With a bound or a branch number that differs between members, `vmap` runs every
branch, and copies the whole carry of a loop at every step. A single number that
is sufficient for all members avoids both.
"""

import jax
import jax.numpy as jnp


@jax.custom_batching.custom_vmap
def largest(count: jax.Array) -> jax.Array:
  """`count` int32[]; under any number of `vmap`s the largest of all members."""
  return count


@largest.def_vmap
def _largest_over_members(axis_size, in_batched, counts):
  del axis_size, in_batched
  # A call, so that an outer `vmap` is handled in the same way.
  return largest(jnp.max(counts)), False


def all_true(condition: jax.Array) -> jax.Array:
  """`condition` bool[]; under any number of `vmap`s, whether all are True."""
  return largest((~condition).astype(jnp.int32)) == 0
