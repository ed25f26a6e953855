r"""Tagger that counts: a hidden Markov model of tags and words.

  python -m rnnvae_jax.main --config=configs/hidden_markov_tagger.py \
    --workdir=runs/hmm
  python -m rnnvae_jax.main --config=configs/hidden_markov_tagger.py:FOLDER ...

What a text in columns looks like is said in `tagger.py`.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('hidden_markov_tagging')

  config.corpus.name = 'ud_english_ewt'
  config.corpus.protocol = 'mikolov'  # Words as they are.
  config.corpus.max_length = 160

  argument.apply(config, arg)
  config.corpus.columns = os.path.exists(config.corpus.name)
  return config
