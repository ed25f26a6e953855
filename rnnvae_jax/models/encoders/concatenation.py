"""The vectors of the first words, side by side."""

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.encoders import base
from rnnvae_jax.ops import noise


@schema.fragment('model.concatenation', only_if=base.chosen('concatenation'))
class Config:
  """Keys of an encoder that puts word vectors side by side."""

  words: int = schema.field(
    30,
    'Words that are read; zeros stand for those that a shorter text lacks.',
    low=1,
    tiny=7,
  )


class Concatenation(base.Encoder):
  """The vectors of the first words, side by side."""

  words: int = 30

  CONFIG = Config

  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates,
    keys: jax.Array | None,
  ) -> jax.Array:
    del rates, keys
    x = jnp.where(mask[:, :, None], x, 0.0)[:, : self.words]
    x = jnp.pad(x, [(0, 0), (0, self.words - x.shape[1]), (0, 0)])
    return x.reshape(len(x), -1)


ENCODER = Concatenation
