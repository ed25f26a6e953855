r"""Linear tagger: a random field over hand-made features of words.

  python -m rnnvae_jax.main --config=configs/feature_tagger.py \
    --workdir=runs/ewt
  python -m rnnvae_jax.main --config=configs/feature_tagger.py:FOLDER \
    --config.corpus.tag_scheme=bio ...

Features are the word, its beginnings, endings and shape, and its neighbours.
What a text in columns looks like is said in `tagger.py`.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('feature_tagging')

  config.corpus.name = 'ud_english_ewt'
  config.corpus.protocol = 'mikolov'  # Words as they are.
  config.corpus.max_length = 160
  config.dropout.embedding = 0.2
  config.optimizer.learning_rate = 1e-2
  config.optimizer.schedule = 'linear'
  config.optimizer.final_learning_rate = 1e-4

  config.train.batch_size = 32
  config.train.num_steps = 3_900  # 10 epochs.
  config.train.eval_every = 390
  config.train.num_buckets = 5  # Features of padding are hashed, too.
  config.evaluate.num_buckets = 5

  argument.apply(config, arg)
  config.corpus.columns = os.path.exists(config.corpus.name)
  return config
