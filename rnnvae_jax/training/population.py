"""Many trials trained as one compiled program.

A trial is a config; the trials of a population differ in their seed and in
scalar hyperparameters only, so their states can be stacked. One `vmap` over the
stack turns N small matrix products into one large product, which uses an
accelerator better, and the corpus is on the device only once. Each trial keeps
its own batches, noise, validation, learning-rate decay and stopping, as if it
were trained alone. Several devices have a part of the trials each, and exchange
nothing.

At any step all members read batches of the same shape, because the order of
the buckets depends only on the position in the epoch (`batches.epoch_plan`). So
a slot whose trial has ended receives the next trial at the start of an epoch.
"""

from collections import deque
from collections.abc import Callable, Sequence
import functools
import os
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches, corpora
from rnnvae_jax.objectives import schedules
from rnnvae_jax.tasks import base
from rnnvae_jax.training import (
  compiler,
  devices,
  optimizers,
  preparation,
  step,
  validation,
)
from rnnvae_jax.training import (
  hyperparameters as hyperparameters_lib,
)
from rnnvae_jax.training import state as state_lib


class Result(NamedTuple):
  """The outcome of a trial."""

  config: Any
  best: dict[str, Any]  # The summary of the trial's best validation.
  params: Any  # The parameters at the best validation, on the host.
  extras: Any  # The objective's adapted state at the best validation.
  steps: int  # Updates done.
  failed: bool  # Whether the loss or a validation was infinite or NaN.


class _Member(NamedTuple):
  """A trial that is being trained in a slot."""

  number: int  # The trial's index among the configs.
  config: Any
  schedule: batches.Schedule | batches.StreamSchedule
  start: int  # The population's step at which the trial's step is 0.


