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

# Encoder updates after which the inner loop asks whether they still help.
_PATIENCE = 15


def make_update(
  task: tasks.Task,
  tx: optax.GradientTransformation,
  buckets: Sequence[batches.Bucket],
  learning_rate_schedule: str,
  kl_schedule: str,
  inner_steps: int = 0,
  gather: Callable = batches.gather,
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
    inner_steps: updates of the encoder alone that come before one of the
      decoder alone, at most, while `state.selection.explores`; 0: all
      parameters at once, always. They are of plain gradient descent, on
      batches from the whole corpus, which must not be a stream of parts.
    gather: makes a batch of `rows`; see `batches`.

  Returns:
    The function; it returns the new state, and the metrics and the loss of
    the batch.
  """
  lengths = jnp.array([bucket.length for bucket in buckets])

  def gradients(corpus, now, key, extras, params, rows, bucket):
    """(loss, (sums, extras)), gradients, their norm before clipping."""

    def of_shape(shape, params):
      loss = jax.value_and_grad(task.loss, has_aux=True)
      return loss(params, gather(corpus, rows, shape), now, key, extras)

    branches = [functools.partial(of_shape, shape) for shape in buckets]
    value, grads = jax.lax.switch(bucket, branches, params)
    norm = optax.tree.norm(grads)
    tiny = jnp.finfo(norm.dtype).tiny  # A norm of 0 is not divided by.
    shrink = jnp.minimum(1.0, now.clip_norm / jnp.maximum(norm, tiny))
    grads = jax.tree.map(lambda grad: grad * shrink, grads)
    if now.weight_decay is not None:
      add = lambda grad, p: grad + now.weight_decay * p
      grads = jax.tree.map(add, grads, params)
    return value, grads, norm

  def update(corpus, hyperparameters, state, batch):
    now = at_step(
      hyperparameters, state.step, learning_rate_schedule, kl_schedule
    )
    key = jax.random.fold_in(state.key, state.step)
    rate = now.learning_rate * state.selection.learning_rate_scale
    params = state.params
    if inner_steps:
      params = explored(corpus, now, key, rate, state, batch)
    (loss, (sums, extras)), grads, norm = gradients(
      corpus, now, key, state.extras, params, *batch
    )
    if inner_steps:
      grads = _of_part(grads, encoder=False, when=state.selection.explores)
    updates, opt_state = tx.update(grads, state.opt_state, params)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    metrics = task.metrics.single_from_model_output(
      loss=loss, grad_norm=norm, learning_rate=rate, **sums
    )
    state = state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, extras=extras
    )
    return state, (metrics, loss)

  def explored(corpus, now, key, rate, state, batch):
    """Parameters after updates of the encoder alone (He et al. 2019).

    arXiv:1901.05534, section 3.3: one batch after the other, until the mean
    nats of a token over some of them do not fall any more. The first batch is
    the update's own; the others are any that sentences sorted by length make.
    """
    size = batch[0].shape[0]
    order = jnp.argsort(corpus.lengths)
    blanks = jnp.full(-order.shape[0] % size, batches.BLANK)
    others = jnp.concatenate([order, blanks]).reshape(-1, size)
    longest = jnp.max(
      jnp.where(others == batches.BLANK, 0, corpus.lengths[others]), axis=1
    )
    bucket_of = jnp.searchsorted(lengths, longest)

    def more(loop):
      number, going, *_ = loop
      return going & (number < inner_steps)

    def one(loop):
      number, _, params, nats, tokens, before = loop
      inner_key = jax.random.fold_in(key, number + 1)
      place = jax.random.randint(inner_key, (), 0, len(others))
      rows, bucket = (
        jnp.where(number == 0, own, of_all[place])
        for own, of_all in zip(batch, (others, bucket_of), strict=True)
      )
      (loss, (sums, _)), grads, _ = gradients(
        corpus, now, inner_key, state.extras, params, rows, bucket
      )
      grads = _of_part(grads, encoder=True, when=True)
      params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
      nats = nats + loss * sums['sentences']
      tokens = tokens + sums['tokens']
      number = number + 1
      due = number % _PATIENCE == 0
      mean = nats / tokens
      going = jnp.where(due, mean < before, True)
      nats, tokens = (jnp.where(due, 0.0, x) for x in (nats, tokens))
      return number, going, params, nats, tokens, jnp.where(due, mean, before)

    zero = jnp.float32(0)
    explores = state.selection.explores
    loop = (
      jnp.int32(0),
      explores,
      state.params,
      zero,
      zero,
      jnp.float32(jnp.inf),
    )
    return jax.lax.while_loop(more, one, loop)[2]

  return update


def _of_part(grads, encoder: bool, when):
  """Gradients of the encoder or of the rest, the others 0, `when` so."""

  def keep(path, grad):
    part = path[1].key  # After 'params'.
    if (part in tasks.ENCODER_PARTS) == encoder:
      return grad
    return jnp.where(when, 0.0, grad)

  return jax.tree_util.tree_map_with_path(keep, grads)


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
  """The hyperparameters with the scheduled ones as they are at `step`.

  While an autoencoder is pretrained the KL term has no weight, no rate is to be
  held, and the learning rate is its first; then all schedules begin.
  """
  since = step - hyperparameters.pretrain_steps
  active = jnp.where(since < 0, 0.0, 1.0)
  step = jnp.maximum(since, 0.0)
  learning_rate = schedules.anneal(
    learning_rate_schedule,
    step,
    start=hyperparameters.learning_rate,
    end=hyperparameters.final_learning_rate,
    steps=hyperparameters.learning_rate_steps,
  )
  if hyperparameters.decay_factor is not None:
    learning_rate *= schedules.staircase(
      step,
      start=hyperparameters.decay_start,
      every=hyperparameters.decay_every,
      factor=hyperparameters.decay_factor,
    )
  if hyperparameters.augmentation is not None:
    hyperparameters = hyperparameters.replace(
      teacher_temperature=schedules.anneal(
        'linear',
        step,
        start=hyperparameters.teacher_temperature,
        end=hyperparameters.final_teacher_temperature,
        steps=hyperparameters.learning_rate_steps,
      )
    )
  return hyperparameters.replace(
    learning_rate=learning_rate,
    target_rate=active * hyperparameters.target_rate,
    mmd_weight=jax.tree.map(
      lambda weight: active * weight, hyperparameters.mmd_weight
    ),
    kl_weight=active
    * schedules.anneal(
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
