"""Free bits: a KL term without gradient below a threshold, in nats."""

import jax
import jax.numpy as jnp

from rnnvae_jax import errors
from rnnvae_jax.config import schema
from rnnvae_jax.ops import rows

PER = ('batch', 'sentence', 'latent', 'sentence_latent')


@schema.fragment('objective')
class FreeBitsConfig:
  """Nats of KL that the loss does not penalise.

  `free_bits_per` is legal without a threshold, because a sweep over thresholds
  that begins at 0 sets both.
  """

  free_bits: float = schema.field(
    0.0,
    'Nats of KL that are not penalised; 0: all are.',
    low=0,
    traced=True,
  )
  free_bits_per: str = schema.field(
    'sentence',
    "What the threshold is compared with; 'latent' and 'sentence_latent' apply "
    'it to each latent.',
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
    sentence_latent: mean_b sum_z max(KL, threshold), the variant of Li et al.,
      arXiv:1909.00868.

  The threshold is in nats per sentence, except for 'latent' and
  'sentence_latent', where it is in nats per latent. A KL below the threshold
  counts as the threshold and has gradient zero, so nothing pulls the posterior
  towards the prior. The sentences of a training batch have nearly one length.
  So 'batch' and 'latent' compare the threshold with means over sentences of one
  length, and the KL of every length is held up to it. With threshold 0 the
  result is the plain KL term, even if an estimate of the KL is negative.

  Args:
    kl: float[B, Z], the KL of each latent; float[B, 1] if it is not a sum over
      latents.
    threshold: float[], at least 0; may be traced.
    per: one of PER: what the threshold is compared with.
    weights: float[B], 1 for real sentences, 0 for blank rows, which change
      neither the value nor the gradient.

  Returns:
    float[]. The mean KL of a batch of blank rows is 0.

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
  total = rows.total(jnp.sum(weights))
  share = weights / jnp.where(total > 0, total, 1.0)
  # `where`, not a product with 0: the KL of a blank row may be infinite.
  kl = jnp.where(weights[:, None] > 0, kl, 0.0)
  # Not jnp.maximum, which halves the gradient of a KL equal to the threshold.
  threshold = jnp.asarray(threshold)
  above = lambda parts: (parts >= threshold) | (threshold <= 0)
  floor = lambda parts: jnp.where(above(parts), parts, threshold)
  if per == 'batch':
    return floor(rows.total(jnp.sum(share[:, None] * kl)))
  if per == 'sentence':
    return rows.total(jnp.sum(share * floor(jnp.sum(kl, axis=1))))
  if per == 'sentence_latent':
    return rows.total(jnp.sum(share[:, None] * floor(kl)))
  return jnp.sum(floor(rows.total(jnp.sum(share[:, None] * kl, axis=0))))
