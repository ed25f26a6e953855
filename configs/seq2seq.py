r"""Encoder-decoder with attention: a text is written for a source text.

  python -m rnnvae_jax.main --config=seq2seq:reversal --workdir=runs/reversal
  python -m rnnvae_jax.main --config=seq2seq:dates --workdir=runs/dates
  python -m rnnvae_jax.main --config=seq2seq:path/to/folder --workdir=...
  echo 'March 7, 2014' | python -m rnnvae_jax.main --mode=translate \
    --workdir=runs/dates --config.generate.beam_size=4

A folder holds train.source and train.target, or train.tsv with a source, a tab
and a target a line, and the same of valid and test. Of a text without pairs
each sentence is its own source: a sequence autoencoder (Dai & Le,
arXiv:1511.01432), whose encoder and decoder share all weights and which has no
attention.
"""

from rnnvae_jax.config import argument, build
from rnnvae_jax.data import parallel


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('seq2seq')

  config.corpus.name = 'reversal'

  config.model.cell = 'gru'
  config.model.embedding_size = 64
  config.model.hidden_size = 128
  config.model.bidirectional_encoder = True
  config.model.attention = 'general'

  config.optimizer.learning_rate = 3e-3
  config.optimizer.schedule = 'cosine'
  config.optimizer.clip_norm = 5.0

  config.train.batch_size = 64
  config.train.num_steps = 2_400
  config.train.eval_every = 400
  config.train.select_by = 'sequence_accuracy'

  argument.apply(config, arg)
  if not parallel.has_pairs(config.corpus.name):
    config.corpus.autoencoder = True
    config.model.attention = 'none'
    config.model.bidirectional_encoder = False
    config.model.bridge = 'copy'
    config.model.shared_weights = 'all'
    config.train.select_by = 'nll_per_sentence'
  elif config.corpus.name not in ('reversal', 'dates'):
    config.model.embedding_size = config.model.hidden_size = 256
    config.dropout.embedding = config.dropout.output = 0.2
    config.optimizer.learning_rate = 1e-3
    config.train.select_by = 'nll_per_sentence'
    config.train.num_steps = 10_000
    config.train.eval_every = 1_000
  return config
