"""What the members of a `vmap` must agree on: counts that steer a program.

A loop bound or a branch number that differs by member makes `vmap` run every
branch, and copy all that a loop carries at every step. One number that is
enough for all of them does not.
"""

import jax
import jax.numpy as jnp


@jax.custom_batching.custom_vmap
def largest(count: jax.Array) -> jax.Array:
  """`count` int32[] itself; under any number of `vmap`s the largest of all."""
  return count


@largest.def_vmap
def _largest_of_all(axis_size, in_batched, counts):
  del axis_size, in_batched
  # Again, for a `vmap` around this one.
  return largest(jnp.max(counts)), False


def all_true(condition: jax.Array) -> jax.Array:
  """`condition` bool[] itself; under any number of `vmap`s whether all are."""
  return largest((~condition).astype(jnp.int32)) == 0
