"""Likelihoods, divergences and bounds, in nats, as parts and never as means."""

import math

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema


@schema.fragment('objective')
class MMDConfig:
  """The InfoVAE's divergence; see `maximum_mean_discrepancy`."""

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
    'Probability that training targets give to the uniform distribution.',
    low=0,
    high=0.99,
    traced=True,
    off=0.0,
  )


def gaussian_kl(mean: jax.Array, log_var: jax.Array) -> jax.Array:
  r"""KL(N(mean, exp(log_var)) || N(0, 1)) of each latent, in nats.

  Kingma & Welling, arXiv:1312.6114, appendix B. `expm1` keeps the relative
  error near 2 eps / |v|; `exp(v) - 1` would make it 2 eps / v**2, no digits at
  all for |v| < 3e-4 in float32, where a collapsing posterior lives.

  Args:
    mean: float[..., Z].
    log_var: float[..., Z].

  Returns:
    float[..., Z], at least 0. Not summed over Z: free bits need the parts.

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
  # The deviation is scaled before it is squared: exp(-log_var) alone would
  # overflow at half the |log_var|.
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
  aggregate posterior, here that of a batch, and the prior. Batches of training
  hold sentences of nearly one length, so that no length may be told from z. The
  biased estimator: at least 0.

  Args:
    x: float[B, Z], posterior samples.
    y: float[B, Z], prior samples.
    weights: float[B], 0 for blank rows of both.

  Returns:
    float[].
  """
  total = jnp.sum(weights)
  share = weights / jnp.where(total > 0, total, 1.0)

  def kernel(a, b):
    square = jnp.sum(jnp.square(a[:, None] - b[None, :]), axis=-1)
    return share @ jnp.exp(-square / a.shape[-1]) @ share

  return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


def reparameterise(
  noise: jax.Array, mean: jax.Array, log_var: jax.Array
) -> jax.Array:
  """The sample of N(mean, exp(log_var)) that standard normal noise names.

  Kingma & Welling, arXiv:1312.6114, section 2.4: gradients reach the mean and
  the variance.

  Args:
    noise: float[..., Z], drawn from N(0, 1).
    mean: float[..., Z].
    log_var: float[..., Z].

  Returns:
    float[..., Z].

  Raises:
    ValueError: the shapes differ; broadcast noise would tie samples together.
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

  The sum of the squared deviations of the K bounds that each leave out one
  sample from their mean. By Efron & Stein (Annals of Statistics 9, 1981) its
  expectation is at least the variance of the bound of K - 1 samples: an
  estimate that errs on the side of caution, even where a few samples carry all
  weight. The delta method, the variance of the mean weight over its square, is
  too small there: its deviation was a half to a quarter of the true one at a
  standard deviation of 4.

  Measured on Gaussian log-weights, with variances averaged over 4,000 or more
  sentences: the deviation over draws is these parts of the estimated one.

    sd     K = 2    10    100    200
    .5       .73   .95   1.00    .99
    1        .77   .93   1.00   1.00
    2        .79   .92    .98   1.01
    3        .81   .90    .97    .97
    4        .82   .89    .95    .95

  It says nothing of the bound's bias: see `importance_weighted_bias`.

  Args:
    log_weights: float[K, B].

  Returns:
    float[B].

  Raises:
    ValueError: there is one sample, from which nothing can be said.
  """
  _check_samples('importance_weighted_variance', log_weights)
  shifts = _leave_one_out_shifts(log_weights)
  mean = jnp.mean(shifts, axis=0, keepdims=True)
  return jnp.sum(jnp.square(shifts - mean), axis=0)


