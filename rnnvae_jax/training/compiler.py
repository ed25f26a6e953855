"""Options of the compiler for training programs, by platform."""

from collections.abc import Mapping
import functools

from absl import logging
import jax

# What may be part of a CUDA graph. With branches and loops among it, the GPU
# itself decides which branch runs and when a loop ends; otherwise it waits for
# the host at each of them.
_IN_GRAPHS = (
  'FUSION',
  'CUBLAS',
  'CUBLASLT',
  'CUSTOM_CALL',
  'CUDNN',
  'DYNAMIC_SLICE_FUSION',
  'CONDITIONAL',
  'WHILE',
)
_OPTIONS = {
  'gpu': {'xla_gpu_enable_command_buffer': ','.join(_IN_GRAPHS)},
}

Options = Mapping[str, str | bool]


@functools.cache
def options(platform: str) -> Options | None:
  """The options of `jax.jit` for training steps; None: the compiler's own.

  Only speed depends on them, so options that this version of XLA does not know
  are left out.

  Args:
    platform: 'cpu', 'gpu' or 'tpu'.
  """
  wanted = _OPTIONS.get(platform)
  if wanted is None:
    return None
  known = {}
  for name, value in wanted.items():
    try:
      probe = jax.jit(lambda: 0, compiler_options={name: value})
      probe.lower().compile()
    except RuntimeError as error:  # XLA's class of errors is private.
      logging.warning('The compiler does not know %s: %s', name, error)
    else:
      known[name] = value
  return known or None
