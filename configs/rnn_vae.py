r"""Elman RNN sentence VAE: `gru_vae.py` with another cell and a lower rate.

  python -m rnnvae_jax.main --config=configs/rnn_vae.py --workdir=runs/rnn_vae
  python -m rnnvae_jax.main --config=configs/rnn_vae.py:ptb --workdir=runs/ptb
  python -m rnnvae_jax.main --config=configs/rnn_vae.py:path/to/folder ...

The sizes are the same, so that cells can be compared.
"""

import os
import runpy

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'gru_vae.py'))


def get_config(tail: str = ''):
  config = _BASE['get_config'](tail)
  config.model.cell = 'elman'
  config.optimizer.learning_rate = 1e-3
  return config
