"""Validation during training, and its effect on the state."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from rnnvae_jax.data import corpora
from rnnvae_jax.tasks import base
from rnnvae_jax.training import devices, evaluation, optimizers
from rnnvae_jax.training import state as state_lib

# Fewest tokens, over all rows, that the evaluation of a stream reads at a time.
_WINDOW = 512


def make_validator(
  config: Any, task: base.Trained, split: corpora.Split, joint: bool = False
) -> Callable[..., base.Values]:
  """Returns the evaluator of validations, with one posterior sample.

  A stream is read as `config.train.validation_rows` rows. This is an
  approximation, because each row begins with a state of zeros.

  Args:
    config: config of the run.
    task: its task.
    split: what is evaluated.
    joint: see `devices.for_evaluation`.
  """
  if carries_state(config, task):
    rows = config.train.validation_rows
    return make_stream_evaluator(config, task, split, rows)
  return make_sentence_evaluator(config, task, split, joint=joint)


def make_validation(
  config: Any, task: base.Trained, split: corpora.Split
) -> Callable[..., dict[str, Any]]:
  """Returns `validate(state, seed)`, which computes validation figures.

  Each sentence has one posterior sample, fixed by the seed. The figures do not
  depend on the KL weight, the free bits or the step. All processes of a run
  must call the function, with arrays of their own.
  """
  evaluate = make_validator(config, task, split, joint=True)

  def validate(state: state_lib.TrainState, seed: int) -> dict[str, Any]:
    key = jax.random.key(seed)
    values = evaluate(optimizers.evaluated(state), state.extras, key)
    return task.summarise(values, split, config)

  return validate


def make_stream_evaluator(config, task, split, rows):
  """Returns the evaluator of a stream that is read as `rows` parallel rows."""
  window = max(config.train.unroll, _WINDOW // rows)
  return evaluation.make_stream_evaluator(task, split, rows=rows, window=window)


def make_sentence_evaluator(
  config: Any,
  task: base.Task,
  split: corpora.Split,
  samples: base.Samples = base.ONE_SAMPLE,
  joint: bool = False,
) -> Callable[..., base.Values]:
  """Returns the evaluator of a split of independent sentences."""
  return evaluation.make_evaluator(
    task,
    split,
    batch_size=config.evaluate.batch_size,
    num_buckets=config.evaluate.num_buckets,
    samples=samples,
    mesh=devices.for_evaluation(config, joint)
    if isinstance(task, base.Trained)
    else None,
  )


def carries_state(config: Any, task: base.Task) -> bool:
  """Whether the run reads its text as one stream."""
  return isinstance(task, base.CarriesState) and config.corpus.stream


def record_validation(
  config: Any,
  task: base.Trained,
  tx: optax.GradientTransformation,
  state: state_lib.TrainState,
  figures: dict[str, Any],
) -> state_lib.TrainState:
  """Returns the state after a validation.

  The task may change the state first, or decide that this validation does not
  count. Otherwise the figures may choose the checkpoint, decay the learning
  rate and start the averaging of weights.
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
  """Whether the last `config.train.patience` validations brought no new best.

  Always False if the patience is 0.
  """
  patience = config.train.patience
  waited = int(state.selection.evaluations_since_best)
  return bool(patience) and waited >= patience
