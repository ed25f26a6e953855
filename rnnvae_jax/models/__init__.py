"""Linen modules, and `build`, the only place that reads a model's name."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models import (
  cells,
  feed_forward,
  language_model,
  recurrent,
  sentence_vae,
)
from rnnvae_jax.ops import backends, recurrence

KINDS = ('language_model', 'sentence_vae')
CELLS = ('elman', 'gru', 'lstm', 'mlstm', 'feed_forward')

Model = language_model.LanguageModel | sentence_vae.SentenceVAE


def build(config: Any, vocab_size: int, head_size: int = 0) -> Model:
  """The model that `config.model` and `config.dropout` describe.

  Args:
    config: of the run.
    vocab_size: V.
    head_size: outputs of a VAE's encoder; see `objectives.posteriors`. 0: those
      of a Gaussian posterior.
  """
  model = config.model
  is_vae = model.kind == 'sentence_vae'
  decoder = language_model.LanguageModel(
    vocab_size=vocab_size,
    embedding_size=model.embedding_size,
    stack=_decoder_stack(config),
    tied_embeddings=model.tied_embeddings,
    inputless=model.inputless,
    locked_dropout=config.dropout.locked,
    latent_size=model.latent_size if is_vae else 0,
    latent_every_step=is_vae and model.latent_every_step,
    latent_to_output=is_vae and model.latent_to_output,
    output_bias=model.output_bias,
    precision=model.precision,
    backward_stack=_decoder_stack(config) if model.both_directions else None,
  )
  if not is_vae:
    return decoder
  encoder = _stack(
    config,
    model.encoder_hidden_size or model.hidden_size,
    bidirectional=model.bidirectional_encoder,
  )
  return sentence_vae.SentenceVAE(
    decoder,
    encoder,
    head_size,
    prior=model.prior,
    num_components=model.prior_components,
  )


def _decoder_stack(config) -> recurrent.Recurrent | feed_forward.FeedForward:
  model = config.model
  if model.cell != 'feed_forward':
    return _stack(
      config,
      model.hidden_size,
      bidirectional=False,
      last=model.last_hidden_size,
    )
  return feed_forward.FeedForward(
    model.hidden_size,
    model.embedding_size,
    window=model.feed_forward.window,
    direct=model.feed_forward.direct,
    precision=model.precision,
  )


def _stack(
  config, features: int, bidirectional: bool, last: int = 0
) -> recurrent.Recurrent:
  """A stack of the configured cells, its forget gates' bias as configured."""
  model = config.model
  kind: type[cells.Cell]
  options: dict[str, Any]
  bias_init = nn.initializers.zeros_init()
  if model.cell == 'elman':
    kind, options = cells.Elman, {'activation': model.elman.activation}
  elif model.cell == 'gru':
    kind, options = cells.GRU, {'reset_after': model.gru.reset_after}
  else:
    kind = cells.LSTM if model.cell == 'lstm' else cells.MultiplicativeLSTM
    options = {
      'peepholes': model.lstm.peepholes,
      'cell_clip': model.lstm.cell_clip,
    }
    bias_init = functools.partial(
      _lstm_bias, model.lstm.forget_bias, kind.num_gates
    )
  make = functools.partial(kind, precision=model.precision, **options)
  cell = make(features=features)
  platform = jax.default_backend()
  backend = backends.choose(
    model.backend,
    cell.spec,
    model.precision,
    platform,
    drops_states=config.dropout.recurrent > 0,
  )
  return recurrent.Recurrent(
    cell,
    num_layers=model.num_layers,
    bidirectional=bidirectional,
    locked_dropout=config.dropout.locked,
    backend=backend,
    options=recurrence.Options(
      precision=model.precision,
      # Elsewhere a loop of unknown length costs more than idle steps.
      block=recurrence.Options().block if platform == 'cpu' else 0,
      kernels=backend == 'pallas',
    ),
    bias_init=bias_init,
    last_cell=make(features=last) if last else None,
  )


def _lstm_bias(forget_bias, gates, key, shape, dtype=jnp.float32) -> jax.Array:
  """Zeros but for the forget gate, so that a new LSTM remembers."""
  del key
  *others, f, g, o = jnp.split(jnp.zeros(shape, dtype), gates)
  return jnp.concatenate([*others, f + forget_bias, g, o])


def initialised(config: Any, params: Any, key: jax.Array) -> Any:
  """Parameters as they begin: `params`, or uniform ones if so configured.

  The published recipes of Zaremba et al. and of many text VAEs draw everything,
  biases included, from one interval around 0; around its own beginning where
  that is another, as a forget gate's. A mixture prior is no such weight:
  components that begin alike would stay so.
  """
  scale = config.model.init_scale
  of_embedding = config.model.embedding_init_scale or scale

  def draw(number_and_path, leaf):
    number, path = number_and_path
    if path[-1] in sentence_vae.PRIOR_PARAMETERS:
      return leaf
    bound = of_embedding if 'embedding' in path else scale
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
