"""Controls that hold the KL term at a target rate, one file for each kind."""

from rnnvae_jax.objectives.rate_control.base import (
  KINDS,
  Control,
  RateControlConfig,
  bounded,
  fragments,
  initial,
  kl_weight,
  penalty,
  update,
)

__all__ = [
  'KINDS',
  'Control',
  'RateControlConfig',
  'bounded',
  'fragments',
  'initial',
  'kl_weight',
  'penalty',
  'update',
]
