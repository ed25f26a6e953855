"""The training loop of a run."""

from collections.abc import Callable, Mapping
import math
import time
from typing import Any

from absl import logging
from clu import parameter_overview
import jax
import numpy as np

from rnnvae_jax.data import corpora, feed
from rnnvae_jax.training import (
  checkpoints,
  optimizers,
  progress,
  runs,
  tasks,
  validation,
  writers,
)
from rnnvae_jax.training import (
  state as state_lib,
)
from rnnvae_jax.training import (
  step as step_lib,
)

# A posterior that says less than this, in nats a sentence, has collapsed.
COLLAPSED_KL = 0.1
# Seconds that a kill may cost where validations are further apart.
_KEEP_EVERY = 600.0


def train(
  config: Any, workdir: str, deadline: float = float('inf')
) -> corpora.Corpus | None:
  """Trains, or goes on training, the run in `workdir`.

  A kill at any moment loses the steps since the last checkpoint, which is of
  the last validation or of ten minutes ago; the same call repeats them bit for
  bit.

  Args:
    config: of the run.
    workdir: its folder.
    deadline: seconds since 1970 at which it stops, with a checkpoint.

  Returns:
    The corpus, for whoever evaluates next; None if the deadline came first.

  Raises:
    ValueError: bad text, a workdir of another run or in use, no readable
      checkpoint.
    FloatingPointError: the loss is not finite, or validation is no number;
      checkpoints keep an earlier state.
  """
  corpus = runs.prepare(config, workdir)
  logging.info('%s', corpus.summary())
  with runs.held(workdir):
    if config.model.kind == 'ngrams':
      runs.fit_counts(config, workdir, corpus)
      return corpus
    is_done = _train(config, workdir, corpus, deadline)
  return corpus if is_done else None


def _train(
  config: Any, workdir: str, corpus: corpora.Corpus, deadline: float
) -> bool:
  """Returns whether it came to the end before the deadline."""
  start_time = time.time()
  task = tasks.build(config, len(corpus.vocab))
  logging.info(
    'Recurrence: %s (config.model.backend = %r) on %s, products in %s.',
    task.backend,
    config.model.backend,
    jax.default_backend(),
    config.model.precision,
  )
  tx = optimizers.build(config)
  state = state_lib.create(task, tx, config.seed)
  saved = checkpoints.Checkpoints(
    runs.checkpoint_dir(workdir), corpus.vocab.content_hash
  )
  restored = saved.restore(jax.eval_shape(lambda: state))
  if restored is not None:
    state, _ = restored
    logging.info('Going on from step %d of %s.', int(state.step), workdir)
  else:
    state = runs.with_word_vectors(config, state, corpus)
    logging.info('%s', parameter_overview.get_parameter_overview(state.params))

  split = corpus.splits['train']
  feeding = runs.feeding(config, split)
  train_step = step_lib.make_train_step(
    task,
    tx,
    feeding.buckets,
    config.optimizer.schedule,
    config.objective.kl_schedule,
    config.train.inner_steps,
    feeding.gather,
  )
  validate = validation.make_validation(config, task, corpus.splits['valid'])
  hyperparameters = optimizers.hyperparameters(config)
  per_call, num_steps = config.train.steps_per_call, config.train.num_steps
  first, step = int(state.step), int(state.step)
  epoch = feeding.schedule.steps_per_epoch
  logging.info(
    '%s steps are %.3g epochs of this text, of %s steps each.',
    f'{num_steps:,}',
    num_steps / epoch,
    f'{epoch:,}',
  )
  # Inner loops draw their batches from all sentences.
  share = math.inf if config.train.inner_steps else config.data.device_share
  calls = feed.make(split, feeding.schedule, per_call, first, num_steps, share)
  with (
    writers.Writer(workdir) as writer,
    progress.Progress(num_steps, first) as bar,
  ):
    writer.truncate(first)
    kept = time.time()
    while step < num_steps and not validation.has_stalled(config, state):
      if time.time() > deadline:
        saved.save(state, step, 'latest')
        logging.info('Out of time at step %d of %d.', step, num_steps)
        return False
      if time.time() > kept + _KEEP_EVERY:
        saved.save(state, step, 'latest')
        kept = time.time()
      state, metrics, losses = train_step(state, *next(calls), hyperparameters)
      _check_finite(np.asarray(losses), step)
      step += per_call
      tokens = int(metrics.nll_per_token.denominator)
      values = {
        f'train/{name}': float(value)
        for name, value in metrics.compute().items()
      }
      bar.update(step, tokens, values)
      writer.write(step, values)
      if step % config.train.eval_every == 0 or step == num_steps:
        with bar.pause():
          summary = validate(state, config.seed)
          if math.isnan(summary[config.train.select_by]):
            raise _not_finite('validation is no number', step)
          state = validation.take(config, task, tx, state, summary, step)
          record(config, state, summary, saved, writer, bar.log)
          kept = time.time()
  valid, name = corpus.splits['valid'], config.train.select_by
  best = float(state.selection.best)
  if not valid.ends:  # All of the text is one sentence.
    name, best = 'nll_per_token', best / len(valid.tokens)
  logging.info(
    'Trained steps %d to %d in %.0f s; best validation (%s): %.3f at step %d.',
    first,
    step,
    time.time() - start_time,
    name,
    best,
    int(state.selection.best_step),
  )
  return True


