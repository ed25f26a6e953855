"""The training loop of a run."""

from collections.abc import Callable, Mapping
import functools
import math
import os
import time
from typing import Any

from absl import logging
from clu import parameter_overview
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora, feed
from rnnvae_jax.objectives import schedules
from rnnvae_jax.tasks import base
from rnnvae_jax.training import (
  checkpoints,
  devices,
  environment,
  estimate,
  nonfinite,
  optimizers,
  peers,
  preparation,
  progress,
  saving,
  stopping,
  validation,
  watchdog,
  writers,
)
from rnnvae_jax.training import (
  hyperparameters as hyperparameters_lib,
)
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import step as step_lib
from rnnvae_jax.training import workdir as workdir_lib

# Longest time between checkpoints, in seconds, where validations are rarer.
_KEEP_EVERY = 600.0
# What the processes of a run vote for before each call, the weakest first.
_GO, _KEEP, _OUT_OF_TIME, _STOP = range(4)


def train(
  config: Any,
  workdir: str,
  deadline: float = float('inf'),
  preview: Callable[[Any, Any, Any], str] | None = None,
  until: float = math.inf,
) -> corpora.Corpus | None:
  """Trains the run in `workdir`, from the start or from its last checkpoint.

  A checkpoint is saved at each validation, and after ten minutes without one;
  it is written while training goes on, and complete before this returns. A
  kill loses the steps since the last checkpoint; the same call repeats them,
  bit for bit on the same machine with the same cores. SIGINT, SIGTERM and
  SIGHUP save a checkpoint before they stop training.

  Several processes (`peers`) train one run together; process 0 alone reads and
  writes its folder, and returns. It ends the others when it is done.

  Args:
    config: config of the run.
    workdir: folder of the run.
    deadline: seconds since 1970 at which training stops, with a checkpoint.
    preview: (task, params, vocabulary) -> a sample of text, which is logged at
      each validation.
    until: step of a validation after which training pauses; the same call with
      a later one goes on.

  Returns:
    The corpus, for a following evaluation; None if the deadline or the pause
    came first.

  Raises:
    ValueError: the text does not fit the config, the workdir belongs to another
      run or is in use, or no checkpoint can be read.
    FloatingPointError: the loss is not finite, or a validation is NaN; the
      checkpoints keep an earlier state.
    KeyboardInterrupt: a signal stopped training.
  """
  kind = config_build.task(config.model.kind)
  if issubclass(kind, base.Fitted) and peers.count() > 1:
    raise ValueError(
      f'config.model.kind = {config.model.kind!r} is fitted in one pass, by '
      f'one process; here are {peers.count()}.'
    )
  corpus = preparation.prepare(config, workdir)
  if not peers.is_first():
    _train(config, workdir, corpus, deadline, None, until)
    peers.await_end(math.inf)
  announce(config, workdir, corpus)
  with workdir_lib.locked(workdir):
    preparation.confirm(config, workdir, corpus)
    writers.drop_leftovers(workdir)
    if issubclass(kind, base.Fitted):
      start = time.time()
      task = kind.fit_in(config, corpus, workdir)
      task.save(workdir)
      logging.info(
        'Fitted in %.1f s; %s.', time.time() - start, task.describe()
      )
      return corpus
    is_done = _train(config, workdir, corpus, deadline, preview, until)
  return corpus if is_done else None


def announce(config: Any, workdir: str, corpus: corpora.Corpus) -> None:
  """Logs what will happen, before anything is compiled."""
  place = environment.describe()
  logging.info('Task: %s, into %s.', config.model.kind, workdir)
  logging.info('Corpus: %s', corpus.summary())
  logging.info(
    'Device: %s, %s cores.', place['device'], place['cores'] or 'unknown'
  )


