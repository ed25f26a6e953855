r"""Film reviews: their polarity, from linear models to language models.

  python -m rnnvae_jax.main --config=configs/imdb.py:row=nb_svm_1_3 \
    --workdir=runs/nb_svm
  python -m rnnvae_jax.main --mode=reproduce --table=imdb --workdir=runs/tables

The numbers that end the name of a linear row are the lengths of its n-grams,
those of the likelihood ratio its order.
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Large Movie Review Dataset, error in per cent on its 25,000 test reviews. '
  'Published models have read all 25,000 training reviews; ours 22,514, the '
  'others are the validation split. Protocol `plain`: lower case, punctuation '
  'and clitics are tokens, line breaks are spaces; no word and no n-gram is '
  'left out as rare, no review is cut. Neither unlabelled reviews nor '
  'pretrained vectors unless the row says so. Features of linear rows are '
  'binary.'
)
_LECTURE = 'a lecture, its own runs'
_WANG = 'Wang & Manning 2012'
_MESNIL = 'Mesnil et al. 2015'


def _row(error: float, source: str) -> dict:
  return {'published': {'test_error_percent': error}, 'source': source}


_LINEAR = {
  'naive_bayes_1': _row(15.7, _LECTURE),
  'naive_bayes_1_2': _row(13.41, _WANG),
  'naive_bayes_2_3': _row(11.6, _LECTURE),
  'logistic_regression_1': _row(11.5, _LECTURE),
  'logistic_regression_1_3': _row(9.3, _LECTURE),
  'svm_1': _row(13.05, _WANG),
  'svm_1_2': _row(10.84, _WANG),
  'nb_svm_1': _row(11.39, _MESNIL),
  'nb_svm_1_2': _row(8.78, _WANG),
  'nb_svm_1_3': _row(8.13, _MESNIL),
}
_GENERATIVE = {
  'likelihood_ratio_3': _row(13.5, f'{_MESNIL}, n-grams'),
  'likelihood_ratio_5': _row(13.5, f'{_MESNIL}, n-grams'),
}
ROWS = {**_LINEAR, **_GENERATIVE}
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='nb_svm_1_3', tiny=False)
  argument.check_row(arg.row, ROWS)
  make = _linear if arg.row in _LINEAR else _generative
  config = make(arg.row)

  config.corpus.name = 'imdb'
  config.corpus.max_length = 5_000  # The longest review has 2,800 tokens.
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
