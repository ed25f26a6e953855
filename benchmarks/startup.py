r"""Time from the start of a process to its first useful output.

  python -m benchmarks.startup --workdir=runs/gru_vae --json=startup.json

Each turn starts every command once, as a process of its own; an untimed first
turn fills the cache of compiled programs, and that of Python's modules, which
an environment may have turned off. `import_jax` is the floor: what comes before
any work of this library. CPU seconds, of all threads, hardly depend on what
else the machine does; wall seconds do.
"""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import numpy as np

from benchmarks import harness

_WORKDIR = flags.DEFINE_string(
  'workdir', 'runs/gru_vae', 'The folder of a trained run.'
)
_ROOT = pathlib.Path(__file__).parent.parent
_LINE = 'the cat sat on the mat .\n'


def main(_) -> None:
  with tempfile.TemporaryDirectory() as folder:
    lines = os.path.join(folder, 'lines.txt')
    pathlib.Path(lines).write_text(_LINE, encoding='utf-8')
    mode = ['-m', 'rnnvae_jax.main', f'--workdir={_WORKDIR.value}']
    commands = {
      'import_rnnvae_jax': ['-c', 'import rnnvae_jax'],
      'score': [*mode, '--mode=score', f'--config.generate.input={lines}'],
      'sample': [*mode, '--mode=sample'],
      'import_jax': ['-c', 'import jax'],
    }
    environment = dict(os.environ)
    environment.pop('PYTHONDONTWRITEBYTECODE', None)
    environment['PYTHONPYCACHEPREFIX'] = os.path.join(folder, 'modules')
    environment['PYTHONPATH'] = os.pathsep.join(
      [str(_ROOT), os.environ.get('PYTHONPATH', '')]
    )
    for arguments in commands.values():
      _seconds(arguments, environment)
    turns: dict[str, list[tuple[float, float]]] = {
      name: [] for name in commands
    }
    for _ in range(harness.REPETITIONS.value):
      for name, arguments in commands.items():
        turns[name].append(_seconds(arguments, environment))
  figures = {
    name: {
      'wall_seconds': harness.spread(np.array(pairs)[:, 0]),
      'cpu_seconds': harness.spread(np.array(pairs)[:, 1]),
    }
    for name, pairs in turns.items()
  }
  rows = {
    name: {
      kind: '{median:.2f} ({low:.2f} to {high:.2f})'.format_map(figure[kind])
      for kind in ('wall_seconds', 'cpu_seconds')
    }
    for name, figure in figures.items()
  }
  peers = {'import_jax': figures.pop('import_jax')}
  report = {
    'ours': figures,
    'peers': peers,
    'ratio': {},
    'environment': harness.environment(),
  }
  harness.publish('Cold processes, warm cache', rows, report)


def _seconds(
  arguments: list[str], environment: dict[str, str]
) -> tuple[float, float]:
  """Wall and CPU seconds of a Python process, which must succeed."""
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  start = time.perf_counter()
  done = subprocess.run(
    [sys.executable, *arguments],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  wall = time.perf_counter() - start
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  if done.returncode:
    raise ValueError(f'{" ".join(arguments)} failed: {done.stderr.strip()}')
  cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  return wall, cpu


if __name__ == '__main__':
  app.run(main)
