r"""Kills runs again and again, and compares their ends with an undisturbed one.

  python tests/kills.py --kills=200 --json=kills.json

A run of gru_vae:tiny is trained undisturbed. Others like it are killed, by
SIGKILL, by SIGTERM, or by SIGTERM and soon after by SIGKILL, at random moments:
while a process starts, after a random step, once a checkpoint has been begun.
The same command goes on until the run is done. Weights, state of the optimiser,
best checkpoint, metrics, TensorBoard series, figures, samples and the names of
files must be those of the undisturbed run, bit for bit.

Runs are forked from one process that has imported everything, which saves
seconds a start, unless an import has begun a thread, which a fork would lack.
The undisturbed run fills a cache of compiled programs.
"""

import argparse
import collections
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import faulthandler
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

# It would begin threads when it is imported.
os.environ['OPENBLAS_NUM_THREADS'] = '1'

from absl import app
import jax
import numpy as np

from rnnvae_jax import main
from rnnvae_jax.config import command_line
from rnnvae_jax.training import checkpoints, environment, stopping, writers

ROOT = pathlib.Path(__file__).parent.parent
STEPS, STEPS_PER_CALL, EVAL_EVERY = 60, 3, 6
SIGNALS = (
  (signal.SIGKILL,),
  (signal.SIGTERM,),
  (signal.SIGTERM, signal.SIGKILL),
)
_POLL = 0.001  # Seconds.


@dataclasses.dataclass(frozen=True)
class Moment:
  """When a process is killed, and how.

  Attributes:
    step: that metrics.jsonl must have reached.
    saving: whether a checkpoint must have been begun after that.
    delay: seconds to wait then.
    signals: which are sent.
    grace: seconds between two of them.
  """

  step: int
  saving: bool
  delay: float
  signals: tuple[signal.Signals, ...]
  grace: float

  def kind(self) -> str:
    """Where the moment is, in words."""
    if self.saving:
      return 'once a checkpoint was begun'
    return 'after a step' if self.step else 'at the start'


def draw(rng: random.Random, saved: int, paces: dict[str, float]) -> Moment:
  """Draws a moment for a process that goes on from step `saved`.

  On average it makes as many steps as lie between two validations.
  """
  where = rng.choice(('start', 'step', 'step', 'saving'))
  calls = rng.randint(1, 2 * EVAL_EVERY // STEPS_PER_CALL)
  span = {
    'start': paces['start'],
    'step': paces['validation'],
    'saving': paces['saving'],
  }[where]
  return Moment(
    step=0 if where == 'start' else saved + STEPS_PER_CALL * calls,
    saving=where == 'saving',
    delay=rng.uniform(0.0, span),
    signals=rng.choice(SIGNALS),
    grace=rng.uniform(0.0, 0.2),
  )


class Run:
  """A run in a folder of its own, which processes train one after another."""

  def __init__(self, workdir: pathlib.Path, corpus: pathlib.Path, limit: float):
    """`limit` is the longest time in seconds that a process may take."""
    self.workdir, self._corpus, self._limit = workdir, corpus, limit
    self._log = workdir.with_suffix('.log')

  def finish(self) -> None:
    """Trains to the end, undisturbed.

    Raises:
      RuntimeError: the process failed or took too long; with its log.
    """
    with self._process() as process:
      self._wait(process, lambda: False)
    if process.status:
      raise self._failure(f'ended with status {process.status}')

  def disturb(self, moment: Moment) -> bool:
    """Trains, and kills the process at the moment, unless it ends before.

    Returns:
      Whether the process was killed.

    Raises:
      RuntimeError: the process failed or took too long; with its log.
    """
    with self._process() as process:
      if moment.step:
        self._wait(process, lambda: self.step() >= moment.step)
      if moment.saving:
        self._wait(process, self._staging().exists)
      self._pause(process, moment.delay)
      sent = []
      for number in moment.signals:
        if process.status is None:
          os.kill(process.pid, number)
          sent.append(-number)
          self._pause(process, moment.grace)
      self._wait(process, lambda: False)
    # A process that has no handler yet is ended by SIGTERM itself. One whose
    # work was done when the signal came ends as usual.
    if process.status not in (0, stopping.RESUME, *sent):
      raise self._failure(f'ended with status {process.status}')
    return process.status != 0

  def step(self) -> int:
    """The last step that metrics.jsonl has."""
    try:
      lines = (self.workdir / writers.METRICS_FILE).read_text().splitlines()
    except FileNotFoundError:
      return 0
    for line in reversed(lines):
      with contextlib.suppress(ValueError):  # It is being written.
        return json.loads(line)['step']
    return 0

  def saved(self) -> int:
    """The step of the last checkpoint; 0 if there is none."""
    folder = self.workdir / 'checkpoints' / 'latest'
    return (
      max(map(int, os.listdir(folder)), default=0) if folder.exists() else 0
    )

  def leftovers(self) -> list[str]:
    """What a writer that is killed leaves until the next process starts."""
    found = [path.name for path in self.workdir.glob('*.tmp')]
    return found + [self._staging().name] * self._staging().exists()

  def _staging(self) -> pathlib.Path:
    return self.workdir / 'checkpoints' / 'staging'

  @contextlib.contextmanager
  def _process(self) -> Iterator['_Process']:
    forks = _has_one_thread()
    process = _Process(os.fork())
    if not process.pid:
      self._train(forks)
    try:
      yield process
    finally:
      if process.status is None:
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)

  def _train(self, forks: bool) -> None:
    """The command, in a process that was forked; does not return.

    Without `forks` it begins anew.
    """
    with open(self._log, 'ab') as log:
      os.dup2(log.fileno(), 1)
      os.dup2(log.fileno(), 2)
    arguments = [
      f'--config={ROOT / "configs" / "gru_vae.py"}:tiny,{self._corpus}',
      f'--workdir={self.workdir}',
      f'--config.train.num_steps={STEPS}',
      f'--config.train.steps_per_call={STEPS_PER_CALL}',
      f'--config.train.eval_every={EVAL_EVERY}',
    ]
    if not forks:
      begin = [sys.executable, '-m', 'rnnvae_jax.main', *arguments]
      os.execv(sys.executable, begin)
    faulthandler.register(signal.SIGUSR1)  # Shows where a process hangs.
    status: Any = 1
    try:
      # ml_collections looks for overrides in sys.argv.
      sys.argv = ['main', *arguments]
      app.run(main.main, flags_parser=command_line.parse)
    except SystemExit as ending:
      print(ending.code or '')
      status = ending.code or 0
    except BaseException:
      traceback.print_exc()
    finally:
      sys.stdout.flush()
      os._exit(status if isinstance(status, int) else 1)

  def _wait(self, process: '_Process', is_due: Callable[[], bool]) -> None:
    """Until it is due or the process has ended."""
    end = process.begun + self._limit
    while process.is_running() and not is_due():
      if time.monotonic() > end:
        os.kill(process.pid, signal.SIGUSR1)
        time.sleep(1.0)
        raise self._failure(f'takes more than {self._limit:.0f} s')
      time.sleep(_POLL)

  def _pause(self, process: '_Process', seconds: float) -> None:
    end = time.monotonic() + seconds
    self._wait(process, lambda: time.monotonic() >= end)

  def _failure(self, what: str) -> RuntimeError:
    log = self._log.read_text(errors='replace')
    return RuntimeError(f'{self.workdir} {what}:\n{log[-4000:]}')


