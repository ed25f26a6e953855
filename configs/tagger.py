r"""Tagger: words and their characters, recurrent layers, tags chosen together.

  python -m rnnvae_jax.main --config=configs/tagger.py --workdir=runs/ewt
  python -m rnnvae_jax.main --config=configs/tagger.py:FOLDER \
    --config.corpus.tag_scheme=bio --config.corpus.learnt_scheme=bioes ...
  python -m rnnvae_jax.main --mode=tag --workdir=runs/ewt < sentences.txt

A line of a folder's files is a word and its tag, in columns; blank lines
separate sentences. `corpus.word_column` and `corpus.tag_column` say which
columns they are.

Faster than the papers' recipe: Adam, and batches of similar length.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('tagging')

  config.corpus.name = 'ud_english_ewt'
  config.corpus.protocol = 'mikolov'  # Words as they are.
  config.corpus.max_length = 160
  config.model.cell = 'lstm'
  config.model.embedding_size = 100
  config.model.hidden_size = 150
  config.dropout.embedding = 0.3
  config.dropout.output = 0.3
  config.dropout.word = 0.05

  config.train.batch_size = 32
  config.train.num_steps = 5_880  # 15 epochs.
  config.train.eval_every = 390
  config.train.num_buckets = 5  # Characters of padding are read, too.
  config.evaluate.num_buckets = 5

  argument.apply(config, arg)
  config.corpus.columns = os.path.exists(config.corpus.name)
  return config
