r"""Names in English news (CoNLL 2003): taggers, part by part.

  python -m rnnvae_jax.main --config=configs/conll2003.py:row=blstm_cnn_crf \
    --workdir=runs/names
  python -m rnnvae_jax.main --mode=reproduce --table=conll2003 --seeds=3 \
    --workdir=runs/tables

`feature_crf` is a linear model of hand-made features. `brnn` to `blstm_cnn_crf`
are the ablation of Ma & Hovy 2016, table 3, with their recipe; `fast` is the
same model with Adam and larger batches.
"""

import os

from rnnvae_jax.config import argument, build

PROTOCOL = (
  'CoNLL 2003, English: F1 of spans in per cent as conlleval counts them, of '
  'names that are read as IOB1 and learnt as BIOES. The vocabulary has the '
  'words of all splits, as in the published systems. Vectors are GloVe of 50 '
  'dimensions, tuned; those of Ma & Hovy and of NCRF++ have 100. The '
  'checkpoint is that of the best F1 on the validation split (eng.testa).'
)


def _row(f1: float, source: str) -> dict:
  return {'published': {'test_f1': f1}, 'source': source}


_MA_HOVY = 'Ma & Hovy 2016, table 3'
ROWS = {
  'hidden_markov': {'published': {}, 'source': 'none'},
  'feature_crf': {'published': {}, 'source': 'none'},
  'brnn': _row(85.44, _MA_HOVY),
  'blstm': _row(87.00, _MA_HOVY),
  'blstm_cnn': _row(89.36, _MA_HOVY),
  'blstm_cnn_crf': _row(91.21, _MA_HOVY),
  'blstm_crf': _row(89.45, 'NCRF++, README'),
  'blstm_rnn_crf': _row(90.94, 'Lample et al. 2016'),
  'fast': {'published': {}, 'source': 'none'},
}
COLUMNS = ('valid_f1', 'test_precision', 'test_recall', 'test_accuracy')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='blstm_cnn_crf', tiny=False)
  argument.check_row(arg.row, ROWS)
  if arg.row == 'hidden_markov':
    config = build.default('hidden_markov_tagging')
  elif arg.row == 'feature_crf':
    config = build.default('feature_tagging')
    _feature_crf(config)
  else:
    config = build.default('tagging')
    _tagger(config, arg.row)

  config.corpus.name = 'conll2003'
  config.corpus.protocol = 'mikolov'  # Words as they are.
  config.corpus.max_length = 130  # No sentence is cut.
  config.corpus.tag_scheme = 'iob1'
  config.corpus.learnt_scheme = 'bioes'

  argument.apply(config, arg)
  if arg.tiny and 'pretrained_embeddings' in config.model:
    config.model.pretrained_embeddings = ''  # They have another size.
  config.corpus.columns = os.path.exists(config.corpus.name)
  return config


def _feature_crf(config) -> None:
  """The recipe of a linear model, which has no published counterpart."""
  config.dropout.embedding = 0.2
  config.optimizer.learning_rate = 1e-2
  config.optimizer.schedule = 'linear'
  config.optimizer.final_learning_rate = 1e-4
  config.train.batch_size = 32
  config.train.num_steps = 4_400  # 10 epochs.
  config.train.eval_every = 440
  # Features of padding are hashed, too.
  config.train.num_buckets = 6
  config.evaluate.num_buckets = 6


def _tagger(config, row: str) -> None:
  """A network that is named after its parts, with Ma & Hovy's recipe."""
  parts = ('blstm', 'cnn', 'crf') if row == 'fast' else row.split('_')
  model = config.model
  model.cell = 'elman' if parts[0] == 'brnn' else 'lstm'
  model.output = 'crf' if 'crf' in parts else 'softmax'
  model.characters = {'cnn': 'convolution', 'rnn': 'recurrent'}.get(
    next((part for part in parts if part in ('cnn', 'rnn')), ''), 'none'
  )
  model.pretrained_embeddings = 'glove'
  model.embedding_size = 50
  model.hidden_size = 200
  config.corpus.whole_vocabulary = True
  config.dropout.embedding = 0.5
  config.dropout.output = 0.5
  if model.characters == 'recurrent':  # Lample et al.
    model.character_size = 25
    model.character_units = 25

  # Their momentum of 0.9 multiplies the steps of 0.015 by ten.
  config.optimizer.name = 'sgd'
  config.optimizer.learning_rate = 0.15
  # eta / (1 + 0.05 t) at the end of epoch t = 50.
  config.optimizer.schedule = 'rnnvae_jax.tasks.tagging.settings:slower'
  config.optimizer.final_learning_rate = 0.15 / 3.5
  config.optimizer.clip_norm = 5.0
  config.train.batch_size = 10
  config.train.num_steps = 70_500  # 50 epochs.
  config.train.eval_every = 1_410
  # Characters of padding are read, too.
  config.train.num_buckets = 6
  config.evaluate.num_buckets = 6
  if row == 'fast':
    config.optimizer.name = 'adam'
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = 'linear'
    config.optimizer.final_learning_rate = 1e-4
    config.train.batch_size = 32
    config.train.num_steps = 8_800  # 20 epochs.
    config.train.eval_every = 440
