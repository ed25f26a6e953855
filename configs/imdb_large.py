r"""Film reviews: a pretrained LSTM of 512, for which an accelerator is needed.

  python -m rnnvae_jax.main --mode=reproduce --table=imdb_large \
    --rows=lm,baseline --workdir=runs/tables

`lm` is a language model of all training reviews and of the unlabelled ones. All
other rows but `lstm` begin with its word vectors and recurrent weights.
`random` and `adversarial` learn the label where the word vectors are moved,
too; `virtual_unlabelled` learns to predict there what it predicts at the
vectors themselves, for reviews without a label, too. These rows are those of
`imdb_adversarial.py` at a larger size.
"""

import os
import runpy

from rnnvae_jax.config import argument

_FOLDER = os.path.dirname(__file__)
_IMDB = runpy.run_path(os.path.join(_FOLDER, 'imdb.py'))
_MOVED = runpy.run_path(os.path.join(_FOLDER, 'imdb_adversarial.py'))

PROTOCOL = (
  'Large Movie Review Dataset, error in per cent on its 25,000 test reviews '
  '(standard error about 0.2). One LSTM of 512 with word vectors of 256 and '
  'the maximum of its outputs; published: one of 1,024 and its last state, on '
  '25,000 training reviews, ours on 22,514; the others are the validation '
  'split. The 30,000 most frequent words; reviews are cut at 1,000 tokens '
  '(1 %). `lm` reads 20,215,521 tokens five times; perturbations have a norm '
  'of 5 over a review. Products in bfloat16.'
)
_DAI = 'Dai & Le 2015'
_MIYATO = 'Miyato et al. 2017'


def _row(error: float, source: str, **more: str) -> dict:
  return {'published': {'test_error_percent': error}, 'source': source, **more}


ROWS = {
  'lstm': _row(13.50, _DAI),
  'lm': {'published': {}, 'source': 'none'},
  'baseline': _row(7.39, _MIYATO, begins_with='lm'),
  'random': _row(7.20, _MIYATO, begins_with='lm'),
  'adversarial': _row(6.21, _MIYATO, begins_with='lm'),
  'virtual_unlabelled': _row(5.91, _MIYATO, begins_with='lm'),
}
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')
_EPOCH = _IMDB['EPOCH']


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='baseline', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = _lm() if arg.row == 'lm' else _classifier(arg.row)
  config.corpus.vocab_size = 30_000
  config.model.embedding_size = 256
  config.model.hidden_size = 512
  config.model.precision = 'bfloat16'
  argument.apply(config, arg)
  if 'unlabelled' in arg.row and config.corpus.name != 'imdb':
    config.corpus.unlabelled = ''  # The other text has no such companion.
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config


def _lm():
  config = _IMDB['lm']()
  config.corpus.name = 'imdb_unlabelled'
  config.train.unroll = 128
  config.train.num_steps = 12_350  # Five epochs.
  config.train.eval_every = 12_350
  config.train.steps_per_call = 50
  # The stream of the test reviews is no part of any published figure.
  config.evaluate.split = 'valid'
  return config


def _classifier(row: str):
  config = _IMDB['lstm']()
  config.corpus.name = 'imdb'
  config.corpus.max_length = 1_000
  config.model.gradient_steps = 0
  config.model.standardised_embeddings = True
  config.dropout.embedding = 0.5
  config.train.num_buckets = 2
  config.train.num_steps = 4 * _EPOCH
  config.evaluate.batch_size = 256
  config.evaluate.num_buckets = 2
  _MOVED['perturb'](config, row, norm=5.0)
  return config
