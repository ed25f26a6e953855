"""The sum or the mean of word vectors."""

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.encoders import base
from rnnvae_jax.ops import noise

COMPOSITIONS = ('mean', 'sum')


@schema.fragment('model', only_if=base.chosen('averaging'))
class Config:
  """Keys of an encoder that sums word vectors, or takes their mean."""

  composition: str = schema.field(
    'mean', 'How word vectors become one.', choices=COMPOSITIONS
  )


class Averaging(base.Encoder):
  """The sum or the mean of word vectors.

  Below hidden layers and with word dropout it is a deep averaging network
  (Iyyer et al., 2015, 'Deep unordered composition rivals syntactic methods for
  text classification'), without layers a linear bag of words, as in fastText
  (Joulin et al., arXiv:1607.01759).

  The mean is that of the words which dropout keeps; their sum is scaled up. The
  sum and the mean of nothing are 0.
  """

  composition: str = 'mean'

  CONFIG = Config
  ORDERED = False
  DROPS_WORDS = True

  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates,
    keys: jax.Array | None,
  ) -> jax.Array:
    weights = mask[:, :, None].astype(x.dtype)
    weights = noise.dropout(weights, rates.word, keys, 'word', locked=False)
    total = jnp.sum(weights * x, axis=1)
    if self.composition == 'sum':
      return total
    count = jnp.sum(weights, axis=1)
    return total / jnp.where(count > 0, count, 1.0)


ENCODER = Averaging
