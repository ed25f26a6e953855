"""Planar flows with parameters for each sentence.

Rezende & Mohamed, arXiv:1505.05770.
"""

import functools

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.objectives.posteriors import base

_EPS = 1e-6


@schema.fragment('model', only_if=schema.one_of('model.posterior', 'planar'))
class PlanarConfig:
  """Keys of the planar flow."""

  flow_layers: int = schema.field(
    4, 'Number of planar maps applied to a Gaussian sample.', low=1
  )


CONFIG = PlanarConfig


def build(latent_size: int, config: PlanarConfig) -> base.Family:
  """The family; see `base`."""
  size, layers = latent_size, config.flow_layers
  return base.gaussian(size)._replace(
    head_size=2 * size + layers * (2 * size + 1),
    **base.without_statistics(functools.partial(_read, size, layers)),
    draw=_draw,
    center=lambda posterior: _draw(jnp.zeros_like(posterior.mean), posterior)[
      0
    ],
    kl=None,
    as_gaussian=None,
    independent_latents=False,
    learnt_prior=True,
  )


def _read(size, layers, outputs):
  mean, log_var, rest = jnp.split(outputs, [size, 2 * size], axis=-1)
  rest = rest.reshape(*rest.shape[:-1], layers, 2 * size + 1)
  u, w, b = jnp.split(rest, [size, 2 * size], axis=-1)
  return base.Posterior(mean, log_var, (u, w, b[..., 0]))


def _draw(noise, posterior):
  """Applies z + u tanh(w z + b), with u changed to make the map invertible.

  See appendix A.1 of the paper.
  """
  z, log_q = base.draw_gaussian(noise, posterior)
  us, ws, bs = posterior.flow  # float[B, layers, Z], the same, float[B, layers]
  for layer in range(bs.shape[-1]):
    u, w, b = us[..., layer, :], ws[..., layer, :], bs[..., layer]
    inner = jnp.sum(w * u, axis=-1, keepdims=True)
    square = jnp.sum(jnp.square(w), axis=-1, keepdims=True) + base.TINY
    u = u + (jax.nn.softplus(inner) - 1 - inner) * w / square
    active = jnp.tanh(jnp.sum(w * z, axis=-1) + b)
    z = z + u * active[..., None]
    slope = (1 - jnp.square(active)) * jnp.sum(w * u, axis=-1)
    slope = jnp.maximum(slope, _EPS - 1)  # Rounding could bring it to -1.
    log_q = log_q - jnp.log1p(slope)
  return z, log_q
