r"""Classifier of sentences: recurrent layers, and what they read last.

  python -m rnnvae_jax.main --config=configs/recurrent_classifier.py \
    --workdir=runs/polarity_gru
  python -m rnnvae_jax.main --config=configs/recurrent_classifier.py:FOLDER ...

A line of a folder's files is a label, a tab and the text. The weights of a
language model are a good start: `--config.train.init_from=runs/lm`.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('classification')

  config.corpus.name = 'sentence_polarity'
  config.model.encoder = 'recurrent'
  config.model.cell = 'gru'
  config.model.embedding_size = 100
  config.model.hidden_size = 100
  config.model.bidirectional_encoder = True
  config.model.pooling = 'max'
  config.model.unknown_words = 'counted'
  config.dropout.embedding = 0.5
  config.dropout.output = 0.5
  config.dropout.word = 0.1

  config.train.batch_size = 50
  config.train.num_steps = 960  # 5 epochs.
  config.train.eval_every = 120

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config
