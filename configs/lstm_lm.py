r"""LSTM language model: `gru_lm.py` with another cell.

  python -m rnnvae_jax.main --config=configs/lstm_lm.py --workdir=runs/lstm_lm
  python -m rnnvae_jax.main --config=configs/lstm_lm.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/lstm_lm.py:path/to/folder ...

The sizes are the same, so that cells can be compared.
"""

import os
import runpy

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'gru_lm.py'))


def get_config(tail: str = ''):
  config = _BASE['get_config'](tail)
  config.model.cell = 'lstm'
  return config
