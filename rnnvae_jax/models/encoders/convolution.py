"""Filters over neighbouring words, and the strongest response of each."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.encoders import base
from rnnvae_jax.ops import noise, products


@schema.fragment('model.convolution', only_if=base.chosen('convolution'))
class Config:
  """Keys of a convolution over words."""

  widths: tuple[int, ...] = schema.field(
    (3, 4, 5), 'Numbers of neighbouring words that filters read.'
  )
  filters: int = schema.field(100, 'Filters of each width.', low=1, tiny=6)

  def check(self) -> None:
    """Rejects widths that are not positive, or that occur twice.

    Raises:
      ValueError: there are such, or no widths at all.
    """
    widths = self.widths
    if not widths or min(widths) < 1 or len({*widths}) < len(widths):
      raise ValueError(
        f'config.model.convolution.widths = {widths!r}. Legal: different '
        'numbers of words, at least 1 each, such as (3, 4, 5).'
      )


class Convolution(base.Encoder):
  """Filters over neighbouring words, and the strongest response of each.

  'Convolutional neural networks for sentence classification' (Kim,
  arXiv:1408.5882): rectified, then the largest value over all windows that have
  a word. Zeros stand beyond both ends of a text.

  Attributes:
    widths: numbers of neighbouring words that filters read.
    filters: of each width.
    precision: see `products.PRECISIONS`.
    copies: whether windows are copied, so that those of a width are one
      product: for short texts of small vectors, such as the characters of
      words, where it takes a third less time. Else there is a product for each
      word of a window.
  """

  widths: tuple[int, ...] = (3, 4, 5)
  filters: int = 100
  precision: str = 'float32'
  copies: bool = False

  CONFIG = Config

  @classmethod
  def from_config(cls, config):
    options = vars(schema.read(config, cls.CONFIG))
    widths = tuple(options.pop('widths'))
    return cls(widths, precision=config.model.precision, **options)

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates,
    keys: jax.Array | None,
  ) -> jax.Array:
    del rates, keys
    x = jnp.where(mask[:, :, None], x, 0.0)
    lengths = jnp.sum(mask, axis=1, keepdims=True)
    pooled = []
    for width in self.widths:
      kernel = self.param(
        f'kernel_{width}',
        nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform'),
        (width * x.shape[2], self.filters),
      )
      bias = self.param(
        f'bias_{width}', nn.initializers.zeros_init(), (self.filters,)
      )
      padded = jnp.pad(x, [(0, 0), (width - 1, width - 1), (0, 0)])
      count = x.shape[1] + width - 1
      shifted = [padded[:, i : i + count] for i in range(width)]
      if self.copies:
        windows = jnp.concatenate(shifted, axis=2)
        responses = products.dot(windows, kernel, self.precision)
      else:
        parts = zip(shifted, jnp.split(kernel, width), strict=True)
        responses = functools.reduce(
          jnp.add,
          (products.dot(words, part, self.precision) for words, part in parts),
        )
      # Of two windows without a word none is read, of none the bias alone.
      has_word = jnp.arange(count)[None] < jnp.maximum(lengths, 1) + width - 1
      responses = jnp.where(has_word[:, :, None], responses, -jnp.inf)
      pooled.append(nn.relu(jnp.max(responses, axis=1) + bias[None]))
    return jnp.concatenate(pooled, axis=1)


ENCODER = Convolution
