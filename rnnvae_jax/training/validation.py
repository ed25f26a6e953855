"""What evaluates a run, in training and after it, and what follows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnvae_jax.data import corpora
from rnnvae_jax.training import evaluation, optimizers, runs, tasks
from rnnvae_jax.training import (
  state as state_lib,
)

# Tokens that a stream's evaluation reads at a time, at least.
_WINDOW = 512
# Of a validation's mutual information. Inner loops end by it, so no key that an
# evaluation may change can change it.
_GROUP = 32


def make_validator(config: Any, task: tasks.Task, split: corpora.Split):
  """The evaluator that training validates with: one posterior sample.

  A stream is read by `config.train.validation_rows`: an approximation, each row
  beginning with a state of zeros.
  """
  if config.corpus.stream:
    return _stream_evaluator(config, task, split, config.train.validation_rows)
  return evaluation.make_evaluator(
    task,
    split,
    batch_size=config.evaluate.batch_size,
    num_buckets=config.evaluate.num_buckets,
    num_samples=1,
    chunk=1,
  )


def make_validation(config: Any, task: tasks.Task, split: corpora.Split):
  """Returns `validate(state, seed)`: the summary of the validation split.

  One posterior sample a sentence, fixed by the seed; the KL weight, the free
  bits and the step play no part.
  """
  evaluate = make_validator(config, task, split)

  def validate(state: state_lib.TrainState, seed: int) -> dict[str, Any]:
    key = jax.random.key(seed)
    values = evaluate(optimizers.evaluated(state), state.extras, key)
    summary = evaluation.summarise(values, split.lengths, split.ends)
    if task.latents is not None:
      summary |= evaluation.summarise_latents(values, _GROUP)
    return summary

  return validate


def _stream_evaluator(config, task, split, rows):
  window = max(config.train.unroll, _WINDOW // rows)
  return evaluation.make_stream_evaluator(task, split, rows=rows, window=window)


def take(
  config: Any,
  task: tasks.Task,
  tx: optax.GradientTransformation,
  state: state_lib.TrainState,
  summary: dict[str, Any],
  step: int,
) -> state_lib.TrainState:
  """The state after a validation.

  The best so far, the rate's decay, the beginning of averaging and the end of
  the encoder's own updates; while an autoencoder is pretrained none of these,
  and at its end a new decoder, whose optimiser begins anew (Li et al.,
  arXiv:1909.00868).
  """
  pretrain_steps = config.train.pretrain_steps
  if step < pretrain_steps:
    return state
  if step == pretrain_steps and task.latents is not None:
    fresh = state_lib.create(task, tx, config.seed)
    params = task.latents.with_decoder_of(state.params, fresh.params)
    kept = 'rate_control'  # Which has had nothing to hold.
    extras = state.extras | {kept: fresh.extras[kept]}
    return state.replace(
      params=params, opt_state=tx.init(params), extras=extras
    )
  value = summary[config.train.select_by]
  selection = state_lib.select(
    state.selection,
    value,
    step,
    config.optimizer.plateau_patience,
    config.optimizer.plateau_factor,
  )
  # The encoder has caught up once its mutual information falls (He et al.).
  information = np.float32(summary.get('mutual_information_batch', 0.0))
  caught_up = information < np.float32(selection.information)
  selection = selection.replace(
    explores=jnp.bool_(bool(selection.explores) and not caught_up),
    information=jnp.float32(information),
  )
  opt_state = optimizers.heed(state.opt_state, value)
  return state.replace(selection=selection, opt_state=opt_state)


def has_stalled(config: Any, state: state_lib.TrainState) -> bool:
  """Whether validation has not improved for `config.train.patience` times."""
  patience = config.train.patience
  waited = int(state.selection.evaluations_since_best)
  return bool(patience) and waited >= patience


def carries_state(run: runs.Run) -> bool:
  """Whether it reads a text as one stream; count models never do."""
  return run.config.corpus.stream and run.task.read is not None


def make_evaluator(run: runs.Run, split: corpora.Split):
  """The evaluator of a split with the run's evaluation settings.

  A neural model of a stream reads it in one row, so that every token is given
  all of the text before it.
  """
  if carries_state(run):
    return _stream_evaluator(run.config, run.task, split, rows=1)
  return make_sentence_evaluator(run, split)


def make_sentence_evaluator(run: runs.Run, split: corpora.Split):
  """The same with each sentence by itself."""
  settings = run.config.evaluate
  return evaluation.make_evaluator(
    run.task,
    split,
    batch_size=settings.batch_size,
    num_buckets=settings.num_buckets,
    num_samples=settings.iw_samples,
    chunk=settings.chunk,
  )
