"""Likelihoods, divergences and bounds in nats, not averaged over sentences."""

import math

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.ops import rows


@schema.fragment('objective')
class MMDConfig:
  """The divergence term of the InfoVAE; see `maximum_mean_discrepancy`."""

  mmd_weight: float = schema.field(
    0.0,
    'Weight of the maximum mean discrepancy between the aggregate posterior of '
    'a batch and the prior.',
    low=0,
    traced=True,
    off=0.0,
  )


@schema.fragment('objective')
class LabelSmoothingConfig:
  """Smoothing of the targets of the training loss."""

  label_smoothing: float = schema.field(
    0.0,
    'Share of each training target that is spread evenly over all words.',
    low=0,
    high=0.99,
    traced=True,
    off=0.0,
  )


def gaussian_kl(mean: jax.Array, log_var: jax.Array) -> jax.Array:
  r"""KL(N(mean, exp(log_var)) || N(0, 1)) of each latent, in nats.

  Kingma & Welling, arXiv:1312.6114, appendix B. With `expm1` the relative error
  is about 2 eps / |v| for a log-variance v. With `exp(v) - 1` it would be
  2 eps / v**2: no correct digits for |v| < 3e-4 in float32, as a collapsing
  posterior has.

  Args:
    mean: float[..., Z].
    log_var: float[..., Z].

  Returns:
    float[..., Z], at least 0. Not summed over Z, because free bits need each
    latent's KL.

  Raises:
    ValueError: the two shapes differ.
  """
  _check_equal_shapes('gaussian_kl', mean, log_var)
  return 0.5 * (jnp.square(mean) + jnp.expm1(log_var) - log_var)


def gaussian_log_density(
  z: jax.Array, mean: jax.Array, log_var: jax.Array
) -> jax.Array:
  """log N(z; mean, exp(log_var)) of each latent, in nats.

  Args:
    z: float[..., Z].
    mean: float[..., Z]; zeros for the standard normal.
    log_var: float[..., Z]; zeros for the standard normal.

  Returns:
    float[..., Z]. Sum over Z for the density of the vector.

  Raises:
    ValueError: the shapes differ.
  """
  _check_equal_shapes('gaussian_log_density', z, mean, log_var)
  # Scaled before squaring: exp(-log_var) would overflow at half the |log_var|.
  scaled = (z - mean) * jnp.exp(-0.5 * log_var)
  return -0.5 * (math.log(2 * math.pi) + log_var + jnp.square(scaled))


def mixture_log_density(
  z: jax.Array, log_weights: jax.Array, mean: jax.Array, log_var: jax.Array
) -> jax.Array:
  """log of a mixture of Gaussians with independent latents, in nats.

  Args:
    z: float[B, Z].
    log_weights: float[C], normalised.
    mean: float[C, Z].
    log_var: float[C, Z].

  Returns:
    float[B].
  """
  parts = gaussian_log_density(
    *jnp.broadcast_arrays(z[:, None], mean[None], log_var[None])
  )
  return jax.nn.logsumexp(
    jnp.sum(parts, axis=-1) + log_weights[None, :], axis=-1
  )


def maximum_mean_discrepancy(
  x: jax.Array, y: jax.Array, weights: jax.Array
) -> jax.Array:
  """The squared MMD between two samples, kernel exp(-|x - y|² / Z).

  The divergence of the InfoVAE (Zhao et al., arXiv:1706.02262) between the
  aggregate posterior of a batch and the prior. The sentences of a training
  batch have nearly one length, so the term also penalises information about the
  length in z. The estimator is the biased one, at least 0.

  Args:
    x: float[B, Z], posterior samples.
    y: float[B, Z], prior samples.
    weights: float[B], 0 for blank rows of both.

  Returns:
    float[].
  """
  # Every posterior sample is compared with every other.
  x, y, weights = map(rows.all_of, (x, y, weights))
  total = jnp.sum(weights)
  share = weights / jnp.where(total > 0, total, 1.0)

  def kernel(a, b):
    square = jnp.sum(jnp.square(a[:, None] - b[None, :]), axis=-1)
    return share @ jnp.exp(-square / a.shape[-1]) @ share

  return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


