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
import sys

import jax

from rnnvae_jax.ops import compiled

_FOLDER = pathlib.Path(__file__).parent
_HANDLERS = ('forward', 'backward')
_FLAGS = ('-O2', '-march=native', '-ffp-contract=fast', '-w')
_TIMEOUT = 60  # Seconds for the compiler, which takes about four.


@functools.cache
def is_fastest() -> bool:
  """Whether this is a kind of CPU on which all sizes were measured faster.

  These have AVX2 without AVX-512. With the wider instructions XLA's products
  are others, and have not been compared.
  """
  words = _cpu().split()
  return 'avx2' in words and 'avx512f' not in words


@functools.cache
def obstacle(cell: str) -> str:
  """Why the library of a cell cannot be used here; '' if it can.

  The answer may take a compilation.
  """
  try:
    load(cell)
  except (OSError, UnicodeError) as error:  # Whatever compilers print.
    return str(error)
  return ''


@functools.cache
def load(cell: str) -> ctypes.CDLL:
  """Loads the library of a cell; XLA knows its handlers as `rnnvae_CELL_NAME`.

  Args:
    cell: 'gru' or 'lstm'.

  Raises:
    OSError: there is no compiler, it failed, or its result cannot be loaded.
  """
  library = ctypes.CDLL(str(_built(cell)))
  for name in _HANDLERS:
    handler = jax.ffi.pycapsule(getattr(library, name))
    target = f'rnnvae_{cell}_{name}'
    jax.ffi.register_ffi_target(target, handler, platform='cpu')
  return library


def panel_columns(cell: str) -> int:
  """Columns of a panel of a packed matrix; see `products.h`."""
  return load(cell).panel_columns()


def _built(cell: str) -> pathlib.Path:
  """The compiled library, from the cache if these sources are there."""
  if sys.platform == 'win32':
    raise OSError('it is not built on Windows')
  sources = sorted(_FOLDER.glob('*.[ch]*'))
  flags = (*_FLAGS, f'-DRNNVAE_CELL={cell.capitalize()}')
  path = compiled.output(
    f'native_{cell}', sources, compiled.compiler(), flags, _cpu()
  )
  if not path.is_absolute():
    raise OSError('there is no home folder to keep it in')
  return compiled.build(path, _FOLDER / 'recurrence.cc', flags, _TIMEOUT)


def _cpu() -> str:
  """The CPU's model and instructions: a home may be shared by machines."""
  try:
    with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as file:
      lines = file.read().split('\n\n')[0].splitlines()
  except OSError:  # Not Linux.
    return platform.processor() or platform.machine()
  kept = ('model name', 'flags', 'CPU part', 'Features')
  return '\n'.join(line for line in lines if line.startswith(kept))
