r"""Sentences of film reviews: their polarity, from linear models on.

  python -m rnnvae_jax.main --config=configs/polarity.py:row=nb_svm_1_2 \
    --workdir=runs/nb_svm
  python -m rnnvae_jax.main --mode=reproduce --table=polarity \
    --workdir=runs/tables

The numbers that end the name of a linear row are the lengths of its n-grams,
those of the likelihood ratio its order. The other rows are networks named after
their encoder: a `mean` below a hidden layer is a deep averaging network. What
follows the encoder's name is moved word vectors: in random directions, in
adversarial or in virtual adversarial ones.
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Sentence polarity 1.0, error in per cent on 560 test sentences, which has a '
  'standard error of about 1.8; published figures are of ten-fold '
  'cross-validation and do not compare. Protocol `mikolov`: the tokens of the '
  'files, none left out as rare. No pretrained vectors. Features of linear '
  'rows are binary.'
)
_OURS = {'published': {}, 'source': 'none'}
_LINEAR = {
  'naive_bayes_1': _OURS,
  'naive_bayes_1_2': _OURS,
  'logistic_regression_1': _OURS,
  'logistic_regression_1_2': _OURS,
  'svm_1_2': _OURS,
  'nb_svm_1': _OURS,
  'nb_svm_1_2': _OURS,
  'nb_svm_1_3': _OURS,
}
_GENERATIVE = {'likelihood_ratio_2': _OURS, 'likelihood_ratio_3': _OURS}
_ENCODERS = {
  'sum': _OURS,
  'mean': _OURS,
  'concatenation': _OURS,
  'convolution': _OURS,
  'recurrent': _OURS,
}
_MOVED = {
  'mean_random': _OURS,
  'mean_adversarial': _OURS,
  'mean_virtual': _OURS,
}
ROWS = {**_LINEAR, **_GENERATIVE, **_ENCODERS, **_MOVED}
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='nb_svm_1_2', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = classifier(arg.row)

  config.corpus.name = 'sentence_polarity'
  config.corpus.max_length = 100  # The longest sentence has 78 tokens.
  config.corpus.min_count = 1
  config.evaluate.batch_size = 256

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config


def classifier(row: str):
  """The model of a row, for any corpus of short texts."""
  if row.startswith('likelihood_ratio'):
    return _generative(row)
  return _network(row) if _is_network(row) else _linear(row)


def _is_network(row: str) -> bool:
  return row.partition('_')[0] in _ENCODERS


def _linear(row: str):
  config = build.default('linear_classification')
  estimator = row.rstrip('_0123456789')
  lengths = row.removeprefix(f'{estimator}_').split('_')
  linear = config.model.linear
  linear.estimator = estimator
  linear.shortest, linear.longest = int(lengths[0]), int(lengths[-1])
  return config


def _generative(row: str):
  config = build.default('generative_classification')
  config.model.generative.order = int(row.rpartition('_')[2])
  return config


def _network(row: str):
  config = build.default('classification')
  encoder, _, moved = row.partition('_')
  model, train = config.model, config.train
  model.embedding_size = 100
  config.dropout.output = 0.5
  train.batch_size = 50
  train.num_steps = 960  # 5 epochs.
  train.eval_every = 120
  if encoder in ('sum', 'mean'):
    model.composition = encoder
    model.head_layers, model.head_size = 1, 100
    config.dropout.word = 0.3
    train.num_steps = 480
    train.eval_every = 60
  else:
    model.encoder = encoder
    config.dropout.embedding = 0.3
  if encoder == 'concatenation':
    model.head_layers, model.head_size = 1, 100
  elif encoder == 'convolution':
    train.num_buckets = 4
  elif encoder == 'recurrent':
    model.hidden_size = 100
    model.bidirectional_encoder = True
    model.pooling = 'max'
  if moved:
    virtual = moved in ('virtual', 'random')
    model.standardised_embeddings = True
    objective = config.objective
    objective.virtual_weight = 1.0 if virtual else 0.0
    objective.adversarial_weight = 0.0 if virtual else 1.0
    objective.random_perturbation = moved == 'random'
  return config
