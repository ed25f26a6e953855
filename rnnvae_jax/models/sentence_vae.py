"""Sentence VAE: a recurrent encoder and a conditional language model."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models import language_model, recurrent
from rnnvae_jax.ops import products

PRIORS = ('standard', 'mixture', 'vamp')
PRIOR_PARAMETERS = ('prior_logits', 'prior_outputs', 'pseudo_sentences')
# Length of the VampPrior's pseudo-sentences.
_PSEUDO_LENGTH = 10


class Components(NamedTuple):
  """A mixture of diagonal Gaussians."""

  log_weights: jax.Array  # float[C], normalised.
  mean: jax.Array  # float[C, Z].
  log_var: jax.Array  # float[C, Z].


class SentenceVAE(nn.Module):
  """q(z | sentence) and p(sentence | z) (Bowman et al., arXiv:1511.06349).

  The encoder shares the decoder's embeddings and reads the words and eos. A
  linear layer reads the encoder's final states of all layers and directions, an
  LSTM's cell states included. `objectives.posteriors` turns the outputs of that
  layer into a distribution of z.

  `prior` is 'standard', the prior of the posterior's family; 'mixture', a
  mixture of learnt Gaussians; or 'vamp', the VampPrior (Tomczak & Welling,
  arXiv:1705.07120): a mixture of the posteriors of learnt pseudo-sentences.
  These are sequences of vectors in place of embedded words. With a planar flow
  the components are the Gaussians before the flow. Both mixtures learn the
  weights of their components; in the paper the weights are equal.
  """

  decoder: language_model.LanguageModel
  encoder: recurrent.Recurrent
  head_size: int = 0  # 0: 2 Z, a Gaussian's mean and log-variance.
  prior: str = 'standard'
  num_components: int = 0

  def setup(self):
    head_size = self.head_size or 2 * self.decoder.latent_size
    precision = self.decoder.precision
    self.posterior = nn.Dense(
      head_size,
      precision=products.lax_precision(precision),
      dot_general=products.dense_product(precision),
    )
    count = self.num_components
    if self.prior != 'standard':
      self.prior_logits = self.param(
        'prior_logits', nn.initializers.zeros_init(), (count,)
      )
    if self.prior == 'mixture':
      self.prior_outputs = self.param(
        'prior_outputs',
        nn.initializers.normal(1.0),
        (count, 2 * self.decoder.latent_size),
      )
    if self.prior == 'vamp':
      self.pseudo_sentences = self.param(
        'pseudo_sentences',
        nn.initializers.normal(self.decoder.embedding_size**-0.5),
        (count, _PSEUDO_LENGTH, self.decoder.embedding_size),
      )

  def encode(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """int[B, T], bool[B, T] -> outputs of the encoder, float[B, head]."""
    return self._encode(self.decoder.embedding(tokens), mask)

  def components(self) -> Components:
    """The components of the mixture prior."""
    if self.prior == 'vamp':
      mask = jnp.ones(self.pseudo_sentences.shape[:2], bool)
      outputs = self._encode(self.pseudo_sentences, mask)
    else:
      outputs = self.prior_outputs
    outputs = outputs[:, : 2 * self.decoder.latent_size]
    log_weights = jax.nn.log_softmax(self.prior_logits)
    return Components(log_weights, *jnp.split(outputs, 2, axis=-1))

  def _encode(self, embedded, mask):
    carry, _ = self.encoder(embedded, mask)
    states = jnp.concatenate(jax.tree.leaves(carry), axis=-1)
    return self.posterior(states)

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
    """Uses every parameter once, for `init`."""
    latents = self.encode(targets, mask)[:, : self.decoder.latent_size]
    return self.decode(latents, inputs, targets, mask)
