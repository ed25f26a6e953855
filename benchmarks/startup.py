r"""Time from the start of a process to its first useful output.

  python -m benchmarks.startup --workdir=runs/gru_vae --json=startup.json
  python -m benchmarks.startup --workdir=runs/classifier --modes=predict \
    --text=tweets.txt --json=startup_predict.json

Each turn starts every command once, as a process of its own; an untimed first
turn fills the cache of compiled programs, and that of Python's modules, which
an environment may have turned off. `import_jax` is the floor: what comes before
any work of this library. CPU seconds, of all threads, hardly depend on what
else the machine does; wall seconds do. `score` and `predict` read one line;
`predict_10000` reads 10,000, the lines of --text again and again.
"""

import itertools
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
_MODES = flags.DEFINE_list('modes', 'score,sample', 'score, sample or predict.')
_TEXT = flags.DEFINE_string(
  'text', '', "A file of lines to read; '': a sentence of ours."
)
_LINE = 'the cat sat on the mat .\n'
_MANY = 10_000


def main(_) -> None:
  with tempfile.TemporaryDirectory() as folder:
    commands = {
      'import_rnnvae_jax': ['-c', 'import rnnvae_jax'],
      **_commands(pathlib.Path(folder)),
      'import_jax': ['-c', 'import jax'],
    }
    environment = harness.importing_environment()
    environment.pop('PYTHONDONTWRITEBYTECODE', None)
    environment['PYTHONPYCACHEPREFIX'] = os.path.join(folder, 'modules')
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


def _commands(folder: pathlib.Path) -> dict[str, list[str]]:
  """The arguments of Python for each mode that is timed."""
  text = [_LINE]
  if _TEXT.value:
    with open(_TEXT.value, encoding='utf-8') as file:
      text = list(itertools.islice(file, _MANY))
  found = {}
  for mode in _MODES.value:
    numbers = {'sample': (0,), 'predict': (1, _MANY)}.get(mode, (1,))
    for number in numbers:
      name = f'{mode}_{number}' if number > 1 else mode
      command = ['-m', 'rnnvae_jax.main', f'--workdir={_WORKDIR.value}']
      command.append(f'--mode={mode}')
      if number:
        path = folder / f'{name}.txt'
        lines = itertools.islice(itertools.cycle(text), number)
        path.write_text(''.join(lines), encoding='utf-8')
        command.append(f'--config.generate.input={path}')
      found[name] = command
  return found


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
