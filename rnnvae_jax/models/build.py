"""Models from a config, and the config keys that several tasks share.

A task lists the fragments of the parts that it builds:

  EmbeddingConfig       word embeddings, precision and initial weights
  LayersConfig          recurrent layers
  RecurrentConfig       both, and an output layer over the vocabulary
  LanguageModelConfig   keys that only language models have
  LatentConfig          keys that only sentence VAEs have
  DropoutConfig         dropout of all parts
  cells.base.fragments  the keys of each cell
"""

from collections.abc import Mapping
import functools
from typing import Any

import jax

from rnnvae_jax.config import schema
from rnnvae_jax.models import language_model as language_model_lib
from rnnvae_jax.models import recurrent as recurrent_lib
from rnnvae_jax.models import sentence_vae as sentence_vae_lib
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import backends, products, recurrence


@schema.fragment('model')
class EmbeddingConfig:
  """Keys of every model that reads words."""

  embedding_size: int = schema.field(
    300, 'Size of the word embeddings.', low=1, tiny=10
  )
  pretrained_embeddings: str = schema.field(
    '', "Initial word embeddings: a file of vectors, or 'glove'; '': random."
  )
  init_scale: float = schema.field(
    0.0,
    'Initial weights are uniform in [-init_scale, init_scale]; 0: each kind of '
    'weight has its own distribution.',
    low=0,
  )
  embedding_init_scale: float = schema.field(
    0.0, 'The init_scale of embeddings; 0: that of other weights.', low=0
  )
  precision: str = schema.field(
    'float32',
    "Precision of matrix products' operands; sums are float32. 'tf32' has an "
    'effect on GPUs only.',
    choices=products.PRECISIONS,
  )


@schema.fragment('model')
class LayersConfig:
  """Keys of recurrent layers."""

  cell: str = schema.field(
    'gru', 'Kind of the layers that read words.', choices=lambda: base.REGISTRY
  )
  hidden_size: int = schema.field(256, 'Units of a layer.', low=1, tiny=14)
  num_layers: int = schema.field(
    1, 'Number of recurrent layers.', low=1, only_if=base.RECURRENT
  )
  backend: str = schema.field(
    'auto',
    'Implementation of the recurrence; all compute the same function.',
    choices=backends.BACKENDS,
    only_if=base.RECURRENT,
    free=schema.Free.TRAINED,
  )


@schema.fragment('model')
class RecurrentConfig(LayersConfig, EmbeddingConfig):
  """Keys that language models and sentence VAEs share."""

  inputless: bool = schema.field(
    False, 'The decoder reads zeros instead of the previous words.'
  )
  tied_embeddings: bool = schema.field(
    False, 'The output layer uses the transposed embedding table.'
  )
  output_bias: bool = schema.field(True, 'The output layer has a bias.')


@schema.fragment('model')
class LanguageModelConfig:
  """Keys that a language model alone has."""

  last_hidden_size: int = schema.field(
    0,
    'Units of the last layer; 0: hidden_size.',
    low=0,
    only_if=base.RECURRENT,
  )
  both_directions: bool = schema.field(
    False,
    'A second model reads each sentence in reverse, with the same embeddings '
    'and output layer.',
  )


@schema.fragment('model')
class LatentConfig:
  """Keys that a sentence VAE alone has; its posterior declares its own."""

  latent_size: int = schema.field(16, 'Size of z.', low=1, tiny=9)
  latent_every_step: bool = schema.field(
    False, 'The decoder reads z together with the word at every step.'
  )
  latent_to_output: bool = schema.field(
    False, 'The output layer reads z together with the last hidden layer.'
  )
  prior: str = schema.field(
    'standard',
    "The prior of the posterior's family ('standard'), or a learnt mixture.",
    choices=sentence_vae_lib.PRIORS,
  )
  prior_components: int = schema.field(
    50,
    'Number of components of the mixture prior.',
    low=1,
    only_if=schema.none_of('model.prior', 'standard'),
  )
  encoder_hidden_size: int = schema.field(
    0, "Units of an encoder's layer; 0: the decoder's.", low=0, tiny=11
  )
  bidirectional_encoder: bool = schema.field(
    False, 'The encoder reads in both directions.'
  )
  bidirectional_decoder: bool = schema.field(
    False, 'Not allowed: a decoder must not read the words that it predicts.'
  )

  def check(self) -> None:
    """Rejects a decoder that reads its targets.

    Raises:
      ValueError: `bidirectional_decoder` is set.
    """
    if self.bidirectional_decoder:
      raise ValueError(
        'config.model.bidirectional_decoder = True: a decoder that reads '
        'backwards is given the words that it is asked to predict. Legal: '
        'False. An encoder may be bidirectional: '
        'config.model.bidirectional_encoder.'
      )


