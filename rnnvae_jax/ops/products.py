"""Matrix products at the configured precision."""

from collections.abc import Callable
import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp

# The precision of a product's operands. Sums, and all operations that are not
# products, are float32.
PRECISIONS = ('float32', 'tf32', 'bfloat16')


def fast_precision(cpu_info: str = '/proc/cpuinfo') -> str:
  """The precision that is fastest on this CPU: 'bfloat16' or 'float32'.

  bfloat16 products are faster where the CPU has instructions for them, which
  Linux lists for x86; elsewhere they are emulated, and slower than float32.

  Args:
    cpu_info: a file with the CPU's `flags`.
  """
  try:
    with open(cpu_info, encoding='utf-8', errors='replace') as file:
      flags = re.search(r'^flags\s*:(.*)$', file.read(), re.MULTILINE)
  except OSError:  # Not Linux.
    return 'float32'
  known = set(flags[1].split()) if flags else set()
  return 'bfloat16' if known & {'avx512_bf16', 'amx_bf16'} else 'float32'


def dot(a: jax.Array, b: jax.Array, precision: str = 'float32') -> jax.Array:
  """a @ b: float[..., M, K], float[K, N] -> float32[..., M, N].

  No operand may be one number repeated (`jnp.zeros`): where XLA (jaxlib 0.10.2)
  joins such a product with what follows it on a CPU, it sometimes reads memory
  beyond the number, and the result is arbitrary.

  Args:
    a: the left operand.
    b: the right operand.
    precision: one of `PRECISIONS`. With tf32 an NVIDIA GPU's matrix units round
      float32 operands; elsewhere it is the platform's default for float32, on a
      CPU float32 itself. bfloat16 rounds the operands on every platform.
  """
  return contract(a, b, a.ndim - 1, 0, precision)


def contract(
  a: jax.Array, b: jax.Array, a_axis: int, b_axis: int, precision: str
) -> jax.Array:
  """`dot` over any axis of `a` and of `b`; the other axes keep their order."""
  return jax.lax.dot_general(
    rounded(a, precision),
    rounded(b, precision),
    (((a_axis,), (b_axis,)), ((), ())),
    precision=lax_precision(precision),
    preferred_element_type=jnp.float32,
  )


def outer(a: jax.Array, b: jax.Array, precision: str) -> jax.Array:
  """A kernel's gradient: float[..., M], float[..., K] -> float32[M, K].

  It is the sum of the rows' outer products. The left operand is transposed
  explicitly, because fast products on a CPU contract its last axis.

  Args:
    a: the operand that the kernel multiplies.
    b: the gradient of the product.
    precision: see `dot`.
  """
  rows = a.size // a.shape[-1]
  left = transposed(rounded(a, precision).reshape(rows, -1))
  return dot(left, b.reshape(rows, -1), precision)


def dense_product(precision: str) -> Callable[..., jax.Array] | None:
  """The `dot_general` that makes an `nn.Dense` compute its products by `dot`.

  Args:
    precision: one of `PRECISIONS`.

  Returns:
    For bfloat16 a function that rounds the operands, also of the gradient's
    products, and sums in float32. None for the other precisions, for which
    `lax_precision` is enough.
  """
  return _rounded_product if precision == 'bfloat16' else None


def _rounded_product(
  x: jax.Array, kernel: jax.Array, dimensions: Any, **options: Any
) -> jax.Array:
  """`lax.dot_general` of float[..., K] and float[K, N] in bfloat16."""
  del options  # `nn.Dense` passes the precision of float32 operands.
  if dimensions != (((x.ndim - 1,), (0,)), ((), ())):
    raise ValueError(
      f'dimensions = {dimensions} is not the product of a dense layer.'
    )
  return _linear(x, kernel, 'bfloat16')


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _linear(x, kernel, precision):
  return dot(x, kernel, precision)


def _linear_forward(x, kernel, precision):
  return dot(x, kernel, precision), (x, kernel)


def _linear_backward(precision, saved, d_outputs):
  x, kernel = saved
  d_x = contract(d_outputs, kernel, d_outputs.ndim - 1, 1, precision)
  return d_x, outer(x, d_outputs, precision)


_linear.defvjp(_linear_forward, _linear_backward)


def transposed(x: jax.Array) -> jax.Array:
  """x.T of float[M, N], as an array in memory.

  XLA fuses a plain `x.T` into the product that reads it, and that product may
  then have no fast path. It does not fuse this transposition of three axes.
  """
  rows, columns = x.shape
  parts = math.gcd(columns, 8)
  split = x.reshape(rows, columns // parts, parts)
  return split.transpose(1, 2, 0).reshape(columns, rows)


def rounded(x: jax.Array, precision: str) -> jax.Array:
  """Rounds an operand to the precision; rounding is idempotent."""
  return x.astype(jnp.bfloat16) if precision == 'bfloat16' else x


def lax_precision(precision: str) -> jax.lax.Precision:
  """JAX's name of the precision; float32 is exact on every platform."""
  exact = precision == 'float32'
  return jax.lax.Precision.HIGHEST if exact else jax.lax.Precision.DEFAULT
