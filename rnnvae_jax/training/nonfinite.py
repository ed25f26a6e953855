"""Updates whose loss or gradient is not finite: named, recorded, left out."""

import os
import re
from typing import Any

import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import writers

FOLDER = 'nonfinite'


class Guard:
  """Looks for such updates, and saves what they read.

  There is one file for each, `<workdir>/nonfinite/step_<step>.json`. They are
  the count as well, of all restarts of a run.
  """

  def __init__(
    self,
    workdir: str,
    first: int,
    limit: int,
    schedule: Any,
    split: corpora.Split,
    vocab: vocab_lib.Vocabulary,
  ):
    """Creates the guard; drops the records of steps that are to be repeated.

    Args:
      workdir: folder of the run.
      first: number of updates done.
      limit: updates that may be left out; 0: none.
      schedule: the batches of each step; see `data.batches`.
      split: what they are made of.
      vocab: of its tokens.
    """
    self._folder = os.path.join(workdir, FOLDER)
    self._limit = limit
    self._schedule, self._split, self._vocab = schedule, split, vocab
    for step in self._steps():
      if step > first:
        os.remove(self._path(step))

  def check(self, losses: np.ndarray, first: int) -> list[str]:
    """Looks at the updates of a call.

    Args:
      losses: float32[K], one an update; see `step.make_train_step`.
      first: number of updates before them.

    Returns:
      A line for each update that was left out.

    Raises:
      FloatingPointError: there are more of them than may be left out.
    """
    lines = []
    for index in np.flatnonzero(~np.isfinite(losses)):
      step, value = first + int(index) + 1, losses[index]
      path = self._save(step, value)
      count = len(self._steps())
      # Of a gradient alone the loss says no more than NaN.
      what = f'the loss{" or its gradient" if np.isnan(value) else ""} is'
      what = f'{what} {value}, for the sentences in {path}'
      if count > self._limit:
        raise stopped(what, step)
      lines.append(
        f'WARNING: Step {step}: {what}. The update is left out, number {count} '
        f'of at most {self._limit} (config.train.skip_nonfinite).'
      )
    return lines

  def _save(self, step: int, value: np.floating) -> str:
    """Saves what a step has read; returns the file."""
    between = ' ' if self._vocab.kind == 'word' else ''
    read = self._schedule.read(self._split, step - 1)
    sentences = {
      str(row): between.join(self._vocab.decode(ids))
      for row, ids in read.items()
    }
    os.makedirs(self._folder, exist_ok=True)
    path = self._path(step)
    record = {'step': step, 'loss': str(value), 'sentences': sentences}
    writers.write_json(path, record)
    return path

  def _path(self, step: int) -> str:
    return os.path.join(self._folder, f'step_{step}.json')

  def _steps(self) -> list[int]:
    """The steps of which there are records."""
    names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
    found = (re.fullmatch(r'step_(\d+)\.json', name) for name in names)
    return [int(match[1]) for match in found if match]


def stopped(what: str, step: int) -> FloatingPointError:
  """The error of a training that cannot go on."""
  return FloatingPointError(
    f'Step {step}: {what}. Training has stopped; the checkpoints hold an '
    'earlier state. A smaller config.optimizer.learning_rate or '
    'config.optimizer.clip_norm usually helps.'
  )
