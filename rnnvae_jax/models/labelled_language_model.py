"""A language model whose sentences have a label."""

from typing import Any

import flax.linen as nn
import jax

from rnnvae_jax.models import embeddings, language_model, recurrent


class LabelledLanguageModel(nn.Module):
  """p(sentence | label).

  The label's vector is read together with the word at every step. First states
  are zeros, so with a vector of zeros this is the language model without label.
  """

  decoder: language_model.LanguageModel  # `latent_every_step`
  num_labels: int

  def setup(self):
    self.label = embeddings.Embed(self.num_labels, self.decoder.latent_size)

  def __call__(
    self,
    labels: jax.Array,
    inputs: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    **options: Any,
  ) -> language_model.Reading:
    """Nats given the labels int[B]; see `LanguageModel.__call__`."""
    carry = self.decoder.stack.zero_carry(len(labels))
    vectors = self.label(labels)
    return self.decoder(inputs, targets, mask, vectors, carry=carry, **options)

  def step(
    self, carry: recurrent.Carry, tokens: jax.Array, labels: jax.Array
  ) -> tuple[recurrent.Carry, jax.Array]:
    """One step of decoding; see `LanguageModel.step`."""
    return self.decoder.step(carry, tokens, self.label(labels))
