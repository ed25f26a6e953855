"""Recurrent layers, and their last states or a pool of their outputs."""

from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models import build
from rnnvae_jax.models import recurrent as recurrent_lib
from rnnvae_jax.models.encoders import base
from rnnvae_jax.ops import noise

POOLINGS = ('last', 'mean', 'max')


@schema.fragment('model', only_if=base.chosen('recurrent'))
class Config(build.LayersConfig):
  """Keys of a recurrent encoder, besides those of its cell."""

  bidirectional_encoder: bool = schema.field(
    False, 'The encoder reads in both directions.'
  )
  pooling: str = schema.field(
    'last',
    "What is read of the last layer: its 'last' outputs (in reverse, those at "
    'the first word), or the mean or the maximum of all.',
    choices=POOLINGS,
  )
  gradient_steps: int = schema.field(
    0,
    'Words at the end of a text through which gradients flow back; the states '
    'before are computed, not learnt from. 0: all words.',
    low=0,
  )

  def check(self) -> None:
    """Rejects gradients cut off in a direction that has no last words.

    Raises:
      ValueError: `gradient_steps` is set for a bidirectional encoder.
    """
    if self.gradient_steps and self.bidirectional_encoder:
      raise ValueError(
        f'config.model.gradient_steps = {self.gradient_steps} with config.model'
        '.bidirectional_encoder = True: the last words of one direction are '
        'the first of the other. Legal: 0.'
      )


class RecurrentEncoder(base.Encoder):
  """Recurrent layers, and their last states or a pool of their outputs.

  Its parameters have the names of the layers' own, so that they can be copied
  from a language model or a VAE.
  """

  layers: recurrent_lib.Recurrent
  pooling: str = 'last'
  gradient_steps: int = 0

  CONFIG = Config
  READS_BOS = True

  @classmethod
  def from_config(cls, config: Any) -> Self:
    model = config.model
    layers = build.recurrent(
      config, model.hidden_size, bidirectional=model.bidirectional_encoder
    )
    return cls(layers, model.pooling, model.gradient_steps)

  @property
  def backend(self) -> str:
    return self.layers.backend

  @property
  def backend_reason(self) -> str:
    return self.layers.backend_reason

  @property
  def output_size(self) -> int:
    """F, of the outputs after each word."""
    return self.layers.output_size

  def setup(self):
    nn.share_scope(self, self.layers)

  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates,
    keys: jax.Array | None,
  ) -> jax.Array:
    return self.pool(*self.outputs(x, mask, rates, keys))

  def pool(
    self, carry: recurrent_lib.Carry, outputs: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """One vector for each text, from what `outputs` returns: float[B, F]."""
    if self.pooling == 'last':
      last = [states[0] for states in carry[-1]]
      return jnp.concatenate(last, axis=-1)
    if self.pooling == 'mean':
      count = jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
      return jnp.sum(jnp.where(mask[:, :, None], outputs, 0.0), axis=1) / count
    largest = jnp.max(jnp.where(mask[:, :, None], outputs, -jnp.inf), axis=1)
    return jnp.where(jnp.any(mask, axis=1, keepdims=True), largest, 0.0)

  def outputs(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates,
    keys: jax.Array | None,
  ) -> tuple[recurrent_lib.Carry, jax.Array, jax.Array]:
    """The last layer's outputs after each word.

    Args:
      x: see `__call__`, as all other arguments.

    Returns:
      The carry after the last word, float[B, T, F] and bool[B, T], which of
      them are of words. With `gradient_steps` the last words stand apart, after
      those before.
    """
    carry, parts = None, []
    if 0 < self.gradient_steps < x.shape[1]:
      before, last = _last_words(x, mask, self.gradient_steps)
      early_x, early_mask = before
      carry, outputs = jax.lax.stop_gradient(
        self.layers(early_x, early_mask, None, rates, keys)
      )
      parts.append((outputs, early_mask))
      x, mask = last
    carry, outputs = self.layers(x, mask, carry, rates, keys)
    outputs, mask = (
      jnp.concatenate(arrays, axis=1)
      for arrays in zip(*parts, (outputs, mask), strict=True)
    )
    return carry, outputs, mask


ENCODER = RecurrentEncoder


def _last_words(x, mask, count):
  """Cuts off the last words of each row.

  Args:
    x: float[B, T, E].
    mask: bool[B, T], True on the first words of a row.
    count: N, smaller than T.

  Returns:
    x and the mask of the words before, float and bool[B, T]; and those of the
    last N words, or of all where there are fewer, float and bool[B, N].
  """
  lengths = jnp.sum(mask, axis=1, keepdims=True)
  start = jnp.maximum(lengths - count, 0)
  before = mask & (jnp.arange(x.shape[1])[None] < start)
  positions = start + jnp.arange(count)[None]
  last = jnp.take_along_axis(x, positions[:, :, None], axis=1)
  return (x, before), (last, positions < lengths)
