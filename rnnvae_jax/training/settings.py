"""The config keys that all trained tasks share."""

from typing import Any

from rnnvae_jax.config import schema
from rnnvae_jax.data import batches, corpus_config, feed
from rnnvae_jax.data.sources import base as sources
from rnnvae_jax.tasks import base
from rnnvae_jax.training import devices, optimizers


@schema.fragment('')
class RunConfig:
  """Settings of a run as a whole."""

  seed: int = schema.field(
    0,
    'Seed of parameters, data order, dropout and evaluation noise.',
    low=0,
    high=2**31 - 1,
    varies=True,
  )


@schema.fragment('train')
class TrainConfig:
  """How long a run trains, in which batches, and when it is validated."""

  num_steps: int = schema.field(
    10_000,
    'Number of updates in all.',
    low=1,
    traced=True,
    tiny=12,
    free=schema.Free.LONGER,
  )
  batch_size: int = schema.field(
    32,
    'Sentences of an update; for a stream, rows that are read side by side.',
    low=1,
    tiny=8,
  )
  num_buckets: int = schema.field(
    0,
    'Padded lengths, one compiled branch each; 0: chosen by platform.',
    low=0,
    tiny=1,
    only_if=schema.is_unset('corpus.stream'),
  )
  steps_per_call: int = schema.field(
    10, 'Updates that one call of the compiled program does.', low=1, tiny=3
  )
  eval_every: int = schema.field(
    500, 'Updates between validations, each with a checkpoint.', low=1, tiny=6
  )
  patience: int = schema.field(
    0,
    'Validations without a new best after which training stops; 0: never.',
    low=0,
    varies=True,
  )
  skip_nonfinite: int = schema.field(
    0,
    'Updates with a loss or gradient that is not finite which are left out '
    'before training stops; 0: it stops at the first one.',
    low=0,
    free=schema.Free.ALWAYS,
  )
  init_from: str = schema.field(
    '',
    'Folder of a run, or of an export, whose weights are the initial weights, '
    'if they fit.',
  )

  def check(self) -> None:
    """Raises ValueError for steps that are no multiple of steps_per_call."""
    for name, value in (
      ('num_steps', self.num_steps),
      ('eval_every', self.eval_every),
    ):
      rest = value % self.steps_per_call
      if rest:
        raise ValueError(
          f'config.train.{name}={value} is not a multiple of '
          f'config.train.steps_per_call={self.steps_per_call}: a call runs '
          'that many steps. Nearest legal value: '
          f'{max(value - rest, self.steps_per_call)}.'
        )


@schema.fragment('train', only_if=schema.is_set('corpus.stream'))
class StreamConfig:
  """The windows of a text that is read as one stream."""

  unroll: int = schema.field(
    35, 'Tokens of a window; no gradient flows between windows.', low=1
  )
  unroll_spread: int = schema.field(
    0,
    'Standard deviation of random window lengths, in tokens; 0: all are equal.',
    low=0,
  )
  validation_rows: int = schema.field(
    10,
    'Rows that validation reads side by side, each from a state of zeros.',
    low=1,
  )

  def check(self) -> None:
    """Raises ValueError if the shortest window has no token."""
    batches.windows(self.unroll, self.unroll_spread)


@schema.fragment('evaluate', free=schema.Free.ALWAYS)
class EvaluateConfig:
  """Which split is evaluated, in which batches."""

  split: str = schema.field(
    'test',
    'The split to evaluate.',
    choices=lambda: (*sources.splits(), 'all', 'none'),
  )
  batch_size: int = schema.field(
    64, 'Sentences evaluated at a time.', low=1, tiny=128
  )
  num_buckets: int = schema.field(
    0,
    'Padded lengths, one compiled branch each; 0: chosen by platform.',
    low=0,
    tiny=1,
  )


# Pairs of a capability and the config fragment of the tasks that have it.
SETTINGS = (
  (base.Task, RunConfig),
  (base.Task, corpus_config.CorpusConfig),
  (base.Task, feed.DataConfig),
  (base.Task, EvaluateConfig),
  (base.Trained, TrainConfig),
  (base.Trained, devices.DevicesConfig),
  (base.Trained, optimizers.OptimizerConfig),
  (base.CarriesState, StreamConfig),
)


def check(config: Any) -> None:
  """Checks keys of several components of training against each other.

  Raises:
    ValueError: training would stop before what another key asks for.
  """
  if 'train' not in config:
    return
  waits, patience = config.optimizer.average_patience, config.train.patience
  if waits and 0 < patience <= waits + 1:
    raise ValueError(
      f'config.optimizer.average_patience={waits}: training stops first, at '
      f'config.train.patience={patience}. Legal with it: 0, or more than '
      f'{waits + 1}.'
    )
