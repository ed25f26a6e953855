"""The fused step: K updates as one compiled program with a donated state."""

from collections.abc import Callable, Sequence
import functools

import jax
import jax.numpy as jnp
import optax

from rnnvae_jax.data import batches
from rnnvae_jax.objectives import schedules
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import tasks


def make_update(
  task: tasks.Task,
  tx: optax.GradientTransformation,
  buckets: Sequence[batches.Bucket],
  learning_rate_schedule: str,
  kl_schedule: str,
) -> Callable:
  """Returns `update(corpus, hyperparameters, state, (rows, bucket))`.

  One update: `rows` int32[B] are gathered from the corpus on the device, each
  padded to its bucket's length by a branch of its own.

  Args:
    task: what is minimised.
    tx: turns gradients into updates at learning rate 1; the sign is applied
      here.
    buckets: the shapes of batches.
    learning_rate_schedule: see `objectives.schedules`.
    kl_schedule: likewise.

  Returns:
    The function; it returns the new state, and the metrics and the loss of
    the batch.
  """

  def update(corpus, hyperparameters, state, batch):
    rows, bucket = batch
    now = at_step(
      hyperparameters, state.step, learning_rate_schedule, kl_schedule
    )
    key = jax.random.fold_in(state.key, state.step)

    def of_shape(shape, params):
      loss = jax.value_and_grad(task.loss, has_aux=True)
      sentences = batches.gather(corpus, rows, shape)
      return loss(params, sentences, now, key, state.extras)

    branches = [functools.partial(of_shape, shape) for shape in buckets]
    (loss, (sums, extras)), grads = jax.lax.switch(
      bucket, branches, state.params
    )
    norm = optax.tree.norm(grads)
    tiny = jnp.finfo(norm.dtype).tiny  # A norm of 0 is not divided by.
    shrink = jnp.minimum(1.0, now.clip_norm / jnp.maximum(norm, tiny))
    grads = jax.tree.map(lambda grad: grad * shrink, grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    rate = now.learning_rate * state.selection.learning_rate_scale
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    metrics = task.metrics.single_from_model_output(
      loss=loss,
      grad_norm=norm,
      learning_rate=rate,
      kl_weight=now.kl_weight,
      **sums,
    )
    state = state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, extras=extras
    )
    return state, (metrics, loss)

  return update


def make_train_step(*args, **kwargs) -> Callable:
  """Returns `train_step(state, corpus, rows, bucket, hyperparameters)`.

  `rows` int32[K, B] and `bucket` int32[K] name the sentences of K batches. The
  updates run as one scan, so Python and dispatch are paid once per K steps.
  `state` is donated: the caller's copy is dead after the call.

  Args:
    *args: see `make_update`.
    **kwargs: likewise.

  Returns:
    The function; it returns the new state, the metrics of the K updates merged
    on the device, and the loss of each update, float32[K].
  """

  update = make_update(*args, **kwargs)

  @functools.partial(jax.jit, donate_argnums=0)
  def train_step(state, corpus, rows, bucket, hyperparameters):
    one = functools.partial(update, corpus, hyperparameters)
    state, (metrics, loss) = jax.lax.scan(one, state, (rows, bucket))
    return state, metrics.reduce(), loss

  return train_step


def at_step(
  hyperparameters: state_lib.Hyperparameters,
  step: jax.Array,
  learning_rate_schedule: str,
  kl_schedule: str,
) -> state_lib.Hyperparameters:
  """The hyperparameters with the scheduled ones as they are at `step`."""
  return hyperparameters.replace(
    learning_rate=schedules.anneal(
      learning_rate_schedule,
      step,
      start=hyperparameters.learning_rate,
      end=hyperparameters.final_learning_rate,
      steps=hyperparameters.learning_rate_steps,
    ),
    kl_weight=schedules.anneal(
      kl_schedule,
      step,
      start=hyperparameters.kl_start,
      end=hyperparameters.kl_weight,
      steps=hyperparameters.kl_anneal_steps,
      cycles=hyperparameters.kl_cycles,
    ),
  )


def make_evaluation_step(
  task: tasks.Task,
  buckets: Sequence[batches.Bucket],
  num_samples: int,
  chunk: int,
) -> Callable:
  """Returns `evaluate(params, corpus, rows int[B], bucket, key, extras)`.

  One program per bucket; `bucket` is static. The values of each row come back
  (see `Task.evaluate`), without dropout.
  """

  @functools.partial(jax.jit, static_argnames='bucket')
  def evaluate(params, corpus, rows, bucket, key, extras):
    batch = batches.gather(corpus, rows, buckets[bucket])
    return task.evaluate(params, batch, key, extras, num_samples, chunk)

  return evaluate
