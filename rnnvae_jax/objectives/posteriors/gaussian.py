"""Independent Gaussians (Kingma & Welling, arXiv:1312.6114)."""

from rnnvae_jax.config import schema
from rnnvae_jax.objectives.posteriors import base


@schema.fragment('model', only_if=schema.one_of('model.posterior', 'gaussian'))
class GaussianConfig:
  """The Gaussian posterior has no keys of its own."""


CONFIG = GaussianConfig


def build(latent_size: int, config: GaussianConfig) -> base.Family:
  """The family; see `base`."""
  del config
  return base.gaussian(latent_size)._replace(learnt_prior=True)