def reparameterise(
  noise: jax.Array, mean: jax.Array, log_var: jax.Array
) -> jax.Array:
  """Transforms standard normal noise into a sample of N(mean, exp(log_var)).

  Kingma & Welling, arXiv:1312.6114, section 2.4: the sample is differentiable
  in the mean and the log-variance.

  Args:
    noise: float[..., Z], drawn from N(0, 1).
    mean: float[..., Z].
    log_var: float[..., Z].

  Returns:
    float[..., Z].

  Raises:
    ValueError: the shapes differ; broadcast noise would correlate samples.
  """
  _check_equal_shapes('reparameterise', noise, mean, log_var)
  return mean + jnp.exp(0.5 * log_var) * noise


def importance_weighted_nll(log_weights: jax.Array) -> jax.Array:
  """The K-sample upper bound on -log p(x), in nats per sentence.

  Burda et al., arXiv:1509.00519. K = 1 is the sampled negative
  ELBO; in expectation the bound falls as K grows, to -log p(x).

  Args:
    log_weights: float[K, B], log p(x, z_k) - log q(z_k | x) with z_k drawn from
      q(z | x).

  Returns:
    float[B].
  """
  samples = log_weights.shape[0]
  return math.log(samples) - jax.nn.logsumexp(log_weights, axis=0)


def importance_weighted_variance(log_weights: jax.Array) -> jax.Array:
  """Variance of `importance_weighted_nll` over draws of its samples.

  K bounds are computed, each without one of the samples; the estimate is the
  sum of their squared deviations from their mean. By Efron & Stein (Annals of
  Statistics 9, 1981) its expectation is at least the variance of the bound of
  K - 1 samples. So it does not underestimate, even if a few samples have all
  the weight. The delta method, the variance of the mean weight over its square,
  does: for log-weights with a standard deviation of 4 its deviation was a half
  to a quarter of the true one.

  Measured on Gaussian log-weights of standard deviation sd, with variances
  averaged over 4,000 or more sentences: the true standard deviation over draws
  divided by the estimated one.

    sd     K = 2    10    100    200
    .5       .73   .95   1.00    .99
    1        .77   .93   1.00   1.00
    2        .79   .92    .98   1.01
    3        .81   .90    .97    .97
    4        .82   .89    .95    .95

  The estimate does not include the bound's bias: see
  `importance_weighted_bias`.

  Args:
    log_weights: float[K, B].

  Returns:
    float[B].

  Raises:
    ValueError: there are fewer than two samples.
  """
  _check_samples('importance_weighted_variance', log_weights)
  shifts = _leave_one_out_shifts(log_weights)
  mean = jnp.mean(shifts, axis=0, keepdims=True)
  return jnp.sum(jnp.square(shifts - mean), axis=0)


def importance_weighted_bias(log_weights: jax.Array) -> jax.Array:
  """How far `importance_weighted_nll` lies above -log p(x), in nats.

  The jackknife's estimate (Nowozin, ICLR 2018, 'Debiasing evidence
  approximations'): (K - 1) times the mean difference between the bounds without
  one of the samples and the bound of all samples. It is at least 0 except for
  rounding. The bound minus its estimated bias is no longer a bound.

  The estimate is correct to first order in 1 / K, and too small if a few
  samples have most of the weight. Measured on Gaussian log-weights of standard
  deviation sd, estimated divided by true bias:

    sd     K = 2    10    100    200
    .5       .91   1.0    1.0    1.0
    1        .70   .90    1.0    1.0
    2        .47   .57    .71    .69
    3        .34   .41    .42    .47
    4        .26   .30    .28    .30

  Args:
    log_weights: float[K, B].

  Returns:
    float[B].

  Raises:
    ValueError: there are fewer than two samples.
  """
  _check_samples('importance_weighted_bias', log_weights)
  shifts = _leave_one_out_shifts(log_weights)
  return -(log_weights.shape[0] - 1) * jnp.mean(shifts, axis=0)


