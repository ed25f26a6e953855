"""Von Mises-Fisher posteriors on a sphere (Xu & Durrett, arXiv:1808.10805)."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.objectives.posteriors import base

# Steps of the numerical integral over the angle to the mean direction.
_ANGLES = 8_192


@schema.fragment(
  'model', only_if=schema.one_of('model.posterior', 'von_mises_fisher')
)
class VonMisesFisherConfig:
  """Keys of the von Mises-Fisher posterior."""

  concentration: float = schema.field(
    13.0,
    'Concentration kappa of the directions around their mean; it fixes the KL.',
    low=0,
    high=5_000,
  )


CONFIG = VonMisesFisherConfig


def build(latent_size: int, config: VonMisesFisherConfig) -> base.Family:
  """The family; see `base`.

  The prior is uniform on the sphere. So the KL depends only on the
  concentration kappa, and the posterior cannot collapse. The angle a to the
  mean direction has a density proportional to sin(a)^(Z - 2) exp(kappa cos a).
  Its normaliser, and with it the KL, and its quantiles are computed by one
  numerical integral, with float32 accuracy for kappa up to some thousands.

  Raises:
    ValueError: there are fewer than two latents, hence no sphere.
  """
  size, concentration = latent_size, config.concentration
  if size < 2:
    raise ValueError(
      "config.model.posterior = 'von_mises_fisher' wants config.model."
      f'latent_size >= 2, got {size}: a direction needs a plane.'
    )
  edges = np.linspace(0.0, np.pi, _ANGLES + 1)
  middles = 0.5 * (edges[1:] + edges[:-1])
  log_uniform = (size - 2) * np.log(np.sin(middles))
  log_mass = log_uniform + concentration * np.cos(middles)
  log_sum = lambda x: np.max(x) + np.log(np.sum(np.exp(x - np.max(x))))
  mass = np.exp(log_mass - log_sum(log_mass))
  cumulative = np.concatenate([[0.0], np.cumsum(mass)])
  # log of the mean of exp(kappa cos a) under the uniform distribution.
  log_normaliser = float(log_sum(log_mass) - log_sum(log_uniform))
  kl = concentration * float(np.sum(mass * np.cos(middles))) - log_normaliser
  log_surface = (
    math.log(2) + 0.5 * size * math.log(math.pi) - math.lgamma(0.5 * size)
  )

  def unit(x):
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(square + base.TINY)

  def read(outputs):
    mean = unit(outputs)
    return base.Posterior(mean, jnp.zeros_like(mean))

  def draw(noise, posterior):
    mean = posterior.mean
    angle = jnp.interp(
      jax.scipy.stats.norm.cdf(noise[..., 0]),
      jnp.asarray(cumulative, jnp.float32),
      jnp.asarray(edges, jnp.float32),
    )
    across = noise[..., 1:]
    along = jnp.sum(across * mean, axis=-1, keepdims=True)
    across = unit(across - along * mean)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    z = cosine[..., None] * mean + sine[..., None] * across
    return z, concentration * cosine - log_normaliser - log_surface

  def as_gaussian(noise, posterior):
    # Up to a term that does not depend on the mean, kappa z.mean is the
    # exponent of a unit Gaussian around sqrt(kappa) mean at sqrt(kappa) z.
    z, _ = draw(noise, posterior)
    root = math.sqrt(concentration)
    mean = root * posterior.mean
    return mean, posterior.log_var, root * z - mean

  return base.Family(
    head_size=size,
    noise_size=size + 1,
    initial=dict,
    **base.without_statistics(read),
    draw=draw,
    kl=lambda posterior: jnp.full((*posterior.mean.shape[:-1], 1), kl),
    log_prior=lambda z: jnp.full(z.shape[:-1], -log_surface),
    draw_prior=lambda noise: unit(noise[..., 1:]),
    onto_support=unit,
    as_gaussian=as_gaussian,
    deviation=size**-0.5,
    independent_latents=False,
    constant_kl=True,
  )
