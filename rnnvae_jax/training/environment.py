"""The machine and the software versions that a figure was measured with.

Training repeats bit for bit on the same machine, with the same number of cores
and the same versions. On another processor, or with its loops divided among
another number of cores, sums are added up in another order.
"""

from collections.abc import Mapping
import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
from typing import Any

import jax

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'torch')
# Instruction sets that decide how fast, and in which order, a CPU computes
# products.
_INSTRUCTIONS = (
  'avx2',
  'avx512f',
  'avx512_bf16',
  'amx_tile',
  'amx_bf16',
  'asimd',
  'bf16',
  'sve',
)
# Entries that training does not depend on.
_WITHOUT_EFFECT = ('commit', 'torch')

_CPUINFO = pathlib.Path('/proc/cpuinfo')
# The keys of a processor's name on Linux, which depend on the architecture.
_MODEL_KEYS = ('model name', 'cpu model', 'cpu', 'Model', 'Processor')


def describe() -> dict[str, Any]:
  """Describes the commit, device, cores and versions of this process.

  Returns:
    'commit'; 'device', the platform and the model of the processor; for a CPU
    'instructions', its instruction sets that matter for speed; 'cores', the
    number that this process may use; versions of Python and of packages.
  """
  device = jax.devices()[0]
  is_cpu = device.platform == 'cpu'
  model = cpu_model() if is_cpu else device.device_kind
  return {
    'commit': _commit(),
    'device': f'{device.platform}: {model}' if model else device.platform,
    **({'instructions': instructions()} if is_cpu else {}),
    'cores': cores(),
    'python': platform.python_version(),
    **{name: _version(name) for name in _PACKAGES},
  }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """Lists the differences between environments that can change results.

  Args:
    before: the result of `describe` when the run was begun. An older version
      may have saved it: entries that it lacks are not compared.
    now: the result of `describe` today.

  Returns:
    A text for each difference, such as 'cores: 1 before, 2 now'.
  """
  found = []
  for key in now:
    if key in _WITHOUT_EFFECT or key not in before:
      continue
    old, new = before[key], now[key]
    if key == 'device' and ':' not in re.sub(r'^(\w+): \1$', r'\1', old):
      new = new.partition(':')[0]  # Older records name the platform alone.
      old = old.partition(':')[0]
    if old != new:
      found.append(f'{key}: {_words(old)} before, {_words(new)} now')
  return found


def _words(value: Any) -> str:
  if isinstance(value, list):
    return ' '.join(map(str, value)) or 'none'
  return str(value)


def cores() -> int | None:
  """The number of cores that this process may use; on macOS, of all cores."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def cpu_model() -> str:
  """The name of the CPU; '' if the system does not report it.

  Virtual machines may hide the model number, as in 'AMD EPYC'. Then the CPU's
  family and model, which identify its generation, are appended.
  """
  info = _cpuinfo()
  name = next((info[key] for key in _MODEL_KEYS if info.get(key)), '')
  if not name:  # Linux on ARM, and macOS.
    name = _field(_output('lscpu'), 'Model name')
  if not name:
    name = _output('sysctl -n machdep.cpu.brand_string')
  if not name:
    name = platform.processor() or platform.machine()
  if not any(map(str.isdigit, name)) and {'cpu family', 'model'} <= info.keys():
    name += f' (family {info["cpu family"]}, model {info["model"]})'
  return ' '.join(name.split())


def instructions() -> list[str]:
  """The instruction sets of this CPU that matter for speed."""
  info = _cpuinfo()
  flags = (info.get('flags') or info.get('Features') or '').split()
  if not flags:
    flags = _field(_output('lscpu'), 'Flags').split()
  if not flags:
    names = 'machdep.cpu.features machdep.cpu.leaf7_features'
    flags = _output(f'sysctl -n {names}').lower().split()
  if platform.machine() in ('arm64', 'aarch64') and 'asimd' not in flags:
    flags.append('asimd')  # Every CPU of this architecture has it.
  return [name for name in _INSTRUCTIONS if name in flags]


def _cpuinfo() -> dict[str, str]:
  """Fields of the first processor in /proc/cpuinfo; {} without such a file."""
  try:
    text = _CPUINFO.read_text(encoding='utf-8', errors='replace')
  except OSError:
    return {}
  fields: dict[str, str] = {}
  for line in text.splitlines():
    key, colon, value = line.partition(':')
    if colon:
      fields.setdefault(key.strip(), value.strip())
  return fields


def _field(text: str, name: str) -> str:
  """The value of the line 'name: value'; '' if there is no such line."""
  found = re.search(rf'^{name}:\s*(.+)$', text, re.MULTILINE)
  return found[1].strip() if found else ''


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> str | None:
  """The commit of this file's repository, with '-dirty' if files differ.

  Files of figures are not compared: they are written while other figures are
  still being measured.
  """
  root = pathlib.Path(__file__).parent.parent.parent
  head = _output('git rev-parse HEAD', root)
  figures = "':!RESULTS.md' ':!benchmarks/results'"
  changed = _output(
    f'git status --porcelain --untracked-files=no -- . {figures}', root
  )
  return head + ('-dirty' if changed else '') if head else None


def _output(command: str, folder: pathlib.Path | None = None) -> str:
  """The output of a program; '' if it is not installed or fails."""
  words = shlex.split(command)
  if not shutil.which(words[0]):
    return ''
  done = subprocess.run(
    words,
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {'LC_ALL': 'C'},
  )
  return done.stdout.strip()