class _Process:
  """A forked process; `status` is None while it runs, -N after signal N."""

  def __init__(self, pid: int):
    self.pid, self.begun = pid, time.monotonic()
    self.status: int | None = None

  def is_running(self) -> bool:
    if self.status is None:
      pid, status = os.waitpid(self.pid, os.WNOHANG)
      if pid:
        self.status = os.waitstatus_to_exitcode(status)
    return self.status is None


def kill(
  kills: int,
  seed: int,
  folder: pathlib.Path,
  limit: float = 600.0,
  seconds: float = float('inf'),
) -> dict[str, Any]:
  """Kills runs, and compares each one's end with an undisturbed run's.

  Args:
    kills: of all runs together.
    seed: of the moments and signals.
    folder: an empty one.
    limit: the longest time in seconds that a process may take.
    seconds: after which no process is killed any more.

  Returns:
    The record: how many kills, of which kinds, and what differs by run.

  Raises:
    RuntimeError: a process failed or took too long.
  """
  end = time.monotonic() + seconds
  corpus = folder / 'text'
  write_corpus(corpus)
  cache = {
    'jax_compilation_cache_dir': str(folder / 'compiled'),
    'jax_persistent_cache_min_compile_time_secs': 0.0,
  }
  for name, value in cache.items():
    os.environ[name.upper()] = str(value)  # The command leaves these alone.
    jax.config.update(name, value)  # JAX read them when it was imported.
  Run(folder / 'compiles', corpus, limit).finish()
  begun = time.time()
  Run(folder / 'whole', corpus, limit).finish()
  paces = _paces(folder / 'whole', begun)
  rng = random.Random(seed)
  counts: collections.Counter[str] = collections.Counter()
  runs: list[Run] = []
  done, is_killed = 0, False
  while done < kills and time.monotonic() < end:
    if not is_killed:
      runs.append(Run(folder / f'killed_{len(runs)}', corpus, limit))
    run = runs[-1]
    moment = draw(rng, run.saved(), paces)
    is_killed = run.disturb(moment)
    if is_killed:
      done += 1
      counts[moment.kind()] += 1
      counts[' then '.join(number.name for number in moment.signals)] += 1
      counts['with a checkpoint to go on from'] += run.saved() > 0
      counts['in the middle of a checkpoint or file'] += bool(run.leftovers())
  if is_killed:
    runs[-1].finish()
  # Not before: Orbax begins threads.
  wanted = content(folder / 'whole')
  differing = {
    name: [
      part
      for part, value in content(folder / name).items()
      if value != wanted[part]
    ]
    for name in ('compiles', *(run.workdir.name for run in runs))
  }
  return {
    'kills': done,
    'runs': len(runs),
    'differing': {name: parts for name, parts in differing.items() if parts},
    'counts': dict(sorted(counts.items())),
    'seconds of an undisturbed run': round(paces['run'], 2),
  }


