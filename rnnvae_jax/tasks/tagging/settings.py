"""Config keys of taggers."""

from collections.abc import Mapping
import functools
from typing import Any

import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.data import spellings
from rnnvae_jax.models import build, tagger, word_features
from rnnvae_jax.models import recurrent as recurrent_lib
from rnnvae_jax.models.encoders import base as encoders
from rnnvae_jax.models.encoders import convolution, recurrent

CHARACTERS = ('none', 'convolution', 'recurrent')
OUTPUTS = ('crf', 'softmax')
_READS_CHARACTERS = schema.none_of('model.characters', 'none')


@schema.fragment('model')
class TaggerConfig(build.LayersConfig, build.EmbeddingConfig):
  """Keys of a tagger, besides those of its cell."""

  bidirectional_encoder: bool = schema.field(
    True, 'The layers read in both directions.'
  )
  frozen_embeddings: bool = schema.field(
    False, 'The word vectors stay as they begin.'
  )
  characters: str = schema.field(
    'convolution',
    'What turns the characters of a word into a vector: filters and the '
    'strongest response of each, or a recurrent layer in both directions.',
    choices=CHARACTERS,
  )
  character_size: int = schema.field(
    30,
    'Size of the embeddings of characters.',
    low=1,
    tiny=5,
    only_if=_READS_CHARACTERS,
  )
  character_width: int = schema.field(
    3,
    'Neighbouring characters that a filter reads.',
    low=1,
    only_if=schema.one_of('model.characters', 'convolution'),
  )
  character_units: int = schema.field(
    30,
    'Filters over characters, or units of each direction of their layer.',
    low=1,
    tiny=4,
    only_if=_READS_CHARACTERS,
  )
  case_size: int = schema.field(
    0,
    'Size of the vectors of kinds of words: numeric, without or with capitals; '
    '0: they are not read.',
    low=0,
  )
  output: str = schema.field(
    'crf',
    'Tags are chosen together, with scores of tags beside each other (crf), '
    'or each by itself (softmax).',
    choices=OUTPUTS,
  )


def _is_deep(flat: Mapping[str, Any]) -> bool:
  return flat.get('model.num_layers', 1) > 1


_rate = functools.partial(
  schema.field, 0.0, low=0, high=0.99, traced=True, off=0.0
)


@schema.fragment('dropout')
class DropoutConfig:
  """Probabilities of dropping, in training."""

  embedding: float = _rate(
    'Dropout of embedded characters, and of what the layers read of a word.'
  )
  word: float = _rate('Dropout of words: the unknown word is read instead.')
  hidden: float = _rate(
    'Dropout of the outputs that a layer passes to the next.',
    only_if=schema.Condition(
      _is_deep,
      lambda flat: 'there is one layer',
      '`model.num_layers` is above 1',
    ),
  )
  output: float = _rate('Dropout of the inputs of the output layer.')
  recurrent: float = _rate(
    'Dropout of states that recurrent products read; one mask for all steps.'
  )
  weight: float = _rate(
    'Dropout of elements of the recurrent kernels, for a whole update.'
  )
  locked: bool = schema.field(
    False, 'Dropout has one mask for all words of a sentence.'
  )


def slower(x):
  """A learning rate's schedule: 1 / (1 + 0.05 t) over 50 epochs t.

  Ma & Hovy, arXiv:1603.01354, section 3.2.
  """
  whole, x = 0.05 * 50, jnp.minimum(x, 1.0)
  return (1 - 1 / (1 + whole * x)) * (1 + whole) / whole


def model(
  config: Any, vocab_size: int, num_tags: int, speller: spellings.Speller
) -> tagger.Tagger:
  """Builds the tagger that a config describes.

  Raises:
    ValueError: the cell is unknown or has no state, or the backend does not
      run it here.
  """
  settings = config.model
  return tagger.Tagger(
    vocab_size=vocab_size,
    embedding_size=settings.embedding_size,
    num_tags=num_tags,
    layers=build.recurrent(
      config,
      settings.hidden_size,
      bidirectional=settings.bidirectional_encoder,
    ),
    characters=_characters(config),
    num_characters=speller.size,
    character_size=settings.character_size,
    case_size=settings.case_size,
    alphabet=word_features.alphabet(speller.characters),
    has_transitions=settings.output == 'crf',
    locked_dropout=config.dropout.locked,
    precision=settings.precision,
  )


def _characters(config: Any) -> encoders.Encoder | None:
  settings = config.model
  if settings.characters == 'none':
    return None
  if settings.characters == 'convolution':
    return convolution.Convolution(
      (settings.character_width,),
      settings.character_units,
      settings.precision,
      copies=True,
    )
  layers: recurrent_lib.Recurrent = build.recurrent(
    config, settings.character_units, bidirectional=True
  ).clone(num_layers=1)
  return recurrent.RecurrentEncoder(layers)