def record(
  config: Any,
  state: state_lib.TrainState,
  summary: Mapping[str, Any],
  saved: checkpoints.Checkpoints,
  writer: writers.Writer,
  log: Callable[[str], None],
) -> None:
  """Saves a state that has taken in a validation, and writes and logs that."""
  step = int(state.step)
  is_best = int(state.selection.best_step) == step
  pretraining = step <= config.train.pretrain_steps
  if is_best:
    saved.save(state, step, 'best')
  writer.write(
    step,
    {
      f'valid/{name}': value
      for name, value in summary.items()
      if isinstance(value, int | float)
    },
  )
  line = f'step {step}: valid '
  if 'perplexity_without_eos' not in summary:  # Nothing ends.
    line += f'{summary["nll_per_token"]:.4f} nats a token'
  else:
    line += f'{summary["nll_per_sentence"]:.3f} nats a sentence'
  line += f', perplexity {summary["perplexity"]:.2f}'
  if 'kl' in summary:
    line += (
      f' (bound), reconstruction {summary["reconstruction"]:.3f}, KL '
      f'{summary["kl"]:.3f}, active units {summary["active_units"]} of '
      f'{summary["latents"]}'
    )
  line += ', the best so far' if is_best else ''
  log(line + (' (autoencoder)' if pretraining else ''))
  if step and step == config.train.pretrain_steps:
    log(f'step {step}: the autoencoder is pretrained; a new decoder begins.')
  if 'kl' in summary and (
    summary['kl'] < COLLAPSED_KL or not summary['active_units']
  ):
    log(
      'WARNING: the posterior has collapsed (KL '
      f'{summary["kl"]:.4f} nats, {summary["active_units"]} active units): '
      'the decoder ignores z. Try config.objective.free_bits, a slower '
      'config.objective.kl_schedule or config.dropout.word.'
    )
  saved.save(state, step, 'latest')  # Last: a resumed run repeats the rest.


def _check_finite(losses: np.ndarray, first: int) -> None:
  """Raises FloatingPointError, naming the step, on a loss that is not."""
  bad = np.flatnonzero(~np.isfinite(losses))
  if len(bad):
    step = first + bad[0] + 1
    raise _not_finite(f'the loss is {losses[bad[0]]}', step)


def _not_finite(what: str, step: int) -> FloatingPointError:
  return FloatingPointError(
    f'Step {step}: {what}. Training has stopped; the checkpoints hold a state '
    'before. A smaller config.optimizer.learning_rate or '
    'config.optimizer.clip_norm is the usual cure.'
  )
