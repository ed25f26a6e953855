r"""Elman RNN language model: `gru_lm.py` with another cell and a lower rate.

  python -m rnnvae_jax.main --config=configs/rnn_lm.py --workdir=runs/rnn_lm
  python -m rnnvae_jax.main --config=configs/rnn_lm.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/rnn_lm.py:path/to/folder ...

The sizes are the same, so that cells can be compared.
"""

import os
import runpy

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'gru_lm.py'))


def get_config(tail: str = ''):
  config = _BASE['get_config'](tail)
  config.model.cell = 'elman'
  config.optimizer.learning_rate = 1e-3
  return config
