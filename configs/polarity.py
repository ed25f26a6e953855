r"""Sentences of film reviews: their polarity, from linear models on.

  python -m rnnvae_jax.main --config=configs/polarity.py:row=nb_svm_1_2 \
    --workdir=runs/nb_svm
  python -m rnnvae_jax.main --mode=reproduce --table=polarity \
    --workdir=runs/tables

The numbers that end the name of a linear row are the lengths of its n-grams,
those of the likelihood ratio its order.
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Sentence polarity 1.0, error in per cent on 560 test sentences, which has a '
  'standard error of about 1.8; published figures are of ten-fold '
  'cross-validation and do not compare. Protocol `mikolov`: the tokens of the '
  'files, none left out as rare. No pretrained vectors unless the row says so. '
  'Features of linear rows are binary.'
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
ROWS = {**_LINEAR, **_GENERATIVE}
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='nb_svm_1_2', tiny=False)
  argument.check_row(arg.row, ROWS)
  make = _linear if arg.row in _LINEAR else _generative
  config = make(arg.row)

  config.corpus.name = 'sentence_polarity'
  config.corpus.max_length = 100  # The longest sentence has 78 tokens.
  config.corpus.min_count = 1
  config.evaluate.batch_size = 256

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config


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
