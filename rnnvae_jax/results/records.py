"""What the steps of a run have written: its calls, their time, a curve."""

import contextlib
import json
import pathlib
from typing import Any

import numpy as np

from rnnvae_jax.training import writers


def read(workdir: str) -> list[dict[str, Any]]:
  """The lines of a run's metrics.jsonl, without one that a kill cut short."""
  path = pathlib.Path(workdir, writers.METRICS_FILE)
  records = []
  for line in path.read_text().splitlines() if path.exists() else ():
    with contextlib.suppress(ValueError):
      records.append(json.loads(line))
  return records


def calls(workdir: str) -> list[tuple[int, float]]:
  """The calls of a run's training step: the step after each, and its seconds.

  A call that took ten times as long as the median, because of a validation, a
  stop or the like, counts as the median; so does the first one, which compiles.
  """
  records = [record for record in read(workdir) if 'train/loss' in record]
  if len(records) < 2:
    return []
  seconds = np.diff([record['time'] for record in records])
  usual = float(np.median(seconds))
  seconds[seconds > 10 * usual] = usual
  steps = [record['step'] for record in records]
  return [*zip(steps, [usual, *seconds.tolist()], strict=True)]


def curve(workdir: str, figure: str) -> list[tuple[float, float]]:
  """A figure of the validations over minutes of training.

  Args:
    workdir: of the run.
    figure: its name in a table, SPLIT_NAME.

  Returns:
    (minutes, figure) of each validation; nothing where the time of training is
    not known: of a population's member, and of what trains in no steps.
  """
  timed = calls(workdir)
  if not timed:
    return []
  steps, seconds = zip(*timed, strict=True)
  after = dict(zip(steps, np.cumsum(seconds), strict=True))
  name = figure.replace('_', '/', 1)
  validations = [record for record in read(workdir) if name in record]
  if any(record['step'] not in after for record in validations):
    return []  # A population does not write its calls.
  return [
    (round(after[record['step']] / 60, 2), round(float(record[name]), 4))
    for record in validations
    if np.isfinite(float(record[name]))  # An infinity is written as text.
  ]
