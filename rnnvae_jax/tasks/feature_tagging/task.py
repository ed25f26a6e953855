"""A random field over hand-made features of words, as a task."""

from collections.abc import Sequence
from typing import Any

from rnnvae_jax.config import schema
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import feature_tagger, word_features
from rnnvae_jax.tasks import _tags, _trained_tags


@schema.fragment('model')
class FeatureConfig:
  """Keys of the features."""

  num_features: int = schema.field(
    1 << 18,
    'Numbers that features of words are hashed to; a weight each for a tag.',
    low=1,
    tiny=64,
  )


@schema.fragment('dropout')
class DropoutConfig:
  """Probabilities of dropping, in training."""

  embedding: float = schema.field(
    0.0, 'Dropout of features of words.', low=0, high=0.99, traced=True, off=0.0
  )


class FeatureTagging(_trained_tags.TrainedTags):
  """The tags of a sentence's words, by features of these and a CRF."""

  FRAGMENTS = (
    FeatureConfig,
    DropoutConfig,
    *_trained_tags.TrainedTags.FRAGMENTS,
  )

  @classmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'FeatureTagging':
    _tags.check_labels(config, labels)
    speller, scheme = _tags.reading(config, vocab)
    model = feature_tagger.FeatureTagger(
      len(labels),
      config.model.num_features,
      word_features.alphabet(speller.characters),
    )
    return cls(
      model,
      labels,
      speller,
      scheme=scheme,
      allowed=_trained_tags.allowed_moves(config, labels, scheme),
    )
