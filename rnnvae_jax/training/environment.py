"""Where a figure was made, and with what."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'torch')


def describe() -> dict[str, Any]:
  """Commit, device class, cores and versions."""
  device = jax.devices()[0]
  return {
    'commit': _commit(),
    'device': f'{device.platform}: {device.device_kind}',
    'cores': len(os.sched_getaffinity(0)),
    'python': platform.python_version(),
    **{name: _version(name) for name in _PACKAGES},
  }


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> str | None:
  """The commit of this file's repository, marked if files differ from it."""
  command = 'git describe --always --dirty --abbrev=40 --exclude=*'
  done = subprocess.run(
    command.split(),
    cwd=pathlib.Path(__file__).parent,
    capture_output=True,
    text=True,
    check=False,
  )
  return done.stdout.strip() or None
