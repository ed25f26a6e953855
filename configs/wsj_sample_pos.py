r"""Parts of speech of the Wall Street Journal (NLTK's sample of Penn Treebank).

  python -m rnnvae_jax.main --config=configs/wsj_sample_pos.py:row=blstm_cnn \
    --workdir=runs/wsj
  python -m rnnvae_jax.main --mode=reproduce --table=wsj_sample_pos --seeds=3 \
    --workdir=runs/tables

The rows are those of `ud_pos.py`.
"""

import os
import runpy

from rnnvae_jax.config import argument

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'ud_pos.py'))

PROTOCOL = (
  "NLTK's sample of Penn Treebank, a twentieth of it, without traces: share of "
  'words with the right part of speech. Of ten sentences eight are trained on, '
  'one validates, one tests. Published figures, of 97.5 per cent, are of the '
  'whole corpus and compare with none of these. Vectors are GloVe of 50 '
  'dimensions, tuned, with the words of all splits.'
)
_OURS = {'published': {}, 'source': 'none'}
ROWS = dict.fromkeys(_BASE['ROWS'], _OURS)
COLUMNS = ('valid_accuracy', 'test_accuracy', 'test_error_percent')


def get_config(tail: str = ''):
  arg = argument.parse(tail, row='blstm_cnn_crf', tiny=False)
  argument.check_row(arg.row, ROWS)
  config = _BASE['tagger'](arg.row)
  config.corpus.name = 'nltk_treebank_pos'
  if arg.row != 'hidden_markov':
    config.train.num_steps = 1_960  # 20 epochs.
    config.train.eval_every = 100

  argument.apply(config, arg)
  if arg.tiny and 'pretrained_embeddings' in config.model:
    config.model.pretrained_embeddings = ''  # They have another size.
  config.corpus.columns = os.path.exists(config.corpus.name)
  return config