def importance_weighted_bias(log_weights: jax.Array) -> jax.Array:
  """How far `importance_weighted_nll` lies above -log p(x), in nats.

  The jackknife's estimate, (K - 1) times what the bounds that each leave out
  one sample lie above the bound of all, on average (Nowozin, ICLR 2018,
  'Debiasing evidence approximations'); at least 0 but for rounding. The bound
  minus it is no bound.

  To first order in 1 / K. Where few samples carry the weight it finds a part of
  the bias only; measured on Gaussian log-weights, estimated over true bias:

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
    ValueError: there is one sample, from which nothing can be said.
  """
  _check_samples('importance_weighted_bias', log_weights)
  shifts = _leave_one_out_shifts(log_weights)
  return -(log_weights.shape[0] - 1) * jnp.mean(shifts, axis=0)


def doubling_sizes(samples: int) -> tuple[int, ...]:
  """The sample sizes of `importance_weighted_doubling`, the largest last."""
  return tuple(sorted({max(samples // part, 1) for part in (8, 4, 2, 1)}))


def importance_weighted_doubling(log_weights: jax.Array) -> jax.Array:
  """The bounds of an eighth, a quarter, a half and all of the samples, in nats.

  What the last doubling still took off the bound tells how far it may be from
  -log p(x). The bounds of fewer samples are means over disjoint groups of
  consecutive samples; what is left over when K is no multiple is left out.

  Args:
    log_weights: float[K, B].

  Returns:
    float[B, D], of the sizes `doubling_sizes(K)`. Where each divides the next
    they fall from left to right, for any draw (Jensen's inequality).
  """
  samples = log_weights.shape[0]

  def bound(size):
    groups = samples // size
    parts = log_weights[: groups * size].reshape(groups, size, -1)
    return jnp.mean(jax.vmap(importance_weighted_nll)(parts), axis=0)

  return jnp.stack([bound(size) for size in doubling_sizes(samples)], axis=1)


def _leave_one_out_shifts(log_weights: jax.Array) -> jax.Array:
  """What leaving out each sample adds to the log of the mean weight, nats.

  log(1 - p) - log(1 - 1/K) of the normalised weight p of each sample.

  Args:
    log_weights: float[K, B], K at least 2.

  Returns:
    float[K, B].
  """
  samples = log_weights.shape[0]
  # Relative to the largest weight: numbers near 0, whatever the nats.
  relative = log_weights - jnp.max(log_weights, axis=0, keepdims=True)
  is_largest = (
    jnp.arange(samples)[:, None] == jnp.argmax(relative, axis=0)[None, :]
  )
  others = jnp.where(is_largest, -jnp.inf, relative)
  log_others = jax.nn.logsumexp(others, axis=0)
  # At most a half each.
  shares = jnp.exp(others - jnp.logaddexp(0.0, log_others)[None, :])
  # The largest may be all but 1e-30 of the total: then 1 - p has no digits, and
  # is computed from the others.
  without_largest = -jnp.logaddexp(0.0, -log_others)
  shifts = jnp.where(is_largest, without_largest[None], jnp.log1p(-shares))
  return shifts - math.log1p(-1 / samples)


def _check_samples(name: str, log_weights: jax.Array) -> None:
  samples = log_weights.shape[0]
  if samples < 2:
    raise ValueError(f'{name} wants at least 2 samples, got {samples}.')


def activation(outputs: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean square of the outputs, summed over tokens.

  Activation regularisation (Merity et al., arXiv:1708.01009), whose weight is
  then one of a nat a token.

  Args:
    outputs: float[B, T, H].
    mask: bool[B, T], True on real tokens.

  Returns:
    float[].
  """
  squares = jnp.mean(jnp.square(outputs), axis=-1)
  return jnp.sum(jnp.where(mask, squares, 0.0))


def temporal_activation(outputs: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean square of the outputs' steps in time, summed over tokens.

  Temporal activation regularisation; see `activation`.
  """
  return activation(outputs[:, 1:] - outputs[:, :-1], mask[:, 1:])


def _check_equal_shapes(name: str, *arrays: jax.Array) -> None:
  shapes = [array.shape for array in arrays]
  if len(set(shapes)) > 1:
    raise ValueError(
      f'{name} wants equal shapes, got {", ".join(map(str, shapes))}.'
    )
