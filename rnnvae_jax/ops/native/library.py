"""Compiles the C++ sources beside this file for this CPU, and loads them.

XLA's matrix products of a few rows run at about half the rate of large ones.
The sources multiply with weights that were packed before. They are compiled at
their first use, by the C++ compiler of the machine, for all instructions that
its CPU has. Without a compiler everything works, on the other backends.
"""

import ctypes
import functools
import pathlib
import platform

import jax

from rnnvae_jax.ops import compiled

_FOLDER = pathlib.Path(__file__).parent
_HANDLERS = ('lstm_forward', 'lstm_backward', 'gru_forward', 'gru_backward')
_FLAGS = ('-O3', '-march=native', '-ffp-contract=fast', '-w')
_TIMEOUT = 120  # Seconds for the compiler, which takes about five.


def obstacle() -> str:
  """Why the library cannot be used here; '' if it can."""
  try:
    load()
  except OSError as error:
    return str(error)
  return ''


@functools.cache
def load() -> ctypes.CDLL:
  """The library; its handlers are known to XLA as `rnnvae_NAME`.

  Raises:
    OSError: there is no compiler, it failed, or its result cannot be loaded.
  """
  library = ctypes.CDLL(str(_built()))
  for name in _HANDLERS:
    handler = jax.ffi.pycapsule(getattr(library, name))
    jax.ffi.register_ffi_target(f'rnnvae_{name}', handler, platform='cpu')
  return library


def panel_columns() -> int:
  """Columns of a panel of a packed matrix; see `products.h`."""
  return load().panel_columns()


def _built() -> pathlib.Path:
  """The compiled library, from the cache if these sources are there."""
  sources = sorted(_FOLDER.glob('*.[ch]*'))
  path = compiled.output('native', sources, compiled.compiler(), _FLAGS, _cpu())
  return compiled.build(path, _FOLDER / 'recurrence.cc', _FLAGS, _TIMEOUT)


def _cpu() -> str:
  """The CPU's model and instructions: a home may be shared by machines."""
  try:
    with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as file:
      lines = file.read().split('\n\n')[0].splitlines()
  except OSError:  # Not Linux.
    return platform.processor() or platform.machine()
  kept = ('model name', 'flags', 'CPU part', 'Features')
  return '\n'.join(line for line in lines if line.startswith(kept))
