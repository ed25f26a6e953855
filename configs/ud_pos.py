r"""Parts of speech of English web text (Universal Dependencies' EWT).

  python -m rnnvae_jax.main --config=configs/ud_pos.py:row=blstm_cnn_crf \
    --workdir=runs/ewt
  python -m rnnvae_jax.main --mode=reproduce --table=ud_pos --seeds=3 \
    --workdir=runs/tables
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'English EWT of Universal Dependencies, commit 15d613d: share of words with '
  'a wrong universal part of speech, in per cent. Published figures are of '
  'versions 1.3 and 2.2, whose words and tags differ. Vectors are GloVe of 50 '
  'dimensions, tuned, with the words of all splits.'
)
_OURS = {'published': {}, 'source': 'none'}
ROWS = {
  'hidden_markov': _OURS,
  'feature_crf': _OURS,
  'blstm': _OURS,
  'blstm_cnn': {
    'published': {'test_error_percent': 4.52},
    'source': 'jPTDP, README: version 2.2, other network',
  },
  'blstm_cnn_crf': {
    'published': {'test_error_percent': 4.42},
    'source': 'UKPLab, README: version 1.3',
  },
}
COLUMNS = ('valid_error_percent', 'test_accuracy')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='blstm_cnn_crf', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = tagger(arg.row)
  config.corpus.name = 'ud_english_ewt'

  argument.apply(config, arg)
  if arg.tiny and 'pretrained_embeddings' in config.model:
    config.model.pretrained_embeddings = ''  # They have another size.
  config.corpus.columns = os.path.exists(config.corpus.name)
  return config


def tagger(row: str):
  """The config of a row, without its corpus."""
  if row == 'hidden_markov':
    config = build.default('hidden_markov_tagging')
  elif row == 'feature_crf':
    config = build.default('feature_tagging')
    config.dropout.embedding = 0.2
    config.optimizer.learning_rate = 1e-2
    _train(config)
    config.train.num_steps = 3_900  # 10 epochs of EWT.
    config.train.eval_every = 390
  else:
    config = build.default('tagging')
    model = config.model
    model.cell = 'lstm'
    model.output = 'crf' if row.endswith('crf') else 'softmax'
    model.characters = 'convolution' if 'cnn' in row else 'none'
    model.pretrained_embeddings = 'glove'
    model.embedding_size = 50
    model.hidden_size = 150
    config.corpus.whole_vocabulary = True
    config.dropout.embedding = 0.4
    config.dropout.output = 0.4
    config.optimizer.learning_rate = 2e-3
    _train(config)
    config.train.num_steps = 5_880  # 15 epochs of EWT.
    config.train.eval_every = 390
  config.corpus.protocol = 'mikolov'  # Words as they are.
  config.corpus.max_length = 250  # No sentence is cut.
  return config


def _train(config) -> None:
  """What all rows have that are trained."""
  config.optimizer.schedule = 'linear'
  config.optimizer.final_learning_rate = 1e-4
  config.train.select_by = 'accuracy'
  config.train.batch_size = 32
  # Padding is computed, too: characters, and features of words.
  config.train.num_buckets = 5
  config.evaluate.num_buckets = 5
