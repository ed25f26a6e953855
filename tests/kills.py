r"""Kills runs of gru_vae:tiny at random moments, and goes on with them.

  python tests/kills.py --runs=100 --kills=2 --json=kills.json

Each run must end as one that nobody disturbed: with the same weights and state
of the optimiser, metrics, TensorBoard series and figures, bit for bit. Runs are
forked from one process that has imported everything, which saves seconds a
start; the first run fills a cache of compiled programs.
"""

import argparse
import collections
import dataclasses
import importlib
import json
import os
import pathlib
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from typing import Any

from absl import app
import numpy as np

from rnnvae_jax import main
from rnnvae_jax.config import command_line
from rnnvae_jax.training import checkpoints, environment, stopping

# Before the runs are forked. None of these begins a thread.
IMPORTED = (
  'orbax.checkpoint.v1',
  'rnnvae_jax.inference.evaluate',
  'rnnvae_jax.inference.generate',
  'rnnvae_jax.training.loop',
)
ROOT = pathlib.Path(__file__).parent.parent
SIGNALS = signal.SIGKILL, signal.SIGTERM
STEPS = 30


def write_corpus(folder: pathlib.Path) -> None:
  """Sixty short sentences, and some to validate and test."""
  folder.mkdir()
  rng = random.Random(0)
  for split, count in (('train', 60), ('valid', 9), ('test', 7)):
    lines = [rng.choices('abcdefg', k=rng.randint(2, 6)) for _ in range(count)]
    text = ''.join(f'{" ".join(line)}\n' for line in lines)
    (folder / f'{split}.txt').write_text(text)


def start(corpus: pathlib.Path, workdir: pathlib.Path) -> int:
  """Begins the run in a process, or goes on with it; returns the process."""
  pid = os.fork()
  if pid:
    return pid
  with open(f'{workdir}.log', 'ab') as log:
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
  status = 1
  try:
    app.run(
      main.main,
      [
        'main',
        f'--config={ROOT / "configs" / "gru_vae.py"}:tiny,{corpus}',
        f'--workdir={workdir}',
        f'--config.train.num_steps={STEPS}',
        '--config.train.eval_every=6',
      ],
      flags_parser=command_line.parse,
    )
  except SystemExit as stop:
    print(stop.code)
    status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
  except BaseException:  # The process ends below, without its traceback.
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    os._exit(status)


@dataclasses.dataclass
class Life:
  """A run, and how it is going to be killed.

  Attributes:
    workdir: its folder.
    kills: how often it is yet to be killed.
    pid: its process.
    number: the signal that it gets next.
    when: time.monotonic() at which it gets it.
    saving: whether it gets it as soon as it has begun a checkpoint after that.
    sent: whether it has got it.
  """

  workdir: pathlib.Path
  kills: int
  pid: int = 0
  number: int = 0
  when: float = float('inf')
  saving: bool = False
  sent: bool = False

  def begin(self, corpus: pathlib.Path, seconds: float, rng: random.Random):
    """Starts it, to be killed at some moment of `seconds` if it is to be."""
    self.pid, self.sent = start(corpus, self.workdir), False
    self.number, self.when = rng.choice(SIGNALS), float('inf')
    if self.kills:
      self.when = time.monotonic() + rng.uniform(0.0, seconds)
      self.saving = rng.random() < 0.3

  def is_due(self) -> bool:
    if self.sent or time.monotonic() < self.when:
      return False
    staging = self.workdir / 'checkpoints' / 'staging'
    return not self.saving or staging.exists()


