"""The optimiser and the scalars that a config sets."""

from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
import optax

from rnnvae_jax.ops import noise
from rnnvae_jax.training import state


def build(config: Any) -> optax.GradientTransformation:
  """Gradients to updates at learning rate 1; the step applies rate and sign."""
  if config.optimizer.name == 'adam':
    return optax.scale_by_adam()
  return optax.identity()


def hyperparameters(
  config: Any, dropping: Collection[str] = ()
) -> state.Hyperparameters:
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
  return state.Hyperparameters(
    learning_rate=jnp.float32(optimizer.learning_rate),
    final_learning_rate=jnp.float32(final),
    learning_rate_steps=jnp.float32(config.train.num_steps),
    clip_norm=jnp.float32(optimizer.clip_norm or jnp.inf),
    dropout=noise.Rates(**rates),
    kl_weight=jnp.float32(objective.kl_weight),
    kl_start=jnp.float32(objective.kl_start),
    kl_anneal_steps=jnp.float32(objective.kl_anneal_steps),
    kl_cycles=jnp.float32(objective.kl_cycles),
    free_bits=jnp.float32(objective.free_bits),
  )
