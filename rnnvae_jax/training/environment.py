"""Where a figure was made, and with what."""

import importlib.metadata
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
from typing import Any

import jax

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'torch')


def describe() -> dict[str, Any]:
  """Commit, device class, cores and versions."""
  device = jax.devices()[0]
  names = dict.fromkeys((device.platform, device.device_kind))
  return {
    'commit': _commit(),
    'device': ': '.join(names),
    'cores': cores(),
    'python': platform.python_version(),
    **{name: _version(name) for name in _PACKAGES},
  }


def cores() -> int | None:
  """That this process may use; macOS knows only how many there are."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> str | None:
  """The commit of this file's repository; '-dirty' if files differ from it.

  Figures, which are written while others are still made, do not count.
  """
  root = pathlib.Path(__file__).parent.parent.parent
  head = _git('rev-parse HEAD', root)
  figures = "':!RESULTS.md' ':!benchmarks/results'"
  changed = _git(
    f'status --porcelain --untracked-files=no -- . {figures}', root
  )
  return head + ('-dirty' if changed else '') if head else None


def _git(command: str, folder: pathlib.Path) -> str:
  if not shutil.which('git'):
    return ''
  done = subprocess.run(
    ['git', *shlex.split(command)],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )
  return done.stdout.strip()
