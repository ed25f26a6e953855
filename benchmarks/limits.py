"""Measures this machine's peak rates of matrix products and of copies."""

from collections.abc import Callable
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import harness

CPU_SIZE, GPU_SIZE = 1024, 8192  # Rows and columns of a large matrix.
COPIED = 1 << 26  # Numbers that are copied.
_REPETITIONS = 5


def measure() -> dict[str, float]:
  """Measures the rates of a large matrix product and of a copy.

  On a CPU the rate of a product is the higher one of JAX's and PyTorch's, so
  that it does not depend on one library's kernels; without PyTorch it is
  JAX's. On a GPU both libraries call the vendor's kernels.

  Returns:
    float32, tf32 and bfloat16, in GFLOP/s; copy, in GB/s read and written.
  """
  on_cpu = jax.default_backend() == 'cpu'
  size = CPU_SIZE if on_cpu else GPU_SIZE
  torch = harness.with_torch('torch')
  rates = {}
  for precision in ('float32', 'tf32', 'bfloat16'):
    dtype = 'bfloat16' if precision == 'bfloat16' else 'float32'
    x = jnp.ones((size, size), dtype)
    exact = 'highest' if precision == 'float32' else 'default'
    product = jax.jit(functools.partial(jnp.matmul, precision=exact))
    seconds = _best(product, x, x)
    if on_cpu and torch is not None:
      y = torch.ones((size, size), dtype=getattr(torch, dtype))
      seconds = min(seconds, _best(torch.mm, y, y))
    rates[precision] = 2e-9 * size**3 / seconds
  x = jnp.ones(COPIED)
  rates['copy'] = 2e-9 * x.nbytes / _best(jax.jit(lambda x: x + 1.0), x)
  return rates


def _best(run: Callable, *arguments: Any) -> float:
  """The time of the fastest of several calls, in seconds."""
  jax.block_until_ready(run(*arguments))
  seconds = []
  for _ in range(_REPETITIONS):
    start = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    seconds.append(time.perf_counter() - start)
  return min(seconds)