def write_corpus(folder: pathlib.Path) -> None:
  """Sixty short sentences, and some to validate and test."""
  folder.mkdir()
  rng = random.Random(0)
  for split, count in (('train', 60), ('valid', 9), ('test', 7)):
    lines = [rng.choices('abcdefg', k=rng.randint(2, 6)) for _ in range(count)]
    text = ''.join(f'{" ".join(line)}\n' for line in lines)
    (folder / f'{split}.txt').write_text(text)


def _paces(workdir: pathlib.Path, begun: float) -> dict[str, float]:
  """Seconds that the parts of a run took that began at `begun`."""
  times = [line['time'] for line in _metrics(workdir)]
  return {
    'start': times[0] - begun,
    'validation': (times[-1] - times[0]) / (STEPS // EVAL_EVERY),
    'saving': 0.1,
    'run': time.time() - begun,
  }


def content(workdir: pathlib.Path) -> dict[str, Any]:
  """What must be equal of two runs, by what it is."""
  found: dict[str, Any] = {'files': _names(workdir)}
  for kind in checkpoints.KINDS:
    (step,) = os.listdir(workdir / 'checkpoints' / kind)
    arrays = checkpoints._arrays(str(workdir / 'checkpoints' / kind / step))
    found[kind] = (
      step,
      {
        name: (np.asarray(value).dtype, np.asarray(value).tobytes())
        for name, value in arrays.items()
      },
    )
  found['metrics'] = [
    {name: value for name, value in line.items() if name != 'time'}
    for line in _metrics(workdir)
  ]
  results = json.loads((workdir / 'results.json').read_text())
  for figures in results.values():
    del figures['seconds']
  found['results'] = results
  found['samples'] = (workdir / 'samples.txt').read_text()
  found['series'] = _series(workdir)
  return found


def _names(workdir: pathlib.Path) -> list[str]:
  """Its files and folders, but for those of Orbax and the names of events."""
  paths = [*workdir.iterdir(), *(workdir / 'checkpoints').rglob('*')]
  names = {
    'events' if path.name.startswith('events.') else path.name
    for path in paths
    if len(path.relative_to(workdir).parts) < 4
  }
  return sorted(names)


def _metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
  with open(workdir / writers.METRICS_FILE) as lines:
    return [json.loads(line) for line in lines]


def _series(workdir: pathlib.Path) -> list[tuple[int, str, float]]:
  """The points that TensorBoard shows: a restart hides what it repeats."""
  from tensorboardX.proto import event_pb2

  points: list[tuple[int, str, float]] = []
  for path in sorted(workdir.glob('events.*'), key=lambda path: path.name):
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


def _import_all() -> None:
  """What a run imports."""
  from orbax.checkpoint import v1  # noqa: F401
  from safetensors import numpy  # noqa: F401

  from rnnvae_jax.inference import evaluate, generate  # noqa: F401
  from rnnvae_jax.training import loop  # noqa: F401

  with writers._without('torch'):
    from tensorboardX import event_file_writer  # noqa: F401


def _has_one_thread() -> bool:
  """Whether a fork of this process can go on in Python."""
  tasks = pathlib.Path('/proc/self/task')  # Of Linux alone.
  return tasks.exists() and len(os.listdir(tasks)) == 1


def _main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--kills', type=int, default=20, help='default: 20')
  parser.add_argument('--seed', type=int, default=0, help='of the moments')
  parser.add_argument(
    '--seconds', type=float, default=float('inf'), help='begin none later'
  )
  parser.add_argument(
    '--limit', type=float, default=600.0, help='seconds a process may take'
  )
  parser.add_argument('--json', help='file for the record')
  options = parser.parse_args()
  _import_all()
  begun = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    record = kill(
      options.kills,
      options.seed,
      pathlib.Path(folder),
      options.limit,
      options.seconds,
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
    raise SystemExit('Some runs differ from the undisturbed one.')


if __name__ == '__main__':
  _main()
