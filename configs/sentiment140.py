r"""Tweets: their polarity, from linear models on.

  python -m rnnvae_jax.main --config=configs/sentiment140.py:row=nb_svm_1_2 \
    --workdir=runs/nb_svm
  python -m rnnvae_jax.main --mode=reproduce --table=sentiment140 \
    --workdir=runs/tables

The numbers that end the name of a linear row are the lengths of its n-grams,
those of the likelihood ratio its order.
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'The first 100,000 tweets of Sentiment140, emoticons removed, copies and '
  'tweets with both labels left out; error in per cent on 4,919 other tweets '
  'whose labels are those of their emoticons (`test`, standard error about '
  '0.6), and on the 359 positive or negative tweets labelled by hand '
  '(`manual`, about 2). Published models of the latter were trained on all 1.6 '
  'million tweets. Protocol `tweet`: lower case, emoticons and hashtags are '
  'tokens; no word is left out as rare. No pretrained vectors unless the row '
  'says so. Features of linear rows are binary.'
)
_OURS = {'published': {}, 'source': 'none'}


def _row(error: float) -> dict:
  return {
    'published': {'manual_error_percent': error},
    'source': 'Go et al. 2009, quoted',
  }


_LINEAR = {
  'naive_bayes_1': _row(18.7),
  'naive_bayes_1_2': _OURS,
  'logistic_regression_1': _row(19.5),
  'logistic_regression_1_2': _row(17.0),
  'svm_1': _row(17.8),
  'nb_svm_1': _OURS,
  'nb_svm_1_2': _OURS,
  'nb_svm_1_3': _OURS,
}
_GENERATIVE = {'likelihood_ratio_2': _OURS, 'likelihood_ratio_3': _OURS}
ROWS = {**_LINEAR, **_GENERATIVE}
COLUMNS = (
  'valid_error_percent',
  'test_error_percent',
  'manual_error_percent',
  'test_nll_per_sentence',
)


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='nb_svm_1_2', tiny=False)
  argument.check_row(arg.row, ROWS)
  make = _linear if arg.row in _LINEAR else _generative
  config = make(arg.row)

  config.corpus.name = 'sentiment140'
  config.corpus.max_length = 200  # No tweet is cut.
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
