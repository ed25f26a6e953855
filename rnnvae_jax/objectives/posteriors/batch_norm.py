"""Gaussians whose means are batch-normalised, so that the KL cannot vanish."""

import functools

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.objectives.posteriors import base

# Of the running statistics: what an update leaves of the old.
_MOMENTUM = 0.99
_VARIANCE_FLOOR = 1e-5


@schema.fragment(
  'model', only_if=schema.one_of('model.posterior', 'batch_norm')
)
class BatchNormConfig:
  """Its keys.

  Attributes:
    posterior_scale: standard deviation over a batch's sentences that each
      latent's posterior mean has, whose KL is Z scale² / 2 at the least, on
      average over the batch; by running statistics, or while an encoder's
      means hardly vary, it may be less.
  """

  posterior_scale: float = schema.field(
    0.6,
    'Standard deviation, over the sentences of a batch, that every posterior '
    'mean is given.',
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
  """BN-VAE (Zhu et al., arXiv:2004.12585): means batch-normalised.

  Their variance over the sentences of a batch is `scale`² whatever the encoder
  does, so that the mean KL is at least Z scale² / 2; but for the floor under
  the variance, PyTorch's as in theirs: less where an encoder's means vary by
  less than its root, .003, as they may at first. Where batches are of one
  length, as theirs and ours are, that holds within each length; in evaluation
  one running mean and (within-batch) variance serve all lengths. The shift that
  batch normalisation may add is left out: the decoder's own bias does its work
  without its KL.
  """
  mean, log_var = jnp.split(outputs, 2, axis=-1)
  total = jnp.sum(weights)
  share = (weights / jnp.where(total > 0, total, 1.0))[:, None]
  center = jnp.sum(share * mean, axis=0)
  variance = jnp.sum(share * jnp.square(mean - center[None]), axis=0)
  keep = jnp.where(total > 1, _MOMENTUM, 1.0)
  # Unbiased, as the variance of the whole split is what it stands for.
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