def doubling_sizes(samples: int) -> tuple[int, ...]:
  """The sample sizes of `importance_weighted_doubling`, the largest last."""
  return tuple(sorted({max(samples // part, 1) for part in (8, 4, 2, 1)}))


def importance_weighted_doubling(log_weights: jax.Array) -> jax.Array:
  """The bounds of an eighth, a quarter, a half and all of the samples, in nats.

  The decrease of the bound in the last doubling indicates its distance from
  -log p(x). The bounds of fewer samples are means over disjoint groups of
  consecutive samples; if K is not a multiple, the remaining samples are unused.

  Args:
    log_weights: float[K, B].

  Returns:
    float[B, D], for the sizes `doubling_sizes(K)`. If each size divides the
    next, the bounds decrease from left to right (Jensen's inequality).
  """
  samples = log_weights.shape[0]

  def bound(size):
    groups = samples // size
    parts = log_weights[: groups * size].reshape(groups, size, -1)
    return jnp.mean(jax.vmap(importance_weighted_nll)(parts), axis=0)

  return jnp.stack([bound(size) for size in doubling_sizes(samples)], axis=1)


def _leave_one_out_shifts(log_weights: jax.Array) -> jax.Array:
  """Changes of the log mean weight when a sample is left out, in nats.

  They are log(1 - p) - log(1 - 1/K), with p the normalised weight of a sample.

  Args:
    log_weights: float[K, B], K at least 2.

  Returns:
    float[K, B].
  """
  samples = log_weights.shape[0]
  # Relative to the largest weight, so that exponentials do not overflow.
  relative = log_weights - jnp.max(log_weights, axis=0, keepdims=True)
  is_largest = (
    jnp.arange(samples)[:, None] == jnp.argmax(relative, axis=0)[None, :]
  )
  others = jnp.where(is_largest, -jnp.inf, relative)
  log_others = jax.nn.logsumexp(others, axis=0)
  # Each is at most a half.
  shares = jnp.exp(others - jnp.logaddexp(0.0, log_others)[None, :])
  # The largest weight may be all but 1e-30 of the total: then 1 - p would be
  # rounded to 0, so it is computed from the other weights.
  without_largest = -jnp.logaddexp(0.0, -log_others)
  shifts = jnp.where(is_largest, without_largest[None], jnp.log1p(-shares))
  return shifts - math.log1p(-1 / samples)


def _check_samples(name: str, log_weights: jax.Array) -> None:
  samples = log_weights.shape[0]
  if samples < 2:
    raise ValueError(f'{name} wants at least 2 samples, got {samples}.')


def activation(outputs: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean square of the outputs, summed over tokens.

  Activation regularisation (Merity et al., arXiv:1708.01009). Its weight is
  relative to nats per token.

  Args:
    outputs: float[B, T, H].
    mask: bool[B, T], True on real tokens.

  Returns:
    float[].
  """
  squares = jnp.mean(jnp.square(outputs), axis=-1)
  return jnp.sum(jnp.where(mask, squares, 0.0))


def temporal_activation(outputs: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean square of the outputs' changes between steps, summed over tokens.

  Temporal activation regularisation; see `activation`.
  """
  return activation(outputs[:, 1:] - outputs[:, :-1], mask[:, 1:])


def _check_equal_shapes(name: str, *arrays: jax.Array) -> None:
  shapes = [array.shape for array in arrays]
  if len(set(shapes)) > 1:
    raise ValueError(
      f'{name} wants equal shapes, got {", ".join(map(str, shapes))}.'
    )
