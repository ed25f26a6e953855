r"""Film reviews: their polarity, from linear models to language models.

  python -m rnnvae_jax.main --config=configs/imdb.py:row=nb_svm_1_3 \
    --workdir=runs/nb_svm
  python -m rnnvae_jax.main --mode=reproduce --table=imdb --workdir=runs/tables

The numbers that end the name of a linear row are the lengths of its n-grams,
those of the likelihood ratio its order. `mean` is a deep averaging network with
vectors of GloVe. `lm_lstm` begins with the weights of the language model `lm`,
`sa_lstm` with those of `sequence_autoencoder`, which reads a review and writes
it again: with its word vectors and recurrent weights.
"""

import os
import runpy

from rnnvae_jax.config import argument, build

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'polarity.py'))

PROTOCOL = (
  'Large Movie Review Dataset, error in per cent on its 25,000 test reviews. '
  'Published models have read all 25,000 training reviews; ours 22,514, the '
  'others are the validation split. Protocol `plain`: lower case, punctuation '
  'and clitics are tokens, line breaks are spaces; no word and no n-gram is '
  'left out as rare, no review is cut; networks read the 10,000 most frequent '
  'words, `mean` 40,000. `lm` and `sequence_autoencoder` read unlabelled '
  'reviews, too, and predict 9.8 and 9.7 million tokens in training; the '
  'latter reads and writes the first 100 tokens of a review, and its nats are '
  'of these. Features of linear rows are binary.'
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
_DAI = 'Dai & Le 2015'
_NETWORKS = {
  'mean': _row(10.6, 'Iyyer et al. 2015, 300-d GloVe'),
  'lstm': _row(13.50, _DAI),
  'lm': {'published': {}, 'source': 'none'},
  'lm_lstm': _row(7.64, _DAI) | {'begins_with': 'lm'},
  'sequence_autoencoder': {'published': {}, 'source': 'none'},
  'sa_lstm': _row(7.24, _DAI) | {'begins_with': 'sequence_autoencoder'},
}
_UNLABELLED = 'lm', 'sequence_autoencoder'
ROWS = {**_LINEAR, **_GENERATIVE, **_NETWORKS}
EPOCH = 352  # Steps of 64 reviews.
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='nb_svm_1_3', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = _CONFIGS.get(arg.row, _BASE['classifier'])(arg.row)

  config.corpus.name = 'imdb'
  if arg.row == 'mean':
    config.corpus.vocab_size = 40_000
  elif arg.row in _NETWORKS:
    config.corpus.vocab_size = 10_000
  else:
    config.corpus.min_count = 1
  if arg.row in _UNLABELLED:
    config.corpus.name = 'imdb_unlabelled'
  else:
    config.corpus.max_length = 5_000  # The longest review has 2,800 tokens.
    config.evaluate.batch_size = 256

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config


def _mean(row: str):
  config = _BASE['classifier'](row)
  config.model.embedding_size = 50
  config.model.pretrained_embeddings = 'glove'
  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = 'cosine'
  config.train.batch_size = 64
  config.train.num_steps = 6 * EPOCH
  config.train.eval_every = EPOCH
  config.train.steps_per_call = 16
  return config


def lm(row: str = 'lm'):
  """The language model of reviews."""
  del row
  config = build.default('language_model')
  config.corpus.stream = True
  _set_language_model(config)
  config.train.unroll = 64
  config.train.num_steps = 2_400  # Half an epoch.
  config.train.eval_every = 1_200
  return config


def _sequence_autoencoder(row: str):
  del row
  config = build.default('seq2seq')
  config.corpus.autoencoder = True
  config.corpus.whole_lines = True
  config.corpus.max_length = 101  # The end mark counted.
  _set_language_model(config)
  config.model.attention = 'none'
  config.model.bridge = 'copy'
  config.model.shared_weights = 'all'
  config.train.num_steps = 1_536  # As many words as the language model reads.
  config.train.eval_every = 768
  config.train.steps_per_call = 16
  config.evaluate.batch_size = 64
  return config


def _set_language_model(config):
  _set_layers(config)
  config.model.tied_embeddings = True
  config.dropout.locked = True
  config.dropout.embedding = 0.3
  config.dropout.output = 0.3
  config.optimizer.learning_rate = 3e-3
  config.optimizer.schedule = 'cosine'
  config.train.batch_size = 64


def lstm(row: str = 'lstm'):
  """The recurrent classifier of reviews."""
  del row
  config = build.default('classification')
  _set_layers(config)
  config.model.encoder = 'recurrent'
  config.model.pooling = 'max'
  config.model.gradient_steps = 400
  config.model.unknown_words = 'counted'
  config.dropout.embedding = 0.3
  config.dropout.output = 0.5
  config.optimizer.schedule = 'cosine'
  config.train.batch_size = 64
  config.train.num_buckets = 6
  config.evaluate.num_buckets = 6
  config.train.num_steps = 3 * EPOCH
  config.train.eval_every = EPOCH
  config.train.steps_per_call = 16
  return config


def _set_layers(config):
  config.model.cell = 'lstm'
  config.model.embedding_size = 128
  config.model.hidden_size = 256


_CONFIGS = {
  'mean': _mean,
  'lm': lm,
  'lstm': lstm,
  'lm_lstm': lstm,
  'sequence_autoencoder': _sequence_autoencoder,
  'sa_lstm': lstm,
}