def train(
  configs: Sequence[Any],
  corpus: corpora.Corpus,
  size: int = 0,
  report: Callable[[int, Result], None] | None = None,
  keep: Callable[[int, state_lib.TrainState, dict], None] | None = None,
  deadline: float = float('inf'),
  until: float = float('inf'),
  first: int = 0,
  restore: Callable[[int], state_lib.TrainState] | None = None,
) -> list[Result]:
  """Trains all trials, `size` at a time.

  Args:
    configs: one config a trial.
    corpus: the corpus that all trials read.
    size: trials to train at a time; 0: as many as fit into the memory of all
      devices. All devices have as many; some of the last may be idle.
    report: called with a trial's number and result when the trial ends.
    keep: called with a trial's number, state and summary after each of its
      validations. The state says whether this validation is the best so far.
    deadline: seconds since 1970 at which all trials stop, finished or not.
    until: step of a validation at which a trial pauses.
    first: step at which all trials go on.
    restore: a trial's number -> its state at that step; None: trials begin.

  Returns:
    The results of the trials that ended, in the order of the configs.

  Raises:
    ValueError: the configs cannot be trained together; see `refusal`.
  """
  for trial in configs:
    config_build.validate(trial)
  reason = refusal(configs)
  if reason:
    raise ValueError(reason)
  config = configs[0].copy_and_resolve_references()
  kind = config_build.task(config.model.kind)
  kind.for_population(config)
  task = kind.build(config, corpus.vocab, corpus.labels)
  tx = optimizers.build(config)
  keys = config_build.keys_of(config)
  # The program leaves out every part that is switched off in all trials.
  enabled = hyperparameters_lib.switched_on(keys, configs)
  scalars_of = lambda trial: hyperparameters_lib.build(keys, trial, enabled)
  split = corpus.splits['train']
  feeding = preparation.feeding(config, split)
  device_split = feeding.schedule.put(split)
  make_step = functools.partial(
    make_population_step,
    task,
    tx,
    feeding.buckets,
    schedules.resolve(config.optimizer.schedule, 'optimizer.schedule'),
    gather=feeding.gather,
  )
  validate = validation.make_validation(config, task, corpus.splits['valid'])
  per_call = config.train.steps_per_call
  shape = per_call, config.train.batch_size
  mesh = devices.for_trials(config, len(configs))
  parts = devices.count(mesh)
  if not size:
    size = parts * _fitting(
      make_step(), task, tx, scalars_of(config), device_split, shape
    )
  size = min(size, len(configs))
  size += -size % parts
  if mesh is not None:
    logging.info('%s', devices.describe(mesh, 'trials', size))
  advance = make_step(mesh=mesh)
  device_split = devices.placed(device_split, mesh)

  epoch = feeding.schedule.steps_per_epoch
  waiting = deque(enumerate(configs))
  results: list[Result | None] = [None] * len(configs)
  best: dict[int, tuple[dict[str, Any], Any, Any]] = {}
  members: list[_Member | None] = [None] * size
  states = hyperparameters = None
  now = first
  # The step at which a trial ends here.
  end_of = lambda trial: min(trial.train.num_steps, until)
  while (waiting or any(members)) and time.time() < deadline:
    if (now - first) % epoch == 0:
      for slot in range(size):
        if members[slot] is None and waiting:
          number, trial = waiting.popleft()
          schedule = preparation.feeding(trial, split).schedule
          if restore is None:
            fresh, _ = preparation.first_state(trial, task, tx, corpus)
          else:
            fresh = restore(number)
          if validation.has_stalled(trial, fresh):
            continue
          members[slot] = _Member(number, trial, schedule, now - first)
          scalars = scalars_of(trial)
          states = _put(states, slot, fresh, size)
          hyperparameters = _put(hyperparameters, slot, scalars, size)
      states, hyperparameters = devices.placed(
        (states, hyperparameters), mesh, devices.TRIAL
      )
    if not any(members):  # The waiting trials can start at the next epoch.
      now += epoch - (now - first) % epoch
      continue
    count = _until_next_event(members, now, per_call, end_of)
    if waiting and not all(members):  # A slot can be filled.
      count = min(count, epoch - (now - first) % epoch)
    plans = [m and m.schedule.steps(now - m.start, count) for m in members]
    bucket = next(plan.bucket for plan in plans if plan is not None)
    rows = np.full((size, *shape), batches.BLANK, np.int32)
    for slot, plan in enumerate(plans):
      if plan is not None:
        rows[slot, :count] = plan.rows
    states, losses = advance(
      states,
      device_split,
      jnp.asarray(rows),
      jnp.asarray(np.resize(bucket, per_call)),
      hyperparameters,
      jnp.array([m is not None for m in members]),
      jnp.int32(count),
    )
    now += count
    finite = np.all(np.isfinite(np.asarray(losses)[:, :count]), axis=1)
    for slot, member in enumerate(members):
      if member is None:
        continue
      steps, limit = now - member.start, end_of(member.config)
      due = steps % member.config.train.eval_every == 0 or steps == limit
      ended = steps == limit or not finite[slot]
      if finite[slot] and due:
        state = jax.tree.map(lambda x, slot=slot: x[slot], states)
        summary = validate(state, member.config.seed)
        if np.isnan(task.selection_value(summary, member.config)):
          finite[slot], ended = False, True
      if finite[slot] and due:
        evaluated = optimizers.evaluated(state), state.extras
        state = validation.record_validation(
          member.config, task, tx, state, summary
        )
        if int(state.selection.best_step) == steps:
          best[member.number] = summary, *jax.device_get(evaluated)
        if keep is not None:
          keep(member.number, state, summary)
        states = devices.placed(
          _put(states, slot, state, size), mesh, devices.TRIAL
        )
        ended |= validation.has_stalled(member.config, state)
      if ended:
        result = Result(
          member.config,
          *best.pop(member.number, ({}, None, None)),
          steps=steps,
          failed=not finite[slot],
        )
        results[member.number] = result
        members[slot] = None
        if report is not None:
          report(member.number, result)
  return [result for result in results if result is not None]


def refusal(configs: Sequence[Any]) -> str:
  """Why these configs cannot be trained as a population; '' if they can."""
  if not configs:
    return 'A population needs at least one config.'
  kind = config_build.task(configs[0].model.kind)
  if not issubclass(kind, base.Trained):
    return (
      f'A population trains by gradient descent; a {configs[0].model.kind} '
      'model is fitted, one at a time.'
    )
  reason = kind.population_refusal(configs[0])
  if reason:
    return reason
  if configs[0].train.skip_nonfinite:
    return (
      'A member of a population stops at an update that is not finite. Leave '
      'config.train.skip_nonfinite at 0.'
    )
  keys = config_build.keys_of(configs[0])
  legal = keys.varying()
  first = config_build.flatten(configs[0])
  enabled = hyperparameters_lib.switched_on(keys, configs)
  parts_of: Callable[[Any], Any] = lambda config: jax.tree.structure(
    hyperparameters_lib.build(keys, config, enabled)
  )
  for number, config in enumerate(configs[1:], 1):
    differing = [
      key
      for key, value in config_build.flatten(config).items()
      if value != first.get(key) and key not in legal
    ]
    if differing:
      return (
        f'Trial {number} differs from trial 0 in config.'
        + ', config.'.join(differing)
        + ', so they are different programs. Legal differences: '
        + ', '.join(legal)
        + '.'
      )
    if parts_of(config) != parts_of(configs[0]):
      return (
        f'Trial {number} reads other keys than trial 0, so they are different '
        'programs.'
      )
  return ''


