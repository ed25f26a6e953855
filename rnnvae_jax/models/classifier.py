"""A classifier: word vectors, an encoder, and layers that choose a class."""

from collections.abc import Callable
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.data import vocab
from rnnvae_jax.models import embeddings
from rnnvae_jax.models.encoders import base
from rnnvae_jax.ops import cross_entropy, noise, products

ACTIVATIONS: dict[str, Callable] = {
  'relu': nn.relu,
  'tanh': nn.tanh,
  'gelu': nn.gelu,
}


class Classifier(nn.Module):
  """Scores of the classes of a text.

  Attributes:
    vocab_size: V.
    embedding_size: E.
    num_classes: C.
    encoder: turns word vectors into one vector.
    counts_unknown: whether the vector of the unknown word is read.
    head_layers: hidden layers between the encoder and the scores.
    head_size: units of each of them.
    activation: one of `ACTIVATIONS`, of the hidden layers.
    locked_dropout: whether dropout of word vectors has one mask for all words
      of a text.
    next_words: whether the encoder, a recurrent one in one direction, predicts
      the next word too; the word vectors are its output layer.
    precision: see `products.PRECISIONS`.
  """

  vocab_size: int
  embedding_size: int
  num_classes: int
  encoder: base.Encoder
  counts_unknown: bool = False
  head_layers: int = 0
  head_size: int = 300
  activation: str = 'relu'
  locked_dropout: bool = False
  next_words: bool = False
  precision: str = 'float32'

  def setup(self):
    dense = functools.partial(
      nn.Dense,
      precision=products.lax_precision(self.precision),
      dot_general=products.dense_product(self.precision),
    )
    self.embedding = embeddings.Embed(self.vocab_size, self.embedding_size)
    self.layers = [
      dense(self.head_size, name=f'layer_{number}')
      for number in range(self.head_layers)
    ]
    self.output = dense(self.num_classes)
    if self.next_words:
      # The names are those of a language model with tied embeddings.
      if self.embedding_size != self.encoder.output_size:
        self.projection = dense(self.embedding_size, use_bias=False)
      self.output_bias = self.param(
        'output_bias', nn.initializers.zeros_init(), (self.vocab_size,)
      )

  def __call__(
    self,
    inputs: jax.Array,
    mask: jax.Array,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    scaling: embeddings.Scaling | None = None,
  ) -> jax.Array:
    """Scores of the classes.

    Args:
      inputs: int[B, T], bos and the words.
      mask: bool[B, T], True on real inputs.
      rates: drop probabilities.
      keys: key[B]; without them nothing is dropped, as in evaluation.
      scaling: keeps the word vectors' mean and variance; None: they may change.

    Returns:
      float[B, C], log-probabilities up to a constant for each row.
    """
    x, mask = self.embed(inputs, mask, rates, keys, scaling)
    if self.next_words and self.is_initializing():
      return self.classify_and_read(x, mask, inputs)[0]
    return self.classify(x, mask, rates, keys, scaling)

  def embed(
    self,
    inputs: jax.Array,
    mask: jax.Array,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    scaling: embeddings.Scaling | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """The words' vectors and which are read: float[B, T, E], bool[B, T].

    With a scaling the vectors are standardised.
    """
    rates = _rates(rates, keys)
    words = inputs
    if keys is not None and not self.encoder.DROPS_WORDS:
      words = noise.drop_words(words, rates.word, keys, vocab.UNK, vocab.BOS)
    if not self.encoder.READS_BOS:
      words, mask = words[:, 1:], mask[:, 1:]
    if not self.counts_unknown:
      known = mask & (words != vocab.UNK)
      if self.encoder.ORDERED:
        words, mask = _without_gaps(words, known)
      else:
        mask = known
    x = self.embedding(words)
    if scaling is not None:
      x = scaling.standardise(x, self.embedding.embedding)
    x = noise.dropout(
      x, rates.embedding, keys, 'embedding', self.locked_dropout
    )
    return x, mask

  def classify(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    scaling: embeddings.Scaling | None = None,
  ) -> jax.Array:
    """Scores of the classes from what `embed` returns: float[B, C]."""
    rates = _rates(rates, keys)
    if scaling is not None:
      x = scaling.restore(x)
    x = self.encoder(x, mask, rates, keys)
    return self._scores(x[:, None], rates, keys)[:, 0]

  def classify_each(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    scaling: embeddings.Scaling | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Scores after each word, as `classify` has them after the last.

    Only for a recurrent encoder in one direction that reads its last states.

    Returns:
      float[B, T, C], and bool[B, T], which of them are of words.
    """
    rates = _rates(rates, keys)
    if scaling is not None:
      x = scaling.restore(x)
    _, outputs, mask = self.encoder.outputs(x, mask, rates, keys)
    return self._scores(outputs, rates, keys), mask

  def classify_and_read(
    self,
    x: jax.Array,
    mask: jax.Array,
    targets: jax.Array,
    token_counts: tuple[int, ...] = (),
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    scaling: embeddings.Scaling | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Scores of the classes, and the nats of the words that come next.

    Only with `next_words`.

    Args:
      x: see `classify`, as all other arguments.
      targets: int[B, T], the word that follows each.
      token_counts: see `batches.Bucket`.

    Returns:
      float[B, C]; and float[], the sum over all words.
    """
    rates = _rates(rates, keys)
    if scaling is not None:
      x = scaling.restore(x)
    carry, outputs, mask = self.encoder.outputs(x, mask, rates, keys)
    pooled = self.encoder.pool(carry, outputs, mask)
    hidden = noise.dropout(
      outputs, rates.output, keys, 'next_words', self.locked_dropout
    )
    if self.embedding_size != self.encoder.output_size:
      hidden = self.projection(hidden)
    total, _ = cross_entropy.linear_cross_entropy(
      hidden.reshape(-1, self.embedding_size),
      self.embedding.embedding.T,
      self.output_bias,
      targets.reshape(-1),
      mask.reshape(-1).astype(jnp.float32),
      cross_entropy.Options(self.precision, token_counts),
    )
    return self._scores(pooled[:, None], rates, keys)[:, 0], total

  def _scores(self, x, rates, keys):
    """Scores of encoded texts: float[B, T, F] -> float[B, T, C]."""
    for number, layer in enumerate(self.layers):
      if number:
        x = noise.dropout(x, rates.hidden, keys, f'hidden_{number}', True)
      x = ACTIVATIONS[self.activation](layer(x))
    return self.output(noise.dropout(x, rates.output, keys, 'output', True))


def _rates(rates, keys) -> noise.Rates:
  return noise.Rates() if rates is None or keys is None else rates


def _without_gaps(words, kept):
  """Moves the words that are kept to the beginning of their row.

  Args:
    words: int[B, T].
    kept: bool[B, T].

  Returns:
    int[B, T], the words that are kept, in order, then PAD; and their mask.
  """
  rows, length = words.shape
  places = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, length)
  # Words whose place is beyond the end are written nowhere.
  moved = jnp.full_like(words, vocab.PAD)
  moved = moved.at[jnp.arange(rows)[:, None], places].set(words, mode='drop')
  count = jnp.sum(kept, axis=1, keepdims=True)
  return moved, jnp.arange(length)[None] < count
