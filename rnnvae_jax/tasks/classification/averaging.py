"""A classifier that reads the sum or the mean of a sentence's word vectors."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.data import vocab
from rnnvae_jax.models import build as model_build
from rnnvae_jax.models import embeddings
from rnnvae_jax.ops import noise, products

COMPOSITIONS = ('mean', 'sum')
UNKNOWN_WORDS = ('ignored', 'counted')
ACTIVATIONS = {'relu': nn.relu, 'tanh': nn.tanh, 'gelu': nn.gelu}
_HAS_LAYERS = schema.is_set('model.num_layers')


@schema.fragment('model')
class AveragingConfig(model_build.EmbeddingConfig):
  """Keys of a classifier that reads the sum or the mean of word vectors."""

  composition: str = schema.field(
    'mean', 'How word vectors become one.', choices=COMPOSITIONS
  )
  unknown_words: str = schema.field(
    'ignored',
    'Whether the vector of the unknown word is among them.',
    choices=UNKNOWN_WORDS,
  )
  frozen_embeddings: bool = schema.field(
    False, 'The word vectors stay as they begin.'
  )
  num_layers: int = schema.field(
    1,
    'Hidden layers that read the sum or the mean; 0: the classifier is linear.',
    low=0,
  )
  hidden_size: int = schema.field(
    300, 'Units of a hidden layer.', low=1, tiny=14, only_if=_HAS_LAYERS
  )
  activation: str = schema.field(
    'relu',
    'What a hidden layer computes of its sums.',
    choices=tuple(ACTIVATIONS),
    only_if=_HAS_LAYERS,
  )


@schema.fragment('dropout')
class DropoutConfig:
  """Probabilities of dropping, in training."""

  embedding: float = schema.field(
    0.0, 'Of embedded words.', low=0, high=0.99, traced=True, off=0.0
  )
  word: float = schema.field(
    0.0,
    'Of whole words, which leave the sum or the mean.',
    low=0,
    high=0.99,
    traced=True,
    off=0.0,
  )
  hidden: float = schema.field(
    0.0,
    'Of what a hidden layer reads of the one below.',
    low=0,
    high=0.99,
    traced=True,
    off=0.0,
    only_if=schema.none_of('model.num_layers', 0, 1),
  )
  output: float = schema.field(
    0.0,
    'Of what the output layer reads.',
    low=0,
    high=0.99,
    traced=True,
    off=0.0,
  )


class Averaging(nn.Module):
  """Feed-forward layers over the sum or the mean of word vectors.

  With the mean and word dropout a deep averaging network (Iyyer et al., 2015,
  'Deep unordered composition rivals syntactic methods for text
  classification'), without layers a linear bag of words, as in fastText
  (Joulin et al., arXiv:1607.01759).
  """

  vocab_size: int
  embedding_size: int
  num_classes: int
  composition: str = 'mean'
  counts_unknown: bool = False
  num_layers: int = 1
  hidden_size: int = 300
  activation: str = 'relu'
  precision: str = 'float32'  # See `products.PRECISIONS`.

  @nn.compact
  def __call__(
    self,
    inputs: jax.Array,
    mask: jax.Array,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> jax.Array:
    """Scores of the classes.

    Args:
      inputs: int[B, T], bos and the words.
      mask: bool[B, T], True on real inputs.
      rates: drop probabilities.
      keys: key[B]; without them nothing is dropped, as in evaluation.

    Returns:
      float[B, C], log-probabilities up to a constant for each row.
    """
    if rates is None or keys is None:
      rates = noise.Rates()
    words, counted = inputs[:, 1:], mask[:, 1:]
    if not self.counts_unknown:
      counted &= words != vocab.UNK
    embed = embeddings.Embed(
      self.vocab_size, self.embedding_size, name='embedding'
    )
    x = embed(words)
    x = noise.dropout(x, rates.embedding, keys, 'embedding', locked=False)
    x = self._compose(x, counted, rates.word, keys)
    dense = functools.partial(
      nn.Dense,
      precision=products.lax_precision(self.precision),
      dot_general=products.dense_product(self.precision),
    )
    for number in range(self.num_layers):
      if number:
        x = _dropout(x, rates.hidden, keys, f'hidden_{number}')
      x = dense(self.hidden_size, name=f'layer_{number}')(x)
      x = ACTIVATIONS[self.activation](x)
    x = _dropout(x, rates.output, keys, 'output')
    return dense(self.num_classes, name='output')(x)

  def _compose(self, x, counted, rate, keys):
    """The sum or the mean of float[B, T, E] where bool[B, T] is True.

    The mean is that of the words which dropout keeps; their sum is scaled up.
    Nothing has a sum and a mean of 0.
    """
    weights = counted[:, :, None].astype(x.dtype)
    weights = noise.dropout(weights, rate, keys, 'word', locked=False)
    total = jnp.sum(weights * x, axis=1)
    if self.composition == 'sum':
      return total
    count = jnp.sum(weights, axis=1)
    return total / jnp.where(count > 0, count, 1.0)


def _dropout(x, rate, keys, site):
  """Dropout of float[B, F]."""
  return noise.dropout(x[:, None], rate, keys, site, locked=True)[:, 0]
