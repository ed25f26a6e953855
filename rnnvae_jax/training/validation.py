"""Validations during training, and what follows from their figures."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from rnnvae_jax.data import corpora
from rnnvae_jax.tasks import base
from rnnvae_jax.training import evaluation, optimizers
from rnnvae_jax.training import state as state_lib

# Tokens that a stream's evaluation reads at a time, at least.
_WINDOW = 512


def make_validator(
  config: Any, task: base.Trained, split: corpora.Split
) -> Callable[..., base.Values]:
  """The evaluator that training validates with: one posterior sample.

  A stream is read by `config.train.validation_rows`: an approximation, each row
  beginning with a state of zeros.
  """
  if carries_state(config, task):
    rows = config.train.validation_rows
    return make_stream_evaluator(config, task, split, rows)
  return make_sentence_evaluator(config, task, split)


def make_validation(
  config: Any, task: base.Trained, split: corpora.Split
) -> Callable[..., dict[str, Any]]:
  """Returns `validate(state, seed)`: the figures of the validation split.

  One posterior sample a sentence, fixed by the seed; the KL weight, the free
  bits and the step play no part.
  """
  evaluate = make_validator(config, task, split)

  def validate(state: state_lib.TrainState, seed: int) -> dict[str, Any]:
    key = jax.random.key(seed)
    values = evaluate(optimizers.evaluated(state), state.extras, key)
    return task.summarise(values, split, config)

  return validate


def make_stream_evaluator(config, task, split, rows):
  """The evaluator of a stream, read in so many rows side by side."""
  window = max(config.train.unroll, _WINDOW // rows)
  return evaluation.make_stream_evaluator(task, split, rows=rows, window=window)


def make_sentence_evaluator(
  config: Any,
  task: base.Task,
  split: corpora.Split,
  samples: base.Samples = base.ONE_SAMPLE,
) -> Callable[..., base.Values]:
  """The evaluator of a split, each sentence by itself."""
  return evaluation.make_evaluator(
    task,
    split,
    batch_size=config.evaluate.batch_size,
    num_buckets=config.evaluate.num_buckets,
    samples=samples,
  )


def carries_state(config: Any, task: base.Task) -> bool:
  """Whether a run reads its text as one stream."""
  return isinstance(task, base.CarriesState) and config.corpus.stream


def record_validation(
  config: Any,
  task: base.Trained,
  tx: optax.GradientTransformation,
  state: state_lib.TrainState,
  figures: dict[str, Any],
) -> state_lib.TrainState:
  """The state after a validation.

  The task has its say first. Then the figures may choose the checkpoint, decay
  the learning rate and start the averaging of weights.
  """
  state, counts = task.after_validation(
    state, figures, config, lambda: state_lib.create(task, tx, config.seed)
  )
  if not counts:
    return state
  value = task.selection_value(figures, config)
  selection = state_lib.select(
    state.selection,
    value,
    int(state.step),
    config.optimizer.plateau_patience,
    config.optimizer.plateau_factor,
  )
  opt_state = optimizers.update_averaging(state.opt_state, value)
  return state.replace(selection=selection, opt_state=opt_state)


def has_stalled(config: Any, state: state_lib.TrainState) -> bool:
  """Whether validation has not improved for `config.train.patience` times."""
  patience = config.train.patience
  waited = int(state.selection.evaluations_since_best)
  return bool(patience) and waited >= patience
