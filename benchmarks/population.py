r"""Trials side by side, as one program, and one after another.

  python -m benchmarks.population --trials=32 --json=population.json

All train the GRU sentence VAE of `recipe` from the seeds 0, 1, ... on the same
batches, with a different learning rate for each trial. `sequential` runs the
fused step of one trial after the other, as N runs would; `vmapped` runs all
trials as one program; `processes`, on a CPU of several cores, runs each trial
in a process that has one core, so many at a time as there are cores. `ours` is
what the package chooses: `processes` on such a CPU, else `vmapped`. A turn is
20 updates of every trial.
"""

from collections.abc import Callable, Sequence
import contextlib
import multiprocessing
import sys
from typing import Any, NamedTuple

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, ours, recipe
from rnnvae_jax import startup
from rnnvae_jax.data import batches
from rnnvae_jax.training import (
  optimizers,
  population,
  preparation,
  processes,
  step,
)
from rnnvae_jax.training import state as state_lib

_TRIALS = flags.DEFINE_integer('trials', 4, 'Trials.', lower_bound=1)


class _Work(NamedTuple):
  """What trials share, and what differs."""

  arguments: tuple[Any, ...]  # Of `step.make_update`.
  corpus: Any  # On the device.
  lengths: np.ndarray  # int[sentences]
  plan: Callable[[int], batches.Plan]  # The batches of a turn.
  states: dict[int, Any]  # By trial.
  scalars: dict[int, Any]


def main(_) -> None:
  startup.prepare_jax()  # Programs are compiled once in many calls.
  trials = _TRIALS.value
  cores = processes.available_cores()
  makers = {'vmapped': _vmapped, 'sequential': _sequential}
  if jax.default_backend() == 'cpu' and len(cores) > 1:
    makers = {'processes': _processes, **makers}
  timings = harness.interleave(
    {name: make(range(trials)) for name, make in makers.items()},
    harness.REPETITIONS.value,
  )
  work = _make_work(())
  plans = [work.plan(turn).rows for turn in range(harness.REPETITIONS.value)]
  real = trials * sum(
    int(work.lengths[rows[rows != batches.BLANK]].sum()) for rows in plans
  )
  per_call = len(plans[0])
  figures = {
    name: {
      'milliseconds_per_step_and_trial': harness.spread(
        1e3 * timing.turns / per_call / trials
      ),
      'tokens_per_second': harness.spread(real / len(plans) / timing.turns),
    }
    for name, timing in timings.items()
  }
  chosen, *others = timings
  rows = {
    name: {
      'ms a step and trial': harness.brief(
        figure['milliseconds_per_step_and_trial']
      ),
      'tokens/s': f'{figure["tokens_per_second"]["median"]:,.0f}',
    }
    for name, figure in figures.items()
  }
  ratios = {
    name: harness.ratio(timings[name], timings[chosen]) for name in others
  }
  report = {
    'ours': {'name': chosen, **figures[chosen]},
    'peers': {name: figures[name] for name in others},
    'ratio': ratios,
    'environment': harness.environment(
      trials=trials,
      corpus=ours.CORPUS.value,
      batch_size=ours.BATCH_SIZE.value,
      hidden_size=ours.HIDDEN_SIZE.value,
      precision=harness.PRECISION.value,
    ),
  }
  title = (
    f'{trials} trials, {chosen}: {ratios["sequential"]:.2f} times the trials '
    'an hour of one after another'
  )
  harness.publish(title, rows, report)


def _config() -> Any:
  return ours.make_config(
    ours.CORPUS.value,
    ours.HIDDEN_SIZE.value,
    ours.BATCH_SIZE.value,
    harness.PRECISION.value,
  )


def _make_work(numbers: Sequence[int]) -> _Work:
  """The work of the trials of these numbers."""
  config = _config()
  corpus = preparation.build_corpus(config)
  task = ours.make_task(config, len(corpus.vocab))
  tx = optimizers.build(config)
  split = corpus.splits['train']
  buckets = preparation.train_buckets(config, split)
  per_call = config.train.steps_per_call
  schedule = batches.Schedule(
    split.lengths, buckets, config.train.batch_size, 0
  )
  rate = lambda i: recipe.LEARNING_RATE * (1 + i / _TRIALS.value)
  scalars = ours.make_hyperparameters(config)
  return _Work(
    (task, tx, buckets, config.optimizer.schedule),
    batches.put(split),
    np.asarray(split.lengths),
    lambda turn: schedule.steps(turn * per_call, per_call),
    {i: state_lib.create(task, tx, i) for i in numbers},
    {
      i: scalars.replace({'optimizer.learning_rate': jnp.float32(rate(i))})
      for i in numbers
    },
  )


def _sequential(numbers: Sequence[int]) -> Callable[[int], Any]:
  work = _make_work(numbers)
  one_step = step.make_train_step(*work.arguments)

  def run(turn):
    plan = [*map(jnp.asarray, work.plan(turn))]
    losses = []
    for i in numbers:
      work.states[i], _, loss = one_step(
        work.states[i], work.corpus, *plan, work.scalars[i]
      )
      losses.append(loss)
    return losses

  return run


def _vmapped(numbers: Sequence[int]) -> Callable[[int], Any]:
  work = _make_work(numbers)
  all_steps = population.make_population_step(*work.arguments)
  stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees.values())
  states, scalars = stack(work.states), stack(work.scalars)

  def run(turn):
    nonlocal states
    plan = work.plan(turn)
    states, losses = all_steps(
      states,
      work.corpus,
      jnp.broadcast_to(plan.rows, (len(numbers), *plan.rows.shape)),
      jnp.asarray(plan.bucket),
      scalars,
      jnp.ones(len(numbers), bool),
      jnp.int32(len(plan.bucket)),
    )
    return losses

  return run


def _processes(numbers: Sequence[int]) -> Callable[[int], Any]:
  """One process a core, which end with this one."""
  context = multiprocessing.get_context('spawn')
  cores = processes.available_cores()
  pipes = []
  for place, core in enumerate(cores):
    ours, theirs = context.Pipe()
    child = context.Process(
      target=_serve, args=(theirs, numbers[place :: len(cores)]), daemon=True
    )
    with processes.bound_to(core):
      child.start()
    theirs.close()
    pipes.append(ours)

  def run(turn):
    for pipe in pipes:
      pipe.send(turn)
    return [pipe.recv() for pipe in pipes]

  return run


def _serve(pipe: Any, numbers: Sequence[int]) -> None:
  """Trains these trials whenever a turn is asked for."""
  flags.FLAGS(sys.argv)
  startup.prepare_jax()
  run = _sequential(numbers)
  with contextlib.suppress(EOFError):  # The parent has ended.
    while True:
      pipe.send(jax.device_get(run(pipe.recv())))


if __name__ == '__main__':
  app.run(main)
