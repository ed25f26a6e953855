"""Config keys of classifiers."""

from collections.abc import Mapping
import functools
from typing import Any

from rnnvae_jax.config import schema
from rnnvae_jax.models import build as model_build
from rnnvae_jax.models import classifier
from rnnvae_jax.models.encoders import base as encoders

UNKNOWN_WORDS = ('ignored', 'counted')
_HAS_HEAD = schema.is_set('model.head_layers')
_IS_RECURRENT = encoders.chosen('recurrent')


@schema.fragment('model')
class ClassifierConfig(model_build.EmbeddingConfig):
  """Keys of every classifier, besides those of its encoder."""

  encoder: str = schema.field(
    'averaging',
    'What turns the word vectors of a text into one vector.',
    choices=lambda: encoders.REGISTRY,
  )
  unknown_words: str = schema.field(
    'ignored',
    'Whether unknown words are left out of the text, or are read as the '
    'unknown word.',
    choices=UNKNOWN_WORDS,
  )
  frozen_embeddings: bool = schema.field(
    False, 'The word vectors stay as they begin.'
  )
  standardised_embeddings: bool = schema.field(
    False,
    'The mean and the variance of the word vectors over the training text stay '
    'as they begin.',
    only_if=schema.is_unset('model.frozen_embeddings'),
  )
  frozen_encoder: bool = schema.field(
    False,
    'The weights of the encoder stay as they begin.',
    only_if=schema.one_of('model.encoder', 'convolution', 'recurrent'),
  )
  head_layers: int = schema.field(
    0,
    'Hidden layers between the encoder and the scores of the classes.',
    low=0,
  )
  head_size: int = schema.field(
    300, 'Units of each of these layers.', low=1, tiny=14, only_if=_HAS_HEAD
  )
  activation: str = schema.field(
    'relu',
    'What these layers compute of their sums.',
    choices=tuple(classifier.ACTIVATIONS),
    only_if=_HAS_HEAD,
  )


def _passes_on(flat: Mapping[str, Any]) -> bool:
  is_deep = flat.get('model.encoder') == 'recurrent' and (
    flat.get('model.num_layers', 1) > 1
  )
  return is_deep or flat.get('model.head_layers', 0) > 1


_rate = functools.partial(
  schema.field, 0.0, low=0, high=0.99, traced=True, off=0.0
)


@schema.fragment('dropout')
class DropoutConfig:
  """Probabilities of dropping, in training."""

  embedding: float = _rate('Dropout of embedded words.')
  word: float = _rate(
    'Dropout of whole words: they leave a sum or a mean; other encoders read '
    'the unknown word instead, or nothing if unknown words are ignored.'
  )
  hidden: float = _rate(
    'Dropout of the outputs that a recurrent layer, or a hidden layer above '
    'the encoder, passes to the next.',
    only_if=schema.Condition(
      _passes_on,
      lambda flat: 'no such layer passes its outputs to another one',
      'there are two recurrent layers or two hidden layers above the encoder',
    ),
  )
  output: float = _rate('Dropout of the inputs of the output layer.')
  recurrent: float = _rate(
    'Dropout of states that recurrent products read; one mask for all steps.',
    only_if=_IS_RECURRENT,
  )
  weight: float = _rate(
    'Dropout of elements of the recurrent kernels, for a whole update.',
    only_if=_IS_RECURRENT,
  )
  locked: bool = schema.field(
    False,
    'Dropout of embeddings and of recurrent layers has one mask for all words '
    'of a text.',
    only_if=schema.Condition(
      lambda flat: bool(
        flat.get('dropout.embedding') or flat.get('dropout.hidden')
      ),
      lambda flat: (
        'it is read only where config.dropout.embedding or '
        'config.dropout.hidden is set'
      ),
      '`dropout.embedding` or `dropout.hidden` is set',
    ),
  )


@schema.fragment('objective', only_if=_IS_RECURRENT)
class LinearGainConfig:
  """Where in a text the label is learnt from."""

  linear_gain: bool = schema.field(
    False,
    'The label is predicted after every word, with a weight that grows '
    'linearly to the last one (Dai & Le, arXiv:1511.01432).',
    only_if=(
      schema.one_of('model.pooling', 'last'),
      schema.is_unset('model.bidirectional_encoder'),
    ),
  )


@schema.fragment('objective', only_if=_IS_RECURRENT)
class NextWordConfig:
  """Joint training: labels and a language model at once."""

  next_word_weight: float = schema.field(
    0.0,
    'Weight of the nats a word of predicting the next word from the states '
    'that read the text (joint training; Dai & Le, arXiv:1511.01432). The '
    'word vectors are the output layer. It needs no label.',
    low=0,
    traced=True,
    off=0.0,
    only_if=(
      schema.is_unset('model.bidirectional_encoder'),
      schema.is_unset('model.gradient_steps'),
      schema.one_of('model.unknown_words', 'counted'),
      schema.is_unset('objective.linear_gain'),
    ),
  )