def make_population_step(
  *args, mesh: devices.Mesh = None, **kwargs
) -> Callable:
  """Returns the fused training step of a population.

  `advance(states, corpus, rows int32[N, K, B], bucket int32[K],
  hyperparameters, active bool[N], count int32[])` does `count` <= K updates of
  all trials whose slot is active. States and hyperparameters are stacked on a
  first axis N; the states are donated. `advance` returns the new states and the
  losses float32[N, K], 0 where there was no update.

  Args:
    *args: see `step.make_update`.
    mesh: of the devices among which the N trials are divided.
    **kwargs: see `step.make_update`.
  """
  update = step.make_update(*args, **kwargs)
  update_all = jax.vmap(update, in_axes=(None, 0, 0, (0, None)))

  def advance_all(states, corpus, rows, bucket, hyperparameters, active, count):
    def update_active(number, loop):
      states, losses = loop
      batch = rows[:, number], bucket[number]
      new, (_, loss) = update_all(corpus, hyperparameters, states, batch)
      states = jax.tree.map(
        functools.partial(_where_active, active), new, states
      )
      return states, losses.at[:, number].set(jnp.where(active, loss, 0.0))

    losses = jnp.zeros(rows.shape[:2])
    return jax.lax.fori_loop(0, count, update_active, (states, losses))

  each, trial = devices.ALL, devices.TRIAL
  run = devices.divided(
    advance_all,
    mesh,
    (trial, each, trial, each, trial, trial, each),
    (trial, trial),
  )

  @functools.partial(
    jax.jit,
    donate_argnums=0,
    compiler_options=compiler.options(jax.default_backend()),
  )
  def advance(states, corpus, rows, bucket, hyperparameters, active, count):
    return run(states, corpus, rows, bucket, hyperparameters, active, count)

  return advance


def _where_active(active, new, old):
  if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
    return old  # Keys are constant over a run.
  return jnp.where(jnp.expand_dims(active, range(1, new.ndim)), new, old)


def _until_next_event(members, now, per_call, end_of) -> int:
  """Steps until a trial is due for validation or ends."""
  count = per_call
  for member in filter(None, members):
    steps, train = now - member.start, member.config.train
    count = min(
      count,
      train.eval_every - steps % train.eval_every,
      end_of(member.config) - steps,
    )
  return count


def _put(stack, slot, tree, size):
  """Writes `tree` into slot `slot` of `stack`; creates the stack if None."""
  if stack is None:
    return jax.tree.map(lambda x: jnp.stack([x] * size), tree)
  return jax.tree.map(lambda old, new: old.at[slot].set(new), stack, tree)


def _fitting(advance, task, tx, scalars, corpus, shape) -> int:
  """How many trials fit into memory, estimated by compiling one trial."""
  state = state_lib.abstract(task, tx)
  stacked = lambda tree: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), tree
  )
  integers = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
  compiled = advance.lower(
    stacked(state),
    corpus,
    integers((1, *shape)),
    integers(shape[:1]),
    stacked(scalars),
    jax.ShapeDtypeStruct((1,), bool),
    integers(()),
  ).compile()
  memory = compiled.memory_analysis()
  member_bytes = memory.temp_size_in_bytes + memory.output_size_in_bytes
  size = max(1, int(0.8 * _free_bytes() / member_bytes))
  logging.info('%d trials fit, %.0f MB each.', size, member_bytes / 1e6)
  return size


def _free_bytes() -> int:
  """Bytes of the device's memory that are free."""
  stats = jax.devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats['bytes_in_use']
  free = 'SC_AVPHYS_PAGES'  # macOS does not have this name.
  pages = free if free in os.sysconf_names else 'SC_PHYS_PAGES'
  return os.sysconf(pages) * os.sysconf('SC_PAGE_SIZE')
