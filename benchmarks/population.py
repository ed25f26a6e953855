r"""Trials of a population against the same trials one after another.

  python -m benchmarks.population --trials=32 --json=population.json

Both train the GRU sentence VAE of `recipe` from the seeds 0, 1, ... on the same
batches, with a different learning rate for each trial. `sequential` runs the
fused step of one trial after the other, as N runs would; `ours` runs all trials
as one program. A turn is 20 updates of every trial.
"""

from absl import app, flags
import jax
import jax.numpy as jnp

from benchmarks import harness, ours, recipe
from rnnvae_jax.data import batches
from rnnvae_jax.training import optimizers, population, preparation, step
from rnnvae_jax.training import state as state_lib

_TRIALS = flags.DEFINE_integer('trials', 4, 'Trials.', lower_bound=1)


def main(_) -> None:
  trials = _TRIALS.value
  config = ours.make_config(
    ours.CORPUS.value,
    ours.HIDDEN_SIZE.value,
    ours.BATCH_SIZE.value,
    harness.PRECISION.value,
  )
  corpus = preparation.build_corpus(config)
  task = ours.make_task(config, len(corpus.vocab))
  tx = optimizers.build(config)
  split = corpus.splits['train']
  buckets = preparation.train_buckets(config, split)
  per_call = config.train.steps_per_call
  make_plan = batches.Schedule(
    split.lengths, buckets, config.train.batch_size, 0
  ).steps
  arguments = task, tx, buckets, config.optimizer.schedule
  one_step = step.make_train_step(*arguments)
  all_steps = population.make_population_step(*arguments)
  device_split = batches.put(split)
  scalars = [
    ours.make_hyperparameters(config).replace(
      {
        'optimizer.learning_rate': jnp.float32(
          recipe.LEARNING_RATE * (1 + i / trials)
        )
      }
    )
    for i in range(trials)
  ]
  states = [state_lib.create(task, tx, seed) for seed in range(trials)]
  stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)
  stacked, stacked_scalars = stack(states), stack(scalars)
  tokens = []

  def together(turn):
    nonlocal stacked
    plan = make_plan(turn * per_call, per_call)
    stacked, losses = all_steps(
      stacked,
      device_split,
      jnp.broadcast_to(plan.rows, (trials, *plan.rows.shape)),
      jnp.asarray(plan.bucket),
      stacked_scalars,
      jnp.ones(trials, bool),
      jnp.int32(per_call),
    )
    return losses

  def sequential(turn):
    plan = make_plan(turn * per_call, per_call)
    for i in range(trials):
      states[i], metrics, losses = one_step(
        states[i], device_split, *map(jnp.asarray, plan), scalars[i]
      )
    tokens.append(float(metrics.nll_per_token.denominator))
    return losses

  timings = harness.interleave(
    {'ours': together, 'sequential': sequential}, harness.REPETITIONS.value
  )
  real = trials * sum(tokens) / len(tokens)
  figures = {
    name: {
      'milliseconds_per_step_and_trial': harness.spread(
        1e3 * timing.turns / per_call / trials
      ),
      'tokens_per_second': harness.spread(real / timing.turns),
    }
    for name, timing in timings.items()
  }
  ratio = harness.ratio(timings['sequential'], timings['ours'])
  rows = {
    name: {
      'ms a step and trial': harness.brief(
        figure['milliseconds_per_step_and_trial']
      ),
      'tokens/s': f'{figure["tokens_per_second"]["median"]:,.0f}',
    }
    for name, figure in figures.items()
  }
  report = {
    'ours': figures['ours'],
    'peers': {'sequential': figures['sequential']},
    'ratio': {'sequential': ratio},
    'environment': harness.environment(
      trials=trials,
      corpus=ours.CORPUS.value,
      batch_size=ours.BATCH_SIZE.value,
      hidden_size=ours.HIDDEN_SIZE.value,
      precision=harness.PRECISION.value,
    ),
  }
  title = f'{trials} trials at once: {ratio:.2f} times the trials an hour'
  harness.publish(title, rows, report)


if __name__ == '__main__':
  app.run(main)