def _train(
  config: Any,
  workdir: str,
  corpus: corpora.Corpus,
  deadline: float,
  preview: Callable[[Any, Any, Any], str] | None,
  until: float,
) -> bool:
  """Trains by gradient descent; returns whether it ended."""
  start_time = time.time()
  mesh = devices.for_rows(config)
  use = devices.describe(mesh, 'rows of a batch', config.train.batch_size)
  if use:
    logging.info('%s', use)
  task = config_build.task(config.model.kind).build(
    config, corpus.vocab, corpus.labels
  )
  tx = optimizers.build(config)
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), corpus.vocab.content_hash
  )
  is_first = peers.is_first()
  if is_first:
    state = _begun(config, workdir, task, tx, corpus, saved, mesh)
  else:
    state = state_lib.abstract(task, tx)
  state = peers.from_first(state)
  copy_to_devices = functools.partial(devices.placed, mesh=mesh)
  state = copy_to_devices(state, specs=devices.state_specs(task))

  split = corpus.splits['train']
  feeding = preparation.feeding(config, split, mesh)
  # Inner loops draw their batches from all sentences, so all must be on the
  # device.
  share = math.inf if task.inner_steps else config.data.device_share
  is_resident = peers.agreed('corpus on devices', feed.fits(split, share))
  corpus_specs = devices.ALL if is_resident else devices.STREAMED
  train_step = step_lib.make_train_step(
    task,
    tx,
    feeding.buckets,
    schedules.resolve(config.optimizer.schedule, 'optimizer.schedule'),
    feeding.gather,
    skips=config.train.skip_nonfinite > 0,
    mesh=mesh,
    corpus_specs=corpus_specs,
  )
  validate = validation.make_validation(config, task, corpus.splits['valid'])
  hyperparameters = copy_to_devices(
    hyperparameters_lib.build(config_build.keys_of(config), config)
  )
  per_call, num_steps = config.train.steps_per_call, config.train.num_steps
  first, step = int(state.step), int(state.step)
  guard = None
  if is_first:
    guard = nonfinite.Guard(
      workdir,
      first,
      config.train.skip_nonfinite,
      feeding.schedule,
      split,
      corpus.vocab,
    )
  epoch = feeding.schedule.steps_per_epoch
  work = estimate.work(
    config, task, corpus.splits, len(split.tokens) / epoch, first
  )
  _describe_plan(config, task, state, split, epoch, work)
  measured = estimate.Measured(work)
  calls = feed.make(
    split,
    feeding.schedule,
    per_call,
    first,
    num_steps,
    math.inf if is_resident else 0.0,
    copy_to_devices,
    devices.own_columns(mesh, config.train.batch_size),
    functools.partial(
      devices.joined,
      mesh=mesh,
      specs=(corpus_specs, devices.PLANS, devices.ALL),
    ),
  )
  with (
    writers.Writer(workdir) if is_first else writers.NoWriter() as writer,
    progress.Progress(num_steps, first, is_shown=is_first) as bar,
    watchdog.Watchdog() as watched,
    stopping.requests() as stop,
    saving.Background(saved) as background,
  ):
    writer.truncate(first)
    kept = time.time()
    while step < num_steps and not validation.has_stalled(config, state):
      if step >= until:  # Its validation has saved the state.
        logging.info('Paused at step %d of %d.', step, num_steps)
        return False
      wish = _GO
      if stop:
        wish = _STOP
      elif is_first and time.time() > deadline:
        wish = _OUT_OF_TIME
      elif is_first and time.time() > kept + _KEEP_EVERY:
        wish = _KEEP
      wish = peers.most(wish)
      if wish != _GO:
        own = devices.own_copy(state)
        if is_first:
          background.save(own, step, 'latest')
        kept = time.time()
      if wish == _STOP:
        if not is_first:
          peers.await_end()  # Process 0 saves.
        background.wait()
        bar.log(f'Stopped at step {step:,}, which is saved.')
        raise KeyboardInterrupt
      if wish == _OUT_OF_TIME:
        logging.info('Out of time at step %d of %d.', step, num_steps)
        return False
      background.check()
      batches = next(calls)
      begun = time.perf_counter()
      state, metrics, losses = train_step(state, *batches, hyperparameters)
      losses = np.asarray(losses)
      if guard is not None:
        for line in guard.check(losses, step):
          bar.log(line)
      metrics = devices.own_copy(metrics)
      seconds = time.perf_counter() - begun
      tokens = int(metrics.tokens.numerator)
      step += per_call
      values = {
        f'train/{name}': float(value)
        for name, value in metrics.compute().items()
      }
      watched.beat(f'step {step}')
      bar.update(step, tokens, values)
      left = measured.add(seconds, tokens)
      if left is not None and step < num_steps:
        bar.log(_time_left(measured, left))
      writer.write(step, values)
      if step % config.train.eval_every == 0 or step == num_steps:
        with bar.pause():
          own = devices.own_copy(state)
          figures = peers.agreed(
            f'validation of step {step}', validate(own, config.seed)
          )
          if math.isnan(task.selection_value(figures, config)):
            raise nonfinite.stopped('validation is no number', step)
          own = validation.record_validation(config, task, tx, own, figures)
          state = copy_to_devices(own, specs=devices.state_specs(task))
          if is_first:
            own = state if peers.count() == 1 else own
            record(task, own, figures, background, writer, bar.log)
          kept = time.time()
          watched.beat(f'the validation of step {step}')
          if preview is not None:
            params = devices.first_copy(optimizers.evaluated(own), mesh)
            bar.log(preview(task, params, corpus.vocab))
    if peers.most(bool(stop)):  # During the last validation, which is saved.
      if not is_first:
        peers.await_end()
      raise KeyboardInterrupt
  if not is_first:
    return True
  for kind in checkpoints.KINDS:
    saved.drop_older(kind)  # A finished run needs no predecessors.
  logging.info(
    'Trained steps %d to %d in %.0f s; the best validation is that of step %d.',
    first,
    step,
    time.time() - start_time,
    int(state.selection.best_step),
  )
  return True


