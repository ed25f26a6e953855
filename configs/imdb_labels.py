r"""Film reviews: what few labels teach, with and without pretraining.

  python -m rnnvae_jax.main --mode=reproduce --table=imdb --rows=lm \
    --workdir=runs/tables
  python -m rnnvae_jax.main --mode=reproduce --table=imdb_labels --seeds=3 \
    --workdir=runs/tables

The number that ends the name of a row is that of the labelled reviews that it
is trained on. `lm_lstm` begins with the weights of the row `lm` of `imdb.py`,
so that one is trained first, in the same folder.
"""

import os
import runpy

from rnnvae_jax.config import argument

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'imdb.py'))

PROTOCOL = (
  'Large Movie Review Dataset, error in per cent on its 25,000 test reviews; '
  'the networks of rows `lstm` and `lm_lstm` of `imdb`, which have all labels, '
  'trained on fewer labelled reviews: half of them positive, the same ones in '
  'all seeds and 500 of them among the 2,500. `lstm` has read no other review; '
  '`lm_lstm` begins with a language model of all training reviews and of the '
  'unlabelled ones, seed 0. 2,486 labelled reviews choose the checkpoint, '
  'however few are trained on.'
)
_OURS = {'published': {}, 'source': 'none'}
_PRETRAINED = _OURS | {'begins_with': 'imdb/lm'}
ROWS = {
  'lstm_500': _OURS,
  'lm_lstm_500': _PRETRAINED,
  'lstm_2500': _OURS,
  'lm_lstm_2500': _PRETRAINED,
}
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')
# By the number of labels: steps between validations, which are 5 epochs and 2,
# and how many validations there are.
_STEPS = {500: (40, 6), 2_500: (80, 5)}


def get_config(tail: str = ''):
  name, parts = argument.take_row(tail)
  name = name or 'lstm_500'
  argument.check_row(name, ROWS)
  row, _, labels = name.rpartition('_')
  config = _BASE['get_config'](','.join([f'row={row}', *parts]))
  config.corpus.most_labels = int(labels)
  if config.train.eval_every != _BASE['EPOCH']:  # The config is tiny.
    return config
  steps, validations = _STEPS[int(labels)]
  config.train.num_steps = steps * validations
  config.train.eval_every = steps
  config.train.steps_per_call = 20
  return config
