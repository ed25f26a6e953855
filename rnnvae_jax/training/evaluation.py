"""Evaluation of a whole split with compiled programs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches, corpora
from rnnvae_jax.tasks import base
from rnnvae_jax.training import devices, step

Values = base.Values


def make_evaluator(
  task: base.Task,
  split: corpora.Split,
  *,
  batch_size: int,
  num_buckets: int,
  samples: base.Samples = base.ONE_SAMPLE,
  mesh: devices.Mesh = None,
) -> Callable[..., Values]:
  """Returns `evaluate(params, extras, key, report=None)` over a whole split.

  `evaluate` returns the values of every sentence (see `Task.evaluate`),
  float64[N, ...] in the split's order, so that sums over them do not depend on
  the batches. `report(done, total)` is called after each batch.
  Where the sentences of a batch are divided among the devices of a mesh, each
  has as many.
  """
  parts = devices.count(mesh)
  batch_size = min(batch_size, len(split))
  batch_size += -batch_size % parts
  buckets = batches.buckets_for(
    split.sizes, batch_size, num_buckets, jax.default_backend(), parts
  )
  plan = batches.evaluation_plan(split.sizes, buckets, batch_size)
  run = step.make_evaluation_step(task, buckets, samples, mesh)
  longest = int(split.lengths.max())
  corpus = devices.placed(batches.put(split), mesh)

  def evaluate(params, extras, key, report=None) -> Values:
    params, extras, key = devices.placed((params, extras, key), mesh)
    values: dict[str, Any] = {}
    for number, (rows, bucket) in enumerate(zip(*plan, strict=True)):
      row_values = run(
        params, corpus, jnp.asarray(rows), int(bucket), key, extras
      )
      row_values = devices.own_copy(row_values)
      real = rows != batches.BLANK
      for name, value in jax.device_get(row_values).items():
        if name in task.PER_TOKEN:
          value = _widened(value, longest)
        if name not in values:
          values[name] = np.empty((len(split), *value.shape[1:]))
        values[name][rows[real]] = value[real]
      if report is not None:
        report(number + 1, len(plan.rows))
    return values

  return evaluate


def _widened(value: np.ndarray, length: int) -> np.ndarray:
  """[B, T, ...] -> [B, length, ...], cut, or filled up with 0."""
  value = value[:, :length]
  rest = [(0, length - value.shape[1]), *[(0, 0)] * (value.ndim - 2)]
  return np.pad(value, [(0, 0), *rest])


def make_stream_evaluator(
  task: base.CarriesState, split: corpora.Split, *, rows: int, window: int
) -> Callable[..., Values]:
  """Returns `evaluate(params, extras, key, report=None)` with a carried state.

  Args:
    task: the task of a language model.
    split: a stream.
    rows: parts of the stream that are read side by side, each from a state of
      zeros. Only with one row does every token see all tokens before it.
    window: tokens of a part that are read at a time; the result does not depend
      on it.

  Returns:
    The function. It returns 'nll' float64[N], nats of each sentence, or of the
    whole stream if the stream has no sentence ends.
  """
  rows = min(rows, len(split.tokens))
  schedule = batches.StreamSchedule(
    len(split.tokens), (batches.Bucket(window),), rows, seed=0
  )
  text, read_batch = schedule.put(split), task.read
  offsets = np.asarray(text.offsets)

  @jax.jit
  def read(params, text, starts, carry):
    batch = batches.gather_windows(text, starts, batches.Bucket(window))
    reading = read_batch(params, batch, carry)
    return reading.nll, batch['mask'], reading.carry

  def evaluate(params, extras, key, report=None) -> Values:
    del extras, key
    carry = jax.jit(task.start, static_argnums=1)(params, rows, None)
    nll = np.empty(len(split.tokens))
    plan = schedule.steps(0, schedule.steps_per_epoch)
    for number, starts in enumerate(plan.rows):
      *values, carry = read(params, text, jnp.asarray(starts), carry)
      window_nll, mask = jax.device_get(values)
      row, time = np.nonzero(mask)
      nll[offsets[row] + starts[row] + time] = window_nll[mask]
      if report is not None:
        report(number + 1, len(plan.rows))
    return {'nll': np.add.reduceat(nll, split.offsets)}

  return evaluate
