"""A tagger: vectors of words and of their characters, layers, and tags."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.data import vocab
from rnnvae_jax.models import embeddings, word_features
from rnnvae_jax.models import recurrent as recurrent_lib
from rnnvae_jax.models.encoders import base as encoders
from rnnvae_jax.ops import crf, noise, products


class Words(NamedTuple):
  """What a tagger reads of a batch."""

  ids: jax.Array  # int32[B, T]
  mask: jax.Array  # bool[B, T], True on words, which come first in a row.
  chars: jax.Array | None = None  # int32[B, T, W]
  chars_mask: jax.Array | None = None  # bool[B, T, W]


class Tagger(nn.Module):
  """Scores of the tags of each word, and of tags beside each other.

  'End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF' (Ma & Hovy,
  arXiv:1603.01354) and, with a recurrent `characters`, 'Neural architectures
  for named entity recognition' (Lample et al., arXiv:1603.01360).

  Attributes:
    vocab_size: V.
    embedding_size: E.
    num_tags: K.
    layers: recurrent layers, mostly in both directions.
    characters: turns the characters of a word into a vector; None: they are
      not read.
    num_characters: ids of characters.
    character_size: size of their embeddings.
    case_size: size of the vectors of `word_features.KINDS`; 0: those are not
      read.
    alphabet: what is known of characters.
    has_transitions: whether tags beside each other have scores (a CRF).
    locked_dropout: whether dropout has one mask for all words of a sentence.
    precision: see `products.PRECISIONS`.
  """

  vocab_size: int
  embedding_size: int
  num_tags: int
  layers: recurrent_lib.Recurrent
  characters: encoders.Encoder | None = None
  num_characters: int = 0
  character_size: int = 30
  case_size: int = 0
  alphabet: word_features.Alphabet = word_features.alphabet(())
  has_transitions: bool = True
  locked_dropout: bool = False
  precision: str = 'float32'

  def setup(self):
    self.embedding = embeddings.Embed(self.vocab_size, self.embedding_size)
    if self.characters is not None:
      self.character_embedding = embeddings.Embed(
        self.num_characters, self.character_size
      )
    if self.case_size:
      self.case_embedding = embeddings.Embed(
        len(word_features.KINDS), self.case_size
      )
    self.output = nn.Dense(
      self.num_tags,
      precision=products.lax_precision(self.precision),
      dot_general=products.dense_product(self.precision),
    )
    if self.has_transitions:
      zeros, size = nn.initializers.zeros_init(), self.num_tags
      self.transitions = self.param('transitions', zeros, (size, size))
      self.start = self.param('start', zeros, (size,))
      self.end = self.param('end', zeros, (size,))

  def __call__(
    self,
    words: Words,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> tuple[jax.Array, crf.Weights | None]:
    """Scores of the tags.

    Args:
      words: of some sentences.
      rates: drop probabilities.
      keys: key[B]; without them nothing is dropped, as in evaluation.

    Returns:
      Emissions float[B, T, K], which are undefined where the mask is False, and
      the scores of tags beside each other, None without a CRF.
    """
    if rates is None or keys is None:
      rates = noise.Rates()
    ids, mask = words.ids, words.mask
    if keys is not None:
      ids = noise.drop_words(ids, rates.word, keys, vocab.UNK, vocab.BOS)
    x = self.embedding(ids)
    if self.characters is not None:
      spelt = self._spelt(words.chars, words.chars_mask, rates, keys)
      x = jnp.concatenate([x, spelt], axis=2)
    if self.case_size:
      assert words.chars is not None
      assert words.chars_mask is not None
      kinds = word_features.kinds(words.chars, words.chars_mask, self.alphabet)
      x = jnp.concatenate([x, self.case_embedding(kinds)], axis=2)
    x = self._dropped(x, rates.embedding, keys, 'embedding')
    _, x = self.layers(x, mask, None, rates, keys)
    x = self._dropped(x, rates.output, keys, 'output')
    return self.output(x), self._weights()

  def _weights(self) -> crf.Weights | None:
    if not self.has_transitions:
      return None
    return crf.Weights(self.transitions, self.start, self.end)

  def _spelt(self, chars, chars_mask, rates, keys) -> jax.Array:
    """The vectors of words from their characters: float[B, T, F]."""
    assert self.characters is not None
    rows, length, width = chars.shape
    x = self.character_embedding(chars.reshape(rows, length * width))
    x = self._dropped(x, rates.embedding, keys, 'characters')
    x = x.reshape(rows * length, width, self.character_size)
    mask = chars_mask.reshape(rows * length, width)
    x = self.characters(x, mask, noise.Rates(), None)
    return x.reshape(rows, length, x.shape[1])

  def _dropped(self, x, rate, keys, site):
    return noise.dropout(x, rate, keys, site, self.locked_dropout)
