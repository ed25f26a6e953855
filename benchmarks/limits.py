"""What this machine can do at best, measured, not read from a data sheet."""

from collections.abc import Callable
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import torch

CPU_SIZE, GPU_SIZE = 1024, 8192  # Rows and columns of a large matrix.
COPIED = 1 << 26  # Numbers.
_REPETITIONS = 5


def measure() -> dict[str, float]:
  """Rates of a large matrix product and of a copy.

  On a CPU a product's rate is the better one of JAX's and PyTorch's, so that
  neither library's kernels set the bar; on a GPU both call the vendor's.

  Returns:
    float32, tf32 and bfloat16, in GFLOP/s; copy, in GB/s read and written.
  """
  on_cpu = jax.default_backend() == 'cpu'
  size = CPU_SIZE if on_cpu else GPU_SIZE
  rates = {}
  for precision in ('float32', 'tf32', 'bfloat16'):
    dtype = 'bfloat16' if precision == 'bfloat16' else 'float32'
    x = jnp.ones((size, size), dtype)
    exact = 'highest' if precision == 'float32' else 'default'
    product = jax.jit(functools.partial(jnp.matmul, precision=exact))
    seconds = _best(product, x, x)
    if on_cpu:
      y = torch.ones((size, size), dtype=getattr(torch, dtype))
      seconds = min(seconds, _best(torch.mm, y, y))
    rates[precision] = 2e-9 * size**3 / seconds
  x = jnp.ones(COPIED)
  rates['copy'] = 2e-9 * x.nbytes / _best(jax.jit(lambda x: x + 1.0), x)
  return rates


def _best(run: Callable, *arguments: Any) -> float:
  """Seconds of the fastest of some calls."""
  jax.block_until_ready(run(*arguments))
  seconds = []
  for _ in range(_REPETITIONS):
    start = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    seconds.append(time.perf_counter() - start)
  return min(seconds)
