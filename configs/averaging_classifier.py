r"""Classifier of sentences: a network over the mean of their word vectors.

  python -m rnnvae_jax.main --config=configs/averaging_classifier.py \
    --workdir=runs/polarity
  python -m rnnvae_jax.main --config=configs/averaging_classifier.py:FOLDER ...
  python -m rnnvae_jax.main --config=configs/averaging_classifier.py:grammar \
    --config.corpus.label_column=tense ...

The deep averaging network of Iyyer et al. (2015). A line of a folder's files is
a label, a tab and the text.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('classification')

  config.corpus.name = 'sentence_polarity'
  config.model.embedding_size = 300
  config.model.head_layers = 1
  config.model.head_size = 100
  config.dropout.word = 0.3
  config.dropout.output = 0.5

  config.train.batch_size = 50
  config.train.num_steps = 480  # 2.5 epochs; then it overfits.
  config.train.eval_every = 120

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config
