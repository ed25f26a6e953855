"""Estimates of how much information latents carry about their sentences.

Each figure answers another question:

  mutual_information, batch_mutual_information: how well does z identify its
    sentence? The two estimates differ in the sentences whose posteriors make up
    the aggregate posterior q(z), and hence in their largest possible value.
    They must not share a column of a table.
  mutual_information_per_latent, informative_units: how well does each latent by
    itself identify the sentence? For families whose latents are independent
    given x. Noise counts as information if it differs between sentences.
  active_units: does the posterior mean of a latent vary? This figure is
    meaningless for families that fix that variance: all units of batch_norm and
    von_mises_fisher are active, whatever the encoder does.
  shuffling_loss (see `likelihoods.elbo_figures`): how much does the decoder use
    z? The reconstruction loss with the latents of another sentence, minus the
    loss with the sentence's own, is 0 if the decoder ignores z, even if z
    identifies sentences. It applies to every family. The other sentence is any
    of the split, so that information about the length is counted.
"""

import functools
import math

import jax
import jax.numpy as jnp

# Rows of the N x N matrix of densities that are computed at a time.
_ROWS = 8


@jax.jit
def mutual_information(
  mean: jax.Array, log_var: jax.Array, noise: jax.Array
) -> jax.Array:
  """Terms whose mean estimates I(x; z) under q, in nats per sentence.

  A term is log q(z_i | x_i) - log (1/N sum_j q(z_i | x_j)) at one sample z_i of
  each sentence. The aggregate posterior is that of the whole split, as in Li et
  al. (arXiv:1909.00868). No term exceeds log N, because both densities use the
  same sample. (The authors' code computes the entropy of q(z | x) in closed
  form, so its estimate can exceed log N by Monte-Carlo error.) Terms may be
  negative: clipping them would bias the mean.

  Time is O(N² Z), memory O(N Z).

  Args:
    mean: float[N, Z], of the posterior of each sentence.
    log_var: float[N, Z].
    noise: float[N, Z], drawn from N(0, 1).

  Returns:
    float[N]. Their standard deviation over sqrt(N) is the standard error.

  Raises:
    ValueError: the shapes differ, or there is no sentence.
  """
  _check_posteriors('mutual_information', mean, log_var, noise)
  count = mean.shape[0]
  z = mean + jnp.exp(0.5 * log_var) * noise
  precision_root = jnp.exp(-0.5 * log_var)
  log_scale = 0.5 * jnp.sum(log_var, axis=1)

  def term(i):
    # Not expanded into a matrix product, which would cancel to noise for
    # posteriors that are narrow and far from 0.
    scaled = (z[i][None, :] - mean) * precision_root
    # Without the constant of the normal density: it cancels.
    log_density = -0.5 * jnp.sum(jnp.square(scaled), axis=1) - log_scale
    # Relative to the sentence's own: at least 0, as one of its parts is exp(0).
    relative = jax.nn.logsumexp(log_density - log_density[i])
    return math.log(count) - relative

  return jax.lax.map(term, jnp.arange(count), batch_size=_ROWS)


@functools.partial(jax.jit, static_argnames='group_size')
def batch_mutual_information(
  mean: jax.Array,
  log_var: jax.Array,
  noise: jax.Array,
  group_size: int = 32,
) -> jax.Array:
  """`mutual_information` inside groups of consecutive sentences, in nats.

  He et al., arXiv:1901.05534, whose groups are the batches. The largest
  possible value is log group_size, 3.47 for 32 sentences, much less than log N.

  Args:
    mean: float[N, Z], of the posterior of each sentence.
    log_var: float[N, Z].
    noise: float[N, Z], drawn from N(0, 1).
    group_size: sentences that share an aggregate posterior; static. The last
      group may be smaller, and so is its largest possible value.

  Returns:
    float[N]. Their mean gives each sentence, not each group, the same weight.

  Raises:
    ValueError: the shapes differ, there is no sentence, or no group.
  """
  posteriors = mean, log_var, noise
  _check_posteriors('batch_mutual_information', *posteriors)
  if group_size < 1:
    raise ValueError(
      f'group_size = {group_size} is not a number of sentences. '
      'Nearest legal value: 1.'
    )
  count, latents = mean.shape
  whole = count - count % group_size
  groups = [x[:whole].reshape(-1, group_size, latents) for x in posteriors]
  terms = jax.vmap(mutual_information)(*groups).reshape(-1)
  if whole == count:
    return terms
  last = mutual_information(*(x[whole:] for x in posteriors))
  return jnp.concatenate([terms, last])