# Dropout that `dropout.locked` applies to.
_LOCKABLE = ('dropout.embedding', 'dropout.hidden', 'dropout.output')


def _locks_some(flat: Mapping[str, Any]) -> bool:
  return any(flat.get(key, 0.0) for key in _LOCKABLE)


_rate = functools.partial(
  schema.field, 0.0, low=0, high=0.99, traced=True, off=0.0
)
_READS_WORDS = schema.is_unset('model.inputless')


@schema.fragment('dropout')
class DropoutConfig:
  """Probabilities of dropout, in training."""

  embedding: float = _rate('Dropout of embedded words.', only_if=_READS_WORDS)
  hidden: float = _rate(
    'Dropout of the outputs that a layer passes to the next.',
    only_if=(base.RECURRENT, schema.none_of('model.num_layers', 1)),
  )
  output: float = _rate('Dropout of the inputs of the output layer.')
  word: float = schema.field(
    0.0,
    'Probability that an input word is replaced by the unknown word.',
    low=0,
    high=1,
    traced=True,
    off=0.0,
    only_if=_READS_WORDS,
  )
  word_type: float = _rate(
    'Dropout of all occurrences of a word in a sentence.',
    only_if=_READS_WORDS,
  )
  recurrent: float = _rate(
    'Dropout of states that recurrent products read; one mask for all steps.',
    only_if=base.RECURRENT,
  )
  weight: float = _rate(
    'Dropout of elements of the recurrent kernels, for a whole update.',
    only_if=base.RECURRENT,
  )
  locked: bool = schema.field(
    False,
    'Dropout of embeddings, hidden layers and outputs has one mask for all '
    'steps of a sentence.',
    only_if=schema.Condition(
      _locks_some,
      lambda flat: (
        'it is read only where one of '
        + ', '.join(f'config.{key}' for key in _LOCKABLE)
        + ' is set'
      ),
      ' or '.join(f'`{key}`' for key in _LOCKABLE) + ' is set',
    ),
  )


def language_model(
  config: Any, vocab_size: int
) -> language_model_lib.LanguageModel:
  """Builds the language model that a config describes.

  Args:
    config: a config with the keys of `RecurrentConfig`, `LanguageModelConfig`,
      `DropoutConfig` and the cells.
    vocab_size: V.

  Raises:
    ValueError: the cell is unknown, or the backend does not run it here.
  """
  last = config.model.last_hidden_size
  both = config.model.both_directions
  return _decoder(
    config,
    vocab_size,
    _decoder_stack(config, last),
    backward_stack=_decoder_stack(config, last) if both else None,
  )


def sentence_vae(
  config: Any, vocab_size: int, head_size: int = 0
) -> sentence_vae_lib.SentenceVAE:
  """Builds the sentence VAE that a config describes.

  Args:
    config: a config with the keys of `RecurrentConfig`, `LatentConfig`,
      `DropoutConfig` and the cells.
    vocab_size: V.
    head_size: number of outputs of the encoder's last layer, which the
      posterior reads; 0: 2 Z, as a Gaussian needs.

  Raises:
    ValueError: the cell is unknown or has no state, or the backend does not
      run it here.
  """
  model = config.model
  decoder = _decoder(
    config,
    vocab_size,
    recurrent(config, model.hidden_size),
    latent_size=model.latent_size,
    latent_every_step=model.latent_every_step,
    latent_to_output=model.latent_to_output,
  )
  encoder = recurrent(
    config,
    model.encoder_hidden_size or model.hidden_size,
    bidirectional=model.bidirectional_encoder,
  )
  return sentence_vae_lib.SentenceVAE(
    decoder,
    encoder,
    head_size,
    prior=model.prior,
    num_components=model.prior_components,
  )


