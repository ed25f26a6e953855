"""TEMP"""

import jax

from rnnvae_jax import models
from rnnvae_jax.config import schema

_D = dict(
  cell='gru',
  embedding_size=300,
  pretrained_embeddings='',
  hidden_size=256,
  num_layers=1,
  tied_embeddings=False,
  output_bias=True,
  init_scale=0.0,
  embedding_init_scale=0.0,
  backend='auto',
  precision='float32',
  inputless=False,
)
_T = dict(embedding_size=10, hidden_size=14)


def _make(prefix, values, **kw):
  ns = {'__annotations__': {k: type(v) for k, v in values.items()}}
  ns |= {
    k: schema.field(
      v,
      'x.',
      tiny=_T.get(k),
      **(kw if prefix == 'dropout' and k != 'locked' else {}),
    )
    for k, v in values.items()
  }
  return schema.fragment(prefix)(type('T' + prefix, (), ns))


RecurrentConfig = _make('model', _D)
LanguageModelConfig = _make(
  'model', dict(last_hidden_size=0, both_directions=False)
)
_T2 = dict(latent_size=9, encoder_hidden_size=11)
_T.update(_T2)
LatentConfig = _make(
  'model',
  dict(
    latent_size=16,
    latent_every_step=False,
    latent_to_output=False,
    prior='standard',
    prior_components=50,
    encoder_hidden_size=0,
    bidirectional_encoder=False,
    bidirectional_decoder=False,
  ),
)
DropoutConfig = _make(
  'dropout',
  dict(
    embedding=0.0,
    hidden=0.0,
    output=0.0,
    word_type=0.0,
    word=0.0,
    recurrent=0.0,
    weight=0.0,
    locked=False,
  ),
  low=0,
  high=0.99,
  traced=True,
  off=0.0,
)
FR = (
  _make('model.elman', dict(activation='tanh')),
  _make('model.gru', dict(reset_after=True)),
  _make('model.lstm', dict(peepholes=False, forget_bias=1.0, cell_clip=0.0)),
)
FF = _make('model.feed_forward', dict(window=4, direct=False))


def fragments(recurrent=False):
  return FR if recurrent else (*FR, FF)


def names():
  return models.CELLS


from rnnvae_jax.models import cells

cells.fragments = fragments
cells.names = names


class _C:
  def __init__(s, c, **k):
    s.__dict__['c'] = c
    s.__dict__['k'] = k

  def __getattr__(s, n):
    if n in s.k:
      return s.k[n]
    v = (
      s.c.get(n, None)
      if n in s.c
      else {
        'last_hidden_size': 0,
        'both_directions': False,
        'latent_every_step': False,
        'latent_to_output': False,
      }.get(n)
    )
    return _C(v) if hasattr(v, 'items') else v


def language_model(config, vocab_size):
  return models.build_model(_C(config), vocab_size)


def sentence_vae(config, vocab_size, head):
  return models.build_model(_C(config), vocab_size, head)


def initialiser(config):
  m = config.model
  if m.init_scale or m.embedding_init_scale:
    return lambda p, k: models.initialised(config, p, k)
  return None


def init(model, arrays, initialise, key):
  if initialise is None:
    return model.init(key, *arrays)
  a, b = jax.random.split(key)
  return initialise(model.init(a, *arrays), b)