@jax.jit
def active_units(
  mean: jax.Array, threshold: jax.typing.ArrayLike = 0.01
) -> tuple[jax.Array, jax.Array]:
  """Counts the latents whose posterior mean depends on the sentence.

  Burda et al., arXiv:1509.00519: a latent is active when the
  variance over the data of its posterior mean exceeds the threshold.

  Args:
    mean: float[N, Z], of the posterior of each sentence.
    threshold: float[], may be traced.

  Returns:
    int[] in [0, Z], and the variances float[Z] (sums of squares over N).

  Raises:
    ValueError: `mean` does not have that shape, or there is no sentence.
  """
  _check_posteriors('active_units', mean)
  variances = jnp.var(mean, axis=0)
  return jnp.sum(variances > threshold), variances


@jax.jit
def mutual_information_per_latent(
  mean: jax.Array, log_var: jax.Array, noise: jax.Array
) -> jax.Array:
  """Estimates I(x; z_j) under q of each latent by itself, in nats.

  An estimate is the mean over sentences i of log q(z_ij | x_i) - log (1/N sum_k
  q(z_ij | x_k)) at one sample of each sentence, and at most log N. If the
  latents are independent under q(z | x), the sum of the estimates is at least
  I(x; z): information that several latents share counts several times.

  This is only for Gaussians with independent latents. A flow mixes latents, and
  the coordinates of a direction on a sphere depend on each other; see
  `posteriors.Family.independent_latents`.

  Time is O(N² Z), memory O(N Z).

  Args:
    mean: float[N, Z], of the posterior of each sentence.
    log_var: float[N, Z].
    noise: float[N, Z], drawn from N(0, 1).

  Returns:
    float[Z]. Estimates may be negative by Monte-Carlo error.

  Raises:
    ValueError: the shapes differ, or there is no sentence.
  """
  _check_posteriors('mutual_information_per_latent', mean, log_var, noise)
  count = mean.shape[0]
  z = mean + jnp.exp(0.5 * log_var) * noise
  precision_root = jnp.exp(-0.5 * log_var)

  def terms(i):
    scaled = (z[i][None, :] - mean) * precision_root
    log_density = -0.5 * (jnp.square(scaled) + log_var)
    # As in `mutual_information`.
    relative = jax.nn.logsumexp(log_density - log_density[i][None], axis=0)
    return math.log(count) - relative

  return jnp.mean(
    jax.lax.map(terms, jnp.arange(count), batch_size=_ROWS), axis=0
  )


def informative_units(
  information: jax.Array, threshold: jax.typing.ArrayLike = 0.01
) -> jax.Array:
  """Counts the latents that carry more nats than a threshold.

  Args:
    information: float[Z], from `mutual_information_per_latent`.
    threshold: float[], nats; may be traced.

  Returns:
    int[] in [0, Z].
  """
  return jnp.sum(information > threshold)


def _check_posteriors(name: str, *arrays: jax.Array) -> None:
  shapes = [array.shape for array in arrays]
  if len(set(shapes)) > 1 or len(shapes[0]) != 2 or not shapes[0][0]:
    raise ValueError(
      f'{name} wants arrays of one shape [N, Z] with N > 0, got '
      f'{", ".join(map(str, shapes))}.'
    )
