r"""Film reviews: word vectors moved in random and in the worst directions.

  python -m rnnvae_jax.main --mode=reproduce --table=imdb_adversarial \
    --seeds=3 --workdir=runs/tables

All rows are one LSTM classifier with standardised word vectors, which
`baseline` trains on the vectors as they are. `random` and `adversarial` learn
the label where the vectors are moved, too; `virtual` learns to predict there
what it predicts at the vectors themselves. Rows that end in `_unlabelled` do so
for reviews without a label, too.
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'Large Movie Review Dataset, error in per cent on its 25,000 test reviews '
  '(standard error about 0.2), each cut at 200 tokens. One LSTM of 64 with '
  'word vectors of 64 and the maximum of its outputs, not pretrained, on '
  '22,514 labelled reviews for 3 epochs; the others are the validation split. '
  'The 10,000 most frequent words. Perturbations have a norm of 1.5 over a '
  'review. Rows `_unlabelled` read 72,209 reviews without a label, too, in '
  'batches four times as large, so that labels are seen about as often. '
  'Published: an LSTM of 1,024 that was pretrained as a language model; its '
  'gains over its baseline compare, its errors do not.'
)
_EPOCH = 352  # Steps of 64 labelled reviews.


def _row(error: float) -> dict:
  return {
    'published': {'test_error_percent': error},
    'source': 'Miyato et al. 2017, another network',
  }


ROWS = {
  'baseline': _row(7.39),
  'random': _row(7.20),
  'adversarial': _row(6.21),
  'virtual': {'published': {}, 'source': 'none'},
  'random_unlabelled': _row(6.78),
  'virtual_unlabelled': _row(5.91),
}
COLUMNS = ('valid_error_percent', 'test_error_percent', 'test_nll_per_sentence')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='adversarial', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = build.default('classification')

  config.corpus.name = 'imdb'
  config.corpus.vocab_size = 10_000
  config.corpus.max_length = 200
  config.model.encoder = 'recurrent'
  config.model.cell = 'lstm'
  config.model.embedding_size = 64
  config.model.hidden_size = 64
  config.model.pooling = 'max'
  config.model.unknown_words = 'counted'
  config.model.standardised_embeddings = True
  config.dropout.embedding = 0.3
  config.dropout.output = 0.5

  config.optimizer.learning_rate = 3e-3
  config.optimizer.schedule = 'cosine'
  config.train.batch_size = 64
  config.train.num_buckets = 3
  config.train.num_steps = 3 * _EPOCH
  config.train.eval_every = _EPOCH
  config.train.steps_per_call = 16
  config.evaluate.batch_size = 256
  perturb(config, arg.row, norm=1.5)

  argument.apply(config, arg)
  if config.corpus.name != 'imdb':  # The other text has no such companion.
    config.corpus.unlabelled = ''
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config


def perturb(config, row: str, norm: float) -> None:
  """Moves the word vectors as a row says, by `norm` over a review."""
  kind, _, unlabelled = row.partition('_')
  if kind in ('random', 'adversarial', 'virtual'):
    by_label = kind == 'adversarial' or row == 'random'
    objective = config.objective
    objective.adversarial_weight = 1.0 if by_label else 0.0
    objective.virtual_weight = 0.0 if by_label else 1.0
    objective.random_perturbation = kind == 'random'
    objective.perturbation_norm = norm
  if unlabelled:
    config.corpus.unlabelled = 'imdb_unlabelled'
    config.train.batch_size = 256
