"""Runs side by side on a CPU: each in a process of its own, on one core.

A second core shortens one training by less than half, so as many trainings as
there are cores, on one core each, do more in an hour than one after another on
all of them. What such a run computes and records is what it would alone on one
core; on several cores sums are added up in another order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import os
from typing import Any

from absl import logging
import jax

from rnnvae_jax import startup
from rnnvae_jax.training import processes
from rnnvae_jax.training import workdir as workdir_lib

LOG = 'log.txt'

Run = tuple[Any, str]  # A config and its workdir.


def choose(runs: Sequence[Run]) -> list[Run]:
  """Which of the runs train side by side; logs why.

  A run that has begun goes on with as many cores as it has begun with, so that
  it is the same bit for bit.

  Args:
    runs: that are to be trained.

  Returns:
    Those that train on one core each. The others train in this process.
  """
  cores = len(processes.available_cores())
  begun = {workdir: _cores_of(workdir) for _, workdir in runs}
  chosen = [run for run in runs if begun[run[1]] in (None, 1)]
  if jax.default_backend() != 'cpu':
    chosen, why = [], 'processes would share the accelerator'
  elif cores < 2:
    chosen, why = [], 'there is one core, or processes cannot be bound to one'
  elif not chosen:
    why = 'they have begun on several cores'
  elif len(chosen) == 1 and begun[chosen[0][1]] is None:
    chosen, why = [], 'one run alone has all cores'
  else:
    why = f'on one core each they do more in an hour than one on {cores}'
  if runs:
    way = f'{len(chosen)} in processes, as many at a time as there are cores'
    way = way if chosen else 'not in processes'
    logging.info('%d runs to train, %s: %s.', len(runs), way, why)
  return chosen


def run(
  function: Callable[..., Any],
  runs: Iterable[Run],
  *arguments: Any,
  until: float = float('inf'),
) -> Iterator[tuple[str, processes.Ended]]:
  """Calls `function(config, workdir, *arguments)` for each run, one a core.

  Args:
    function: of a module, which trains the run or goes on training it.
    runs: with different workdirs; each is drawn when a core is free for it.
    *arguments: for all runs; like what the function returns, they are pickled.
    until: seconds since 1970 after which no run is begun.

  Yields:
    A run's workdir and its end, in the order in which they end. A failure is
    logged, with the last lines of `LOG` in the workdir; the others go on.

  Raises:
    KeyboardInterrupt: a signal stopped the runs; see `processes.schedule`.
  """
  workdirs: list[str] = []

  def jobs() -> Iterator[processes.Job]:
    for config, workdir in runs:
      os.makedirs(workdir, exist_ok=True)
      workdirs.append(workdir)
      call = function, config, workdir, *arguments
      log = os.path.join(workdir, LOG)
      yield processes.Job(workdir, _with_jax, call, log)

  for ended in processes.schedule(jobs(), until=until):
    workdir = workdirs[ended.number]
    if ended.failure:
      logging.error('%s failed: %s', workdir, ended.failure)
    else:
      logging.info('%s: ended.', workdir)
    yield workdir, ended


def failed(workdirs: Sequence[str]) -> ChildProcessError:
  """The error after runs have failed that were trained in processes."""
  logs = ', '.join(os.path.join(workdir, LOG) for workdir in workdirs)
  return ChildProcessError(
    f'{len(workdirs)} of the runs failed, see {logs}. The same command goes '
    'on with them.'
  )


def _with_jax(function: Callable[..., Any], *arguments: Any) -> Any:
  """The function's value, in a process that has just begun."""
  with startup.errors_as_messages():
    startup.prepare_jax()
    return function(*arguments)


def _cores_of(workdir: str) -> int | None:
  """The cores that a run has trained on; None if it has no checkpoint."""
  path = workdir_lib.path(workdir, 'environment.json')
  if not (
    os.path.exists(path) and os.path.exists(workdir_lib.checkpoint_dir(workdir))
  ):
    return None
  return workdir_lib.read_json(path).get('cores')
