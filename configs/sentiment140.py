r"""Tweets: their polarity, from linear models on.

  python -m rnnvae_jax.main --config=configs/sentiment140.py:row=nb_svm_1_2 \
    --workdir=runs/nb_svm
  python -m rnnvae_jax.main --mode=reproduce --table=sentiment140 \
    --workdir=runs/tables

The numbers that end the name of a linear row are the lengths of its n-grams,
those of the likelihood ratio its order. The other rows are networks named after
their encoder, as in `polarity.py`.
"""

import os
import runpy

from rnnvae_jax.config import argument

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'polarity.py'))

PROTOCOL = (
  'The first 100,000 tweets of Sentiment140, emoticons removed, copies and '
  'tweets with both labels left out; error in per cent on 4,919 other tweets '
  'whose labels are those of their emoticons (`test`, standard error about '
  '0.6), and on the 359 positive or negative tweets labelled by hand '
  '(`manual`, about 2). Published models of the latter were trained on all 1.6 '
  'million tweets. Protocol `tweet`: lower case, emoticons and hashtags are '
  'tokens; networks leave out words that occur once, other rows none. No '
  'pretrained vectors. Features of linear rows are binary.'
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
_NETWORKS = {
  'sum': _OURS,
  'mean': _OURS,
  'concatenation': _OURS,
  'convolution': _OURS,
  'recurrent': _OURS,
}
ROWS = {**_LINEAR, **_GENERATIVE, **_NETWORKS}
COLUMNS = (
  'valid_error_percent',
  'test_error_percent',
  'manual_error_percent',
  'test_nll_per_sentence',
)


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='nb_svm_1_2', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = _BASE['classifier'](arg.row)

  config.corpus.name = 'sentiment140'
  config.corpus.max_length = 200  # No tweet is cut.
  config.corpus.min_count = 1
  if arg.row in _NETWORKS:
    config.corpus.min_count = 2
    config.train.batch_size = 128
    config.train.num_steps = 2_100  # 3 epochs.
    config.train.eval_every = 350
  config.evaluate.batch_size = 256

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config
