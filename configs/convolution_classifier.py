r"""Classifier of sentences: filters over neighbouring words.

  python -m rnnvae_jax.main --config=configs/convolution_classifier.py \
    --workdir=runs/polarity_cnn
  python -m rnnvae_jax.main --config=configs/convolution_classifier.py:FOLDER \
    ...

The model of Kim (arXiv:1408.5882) with word vectors that begin at random;
`--config.model.pretrained_embeddings=FILE` and
`--config.model.frozen_embeddings=True` make it the paper's other variants. A
line of a folder's files is a label, a tab and the text.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('classification')

  config.corpus.name = 'sentence_polarity'
  config.model.encoder = 'convolution'
  config.model.embedding_size = 300
  config.dropout.embedding = 0.3
  config.dropout.output = 0.5

  config.train.batch_size = 50
  config.train.num_steps = 960  # 5 epochs.
  config.train.eval_every = 120
  config.train.num_buckets = 4

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config
