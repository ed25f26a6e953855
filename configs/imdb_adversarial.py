r"""Film reviews: word vectors moved in random and in the worst directions.

  python -m rnnvae_jax.main --mode=reproduce --table=imdb_adversarial --seeds=3 \
    --workdir=runs/tables

All rows are one deep averaging network with standardised word vectors, which
`baseline` learns alone. `random` and `adversarial` learn the label where the
vectors are moved, too; `virtual` learns to predict there what it predicts where
they are not. Rows that end in `_unlabelled` do so for reviews without a label,
too.
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Large Movie Review Dataset, error in per cent on its 25,000 test reviews. '
)
_MIYATO = 'Miyato et al. 2017, table 2'


def _row(error: float) -> dict:
  return {'published': {'test_error_percent': error}, 'source': _MIYATO}


_OURS = {'published': {}, 'source': 'none'}
ROWS = {
  'baseline': _row(7.39),
  'random': _row(7.20),
  'adversarial': _row(6.21),
  'virtual': _OURS,
  'random_unlabelled': _row(6.78),
  'virtual_unlabelled': _row(5.91),
}
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='adversarial', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = build.default('classification')
  kind, _, unlabelled = arg.row.partition('_')

  config.corpus.name = 'imdb'
  config.corpus.vocab_size = 10_000
  config.corpus.max_length = 5_000  # The longest review has 2,800 tokens.
  config.evaluate.batch_size = 256

  config.model.embedding_size = 100
  config.model.standardised_embeddings = True
  config.model.head_layers, config.model.head_size = 1, 100
  config.dropout.word = 0.3
  config.dropout.output = 0.5

  config.train.batch_size = 64
  config.train.num_buckets = 6
  config.evaluate.num_buckets = 6
  config.train.num_steps = 5 * 352
  config.train.eval_every = 352
  config.train.steps_per_call = 16
  if unlabelled:
    config.corpus.unlabelled = 'imdb_unlabelled'
    config.train.batch_size = 256

  objective = config.objective
  if kind in ('random', 'adversarial', 'virtual'):
    if kind == 'virtual' or unlabelled:
      objective.virtual_weight = 1.0
    else:
      objective.adversarial_weight = 1.0
    objective.random_perturbation = kind == 'random'
    objective.perturbation_norm = 5.0

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config
