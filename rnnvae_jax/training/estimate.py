"""Estimates of a run's time: a rough one at first, then a measured one.

Nothing is known about the speed of a program before it has run, so the first
estimate is a range. The first calls of the training step give its speed and the
time of compilation, and with them the second estimate.
"""

from collections.abc import Mapping
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax.data import corpora
from rnnvae_jax.tasks import base

# A training token costs as much as so many forward passes: backward, gradients
# of inputs and of weights are computed.
_BACKWARD = 3
# The lowest and highest share of a large matrix product's speed that models
# reach, and fewest and most seconds of compilation.
_EFFICIENCY = (0.15, 0.7)
_COMPILING = (5.0, 30.0)
# Programs of validation and evaluation are compiled once each, without
# gradients, so in about half of the time of the training step's.
_EVALUATION_COMPILES = 0.5
_SIZE = 1024  # Rows and columns of the matrices that are timed.
_TURNS = 3  # The fastest counts: other programs slow some of them.
_TIMED = 3.0  # Seconds of calls that a measured estimate is made from ...
_CALLS = 10  # ... or so many of them.


class Work(NamedTuple):
  """What a run computes, in tokens that a model without gradients reads.

  Attributes:
    training: of all updates.
    validation: of all validations.
    evaluation: of the evaluation that follows on training.
  """

  training: float
  validation: float
  evaluation: float


class Estimate(NamedTuple):
  """Seconds of training, validations included, and of the evaluation."""

  training: float
  evaluation: float


def work(
  config: Any,
  task: base.Trained,
  splits: Mapping[str, corpora.Split],
  tokens_per_update: float,
  first: int = 0,
) -> Work:
  """Counts the work that a run has left.

  Args:
    config: config of the run.
    task: its task.
    splits: its text.
    tokens_per_update: the mean over an epoch.
    first: updates that are already done.
  """
  last, every = config.train.num_steps, config.train.eval_every
  # After each `every` updates, and after the last one.
  validations = -(-last // every) - first // every
  samples = task.samples(config)
  # Another sentence's latents come with that sentence, which is encoded.
  passes = samples.count + 2 * samples.shuffled
  chosen = config.evaluate.split
  evaluated = {'none': (), 'all': tuple(splits)}.get(chosen, (chosen,))
  return Work(
    _BACKWARD * tokens_per_update * (last - first),
    validations * len(splits['valid'].tokens),
    passes * sum(len(splits[name].tokens) for name in evaluated),
  )


def before(
  work: Work, params: Any, precision: str, is_tied: bool
) -> tuple[Estimate, Estimate]:
  """The least and the most time that a run should take, before it has begun.

  A pass takes two operations for each parameter and token, at a share of the
  speed of a matrix product that is measured here.

  Args:
    work: of the run.
    params: parameters of the model.
    precision: precision of the products' operands.
    is_tied: whether the embeddings are the output layer's kernel as well.
  """
  used = sum(
    leaf.size
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if is_tied or getattr(path[-1], 'key', '') != 'embedding'
  )
  per_token = 2 * used / _product_speed(precision)
  return tuple(  # type: ignore[return-value]
    _estimate(work, per_token / share, compiling)
    for share, compiling in zip(_EFFICIENCY[::-1], _COMPILING, strict=True)
  )


class Measured:
  """Makes an estimate from the first calls of the training step.

  The first call compiles, so it is not used for the speed; what it took longer
  than the others is the time of compilation.
  """

  def __init__(self, work: Work):
    """`work` is that of the whole run."""
    self._work = work
    self._first: tuple[float, float] | None = None
    self._seconds = self._tokens = 0.0
    self._calls = 0
    self.compiling = 0.0  # Seconds, once there is an estimate.

  def add(self, seconds: float, tokens: int) -> Estimate | None:
    """Notes a call of the step; returns the time left after it, once.

    Args:
      seconds: that the call took.
      tokens: that it trained on.
    """
    if self._first is None:
      self._first = seconds, tokens
      return None
    if self._is_done:
      return None
    self._seconds += seconds
    self._tokens += tokens
    self._calls += 1
    if not self._is_done:
      return None
    rate = self._seconds / max(self._tokens, 1)
    first_seconds, first_tokens = self._first
    self.compiling = max(first_seconds - rate * first_tokens, 0.0)
    done = _BACKWARD * (first_tokens + self._tokens)
    left = self._work._replace(training=max(self._work.training - done, 0.0))
    estimate = _estimate(left, rate / _BACKWARD, self.compiling)
    # The training step is compiled by now.
    return estimate._replace(training=estimate.training - self.compiling)

  @property
  def _is_done(self) -> bool:
    return self._seconds >= _TIMED or self._calls >= _CALLS


def _estimate(work: Work, per_token: float, compiling: float) -> Estimate:
  """Seconds, from those of a token's forward pass and of compilation."""
  extra = _EVALUATION_COMPILES * compiling
  training = per_token * (work.training + work.validation) + compiling
  if work.validation:
    training += extra
  evaluation = per_token * work.evaluation + extra if work.evaluation else 0.0
  return Estimate(training, evaluation)


def _product_speed(precision: str) -> float:
  """Operations a second of a product of large matrices on this device."""
  dtype = jnp.bfloat16 if precision == 'bfloat16' else jnp.float32
  x = jnp.ones((_SIZE, _SIZE), dtype)
  product = jax.jit(lambda x: x @ x)
  product(x).block_until_ready()
  seconds = []
  for _ in range(_TURNS):
    start = time.perf_counter()
    product(x).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * _SIZE**3 / min(seconds)


def spelt(seconds: float) -> str:
  """Formats a duration: '40 seconds', '3 minutes', '2.5 hours'."""
  if seconds < 90:
    return f'{max(round(seconds, -1), 10):.0f} seconds'
  if seconds < 5400:
    return f'{seconds / 60:.0f} minutes'
  return f'{seconds / 3600:.1f} hours'
