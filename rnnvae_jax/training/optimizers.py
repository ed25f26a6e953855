"""The optimiser and the scalars that a config sets."""

from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnvae_jax.ops import noise
from rnnvae_jax.training import state as state_lib


class Averaging(NamedTuple):
  """State of an optimiser that also averages its iterates."""

  inner: Any
  average: Any  # Mean of the parameters since averaging began.
  count: Any  # int32[], of how many; -1 before it has begun.
  recent: Any  # float32[n], the last validations, the newest last.
  earlier: Any  # float32[], the best of those before them.


def build(config: Any) -> optax.GradientTransformation:
  """Gradients to updates at learning rate 1; the step applies rate and sign."""
  if config.optimizer.name == 'adam':
    tx = optax.scale_by_adam()
  else:
    tx = optax.identity()
  patience = config.optimizer.average_patience
  return averaging(tx, patience) if patience else tx


def averaging(
  tx: optax.GradientTransformation, patience: int
) -> optax.GradientTransformation:
  """`tx`, whose state has the mean of the parameters besides.

  Averaged stochastic gradient descent (Polyak & Juditsky 1992), which begins
  when `heed` says so.

  Args:
    tx: the optimiser.
    patience: n >= 1 of `heed`.
  """

  def init(params):
    copy = jax.tree.map(jnp.array, params)
    recent = jnp.full(patience, jnp.inf, jnp.float32)
    return Averaging(
      tx.init(params), copy, jnp.int32(-1), recent, jnp.float32(jnp.inf)
    )

  def update(grads, state, params):
    updates, inner = tx.update(grads, state.inner, params)
    count = jnp.where(state.count < 0, -1, state.count + 1)
    share = 1.0 / jnp.maximum(count, 1)
    average = jax.tree.map(
      lambda mean, p: mean + share * (p - mean), state.average, params
    )
    return updates, state._replace(inner=inner, average=average, count=count)

  return optax.GradientTransformation(init, update)


def heed(opt_state: Any, value: float) -> Any:
  """Takes a validation in; averaging begins with one that says it may.

  The non-monotone trigger of NT-ASGD (Merity et al., arXiv:1708.02182), as the
  authors' code has it (awd-lstm-lm, main.py): a validation is worse than the
  best of those before the last n.

  Args:
    opt_state: of any optimiser; without averaging it is returned as it is.
    value: nats, lower is better.
  """
  if not isinstance(opt_state, Averaging):
    return opt_state
  # Rounded first, as what it is compared with has been.
  triggers = np.float32(value) > np.float32(opt_state.earlier)
  if triggers and int(opt_state.count) < 0:
    opt_state = opt_state._replace(count=jnp.int32(0))
  recent = opt_state.recent
  return opt_state._replace(
    earlier=jnp.minimum(opt_state.earlier, recent[0]),
    recent=jnp.append(recent[1:], jnp.float32(value)),
  )


def evaluated(state: state_lib.TrainState) -> Any:
  """The parameters to evaluate: the averaged ones where there are any."""
  if not isinstance(state.opt_state, Averaging):
    return state.params
  begun = state.opt_state.count > 0
  return jax.tree.map(
    lambda average, p: jnp.where(begun, average, p),
    state.opt_state.average,
    state.params,
  )


def hyperparameters(
  config: Any, dropping: Collection[str] = ()
) -> state_lib.Hyperparameters:
  """The scalars of a config as the step's argument.

  Args:
    config: of the run.
    dropping: keys of `config.dropout` whose rates are arguments even where they
      are 0, for programs that other configs share.
  """
  optimizer, objective = config.optimizer, config.objective
  rates = {site: getattr(config.dropout, site) for site in noise.Rates._fields}
  rates = {
    site: jnp.float32(rate) if rate or site in dropping else None
    for site, rate in rates.items()
  }
  final = optimizer.final_learning_rate
  if optimizer.schedule == 'constant':  # Which has an end only.
    final = optimizer.learning_rate
  temperature = objective.teacher_temperature
  # What an absent part would read is left out of the program.
  if_any = lambda part, value: jnp.float32(value) if part else None
  return state_lib.Hyperparameters(
    learning_rate=jnp.float32(optimizer.learning_rate),
    final_learning_rate=jnp.float32(final),
    learning_rate_steps=jnp.float32(
      config.train.num_steps - config.train.pretrain_steps
    ),
    pretrain_steps=jnp.float32(config.train.pretrain_steps),
    decay_factor=if_any(optimizer.decay_every, optimizer.decay_factor),
    decay_start=if_any(optimizer.decay_every, optimizer.decay_start),
    decay_every=if_any(optimizer.decay_every, optimizer.decay_every),
    clip_norm=jnp.float32(optimizer.clip_norm or jnp.inf),
    weight_decay=if_any(optimizer.weight_decay, optimizer.weight_decay),
    dropout=noise.Rates(**rates),
    kl_weight=jnp.float32(objective.kl_weight),
    kl_start=jnp.float32(objective.kl_start),
    kl_anneal_steps=jnp.float32(objective.kl_anneal_steps),
    kl_cycles=jnp.float32(objective.kl_cycles),
    free_bits=jnp.float32(objective.free_bits),
    target_rate=jnp.float32(objective.target_rate),
    rate_control_speed=jnp.float32(objective.rate_control_speed),
    mmd_weight=if_any(objective.mmd_weight, objective.mmd_weight),
    label_smoothing=if_any(
      objective.label_smoothing, objective.label_smoothing
    ),
    augmentation=if_any(objective.augmentation, objective.augmentation),
    teacher_temperature=if_any(objective.augmentation, temperature),
    final_teacher_temperature=if_any(
      objective.augmentation, objective.final_teacher_temperature or temperature
    ),
    activation_penalty=if_any(
      objective.activation_penalty, objective.activation_penalty
    ),
    temporal_penalty=if_any(
      objective.temporal_penalty, objective.temporal_penalty
    ),
  )
