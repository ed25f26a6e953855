"""An encoder of source texts and a decoder that is conditioned on them."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models import attention, embeddings, language_model, recurrent
from rnnvae_jax.ops import noise

BRIDGES = ('copy', 'dense')


class Encoded(NamedTuple):
  """What the decoder reads of each source; the first axis is rows."""

  carry: recurrent.Carry  # The decoder's states before the first token.
  summary: jax.Array | None  # float[B, Z], the encoder's final states.
  memory: attention.Memory | None  # What its steps attend to.


class EncoderDecoder(nn.Module):
  """p(sentence | source).

  The encoder reads the words and eos of the source. With the bridge 'copy' its
  final states are the decoder's first states (Sutskever et al.,
  arXiv:1409.3215), so layers and sizes must be equal; with 'dense' each of the
  decoder's states is the tanh of a linear function of all of them. A decoder
  with `latent_every_step` also reads them at every step (Cho et al.,
  arXiv:1406.1078), one with `attention` attends to the encoder's outputs.

  The parts of the encoder are `embedding` and `recurrent`, those of the decoder
  are below `decoder`.
  """

  decoder: language_model.LanguageModel
  encoder: recurrent.Recurrent
  vocab_size: int  # Of sources.
  embedding_size: int
  bridge: str = 'copy'
  locked_dropout: bool = False

  def setup(self):
    self.embedding = embeddings.Embed(self.vocab_size, self.embedding_size)
    self.recurrent = self.encoder.clone(parent=None, name=None)

  def encode(
    self,
    source: jax.Array,
    source_mask: jax.Array,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> Encoded:
    """Reads sources.

    Args:
      source: int[B, S], the words and eos.
      source_mask: bool[B, S], True on real tokens.
      rates: drop probabilities; `word` is for the decoder alone.
      keys: key[B]; None for no dropout, as in evaluation.
    """
    x = self.embedding(source)
    if rates is not None and keys is not None:
      keys = noise.site_keys(keys, 'encoder')
      x = noise.drop_word_types(x, source, rates.word_type, keys)
      x = noise.dropout(
        x, rates.embedding, keys, 'embedding', self.locked_dropout
      )
    carry, outputs = self.recurrent(x, source_mask, None, rates, keys)
    summary = None
    if self.decoder.latent_size:
      summary = jnp.concatenate(jax.tree.leaves(carry), axis=-1)
    if self.bridge == 'dense':
      carry = self.decoder.start(len(source), summary)
    memory = self.decoder.remember(outputs, source_mask)
    return Encoded(carry, summary, memory)

  def __call__(
    self,
    source: jax.Array,
    source_mask: jax.Array,
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    **options: Any,
  ) -> language_model.Reading:
    """Nats of `targets` given the sources; see `LanguageModel.__call__`."""
    encoded = self.encode(source, source_mask, rates, keys)
    return self.decoder(
      inputs,
      targets,
      mask,
      encoded.summary,
      rates,
      keys,
      carry=encoded.carry,
      memory=encoded.memory,
      **options,
    )

  def read(
    self,
    source: jax.Array,
    source_mask: jax.Array,
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    forbidden: jax.Array,
    token_counts: tuple[int, ...] = (),
  ) -> tuple[jax.Array, jax.Array]:
    """What `__call__` and `LanguageModel.likeliest` return, encoding once.

    Returns:
      float[B, T], nats of the targets, and int32[B, T], the likeliest tokens.
    """
    encoded = self.encode(source, source_mask)
    reading = self.decoder(
      inputs,
      targets,
      mask,
      encoded.summary,
      carry=encoded.carry,
      memory=encoded.memory,
      token_counts=token_counts,
    )
    return reading.nll, self.decoder.likeliest(
      reading.dropped, forbidden, encoded.summary
    )

  def step(
    self, carry: recurrent.Carry, tokens: jax.Array, encoded: Encoded
  ) -> tuple[recurrent.Carry, jax.Array]:
    """One step of decoding; see `LanguageModel.step`."""
    return self.decoder.step(carry, tokens, encoded.summary, encoded.memory)
