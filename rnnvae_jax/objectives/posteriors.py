"""Families of approximate posteriors, from an encoder's outputs to samples.

A family reads the outputs of the encoder's last layer, float[B, head], as a
distribution of z for each row, and turns noise into samples of it.
"""

from collections.abc import Callable
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.objectives import losses

KINDS = ('gaussian', 'batch_norm', 'committed', 'planar', 'von_mises_fisher')

# Of the running statistics of batch_norm: what an update leaves of the old.
_MOMENTUM = 0.99
_VARIANCE_FLOOR = 1e-5
# Steps of the numerical integral over the angle to the mean direction.
_ANGLES = 8_192
_TINY = 1e-12  # Inside roots and divisors, for the gradient at 0.
_EPS = 1e-6


class Posterior(NamedTuple):
  """q(z | x) of each row.

  Attributes:
    mean: float[B, Z]; of von_mises_fisher the mean direction, of length 1.
    log_var: float[B, Z]; of von_mises_fisher zeros.
    flow: what a flow does to a sample of that Gaussian, or ().
  """

  mean: jax.Array
  log_var: jax.Array
  flow: Any = ()


class Family(NamedTuple):
  """Pure functions of one kind of posterior.

  Attributes:
    head_size: how many outputs of the encoder's last layer it reads.
    noise_size: standard normal numbers that a sample takes.
    initial: () -> statistics that training adapts, a tree of arrays.
    read: (outputs float[B, head], statistics) -> Posterior, as in evaluation.
    adapt: (outputs, statistics, weights float[B]) -> Posterior, as in
      training, and the new statistics. `weights` is 0 for blank rows.
    center: Posterior -> z float[B, Z] that stands for it: what is drawn from
      noise of zeros; of von_mises_fisher the mean direction.
    draw: (noise float[B, noise_size], Posterior) -> z float[B, Z], log q(z | x)
      float[B], nats.
    kl: Posterior -> KL to the standard normal prior (von_mises_fisher: to the
      uniform one on the sphere) float[B, Z], or float[B, 1] where it is not a
      sum over latents; None where it has no closed form.
    log_prior: z float[B, Z] -> float[B], nats, under the prior of `kl`.
    draw_prior: noise float[B, noise_size] -> z float[B, Z].
    onto_support: z float[N, Z] -> the nearest z that the prior may draw.
    as_gaussian: (noise, Posterior) -> mean, log-variance and noise float[B, Z]
      of Gaussians between whose densities at the sample are the same ratios,
      for estimates of mutual information; None where q(z | x) can only be
      computed at samples of the same x.
    deviation: standard deviation of each latent under the prior of `kl`.
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


def build(
  kind: str,
  latent_size: int,
  *,
  scale: float,
  committed_rate: float,
  flow_layers: int,
  concentration: float,
) -> Family:
  """The family of that name.

  Args:
    kind: one of KINDS.
    latent_size: Z.
    scale: standard deviation over a batch's sentences that batch_norm gives
      each latent's posterior mean, whose KL is Z scale² / 2 at the least, on
      average over the batch; by running statistics, or while an encoder's
      means hardly vary, it may be less.
    committed_rate: nats of KL that committed cannot go below, per sentence. No
      bound on information: all sentences may have the same posterior.
    flow_layers: of planar.
    concentration: kappa of von_mises_fisher.

  Raises:
    ValueError: the kind is unknown.
  """
  size = latent_size
  gaussian = Family(
    head_size=2 * size,
    noise_size=size,
    initial=dict,
    **_adapting_nothing(
      lambda outputs: Posterior(*jnp.split(outputs, 2, axis=-1))
    ),
    draw=_draw_gaussian,
    kl=lambda posterior: losses.gaussian_kl(posterior.mean, posterior.log_var),
    log_prior=_log_standard_normal,
  )
  match kind:
    case 'gaussian':
      return gaussian
    case 'batch_norm':
      return gaussian._replace(
        initial=lambda: {'mean': jnp.zeros(size), 'variance': jnp.ones(size)},
        read=functools.partial(_read_normalised, scale),
        adapt=functools.partial(_normalise, scale),
      )
    case 'committed':
      read = functools.partial(_commit, committed_rate / size)
      return gaussian._replace(**_adapting_nothing(read))
    case 'planar':
      read = functools.partial(_read_planar, size, flow_layers)
      return gaussian._replace(
        head_size=2 * size + flow_layers * (2 * size + 1),
        **_adapting_nothing(read),
        draw=_draw_planar,
        center=lambda posterior: _draw_planar(
          jnp.zeros_like(posterior.mean), posterior
        )[0],
        kl=None,
        as_gaussian=None,
      )
    case 'von_mises_fisher':
      return _von_mises_fisher(size, concentration)
  raise ValueError(errors.unknown('posterior', kind, KINDS))


def _adapting_nothing(read: Callable[[jax.Array], Posterior]) -> Any:
  """`read` and `adapt` of a family without statistics."""
  return {
    'read': lambda outputs, _: read(outputs),
    'adapt': lambda outputs, statistics, _: (read(outputs), statistics),
  }


def _draw_gaussian(noise, posterior):
  mean, log_var = posterior.mean, posterior.log_var
  z = losses.reparameterise(noise, mean, log_var)
  # From the noise, not from z: exact for posteriors however narrow.
  nats = -0.5 * (math.log(2 * math.pi) + log_var + jnp.square(noise))
  return z, jnp.sum(nats, axis=-1)


def _log_standard_normal(z):
  zeros = jnp.zeros_like(z)
  return jnp.sum(losses.gaussian_log_density(z, zeros, zeros), axis=-1)


def _normalise(scale, outputs, statistics, weights):
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
  return Posterior(_scaled(scale, mean, center, variance), log_var), new


def _read_normalised(scale, outputs, statistics):
  mean, log_var = jnp.split(outputs, 2, axis=-1)
  mean = _scaled(scale, mean, statistics['mean'], statistics['variance'])
  return Posterior(mean, log_var)


def _scaled(scale, mean, center, variance):
  width = jnp.sqrt(variance + _VARIANCE_FLOOR)
  return scale * (mean - center[None, :]) / width[None, :]


def _commit(rate, outputs):
  """Gaussians whose KL is at least `rate` nats in each latent.

  The independent delta-VAE of Razavi et al., arXiv:1901.03416, appendix: the
  deviation stays where its own share of the KL is at most the rate, and the
  mean makes up for the rest, so that KL = rate + free²/2 (theirs has max(0,
  free) in place of the square, which has no gradient below 0).
  """
  free, raw = jnp.split(outputs, 2, axis=-1)
  low, high = _committed_log_vars(rate)
  log_var = low + (high - low) * jax.nn.sigmoid(raw)
  # 2 rate = mean² + (exp(log_var) - 1 - log_var) at the least.
  missing = jnp.maximum(2 * rate - (jnp.expm1(log_var) - log_var), 0.0)
  return Posterior(jnp.sqrt(missing + jnp.square(free) + _TINY), log_var)


@functools.lru_cache
def _committed_log_vars(rate: float) -> tuple[float, float]:
  """The two v at which exp(v) - 1 - v = 2 rate, by bisection."""

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


def _read_planar(size, layers, outputs):
  mean, log_var, rest = jnp.split(outputs, [size, 2 * size], axis=-1)
  rest = rest.reshape(*rest.shape[:-1], layers, 2 * size + 1)
  u, w, b = jnp.split(rest, [size, 2 * size], axis=-1)
  return Posterior(mean, log_var, (u, w, b[..., 0]))


def _draw_planar(noise, posterior):
  """Planar flows (Rezende & Mohamed, arXiv:1505.05770), one set a sentence.

  z + u tanh(w z + b), with u bent so that the map can be inverted (their
  appendix A.1).
  """
  z, log_q = _draw_gaussian(noise, posterior)
  us, ws, bs = posterior.flow  # float[B, layers, Z], the same, float[B, layers]
  for layer in range(bs.shape[-1]):
    u, w, b = us[..., layer, :], ws[..., layer, :], bs[..., layer]
    inner = jnp.sum(w * u, axis=-1, keepdims=True)
    square = jnp.sum(jnp.square(w), axis=-1, keepdims=True) + _TINY
    u = u + (jax.nn.softplus(inner) - 1 - inner) * w / square
    active = jnp.tanh(jnp.sum(w * z, axis=-1) + b)
    z = z + u * active[..., None]
    slope = (1 - jnp.square(active)) * jnp.sum(w * u, axis=-1)
    slope = jnp.maximum(slope, _EPS - 1)  # Above -1 but for rounding.
    log_q = log_q - jnp.log1p(slope)
  return z, log_q


def _von_mises_fisher(size: int, concentration: float) -> Family:
  """Directions around a mean (Xu & Durrett, arXiv:1808.10805).

  The prior is uniform on the sphere, so that the KL is a constant of the
  concentration kappa, and the posterior cannot collapse. The angle to the mean
  direction has the density sin(a)^(Z - 2) exp(kappa cos a); its normaliser,
  hence the KL, and its quantiles come from one numerical integral, good to
  float32 for kappa up to some thousands.

  Raises:
    ValueError: fewer than two latents: there is no sphere.
  """
  if size < 2:
    raise ValueError(
      f'von_mises_fisher wants at least 2 latents, got {size}: a direction '
      'needs a plane.'
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
    return x * jax.lax.rsqrt(square + _TINY)

  def read(outputs):
    mean = unit(outputs)
    return Posterior(mean, jnp.zeros_like(mean))

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
    # kappa z.mean is, up to what all means share, the exponent of a unit
    # Gaussian around sqrt(kappa) mean at sqrt(kappa) z.
    z, _ = draw(noise, posterior)
    root = math.sqrt(concentration)
    mean = root * posterior.mean
    return mean, posterior.log_var, root * z - mean

  return Family(
    head_size=size,
    noise_size=size + 1,
    initial=dict,
    **_adapting_nothing(read),
    draw=draw,
    kl=lambda posterior: jnp.full((*posterior.mean.shape[:-1], 1), kl),
    log_prior=lambda z: jnp.full(z.shape[:-1], -log_surface),
    draw_prior=lambda noise: unit(noise[..., 1:]),
    onto_support=unit,
    as_gaussian=as_gaussian,
    deviation=size**-0.5,
  )
