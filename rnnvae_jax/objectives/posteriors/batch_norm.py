"""Gaussians whose means are batch-normalised, so that the KL cannot vanish."""

import functools

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.objectives.posteriors import base
from rnnvae_jax.ops import rows

# The weight of the old running statistics in an update.
_MOMENTUM = 0.99
_VARIANCE_FLOOR = 1e-5


@schema.fragment(
  'model', only_if=schema.one_of('model.posterior', 'batch_norm')
)
class BatchNormConfig:
  """Keys of the batch-normalised posterior.

  Attributes:
    posterior_scale: standard deviation of each latent's posterior mean over the
      sentences of a batch. So the mean KL of a batch is at least Z scale² / 2.
      It may be less in evaluation, which uses running statistics, and while the
      encoder's means hardly vary.
  """

  posterior_scale: float = schema.field(
    0.6,
    'Standard deviation of every posterior mean over the sentences of a batch.',
    low=0,
  )

  def check(self) -> None:
    """Raises ValueError for a scale of 0."""
    if not self.posterior_scale:
      raise ValueError(
        "config.model.posterior = 'batch_norm' wants config.model."
        'posterior_scale > 0: else every mean is 0.'
      )


CONFIG = BatchNormConfig


def build(latent_size: int, config: BatchNormConfig) -> base.Family:
  """The family; see `base`."""
  scale = config.posterior_scale
  return base.gaussian(latent_size)._replace(
    initial=lambda: {
      'mean': jnp.zeros(latent_size),
      'variance': jnp.ones(latent_size),
    },
    read=functools.partial(_read, scale),
    adapt=functools.partial(_adapt, scale),
    least_mean_kl=latent_size * scale**2 / 2,
    has_statistics=True,
  )


def _adapt(scale, outputs, statistics, weights):
  """Batch-normalises the means, as BN-VAE (Zhu et al., arXiv:2004.12585).

  The variance of the means over the sentences of a batch is `scale`², whatever
  the encoder does, so that the mean KL is at least Z scale² / 2. An exception
  is due to the variance floor, which is PyTorch's as in the paper: the variance
  is smaller if the encoder's means vary by less than .003, as they may at
  first. The sentences of a batch have one length, as in the paper, so means are
  normalised within each length; in evaluation one running mean and variance
  serve all lengths. The learnt shift of batch normalisation is left out: the
  decoder's bias has the same effect without the KL.
  """
  mean, log_var = jnp.split(outputs, 2, axis=-1)
  total = rows.total(jnp.sum(weights))
  share = (weights / jnp.where(total > 0, total, 1.0))[:, None]
  center = rows.total(jnp.sum(share * mean, axis=0))
  square = jnp.square(mean - center[None])
  variance = rows.total(jnp.sum(share * square, axis=0))
  keep = jnp.where(total > 1, _MOMENTUM, 1.0)
  # Unbiased, because it estimates the variance of the whole split.
  unbiased = variance * total / jnp.maximum(total - 1, 1.0)
  new = {'mean': center, 'variance': unbiased}
  new = jax.tree.map(
    lambda old, now: keep * old + (1 - keep) * jax.lax.stop_gradient(now),
    statistics,
    new,
  )
  return base.Posterior(_scaled(scale, mean, center, variance), log_var), new


def _read(scale, outputs, statistics):
  mean, log_var = jnp.split(outputs, 2, axis=-1)
  mean = _scaled(scale, mean, statistics['mean'], statistics['variance'])
  return base.Posterior(mean, log_var)


def _scaled(scale, mean, center, variance):
  width = jnp.sqrt(variance + _VARIANCE_FLOOR)
  return scale * (mean - center[None, :]) / width[None, :]
