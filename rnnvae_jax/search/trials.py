"""Trains trials, each an ordinary run in a folder of its own.

On a CPU, where one trial keeps the cores busy, trials train one a core, each in
a process of its own; on an accelerator, trials that are the same program train
as one population, and others one after another. What a trial has reached is
noted in `trial.json` in its folder, for all processes that share the search.
"""

from collections.abc import Iterator, Mapping
import contextlib
import itertools
import os
import time
from typing import Any, NamedTuple

from absl import logging
import jax

from rnnvae_jax.results import parallel, records, together
from rnnvae_jax.training import checkpoints, loop, processes, writers
from rnnvae_jax.training import workdir as workdir_lib

OUTCOME, CLAIM = 'trial.json', 'claim'
_WAIT = 1.0  # Seconds between looks at trials that other processes train.


class Way(NamedTuple):
  """How trials are trained.

  Attributes:
    name: 'processes', 'population' or 'in turn'.
    why: for the log.
  """

  name: str
  why: str


def choose() -> Way:
  """The way of this machine; it does not depend on what is left to train.

  So a trial is trained on as many cores, and rounds alike, whether or not the
  search was interrupted.
  """
  cores = len(processes.available_cores())
  if jax.default_backend() in together.BATCHING:
    return Way(
      'population',
      'on an accelerator, trials that are the same program train as one',
    )
  if jax.default_backend() == 'cpu' and cores > 1:
    return Way(
      'processes',
      f'one trial keeps a CPU busy, and on one core each {cores} do more in an '
      f'hour than one on {cores}',
    )
  return Way('in turn', 'there is one core, or none that can be bound')


class Outcome(NamedTuple):
  """What is noted of a trial.

  Attributes:
    figures: by update, those of the best validation until then.
    error: why training diverged; '' if it has not.
  """

  figures: Mapping[int, Mapping[str, float]]
  error: str


def outcome(workdir: str) -> Outcome:
  """What the trial in a folder has reached."""
  path = os.path.join(workdir, OUTCOME)
  if not os.path.exists(path):
    return Outcome({}, '')
  noted = workdir_lib.read_json(path)
  figures = {int(step): value for step, value in noted['figures'].items()}
  return Outcome(figures, noted['error'])


def is_done(workdir: str, until: int) -> bool:
  """Whether the trial has come to an update, or diverged."""
  found = outcome(workdir)
  return bool(found.error) or until in found.figures


def train(
  way: Way, runs: Mapping[str, Any], until: int, deadline: float
) -> None:
  """Trains runs up to an update, those that no other process trains.

  Args:
    way: how.
    runs: by folder, their configs.
    until: update of a validation.
    deadline: seconds since 1970 at which training stops.

  Raises:
    ChildProcessError: runs failed for another reason than that they diverged.
    KeyboardInterrupt: a signal stopped training; all has been saved.
  """
  with contextlib.ExitStack() as claims:
    mine = _claimed(runs, until, claims)
    first = next(mine, None)
    if first is None:
      time.sleep(_WAIT)
      return
    logging.info('%d runs to train to update %d.', len(runs), until)
    drawn = itertools.chain([first], mine)
    if way.name == 'processes':
      _train_in_processes(drawn, until, deadline)
    elif way.name == 'population':
      _train_as_populations({f: c for c, f in drawn}, until, deadline)
    else:
      for config, workdir in drawn:
        train_one(config, workdir, until, deadline)


def train_one(config: Any, workdir: str, until: int, deadline: float) -> None:
  """Trains a run up to an update, and notes how far it came.

  Raises:
    KeyboardInterrupt: a signal stopped training.
  """
  # A process whose parent was killed may still be saving.
  with workdir_lib.flock(workdir, waits=True):
    pass
  if is_done(workdir, until) or time.time() > deadline:
    return
  try:
    corpus = loop.train(config, workdir, deadline, until=until)
  except FloatingPointError as error:
    logging.error('%s: %s', workdir, error)
    note(workdir, error=str(error))
    return
  note(workdir, until, is_ended=corpus is not None)


def note(
  workdir: str, until: int = 0, is_ended: bool = False, error: str = ''
) -> None:
  """Notes what the trial in a folder has reached.

  Args:
    workdir: of the trial.
    until: the update that it was to reach.
    is_ended: whether training is over, which may be earlier.
    error: why it diverged.
  """
  before = outcome(workdir)
  figures = {str(step): value for step, value in before.figures.items()}
  validations = {
    record['step']: {
      name.removeprefix('valid/'): float(value)
      for name, value in record.items()
      if name.startswith('valid/')
    }
    for record in records.read(workdir)
    if any(name.startswith('valid/') for name in record)
  }
  if validations and (is_ended or max(validations) >= until) and not error:
    saved = checkpoints.Checkpoints(workdir_lib.checkpoint_dir(workdir), '')
    chosen = [step for step in saved.steps('best') if step in validations]
    # Where no validation counts yet, the latest one does.
    step = max(chosen, default=max(validations))
    figures[str(until)] = validations[step] | {'step': step}
  writers.write_json(
    os.path.join(workdir, OUTCOME), {'figures': figures, 'error': error}
  )


def _train_in_processes(
  runs: Iterator[parallel.Run], until: int, deadline: float
) -> None:
  broken = [
    folder
    for folder, ended in parallel.run(
      train_one, runs, until, deadline, until=deadline
    )
    if ended.failure
  ]
  if broken:
    raise parallel.failed(broken)


def _train_as_populations(
  runs: Mapping[str, Any], until: int, deadline: float
) -> None:
  for group in together.groups(runs):
    if len(group) > 1:
      together.train(group, deadline, until)
      for folder in group:
        note(folder, until)
    for folder, config in group.items():  # What is left, and what diverged.
      train_one(config, folder, until, deadline)


def _claimed(
  runs: Mapping[str, Any], until: int, claims: contextlib.ExitStack
) -> Iterator[parallel.Run]:
  """Runs that are not done, each claimed from now until the stack ends.

  A kill releases the claims.
  """
  for workdir, config in runs.items():
    os.makedirs(workdir, exist_ok=True)
    path = os.path.join(workdir, CLAIM)
    with open(path, 'a'):
      pass
    with contextlib.ExitStack() as held:
      is_free = held.enter_context(workdir_lib.flock(path, waits=False))
      if not is_free or is_done(workdir, until):
        continue
      claims.push(held.pop_all())
    yield config, workdir
