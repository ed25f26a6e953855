"""Runs that train as one population, each in a folder of its own."""

from collections.abc import Callable, Mapping
import contextlib
from typing import Any

from absl import logging

from rnnvae_jax.config import build as config_build
from rnnvae_jax.training import (
  checkpoints,
  loop,
  optimizers,
  population,
  preparation,
  writers,
)
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

# Where N small products take less time as one; on a CPU they take more.
BATCHING = ('gpu', 'tpu')


def groups(runs: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Runs by folder, divided into those that can be one population.

  Runs that are at different steps are apart, too.
  """
  found: list[tuple[int, dict[str, Any]]] = []
  for folder, config in runs.items():
    step = _last_step(folder)
    for other, group in found:
      first = next(iter(group.values()))
      if other == step and not population.refusal([first, config]):
        group[folder] = config
        break
    else:
      found.append((step, {folder: config}))
  return [group for _, group in found]


def train(
  runs: Mapping[str, Any],
  deadline: float = float('inf'),
  until: float = float('inf'),
  log: Callable[[str, str], None] = lambda folder, line: logging.info(
    '%s: %s', folder, line
  ),
) -> None:
  """Trains runs as a population; each folder is left as `loop.train` leaves it.

  But metrics are of validations only. A run that is stopped resumes from its
  last validation.

  Args:
    runs: by folder, their configs, of one of `groups`.
    deadline: seconds since 1970 at which training stops.
    until: step of a validation at which it pauses.
    log: (folder, line) -> None.

  Raises:
    ValueError: the configs cannot be trained together.
  """
  folders, configs = [*runs], [*runs.values()]
  for folder, config in runs.items():
    corpus = preparation.prepare(config, folder)
  saved = [
    checkpoints.Checkpoints(
      workdir_lib.checkpoint_dir(folder), corpus.vocab.content_hash
    )
    for folder in folders
  ]
  first = _last_step(folders[0])
  kind = config_build.task(configs[0].model.kind)
  task = kind.build(configs[0], corpus.vocab, corpus.labels)

  def restore(number: int) -> state_lib.TrainState:
    tx = optimizers.build(configs[number])
    restored = saved[number].restore(state_lib.abstract(task, tx))
    assert restored is not None  # There is a checkpoint of that step.
    return restored[0]

  with contextlib.ExitStack() as stack:
    for folder in folders:
      stack.enter_context(workdir_lib.locked(folder))
    writing = [
      stack.enter_context(writers.Writer(folder)) for folder in folders
    ]

    def keep(number, state, summary):
      line = lambda text: log(folders[number], text)
      loop.record(task, state, summary, saved[number], writing[number], line)

    for writer in writing:  # Lines of steps that no checkpoint has.
      writer.truncate(first)
    population.train(
      configs,
      corpus,
      keep=keep,
      deadline=deadline,
      until=until,
      first=first,
      restore=restore if first else None,
    )


def _last_step(folder: str) -> int:
  """The step of a run's last checkpoint; 0 if it has none."""
  saved = checkpoints.Checkpoints(workdir_lib.checkpoint_dir(folder), '')
  return max(saved.steps(), default=0)
