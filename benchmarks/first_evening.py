r"""Times README's first two commands, as a stranger would run them.

  python -m benchmarks.first_evening --json=first_evening.json

A fresh clone of the last commit, a fresh virtual environment without a cache of
packages, and a home of its own without compiled programs. The time of the
installation includes what the network takes. One turn is all there is: nothing
is fresh the second time.
"""

from collections.abc import Mapping
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import app, flags

from benchmarks import harness

_WORKDIR = flags.DEFINE_string(
  'run_folder', '', 'Where the trained run is kept; empty: nowhere.'
)
_ROOT = pathlib.Path(__file__).parent.parent
TRAIN = 'python -m rnnvae_jax.main --config=gru_vae'
INSTALL = 'pip install -e .'
# Lines of the log, and the names of the moments that they stand for.
MOMENTS = {
  'first_line': re.compile('Task: '),
  'first_sample': re.compile('step [0-9]+: valid'),
  'trained': re.compile('Trained steps'),
}
_VALIDATION = ('elbo', 'reconstruction', 'kl')


def main(_) -> None:
  with tempfile.TemporaryDirectory() as folder:
    report = measure(pathlib.Path(folder))
  seconds = report['ours']['seconds']
  rows = {name: {'seconds': f'{value:.1f}'} for name, value in seconds.items()}
  harness.publish('First evening', rows, report)


def measure(folder: pathlib.Path) -> dict[str, Any]:
  """Installs, trains, and returns the report; everything is in `folder`."""
  clone, venv, home = (folder / name for name in ('clone', 'venv', 'home'))
  home.mkdir()
  subprocess.run(
    ['git', 'clone', '-q', '--no-hardlinks', str(_ROOT), str(clone)], check=True
  )
  subprocess.run([sys.executable, '-m', 'venv', str(venv)], check=True)
  variables = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(('PYTHON', 'JAX_', 'RNNVAE_', 'XDG_', 'XLA_'))
  }
  variables['PATH'] = os.pathsep.join([str(venv / 'bin'), variables['PATH']])
  # The settings of pip may lie in the user's home, its cache is not used.
  installed, _ = follow(INSTALL, clone, variables | {'PIP_NO_CACHE_DIR': '1'})
  ran, moments = follow(TRAIN, clone, variables | {'HOME': str(home)})
  workdir = clone / 'runs' / 'gru_vae'
  report = {
    'ours': {
      'seconds': parts(installed, ran, moments),
      **records(workdir),
    },
    'peers': {},
    'ratio': {},
    'environment': harness.environment(
      commands=[INSTALL, TRAIN], repetitions=1
    ),
  }
  if _WORKDIR.value:
    workdir.rename(_WORKDIR.value)
  return report


def follow(
  command: str, folder: pathlib.Path, variables: Mapping[str, str]
) -> tuple[float, dict[str, float]]:
  """Runs a command and reads what it prints.

  Returns:
    Seconds that it took, and seconds from its start to each of `MOMENTS`.

  Raises:
    ValueError: it fails.
  """
  start, moments, printed = time.perf_counter(), {}, []
  with subprocess.Popen(
    command.split(),
    cwd=folder,
    env=variables,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    assert process.stdout is not None
    for line in process.stdout:
      now = time.perf_counter() - start
      print(f'{now:6.1f}  {line}', end='', flush=True)
      printed.append(line)
      for name, pattern in MOMENTS.items():
        if pattern.search(line):
          moments.setdefault(name, now)
  seconds = time.perf_counter() - start
  if process.returncode:
    raise ValueError(f'{command} failed: {"".join(printed[-20:])}')
  return seconds, moments


def parts(
  installed: float, ran: float, moments: Mapping[str, float]
) -> dict[str, float]:
  """Seconds by part. Those of the second command begin with its start."""
  begun, trained = moments['first_line'], moments['trained']
  return {
    'total': installed + ran,
    'install': installed,
    'run': ran,
    'start_and_corpus': begun,
    'training_with_validations': trained - begun,
    'evaluation_and_samples': ran - trained,
    'until_first_sample': moments['first_sample'],
  }


def records(workdir: pathlib.Path) -> dict[str, Any]:
  """What the run measured and wrote: all that its picture shows."""
  lines = (workdir / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
  found = [json.loads(line) for line in lines]
  curve = [
    {'step': one['step']} | {k: one[f'valid/{k}'] for k in _VALIDATION}
    for one in found
    if 'valid/elbo' in one
  ]
  text = (workdir / 'results.json').read_text(encoding='utf-8')
  return {
    'updates': curve[-1]['step'],
    'validations': curve,
    'results': json.loads(text),
    'samples': (workdir / 'samples.txt').read_text(encoding='utf-8'),
  }


if __name__ == '__main__':
  app.run(main)
