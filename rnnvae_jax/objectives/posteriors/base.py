"""The contract of a posterior family, and how a family is found by name.

A family turns the outputs of the encoder's last layer, float[B, head], into a
distribution of z for each row, and noise into samples of it. To add a kind, add
a module to this folder with

  CONFIG: the config fragment of its own keys, with prefix 'model'.
  build(latent_size, CONFIG) -> Family

The kind's name is the module's; it is listed nowhere else.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax import registry
from rnnvae_jax.config import schema
from rnnvae_jax.objectives import losses

REGISTRY = registry.Registry(
  'rnnvae_jax.objectives.posteriors', 'config.model.posterior'
)
KINDS = tuple(REGISTRY)

TINY = 1e-12  # Added in roots and divisors, so that gradients at 0 are finite.


@schema.fragment('model')
class PosteriorConfig:
  """The family of q(z | x); each kind declares its own keys."""

  posterior: str = schema.field(
    'gaussian',
    'Family of the approximate posterior q(z | x).',
    choices=lambda: tuple(REGISTRY),
  )


class Posterior(NamedTuple):
  """q(z | x) of each row.

  Attributes:
    mean: float[B, Z]; for von_mises_fisher the mean direction, of length 1.
    log_var: float[B, Z]; for von_mises_fisher zeros.
    flow: parameters of a flow that transforms samples of the Gaussian, or ().
  """

  mean: jax.Array
  log_var: jax.Array
  flow: Any = ()


class Family(NamedTuple):
  """The functions and properties of one kind of posterior.

  Attributes:
    head_size: number of outputs of the encoder's last layer.
    noise_size: number of standard normal numbers from which a sample is made.
    initial: () -> statistics that training adapts, a tree of arrays.
    read: (outputs float[B, head], statistics) -> Posterior, as in evaluation.
    adapt: (outputs, statistics, weights float[B]) -> Posterior, as in
      training, and the new statistics. `weights` is 0 for blank rows.
    draw: (noise float[B, noise_size], Posterior) -> z float[B, Z], log q(z | x)
      float[B], nats.
    kl: Posterior -> KL to the standard normal prior (von_mises_fisher: to the
      uniform prior on the sphere) float[B, Z], or float[B, 1] if it is not a
      sum over latents; None if it has no closed form.
    log_prior: z float[B, Z] -> float[B], nats, under the prior of `kl`.
    draw_prior: noise float[B, noise_size] -> z float[B, Z].
    center: Posterior -> its representative z float[B, Z]: the sample from noise
      of zeros; for von_mises_fisher the mean direction.
    onto_support: z float[N, Z] -> the nearest z in the support of the prior.
    as_gaussian: (noise, Posterior) -> mean, log-variance and noise float[B, Z]
      of Gaussians whose densities at the sample have the same ratios as those
      of the posteriors, for estimates of mutual information; None if q(z | x)
      can only be computed at samples of the same x.
    deviation: standard deviation of each latent under the prior of `kl`.
    independent_latents: whether the latents are independent given x and
      Gaussian, so that the mutual information of each can be estimated.
    learnt_prior: whether the prior may be a learnt mixture of Gaussians.
    constant_kl: whether the KL is the same for all sentences and parameters.
    least_kl: lower bound on the KL of a sentence, nats.
    least_mean_kl: lower bound on the mean KL of a batch, nats.
    has_statistics: whether the family has statistics over a batch's sentences.
  """

  head_size: int
  noise_size: int
  initial: Callable[[], Any]
  read: Callable[..., Posterior]
  adapt: Callable[..., tuple[Posterior, Any]]
  draw: Callable[..., tuple[jax.Array, jax.Array]]
  kl: Callable[[Posterior], jax.Array] | None
  log_prior: Callable[[jax.Array], jax.Array]
  draw_prior: Callable[[jax.Array], jax.Array] = lambda noise: noise
  center: Callable[[Posterior], jax.Array] = lambda posterior: posterior.mean
  onto_support: Callable[[jax.Array], jax.Array] = lambda z: z
  as_gaussian: Callable[..., tuple[jax.Array, ...]] | None = (
    lambda noise, posterior: (posterior.mean, posterior.log_var, noise)
  )
  deviation: float = 1.0
  independent_latents: bool = True
  learnt_prior: bool = False
  constant_kl: bool = False
  least_kl: float = 0.0
  least_mean_kl: float = 0.0
  has_statistics: bool = False


def get(kind: str) -> ModuleType:
  """Returns the module of a kind.

  Raises:
    ValueError: there is no such kind; the message lists the known names.
  """
  try:
    return REGISTRY[kind]
  except KeyError as error:
    raise ValueError(error.args[0]) from None


def fragments() -> tuple[type, ...]:
  """The config fragments of the posterior and of all its kinds."""
  return PosteriorConfig, *(get(kind).CONFIG for kind in REGISTRY)


def build(
  kind: str, latent_size: int, *, scale: float | None = None, **options: Any
) -> Family:
  """Builds the family of that name.

  Args:
    kind: one of KINDS.
    latent_size: Z.
    scale: another name of the option `posterior_scale`.
    **options: fields of the kinds' fragments. A kind reads its own options,
      which have defaults, and ignores those of other kinds.

  Raises:
    ValueError: the kind is unknown, or needs more latents.
    TypeError: no kind has an option of that name.
  """
  module = get(kind)
  if scale is not None:
    options['posterior_scale'] = scale
  own = [entry.name for entry in dataclasses.fields(module.CONFIG)]
  known = {
    entry.name for cls in fragments() for entry in dataclasses.fields(cls)
  }
  strange = sorted(set(options) - known)
  if strange:
    raise TypeError(f'No posterior has the option {", ".join(strange)}.')
  config = module.CONFIG(**{k: v for k, v in options.items() if k in own})
  return module.build(latent_size, config)


def from_config(config: Any) -> Family:
  """Builds the family that `config.model` describes.

  Raises:
    ValueError: the kind is unknown, or needs more latents.
  """
  module = get(config.model.posterior)
  return module.build(
    config.model.latent_size, schema.read(config, module.CONFIG)
  )


def option_names(kind: str) -> str:
  """The config keys of a kind, for messages."""
  names = (entry.name for entry in dataclasses.fields(get(kind).CONFIG))
  return ' and '.join(f'config.model.{name}' for name in names)


def _has_constant_kl(flat: Mapping[str, Any]) -> bool:
  kind = flat.get('model.posterior', '')
  # It does not depend on options or size, and two latents are always legal.
  return kind in REGISTRY and build(kind, 2).constant_kl


# The condition under which keys that weight the KL term have an effect.
kl_varies = schema.Condition(
  holds=lambda flat: not _has_constant_kl(flat),
  because=lambda flat: (
    f'config.model.posterior = {flat["model.posterior"]!r} has a constant KL'
  ),
  text='the KL of `model.posterior` is not a constant',
)


def without_statistics(read: Callable[[jax.Array], Posterior]) -> Any:
  """`read` and `adapt` of a family without statistics."""
  return {
    'read': lambda outputs, _: read(outputs),
    'adapt': lambda outputs, statistics, _: (read(outputs), statistics),
  }


def gaussian(latent_size: int) -> Family:
  """Independent Gaussians, whose means and log-variances are the outputs."""
  return Family(
    head_size=2 * latent_size,
    noise_size=latent_size,
    initial=dict,
    **without_statistics(
      lambda outputs: Posterior(*jnp.split(outputs, 2, axis=-1))
    ),
    draw=draw_gaussian,
    kl=lambda posterior: losses.gaussian_kl(posterior.mean, posterior.log_var),
    log_prior=_log_standard_normal,
  )


def draw_gaussian(
  noise: jax.Array, posterior: Posterior
) -> tuple[jax.Array, jax.Array]:
  """z float[B, Z] and log q(z | x) float[B], nats, from float[B, Z] noise."""
  mean, log_var = posterior.mean, posterior.log_var
  z = losses.reparameterise(noise, mean, log_var)
  # Computed from the noise, not from z: exact even for narrow posteriors.
  nats = -0.5 * (math.log(2 * math.pi) + log_var + jnp.square(noise))
  return z, jnp.sum(nats, axis=-1)


def _log_standard_normal(z):
  zeros = jnp.zeros_like(z)
  return jnp.sum(losses.gaussian_log_density(z, zeros, zeros), axis=-1)