def kill(
  runs: int, kills: int, seed: int, folder: pathlib.Path
) -> dict[str, Any]:
  """Kills each run some times, and compares its end with an undisturbed one's.

  Args:
    runs: how many.
    kills: of each; fewer if it ends before the moment comes.
    seed: of the moments and signals.
    folder: an empty one.

  Returns:
    The number of kills by signal, by what had been saved until then, and the
    runs that are not equal.

  Raises:
    RuntimeError: a run failed.
  """
  corpus = folder / 'text'
  write_corpus(corpus)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = str(folder / 'compiled')
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  for whole in (folder / 'first', folder / 'whole'):  # The first one compiles.
    begun = time.monotonic()
    _, status = os.waitpid(start(corpus, whole), 0)
    _check(whole, status, None)
  seconds = time.monotonic() - begun
  rng = random.Random(seed)
  waiting = collections.deque(
    Life(folder / f'run_{number}', kills) for number in range(runs)
  )
  lanes = max(1, len(os.sched_getaffinity(0)))
  active: list[Life] = []
  counts: collections.Counter[str] = collections.Counter()
  while waiting or active:
    while waiting and len(active) < lanes:
      active.append(waiting.popleft())
      active[-1].begin(corpus, seconds, rng)
    for life in [*active]:
      pid, status = os.waitpid(life.pid, os.WNOHANG)
      if not pid:
        if life.is_due():
          life.sent = True
          os.kill(life.pid, life.number)
        continue
      if _check(life.workdir, status, life.number if life.sent else None):
        active.remove(life)
        continue
      counts[signal.Signals(life.number).name] += 1
      counts['after a checkpoint'] += any(_steps(life.workdir))
      counts['while saving'] += life.saving
      life.kills -= 1
      life.begin(corpus, seconds, rng)
    time.sleep(0.001)
  want = _content(folder / 'whole')
  assert want == _content(folder / 'first'), 'two undisturbed runs differ'
  differing = {}
  for number in range(runs):
    got = _content(folder / f'run_{number}')
    parts = [part for part in want if got[part] != want[part]]
    if parts:
      differing[f'run_{number}'] = parts
  return {
    'runs': runs,
    'kills': sum(counts[number.name] for number in SIGNALS),
    **counts,
    'seconds of an undisturbed run': round(seconds, 2),
    'differing': differing,
  }


def _check(workdir: pathlib.Path, status: int, sent: int | None) -> bool:
  """Whether a process ended by itself; raises RuntimeError if it failed."""
  code = os.waitstatus_to_exitcode(status)
  if not code:
    return True
  # Before it handles signals, SIGTERM ends it as SIGKILL does.
  if sent is not None and code in (-sent, stopping.RESUME):
    return False
  log = pathlib.Path(f'{workdir}.log').read_text(errors='replace')
  raise RuntimeError(f'{workdir} ended with {code}:\n{log[-3000:]}')


def _steps(workdir: pathlib.Path) -> list[str]:
  folder = workdir / 'checkpoints' / 'latest'
  return os.listdir(folder) if folder.exists() else []


def _content(workdir: pathlib.Path) -> dict[str, Any]:
  """What must be equal, by what it is."""
  found: dict[str, Any] = {'files': sorted(_names(workdir))}
  for kind in checkpoints.KINDS:
    (step,) = os.listdir(workdir / 'checkpoints' / kind)
    arrays = checkpoints._arrays(str(workdir / 'checkpoints' / kind / step))
    found[kind] = step, {k: np.asarray(v).tobytes() for k, v in arrays.items()}
  with open(workdir / 'metrics.jsonl') as lines:
    metrics = [json.loads(line) for line in lines]
  found['metrics'] = [
    {name: value for name, value in line.items() if name != 'time'}
    for line in metrics
  ]
  results = json.loads((workdir / 'results.json').read_text())
  for figures in results.values():
    del figures['seconds']
  found['results'] = results
  found['samples'] = (workdir / 'samples.txt').read_text()
  found['series'] = _series(workdir)
  return found


def _names(workdir: pathlib.Path) -> set[str]:
  """The files of a run, but for those of Orbax and the numbers of events."""
  return {
    'events' if path.name.startswith('events.') else path.name
    for path in workdir.iterdir()
  }


def _series(workdir: pathlib.Path) -> list[tuple[int, str, float]]:
  """The points that TensorBoard shows: a restart hides what it repeats."""
  from tensorboardX.proto import event_pb2

  points: list[tuple[int, str, float]] = []
  order = lambda path: int(path.name.rpartition('.')[2])
  for path in sorted(workdir.glob('events.*'), key=order):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack('<Q', data[:8])
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      if event.HasField('session_log'):
        points = [point for point in points if point[0] < event.step]
      points += [
        (event.step, value.tag, value.simple_value)
        for value in event.summary.value
      ]
  return points


def _main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--runs', type=int, default=20)
  parser.add_argument('--kills', type=int, default=1, help='Of each run.')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--json', help='File for the record.')
  options = parser.parse_args()
  for name in IMPORTED:
    importlib.import_module(name)
  begun = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    record = kill(
      options.runs, options.kills, options.seed, pathlib.Path(folder)
    )
  record |= {
    'seed': options.seed,
    'seconds': round(time.monotonic() - begun, 1),
    'command': f'python tests/kills.py {" ".join(sys.argv[1:])}',
    'environment': environment.describe(),
  }
  text = json.dumps(record, indent=2)
  print(text)
  if options.json:
    pathlib.Path(options.json).write_text(text + '\n')
  if record['differing']:
    raise SystemExit('Some runs differ from an undisturbed one.')


if __name__ == '__main__':
  _main()
