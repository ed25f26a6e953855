"""Config keys of encoder-decoders, and the model that they describe."""

from typing import Any

from rnnvae_jax.config import schema
from rnnvae_jax.models import attention as attention_lib
from rnnvae_jax.models import build as model_build
from rnnvae_jax.models import encoder_decoder, language_model

SHARED = ('none', 'embeddings', 'all')


@schema.fragment('model')
class Seq2SeqConfig:
  """How the decoder reads the source, and what it shares with the encoder."""

  attention: str = schema.field(
    'general',
    "How the decoder's outputs are compared with the encoder's: additive "
    '(Bahdanau et al.), dot or general (Luong et al.); none: no attention.',
    choices=attention_lib.KINDS,
  )
  encoder_hidden_size: int = schema.field(
    0, "Units of an encoder's layer; 0: the decoder's.", low=0
  )
  bidirectional_encoder: bool = schema.field(
    False, 'The encoder reads in both directions.'
  )
  bridge: str = schema.field(
    'dense',
    "The decoder's first states: a copy of the encoder's last ones, or a "
    'function of them.',
    choices=encoder_decoder.BRIDGES,
  )
  source_every_step: bool = schema.field(
    False,
    "The decoder reads the encoder's last states together with the word at "
    'every step.',
  )
  shared_weights: str = schema.field(
    'none',
    'Weights that encoder and decoder share: none, the word embeddings, or all '
    "recurrent weights as well ('all', a sequence autoencoder's).",
    choices=SHARED,
  )


@schema.fragment('train')
class SelectConfig:
  """Which validation figure chooses the checkpoint."""

  select_by: str = schema.field(
    'nll_per_sentence',
    'The validation figure that chooses the checkpoint: the lowest '
    'nll_per_sentence, the highest token_accuracy or sequence_accuracy.',
    choices=('nll_per_sentence', 'token_accuracy', 'sequence_accuracy'),
  )


def check(config: Any) -> None:
  """Checks keys of the encoder, the decoder and the text against each other.

  Raises:
    ValueError: the config cannot run.
  """
  model, corpus = config.model, config.corpus
  if corpus.stream:
    raise ValueError(
      'config.corpus.stream = True: the lines of a stream have no sources. '
      'Legal: False.'
    )
  one_way = not model.bidirectional_encoder
  equal = model.encoder_hidden_size in (0, model.hidden_size)
  if model.bridge == 'copy' and not (one_way and equal):
    raise ValueError(
      "config.model.bridge = 'copy' needs an encoder of one direction and the "
      "decoder's size. Legal: 'dense', or config.model.bidirectional_encoder = "
      'False and config.model.encoder_hidden_size = 0.'
    )
  size = model.encoder_hidden_size or model.hidden_size
  size *= 2 if model.bidirectional_encoder else 1
  if model.attention == 'dot' and size != model.hidden_size:
    raise ValueError(
      f"config.model.attention = 'dot' compares the encoder's outputs of "
      f"{size} features with the decoder's of {model.hidden_size}. Legal: "
      "'general', which maps the one to the other, or equal sizes."
    )
  if model.shared_weights != 'none' and corpus.source_vocabulary:
    raise ValueError(
      f'config.model.shared_weights = {model.shared_weights!r} shares the '
      'embeddings, and so the vocabulary. Legal: config.corpus.'
      'source_vocabulary = False.'
    )
  if model.pretrained_embeddings and corpus.source_vocabulary:
    raise ValueError(
      f'config.model.pretrained_embeddings = {model.pretrained_embeddings!r} '
      'are of one vocabulary. Legal: config.corpus.source_vocabulary = False.'
    )
  if model.shared_weights == 'all' and not (
    one_way and equal and not model.source_every_step
  ):
    raise ValueError(
      "config.model.shared_weights = 'all' needs recurrent layers of equal "
      'shapes: config.model.bidirectional_encoder = False, '
      'config.model.encoder_hidden_size = 0 and '
      'config.model.source_every_step = False.'
    )


def build(
  config: Any, vocab_size: int, source_vocab_size: int
) -> encoder_decoder.EncoderDecoder:
  """Builds the encoder-decoder that a config describes.

  Args:
    config: a config with the keys of `Seq2SeqConfig`, `RecurrentConfig`,
      `DropoutConfig` and the cells.
    vocab_size: V.
    source_vocab_size: of sources.

  Raises:
    ValueError: the cell is unknown or has no state, or the backend does not
      run it here.
  """
  model = config.model
  encoder = model_build.recurrent(
    config,
    model.encoder_hidden_size or model.hidden_size,
    bidirectional=model.bidirectional_encoder,
  )
  summary = 0  # Numbers in the encoder's final states, if they are read.
  if model.bridge == 'dense' or model.source_every_step:
    directions = 2 if model.bidirectional_encoder else 1
    summary = sum(encoder.sizes) * directions * encoder.cell.num_states
  attention = None
  if model.attention != 'none':
    attention = attention_lib.Attention(
      model.attention, model.hidden_size, model.precision
    )
  decoder = language_model.LanguageModel(
    vocab_size=vocab_size,
    embedding_size=model.embedding_size,
    stack=model_build.recurrent(config, model.hidden_size),
    tied_embeddings=model.tied_embeddings,
    inputless=model.inputless,
    locked_dropout=config.dropout.locked,
    latent_size=summary,
    latent_every_step=model.source_every_step,
    output_bias=model.output_bias,
    precision=model.precision,
    attention=attention,
  )
  return encoder_decoder.EncoderDecoder(
    decoder,
    encoder,
    vocab_size=source_vocab_size,
    embedding_size=model.embedding_size,
    bridge=model.bridge,
    locked_dropout=config.dropout.locked,
  )