def recurrent(
  config: Any, features: int, bidirectional: bool = False, last: int = 0
) -> recurrent_lib.Recurrent:
  """Builds recurrent layers of the configured cell.

  Args:
    config: a config with the keys of `LayersConfig`, `DropoutConfig` and the
      cells.
    features: H, units of a layer.
    bidirectional: whether the layers read in both directions.
    last: units of the last layer; 0: `features`.

  Raises:
    ValueError: the cell is unknown or has no state, or the backend does not
      run it here.
  """
  model = config.model
  kind = base.get(model.cell)
  if not issubclass(kind, base.Cell):
    raise ValueError(
      f'config.model.cell = {model.cell!r} has no state, as an encoder or a '
      f'latent vector needs it. Legal: {", ".join(base.recurrent_names())}.'
    )
  cell = kind.from_config(config, features)
  platform = jax.default_backend()
  try:
    backend = backends.choose(
      model.backend,
      cell.spec,
      model.precision,
      platform,
      drops_states=config.dropout.recurrent > 0,
      size=max(features, last),
    )
  except ValueError as error:
    raise ValueError(f'config.model.{error}') from None
  return recurrent_lib.Recurrent(
    cell,
    num_layers=model.num_layers,
    bidirectional=bidirectional,
    locked_dropout=config.dropout.locked,
    backend=backend,
    options=recurrence.Options(
      precision=model.precision,
      # On other platforms a loop of dynamic length costs more than the steps
      # that it saves.
      block=recurrence.Options().block if platform == 'cpu' else 0,
    ),
    last_cell=kind.from_config(config, last) if last else None,
  )


def initialised(config: Any, params: Any, key: jax.Array) -> Any:
  """Replaces initial parameters by uniform draws if the config asks for it.

  As in the published recipes of Zaremba et al. and of many text VAEs, all
  parameters are drawn from one interval. Biases are drawn around their initial
  value, which is not 0 for a forget gate. Parameters of a mixture prior are not
  changed: its components would be nearly equal, and stay so.

  Args:
    config: a config with the keys of `EmbeddingConfig`.
    params: parameters as the model initialises them.
    key: random key.
  """
  scale = config.model.init_scale
  embedding_scale = config.model.embedding_init_scale or scale

  def draw(number_and_path, leaf):
    number, path = number_and_path
    if path[-1] in sentence_vae_lib.PRIOR_PARAMETERS:
      return leaf
    bound = embedding_scale if 'embedding' in path else scale
    if not bound:
      return leaf
    drawn = jax.random.uniform(
      jax.random.fold_in(key, number), leaf.shape, leaf.dtype, -bound, bound
    )
    return leaf + drawn if path[-1] == 'bias' else drawn

  leaves, tree = jax.tree_util.tree_flatten_with_path(params)
  names = [[getattr(part, 'key', '') for part in path] for path, _ in leaves]
  values = map(draw, enumerate(names), (leaf for _, leaf in leaves))
  return jax.tree.unflatten(tree, list(values))


def _decoder(config, vocab_size, stack, **options):
  model = config.model
  return language_model_lib.LanguageModel(
    vocab_size=vocab_size,
    embedding_size=model.embedding_size,
    stack=stack,
    tied_embeddings=model.tied_embeddings,
    inputless=model.inputless,
    locked_dropout=config.dropout.locked,
    output_bias=model.output_bias,
    precision=model.precision,
    **options,
  )


def _decoder_stack(config, last: int) -> recurrent_lib.Recurrent | base.Stack:
  """The recurrent layers of a language model, or the stack in their place."""
  model = config.model
  kind = base.get(model.cell)
  if issubclass(kind, base.Stack):
    return kind.from_config(config, model.hidden_size, model.embedding_size)
  return recurrent(config, model.hidden_size, last=last)