def _begun(
  config: Any,
  workdir: str,
  task: base.Trained,
  tx: Any,
  corpus: corpora.Corpus,
  saved: checkpoints.Checkpoints,
  mesh: devices.Mesh,
) -> state_lib.TrainState:
  """The state that training goes on from, or begins with."""
  restored = saved.restore(state_lib.abstract(task, tx))
  if restored is not None:
    state, _ = restored
    logging.info('Going on from step %d of %s.', int(state.step), workdir)
  else:
    state, lines = preparation.first_state(config, task, tx, corpus)
    for line in lines:
      logging.info('%s', line)
    logging.info('%s', parameter_overview.get_parameter_overview(state.params))
  _note_environment(workdir, restored is not None, devices.count(mesh))
  return state


def _note_environment(workdir: str, is_resumed: bool, used: int) -> None:
  """Saves the environment of a run; warns if it has changed since.

  Training repeats bit for bit only on the same machine with the same cores and
  as many devices.
  """
  path = workdir_lib.path(workdir, 'environment.json')
  now = environment.describe() | {'devices': used}
  if is_resumed and os.path.exists(path):
    changed = environment.differences(workdir_lib.read_json(path), now)
    if changed:
      logging.warning(
        'This run goes on elsewhere, so its steps are not the same bit for '
        'bit: %s.',
        '; '.join(changed),
      )
  writers.write_json(path, now)


def _describe_plan(config, task, state, split, epoch: int, work) -> None:
  """Logs the length of training in updates, epochs and estimated time."""
  if task.backend:
    logging.info(
      'Recurrence: %s (%s), products in %s.',
      task.backend,
      task.backend_reason,
      config.model.precision,
    )
  steps = config.train.num_steps - int(state.step)
  low, high = estimate.before(
    work,
    state.params,
    config.model.get('precision', 'float32'),
    config.model.get('tied_embeddings', False),
  )
  logging.info(
    '%s updates, %.3g epochs of %s updates and %s tokens each, will take '
    'between %s and %s here, with compilation and validations. A better '
    'estimate follows on the first updates.',
    f'{steps:,}',
    steps / epoch,
    f'{epoch:,}',
    f'{len(split.tokens):,}',
    estimate.spelt(low.training),
    estimate.spelt(high.training),
  )


def _time_left(measured: estimate.Measured, left: estimate.Estimate) -> str:
  """The line about the time left, once the step's speed is known."""
  line = (
    f'Compiled in {measured.compiling:.0f} s. About '
    f'{estimate.spelt(left.training)} of training are left, with validations'
  )
  if not left.evaluation:
    return f'{line}.'
  return f'{line}; then about {estimate.spelt(left.evaluation)} of evaluation.'


def record(
  task: base.Trained,
  state: state_lib.TrainState,
  figures: Mapping[str, Any],
  saved: checkpoints.Checkpoints | saving.Background,
  writer: writers.Writer,
  log: Callable[[str], None],
) -> None:
  """Saves the state after a validation; writes and logs its figures."""
  step = int(state.step)
  is_best = int(state.selection.best_step) == step
  if is_best:
    saved.save(optimizers.weights(state), step, 'best')
  writer.write(
    step,
    {
      f'valid/{name}': value
      for name, value in figures.items()
      if isinstance(value, int | float)
    },
  )
  line = f'step {step}: valid {task.report(figures)}'
  log(line + (', the best so far' if is_best else ''))
  for warning in (*task.training_warnings(figures), *task.warnings(figures)):
    log(f'WARNING: {warning}')
  # Saved last: if a kill comes before, a resumed run repeats all of the above.
  saved.save(state, step, 'latest')
