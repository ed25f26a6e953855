"""What a process does before its command: devices, caches, error messages."""

from collections.abc import Iterator
import contextlib
import logging as python_logging
import os
import sys

from absl import logging
import jax

from rnnvae_jax.ops import compiled
from rnnvae_jax.training import environment, stopping


def prepare_jax() -> None:
  """Finds the devices, and keeps compiled programs from run to run.

  Raises:
    ValueError: JAX finds no device.
  """
  # Which backends JAX looked for in vain does not concern its user.
  python_logging.getLogger('jax').setLevel(python_logging.WARNING)
  _cache_compilations()
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    wanted = os.environ.get('JAX_PLATFORMS', '')
    raise ValueError(
      f'JAX finds no device (JAX_PLATFORMS={wanted!r}): {error}'
    ) from error


def _cache_compilations() -> None:
  """Sets the folder of compiled programs, unless the environment does.

  There is one folder for each number of cores: XLA splits a CPU's programs by
  cores, which JAX's cache keys leave out.
  """
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    folder = compiled.cache() / f'{environment.cores()}_cores'
    jax.config.update('jax_compilation_cache_dir', str(folder))
    # Bytes; JAX keeps account of them with the package filelock.
    jax.config.update('jax_compilation_cache_max_size', 2**30)
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


@contextlib.contextmanager
def errors_as_messages() -> Iterator[None]:
  """Mistakes, full disks and signals end in a line, not in a traceback.

  A process that a signal stopped ends with the status `stopping.RESUME`.
  """
  try:
    # Text that a terminal's encoding lacks must not end a finished training.
    for stream in (sys.stdout, sys.stderr):
      if hasattr(stream, 'reconfigure'):
        stream.reconfigure(errors='replace')
    with stopping.interrupts():
      yield
  except (ValueError, OSError, ImportError, FloatingPointError) as error:
    logging.debug('', exc_info=True)  # --verbosity=1 shows where.
    raise SystemExit(f'Error: {error}') from error
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    logging.debug('', exc_info=True)
    raise SystemExit(
      'Error: the device has no memory left. What takes it: config.train.'
      'batch_size, steps_per_call and, of streams, unroll; config.evaluate.'
      'batch_size and chunk; config.data.device_share of the text. '
      f'{str(error).splitlines()[0]}'
    ) from error
  except KeyboardInterrupt:
    with contextlib.suppress(OSError):  # SIGHUP: the terminal is gone.
      sys.stdout.flush()
      print('Stopped; the same command goes on.', file=sys.stderr, flush=True)
    # Python's own exit would wait for XLA's threads, or crash in them.
    os._exit(stopping.RESUME)
