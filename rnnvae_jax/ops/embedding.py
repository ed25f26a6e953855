"""Reading rows of a table, with a gradient that repeats bit for bit.

The gradient adds up the rows' gradients for each entry of the table. A CPU does
this in the order of the rows. XLA's code for a GPU uses atomic additions, whose
order varies from call to call. Here the rows are sorted by entry and added up
in a fixed order instead. XLA's own remedy
(`xla_gpu_exclude_nondeterministic_ops`) sorts all N x E numbers.
"""

import jax
import jax.numpy as jnp

_RADIX = 8  # Rows that are added up in a round.


@jax.custom_vjp
def lookup(table: jax.Array, ids: jax.Array) -> jax.Array:
  """table float[V, E], ids int[...] in [0, V) -> float[..., E]."""
  return jnp.take(table, ids, axis=0)


def _forward(table, ids):
  return lookup(table, ids), (table, ids)


def _backward(saved, d_rows):
  table, ids = saved
  flat = d_rows.reshape(-1, d_rows.shape[-1])
  return sums_by_id(flat, ids.reshape(-1), len(table)), None


lookup.defvjp(_forward, _backward)


def sums_by_id(rows: jax.Array, ids: jax.Array, size: int) -> jax.Array:
  """Adds up the rows with the same id, in an order that is always the same.

  Args:
    rows: float[N, E].
    ids: int[N], in [0, V).
    size: V.

  Returns:
    float[V, E], 0 for an id that no row has.
  """
  count = len(ids)
  order = jnp.argsort(ids, stable=True)
  ids, sums = ids[order], rows[order]
  reach = 1
  while reach < count:
    # So far a sum has the last `reach` rows up to its own, if they have its id.
    total = sums
    for shift in range(reach, min(_RADIX * reach, count), reach):
      same = ids[shift:] == ids[:-shift]
      earlier = jnp.where(same[:, None], sums[:-shift], 0.0)
      total += jnp.pad(earlier, [(shift, 0), (0, 0)])
    # Or fused rounds would compute the same sums again and again.
    sums = jax.lax.optimization_barrier(total)
    reach *= _RADIX
  # The last row of each id has its sum; the others are written nowhere.
  is_last = jnp.append(ids[1:] != ids[:-1], True)
  place = jnp.where(is_last, ids, size + jnp.arange(count))
  return (
    jnp.zeros((size, rows.shape[1]), rows.dtype)
    .at[place]
    .set(sums, mode='drop', unique_indices=True)
  )
