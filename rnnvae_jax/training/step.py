"""The fused step: K updates as one compiled program with a donated state."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnvae_jax.data import batches
from rnnvae_jax.objectives import schedules
from rnnvae_jax.ops import rows as rows_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import compiler, devices

# Encoder updates between checks of whether the inner loop still helps.
_PATIENCE = 15


def make_update(
  task: base.Trained,
  tx: optax.GradientTransformation,
  buckets: Sequence[batches.Bucket],
  learning_rate_schedule: str,
  gather: Callable = batches.gather,
  skips: bool = False,
) -> Callable:
  """Returns `update(corpus, hyperparameters, state, (rows, bucket))`.

  The function does one update. It gathers `rows` int32[B] from the corpus on
  the device and pads them to the length of the bucket, with one branch of the
  program for each bucket.

  If `task.inner_steps` > 0 and `state.selection.explores`, at most so many
  updates of `task.inner_parts` alone precede the update of the other
  parameters. They are plain gradient descent on batches from the whole corpus,
  which must be entirely on the device.

  Args:
    task: provides the loss to minimise.
    tx: turns gradients into updates at learning rate 1; the sign is applied
      here.
    buckets: the shapes of batches.
    learning_rate_schedule: see `objectives.schedules`.
    gather: makes a batch of `rows`; see `batches`.
    skips: whether an update whose loss or gradient is not finite is left out:
      it is counted by `state.step`, and changes nothing else.

  Returns:
    The function. It returns the new state, and the metrics and the loss of
    the batch; the loss is NaN if only the gradient is not finite.
  """
  lengths = jnp.array([bucket.length for bucket in buckets])
  inner_steps = task.inner_steps

  def gradients(corpus, now, key, extras, params, rows, bucket):
    """(loss, (sums, extras)), gradients, their norm before clipping."""

    def padded_to(shape, params):
      loss = jax.value_and_grad(task.loss, has_aux=True)
      return loss(params, gather(corpus, rows, shape), now, key, extras)

    branches = [functools.partial(padded_to, shape) for shape in buckets]
    value, grads = jax.lax.switch(bucket, branches, params)
    grads = rows_lib.mean(grads)
    grads = _frozen(task, grads)  # Their gradients are no part of the norm.
    norm = optax.tree.norm(grads)
    clip, decay = now.optimizer.clip_norm, now.optimizer.weight_decay
    if clip is not None:
      # In a population, clip_norm is 0 for members that do not clip.
      clip = jnp.where(clip > 0, clip, jnp.inf)
      tiny = jnp.finfo(norm.dtype).tiny  # Avoids a division by 0.
      shrink = jnp.minimum(1.0, clip / jnp.maximum(norm, tiny))
      grads = jax.tree.map(lambda grad: grad * shrink, grads)
    if decay is not None:
      add = lambda grad, p: grad + decay * p
      grads = _frozen(task, jax.tree.map(add, grads, params))
    return value, grads, norm

  def update(corpus, hyperparameters, state, batch):
    now = task.schedule(hyperparameters, state.step)
    key = jax.random.fold_in(state.key, state.step)
    rate = learning_rate(
      task, hyperparameters, state.step, learning_rate_schedule
    )
    rate = rate * state.selection.learning_rate_scale
    params = state.params
    if inner_steps:
      params = explored(corpus, now, key, rate, state, batch)
    (loss, (sums, extras)), grads, norm = gradients(
      corpus, now, key, state.extras, params, *batch
    )
    if inner_steps:
      grads = _masked(task, grads, inner=False, when=state.selection.explores)
    updates, opt_state = tx.update(grads, state.opt_state, params)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    metrics = task.metrics.single_from_model_output(
      loss=loss, grad_norm=norm, learning_rate=rate, **sums
    )
    changed = params, opt_state, extras
    if skips:
      is_finite = jnp.isfinite(loss) & jnp.isfinite(norm)
      kept = state.params, state.opt_state, state.extras
      choose = lambda new, old: jnp.where(is_finite, new, old)
      changed = jax.tree.map(choose, changed, kept)
      # Sums of which this update has no part.
      metrics = jax.tree.map(lambda x: choose(x, jnp.zeros_like(x)), metrics)
    params, opt_state, extras = changed
    state = state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, extras=extras
    )
    is_hidden = jnp.isfinite(loss) & ~jnp.isfinite(norm)
    return state, (metrics, jnp.where(is_hidden, jnp.nan, loss))

  def explored(corpus, now, key, rate, state, batch):
    """Returns the parameters after updates of the inner parts alone.

    The aggressive training of He et al., arXiv:1901.05534, section 3.3: inner
    updates continue until the mean nats per token over `_PATIENCE` batches stop
    falling. The first batch is the update's own; the others are drawn at random
    from batches of sentences of similar length.
    """
    size = batch[0].shape[0] * rows_lib.parts()
    others = batches.pad_rows(jnp.argsort(corpus.lengths), size)
    longest = jnp.max(
      jnp.where(others == batches.BLANK, 0, corpus.lengths[others]), axis=1
    )
    bucket_of = jnp.searchsorted(lengths, longest, method='compare_all')
    others = rows_lib.own(others, axis=1)

    def still_helps(loop):
      number, helps, *_ = loop
      return helps & (number < inner_steps)

    def inner_update(loop):
      number, _, params, nats, tokens, before = loop
      inner_key = jax.random.fold_in(key, number + 1)
      place = jax.random.randint(inner_key, (), 0, len(others))
      rows, bucket = (
        jnp.where(number == 0, own, alternatives[place])
        for own, alternatives in zip(batch, (others, bucket_of), strict=True)
      )
      (loss, (sums, _)), grads, _ = gradients(
        corpus, now, inner_key, state.extras, params, rows, bucket
      )
      grads = _masked(task, grads, inner=True, when=True)
      params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
      nats = nats + loss * sums['sentences']
      tokens = tokens + sums['tokens']
      number = number + 1
      due = number % _PATIENCE == 0
      mean = nats / tokens
      helps = jnp.where(due, mean < before, True)
      nats, tokens = (jnp.where(due, 0.0, x) for x in (nats, tokens))
      return number, helps, params, nats, tokens, jnp.where(due, mean, before)

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
    return jax.lax.while_loop(still_helps, inner_update, loop)[2]

  return update


def _masked(task, grads, inner: bool, when):
  """Sets the gradients of the other parts to 0, if `when` is true.

  Args:
    task: names the inner parts.
    grads: gradients of all parameters.
    inner: whether the inner parts are kept, or all others.
    when: bool[] or bool.
  """

  def keep(path, grad):
    part = path[1].key  # path[0] is 'params'.
    if (part in task.inner_parts) == inner:
      return grad
    return jnp.where(when, 0.0, grad)

  return jax.tree_util.tree_map_with_path(keep, grads)


def _frozen(task, grads):
  """Gradients without those of the parts that stay as they begin."""
  if not task.frozen_parts:
    return grads

  def keep(path, grad):
    return jnp.zeros_like(grad) if path[1].key in task.frozen_parts else grad

  return jax.tree_util.tree_map_with_path(keep, grads)


def make_train_step(
  *args,
  mesh: devices.Mesh = None,
  corpus_specs: Any = devices.ALL,
  **kwargs,
) -> Callable:
  """Returns `train_step(state, corpus, rows, bucket, hyperparameters)`.

  `rows` int32[K, B] and `bucket` int32[K] name the sentences of K batches. The
  updates run as one scan, so the overhead of Python and of dispatch occurs once
  in K updates. `state` is donated: the caller must not use it after the call.

  Args:
    *args: see `make_update`.
    mesh: of the devices among which the rows of each batch are divided, each of
      which does the same update; see `devices`.
    corpus_specs: which of the corpus's arrays are divided among them.
    **kwargs: see `make_update`.

  Returns:
    The function. It returns the new state, the metrics of the K updates merged
    on the device, and the loss of each update, float32[K], which is not finite
    if the loss or the gradient is not.
  """

  update = make_update(*args, **kwargs)
  platform = jax.default_backend()
  specs = None if mesh is None else devices.state_specs(args[0])

  def all_updates(state, corpus, rows, bucket, hyperparameters):
    update_batch = functools.partial(update, corpus, hyperparameters)
    state, (metrics, loss) = jax.lax.scan(update_batch, state, (rows, bucket))
    return state, _merged(metrics, platform), loss

  each = devices.ALL
  run = devices.divided(
    all_updates,
    mesh,
    (specs, corpus_specs, devices.PLANS, each, each),
    (specs, each, each),
  )

  @functools.partial(
    jax.jit, donate_argnums=0, compiler_options=compiler.options(platform)
  )
  def train_step(state, corpus, rows, bucket, hyperparameters):
    return run(state, corpus, rows, bucket, hyperparameters)

  return train_step


def _merged(metrics, platform: str):
  """The sums of K updates from those of each, [K] each.

  `reduce` adds them in a loop over K. On a GPU each number in it would be a
  kernel of one thread.
  """
  if platform != 'gpu':
    return metrics.reduce()
  return jax.tree.map(lambda each: jnp.sum(each, axis=0), metrics)


def learning_rate(
  task: base.Trained,
  hyperparameters: Any,
  step: jax.Array,
  schedule: Any,
) -> jax.Array:
  """The scheduled learning rate, float32[], without decays on plateaus.

  Args:
    task: says at which step the schedule begins.
    hyperparameters: traced scalars of the run.
    step: number of updates done, from 0.
    schedule: see `objectives.schedules`.
  """
  optimizer = hyperparameters.optimizer
  since, steps = task.learning_rate_step(hyperparameters, step)
  rate, final = optimizer.learning_rate, optimizer.final_learning_rate
  rate = schedules.anneal(
    schedule,
    since,
    start=rate,
    end=rate if final is None else final,
    steps=steps,
  )
  if optimizer.decay_every is not None:
    rate *= schedules.staircase(
      since,
      start=optimizer.decay_start,
      every=optimizer.decay_every,
      factor=optimizer.decay_factor,
    )
  return rate


def make_evaluation_step(
  task: base.Task,
  buckets: Sequence[batches.Bucket],
  samples: base.Samples,
  mesh: devices.Mesh = None,
) -> Callable:
  """Returns `evaluate(params, corpus, rows int[B], bucket, key, extras)`.

  `bucket` is static, so one program is compiled for each bucket. `evaluate`
  returns the values of each row (see `Task.evaluate`), without dropout. The
  rows are divided among the devices of a mesh.
  """

  @functools.partial(jax.jit, static_argnames='bucket')
  def evaluate(params, corpus, rows, bucket, key, extras):
    each, some = devices.ALL, devices.ROWS
    run = devices.divided(
      functools.partial(on_rows, bucket),
      mesh,
      (each, each, some, each, each),
      some,
    )
    return run(params, corpus, rows, key, extras)

  def on_rows(bucket, params, corpus, rows, key, extras):
    batch = batches.gather(corpus, rows, buckets[bucket])
    if samples.shuffled:
      # A row's partner is half the split away, so it does not depend on how the
      # split is cut into batches.
      count = len(corpus.lengths)
      partners = (rows + count // 2) % count
      partners = jnp.where(rows == batches.BLANK, rows, partners)
      batch['partners'] = batches.gather(corpus, partners, buckets[-1])
    return task.evaluate(params, batch, key, extras, samples)

  return evaluate
