r"""LSTM sentence VAE: `gru_vae.py` with another cell.

  python -m rnnvae_jax.main --config=configs/lstm_vae.py --workdir=runs/lstm_vae
  python -m rnnvae_jax.main --config=configs/lstm_vae.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/lstm_vae.py:path/to/folder ...

The sizes are the same, so that cells can be compared.
"""

import os
import runpy

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'gru_vae.py'))


def get_config(tail: str = ''):
  config = _BASE['get_config'](tail)
  config.model.cell = 'lstm'
  return config
