"""Compiles the C++ sources beside this file for this CPU, and loads them.

XLA's matrix products of a few rows pack the weights again in each call. The
sources hold what avoids that. They are compiled at their first use, by the C++
compiler of the machine, for all instructions that its CPU has, and kept in the
user's cache. Without a compiler everything works, on the other backends.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile

import jax
import jaxlib

_FOLDER = pathlib.Path(__file__).parent
_HANDLERS = ('lstm_forward', 'lstm_backward', 'gru_forward', 'gru_backward')
_FLAGS = (
  '-O3',
  '-march=native',
  '-std=c++17',
  '-ffp-contract=fast',
  '-fPIC',
  '-shared',
  '-w',
)
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
  compiler = os.environ.get('CXX') or shutil.which('g++') or shutil.which('c++')
  if not compiler:
    raise OSError('there is no C++ compiler (g++, or the one named by CXX)')
  path = _cache() / f'native_{_fingerprint(compiler)}.so'
  if path.exists():
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  # Written under another name, so that no other process loads a part of it.
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    part = pathlib.Path(folder) / path.name
    command = [
      compiler,
      *_FLAGS,
      f'-I{jax.ffi.include_dir()}',
      f'-o{part}',
      *map(str, sorted(_FOLDER.glob('*.cc'))),
    ]
    try:
      subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_TIMEOUT
      )
    except subprocess.CalledProcessError as error:
      lines = [line for line in error.stderr.splitlines() if 'error' in line]
      raise OSError(
        f'{compiler} failed: {lines[0] if lines else error.stderr[-200:]}'
      ) from error
    except subprocess.TimeoutExpired as error:
      raise OSError(f'{compiler} took more than {_TIMEOUT} s') from error
    part.replace(path)
  return path


def _cache() -> pathlib.Path:
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return pathlib.Path(home) / 'rnnvae_jax'


def _fingerprint(compiler: str) -> str:
  """A hash of all that the library depends on, the CPU included."""
  digest = hashlib.sha256()
  for source in sorted(_FOLDER.glob('*.[ch]*')):
    digest.update(source.read_bytes())
  parts = (compiler, *_FLAGS, jaxlib.__version__, _cpu())
  digest.update('\0'.join(parts).encode())
  return digest.hexdigest()[:16]


def _cpu() -> str:
  """The CPU's model and instructions: a home may be shared by machines."""
  try:
    with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as file:
      lines = file.read().split('\n\n')[0].splitlines()
  except OSError:  # Not Linux.
    return platform.processor() or platform.machine()
  kept = ('model name', 'flags', 'CPU part', 'Features')
  return '\n'.join(line for line in lines if line.startswith(kept))
