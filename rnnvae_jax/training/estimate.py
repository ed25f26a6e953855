"""An estimate of training time, made before anything is compiled."""

import time
from typing import Any

import jax
import jax.numpy as jnp

# The share of a matrix product's speed that small recurrent models reach.
_EFFICIENCY = 0.5
_SIZE = 1024  # Rows and columns of the matrices that are timed.
_COMPILING = 20.0  # Seconds of compilation.


def training_seconds(params: Any, tokens: float, precision: str) -> float:
  """Estimates the seconds of training, within a factor of about two.

  Counts six operations a parameter and token (one product forward, two
  backward), at the speed of a matrix product that is measured here.

  Args:
    params: parameters of the model.
    tokens: number of tokens to train on.
    precision: precision of the products' operands.
  """
  dtype = jnp.bfloat16 if precision == 'bfloat16' else jnp.float32
  x = jnp.ones((_SIZE, _SIZE), dtype)
  product = jax.jit(lambda x: x @ x)
  product(x).block_until_ready()
  start = time.perf_counter()
  product(x).block_until_ready()
  speed = 2 * _SIZE**3 / (time.perf_counter() - start)
  used = sum(
    leaf.size
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if getattr(path[-1], 'key', '') != 'embedding'
  )
  return _COMPILING + 6 * used * tokens / (_EFFICIENCY * speed)


def spelt(seconds: float) -> str:
  """Formats a duration: '40 seconds', '3 minutes', '2.5 hours'."""
  if seconds < 90:
    return f'{max(round(seconds, -1), 10):.0f} seconds'
  if seconds < 5400:
    return f'{seconds / 60:.0f} minutes'
  return f'{seconds / 3600:.1f} hours'
