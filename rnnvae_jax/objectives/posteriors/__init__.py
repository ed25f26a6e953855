"""Families of approximate posteriors, one file a kind; see `base`."""

from rnnvae_jax.objectives.posteriors.base import (
  KINDS,
  Family,
  Posterior,
  PosteriorConfig,
  build,
  fragments,
  from_config,
  kl_varies,
  option_names,
)

__all__ = [
  'KINDS',
  'Family',
  'Posterior',
  'PosteriorConfig',
  'build',
  'fragments',
  'from_config',
  'kl_varies',
  'option_names',
]
