"""A linear tagger: weights of features of words, and of tags side by side."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models import embeddings, tagger, word_features
from rnnvae_jax.ops import crf, noise


class FeatureTagger(nn.Module):
  """Scores of tags as sums of the weights of hand-made features.

  Lafferty et al. 2001; the features are those of `word_features.hashed`.

  Attributes:
    num_tags: K.
    num_features: numbers of features.
    alphabet: what is known of characters.
  """

  num_tags: int
  num_features: int
  alphabet: word_features.Alphabet
  has_transitions: bool = True

  @nn.compact
  def __call__(
    self,
    words: tagger.Words,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> tuple[jax.Array, crf.Weights]:
    """See `tagger.Tagger`; `rates.embedding` is of features."""
    zeros, size = nn.initializers.zeros_init(), self.num_tags
    table = embeddings.Embed(
      self.num_features, size, embedding_init=zeros, name='features'
    )
    assert words.chars is not None
    assert words.chars_mask is not None
    features = word_features.hashed(
      words.chars,
      words.chars_mask,
      words.mask,
      self.alphabet,
      self.num_features,
    )
    kept = jnp.ones(features.shape)
    rate = None if rates is None else rates.embedding
    kept = noise.dropout(kept, rate, keys, 'features', False)
    emissions = jnp.sum(table(features) * kept[:, :, :, None], axis=2)
    weights = crf.Weights(
      self.param('transitions', zeros, (size, size)),
      self.param('start', zeros, (size,)),
      self.param('end', zeros, (size,)),
    )
    return emissions, weights
