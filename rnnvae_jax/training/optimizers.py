"""The optimiser and the scalars that a config sets."""

from typing import Any

import jax.numpy as jnp
import optax

from rnnvae_jax.training import state


def build(config: Any) -> optax.GradientTransformation:
  """Gradients to updates at learning rate 1; the step applies rate and sign."""
  if config.optimizer.name == 'adam':
    return optax.scale_by_adam()
  return optax.identity()


def hyperparameters(config: Any) -> state.Hyperparameters:
  """The scalars of a config as the step's argument."""
  optimizer, objective = config.optimizer, config.objective
  final = optimizer.final_learning_rate
  if optimizer.schedule == 'constant':  # Which has an end only.
    final = optimizer.learning_rate
  return state.Hyperparameters(
    learning_rate=jnp.float32(optimizer.learning_rate),
    final_learning_rate=jnp.float32(final),
    learning_rate_steps=jnp.float32(config.train.num_steps),
    clip_norm=jnp.float32(optimizer.clip_norm or jnp.inf),
    dropout_embedding=jnp.float32(config.dropout.embedding),
    dropout_hidden=jnp.float32(config.dropout.hidden),
    dropout_output=jnp.float32(config.dropout.output),
    dropout_word=jnp.float32(config.dropout.word),
    kl_weight=jnp.float32(objective.kl_weight),
    kl_start=jnp.float32(objective.kl_start),
    kl_anneal_steps=jnp.float32(objective.kl_anneal_steps),
    kl_cycles=jnp.float32(objective.kl_cycles),
    free_bits=jnp.float32(objective.free_bits),
  )
