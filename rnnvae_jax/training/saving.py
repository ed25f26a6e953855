"""Checkpoints that are written while training goes on."""

import concurrent.futures
from typing import Any

from absl import logging

from rnnvae_jax.training import checkpoints


class Background:
  """Saves checkpoints in a thread of its own, one after the other.

  Training waits while the state is copied into host memory, which takes
  milliseconds, and for an earlier checkpoint that is not complete yet, so that
  at most two copies are held. As a context it ends when all checkpoints are
  complete.
  """

  def __init__(self, saved: checkpoints.Checkpoints):
    self._saved = saved
    self._thread = concurrent.futures.ThreadPoolExecutor(1, 'checkpoints')
    self._pending: list[concurrent.futures.Future] = []
    self._failure: Exception | None = None

  def __enter__(self) -> 'Background':
    return self

  def __exit__(self, kind, error, trace) -> None:
    try:
      self.wait()
    except Exception as failure:
      if error is None:
        raise
      # The error that ends training is the one that is raised.
      logging.error('A checkpoint was not saved: %s', failure)
    finally:
      self._thread.shutdown()

  def save(self, state: Any, step: int, kind: str = 'latest') -> None:
    """Begins to save a state, which may be changed after this returns.

    Raises:
      CheckpointError: an earlier checkpoint could not be saved; see
        `Checkpoints.save`.
    """
    taken = checkpoints.snapshot(state)
    # A validation saves two; those of the one before must be complete.
    if len(self._pending) >= len(checkpoints.KINDS):
      self.wait()
    self._pending.append(self._thread.submit(self._write, taken, step, kind))

  def check(self) -> None:
    """Raises the error of a checkpoint that could not be saved."""
    while self._pending and self._pending[0].done():
      self._pending.pop(0).result()

  def wait(self) -> None:
    """Waits until all checkpoints are complete.

    Raises:
      CheckpointError: one could not be saved; see `Checkpoints.save`.
    """
    while self._pending:
      self._pending.pop(0).result()

  def _write(self, taken: checkpoints.Snapshot, step: int, kind: str) -> None:
    # A latest state without the best one before it would be taken up, and the
    # best one be lost.
    if self._failure is not None:
      raise self._failure
    try:
      self._saved.save(taken, step, kind)
    except Exception as error:
      self._failure = error
      raise
