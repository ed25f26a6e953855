"""KL terms that are not pushed below a threshold, in nats per sentence."""

import jax
import jax.numpy as jnp

from rnnvae_jax import errors
from rnnvae_jax.config import schema

PER = ('batch', 'sentence', 'latent', 'sentence_latent')


@schema.fragment('objective')
class FreeBitsConfig:
  """Nats of KL that cost nothing.

  `free_bits_per` may be given without a threshold: a sweep over thresholds that
  begins at 0 sets both.
  """

  free_bits: float = schema.field(
    0.0,
    'Nats of KL that are not penalised; 0: all are.',
    low=0,
    traced=True,
  )
  free_bits_per: str = schema.field(
    'sentence',
    'What the threshold is compared with; per latent it is a threshold of each '
    'latent.',
    choices=PER,
  )


def penalised_kl(
  kl: jax.Array,
  threshold: jax.typing.ArrayLike,
  per: str,
  weights: jax.Array,
) -> jax.Array:
  """The KL term of the loss with free bits, in nats per sentence.

  Kingma et al., arXiv:1606.04934. With means over the real sentences b of the
  batch:

    batch: max(mean_b sum_z KL, threshold).
    sentence: mean_b max(sum_z KL, threshold).
    latent: sum_z max(mean_b KL, threshold), the variant of the paper.
    sentence_latent: mean_b sum_z max(KL, threshold), that of Li et al.,
      arXiv:1909.00868.

  The threshold is thus in nats per sentence, but for 'latent' and
  'sentence_latent', where each of the Z latents has its own. What lies below
  it counts as the threshold and has gradient zero: nothing there pulls the
  posterior towards the prior. A batch of training holds sentences of nearly one
  length, so that what is compared with it in 'batch' and 'latent' is the mean
  over those: short ones and long ones keep it each. The threshold 0 is the
  plain KL term, also where an estimate of the KL is negative.

  Args:
    kl: float[B, Z], the KL of each latent; float[B, 1] where it has no parts.
    threshold: float[], at least 0; may be traced.
    per: one of PER: what the threshold is compared with.
    weights: float[B], 1 for real sentences, 0 for the blank ones that fill a
      batch, which change neither the value nor the gradient.

  Returns:
    float[]. A batch of blank sentences has the mean KL 0.

  Raises:
    ValueError: `per` is unknown, or the shapes do not fit together.
  """
  if per not in PER:
    raise ValueError(errors.unknown('free bits per', per, PER))
  if kl.ndim != 2 or weights.shape != kl.shape[:1]:
    raise ValueError(
      'penalised_kl wants kl [B, Z] and weights [B], got '
      f'{kl.shape} and {weights.shape}.'
    )
  total = jnp.sum(weights)
  share = weights / jnp.where(total > 0, total, 1.0)
  # Selected, not only multiplied by 0: a blank row's KL may be infinite.
  kl = jnp.where(weights[:, None] > 0, kl, 0.0)
  # Not jnp.maximum, which halves the gradient of a KL equal to the threshold.
  threshold = jnp.asarray(threshold)
  above = lambda parts: (parts >= threshold) | (threshold <= 0)
  floor = lambda parts: jnp.where(above(parts), parts, threshold)
  if per == 'batch':
    return floor(jnp.sum(share[:, None] * kl))
  if per == 'sentence':
    return jnp.sum(share * floor(jnp.sum(kl, axis=1)))
  if per == 'sentence_latent':
    return jnp.sum(share[:, None] * floor(kl))
  return jnp.sum(floor(jnp.sum(share[:, None] * kl, axis=0)))
