"""Sentence VAE: a recurrent encoder and a conditional language model."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models import language_model, recurrent
from rnnvae_jax.ops import products


class SentenceVAE(nn.Module):
  """q(z | sentence) and p(sentence | z) (Bowman et al., arXiv:1511.06349).

  The encoder reads the words and eos through the decoder's embeddings. Its
  final states of all layers and directions, the cell states of an LSTM
  included, give mean and log-variance of z.
  """

  decoder: language_model.LanguageModel
  encoder: recurrent.Recurrent

  def setup(self):
    self.posterior = nn.Dense(
      2 * self.decoder.latent_size,
      precision=products.lax_precision(self.decoder.precision),
    )

  def encode(
    self, tokens: jax.Array, mask: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """int[B, T], bool[B, T] -> mean and log-variance, float[B, Z] each."""
    carry, _ = self.encoder(self.decoder.embedding(tokens), mask)
    states = jnp.concatenate(jax.tree.leaves(carry), axis=-1)
    mean, log_var = jnp.split(self.posterior(states), 2, axis=-1)
    return mean, log_var

  def decode(self, latents, inputs, targets, mask, **options):
    """Nats given z float[B, Z]; see `LanguageModel.__call__`."""
    return self.decoder(inputs, targets, mask, latents, **options)

  def start(self, batch_size: int, latents: jax.Array) -> recurrent.Carry:
    """The decoder's carry before the first token."""
    return self.decoder.start(batch_size, latents)

  def step(self, carry, tokens, latents):
    """One step of decoding; see `LanguageModel.step`."""
    return self.decoder.step(carry, tokens, latents)

  def __call__(self, inputs, targets, mask):
    """Touches every parameter, for `init`."""
    mean, _ = self.encode(targets, mask)
    return self.decode(mean, inputs, targets, mask)
