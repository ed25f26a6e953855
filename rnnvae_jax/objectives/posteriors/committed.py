"""Gaussians whose KL is at least a committed rate for every sentence."""

import functools
import math

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.objectives.posteriors import base


@schema.fragment('model', only_if=schema.one_of('model.posterior', 'committed'))
class CommittedConfig:
  """Keys of the committed-rate posterior.

  Attributes:
    committed_rate: nats per sentence. It does not bound the information in z:
      all sentences may have the same posterior.
  """

  committed_rate: float = schema.field(
    3.0, 'Lower bound on the KL of a sentence, in nats.', low=0
  )


CONFIG = CommittedConfig


def build(latent_size: int, config: CommittedConfig) -> base.Family:
  """The family; see `base`."""
  read = functools.partial(_read, config.committed_rate / latent_size)
  return base.gaussian(latent_size)._replace(
    **base.without_statistics(read), least_kl=config.committed_rate
  )


def _read(rate, outputs):
  """Gaussians whose KL is at least `rate` nats in each latent.

  The independent delta-VAE of Razavi et al., arXiv:1901.03416, appendix. The
  deviation is limited so that its own contribution to the KL is at most the
  rate; the mean contributes the rest, so that KL = rate + free²/2. (The paper
  has max(0, free) instead of the square, whose gradient vanishes below 0.)
  """
  free, raw = jnp.split(outputs, 2, axis=-1)
  low, high = _log_vars(rate)
  log_var = low + (high - low) * jax.nn.sigmoid(raw)
  # KL >= rate means mean² + (exp(log_var) - 1 - log_var) >= 2 rate.
  missing = jnp.maximum(2 * rate - (jnp.expm1(log_var) - log_var), 0.0)
  mean = jnp.sqrt(missing + jnp.square(free) + base.TINY)
  return base.Posterior(mean, log_var)


@functools.lru_cache
def _log_vars(rate: float) -> tuple[float, float]:
  """The two solutions v of exp(v) - 1 - v = 2 rate, by bisection."""

  def root(outer: float) -> float:
    inner = 0.0
    for _ in range(200):
      middle = 0.5 * (inner + outer)
      if math.expm1(middle) - middle < 2 * rate:
        inner = middle
      else:
        outer = middle
    return inner

  return root(-2 * rate - 1.0), root(math.log1p(2 * rate + 2) + 2.0)
