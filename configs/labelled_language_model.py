r"""GRU language model that is given the label of its sentences.

  python -m rnnvae_jax.main --config=labelled_language_model:FOLDER \
    --workdir=runs/labelled
  python -m rnnvae_jax.main --mode=sample --workdir=runs/labelled \
    --config.generate.label=positive
  python -m rnnvae_jax.main --mode=predict --workdir=runs/labelled ...
  python -m rnnvae_jax.main --mode=judge --workdir=runs/labelled \
    --config.judge.classifier=runs/classifier

The label's vector is read together with the word at every step; labels are
predicted by Bayes' rule. A line of a folder's files is a label, a tab and the
text.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default('labelled_language_model')

  config.corpus.name = 'sentence_polarity'
  config.model.cell = 'gru'
  config.model.embedding_size = 200
  config.model.hidden_size = 256
  config.model.label_size = 32
  config.model.tied_embeddings = True

  config.dropout.embedding = 0.4
  config.dropout.output = 0.4
  config.dropout.locked = True

  config.optimizer.learning_rate = 1.5e-3
  config.optimizer.schedule = 'cosine'

  config.train.num_steps = 1_500
  config.train.eval_every = 300

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config
