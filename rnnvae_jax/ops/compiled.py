"""Compiles C++ sources on the user's machine, once, into the user's cache."""

from collections.abc import Sequence
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import jax


def cache() -> pathlib.Path:
  """The folder of what this package compiles for its user."""
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return pathlib.Path(home, 'rnnvae_jax')


def compiler() -> str:
  """The path of a C++ compiler, $CXX, g++ or c++; '' if there is none."""
  chosen = os.environ.get('CXX')
  names = (chosen,) if chosen else ('g++', 'c++')
  return next(filter(None, map(shutil.which, names)), '')


def output(
  name: str, sources: Sequence[pathlib.Path], *key: object
) -> pathlib.Path:
  """The file of a library that depends on these sources.

  Args:
    name: what the file's name begins with.
    sources: the source files.
    key: all else that the library depends on, besides the version of jaxlib,
      which XLA's interface comes with.
  """
  digest = hashlib.sha256()
  for source in sources:
    digest.update(source.read_bytes())
  digest.update(repr((key, jax.lib.__version__)).encode())
  return cache() / f'{name}_{digest.hexdigest()[:16]}.so'


def build(
  path: pathlib.Path,
  source: pathlib.Path,
  flags: Sequence[str],
  timeout: float | None = None,
) -> pathlib.Path:
  """Compiles a shared library, unless it exists.

  Args:
    path: the library, a result of `output`.
    source: what is compiled.
    flags: of the compiler.
    timeout: seconds that it may take.

  Raises:
    OSError: there is no compiler, or it failed.

  Returns:
    The path.
  """
  if path.exists():
    return path
  if not compiler():
    raise OSError('there is no C++ compiler (g++, or the one named by CXX)')
  path.parent.mkdir(parents=True, exist_ok=True)
  # Written under another name, so that no other process loads a part of it.
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    part = pathlib.Path(folder, path.name)
    command = [compiler(), '-std=c++17', '-shared', '-fPIC', *flags]
    command += [f'-I{jax.ffi.include_dir()}', str(source), f'-o{part}', '-ldl']
    try:
      subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=timeout
      )
    except subprocess.CalledProcessError as error:
      lines = [line for line in error.stderr.splitlines() if 'error' in line]
      raise OSError(
        f'{command[0]} failed: {lines[0] if lines else error.stderr[-200:]}'
      ) from error
    except subprocess.TimeoutExpired as error:
      raise OSError(f'{command[0]} took more than {timeout} s') from error
    part.replace(path)
  return path
