r"""Rate against distortion for every control of the KL term over its strength.

  python -m rnnvae_jax.main --config=configs/rate_distortion.py:row=beta_0.4 ...
  python -m rnnvae_jax.main --mode=reproduce --table=rate_distortion ...

The model and data of ptb_vae.py, trained for fewer epochs. Which control is
best depends on the rate, so this table has a curve for each control (Alemi et
al., arXiv:1711.00464). It leaves out controls without a strength: cyclical
annealing, the aggressive encoder, Skip-VAE, and other priors and flows, whose
rate is that of their free bits.
"""

import os
import runpy

from rnnvae_jax.config import argument

_BASE = runpy.run_path(os.path.join(os.path.dirname(__file__), 'ptb_vae.py'))
_EPOCHS = 8
_SAMPLES = 50
_STRENGTHS = {
  'beta': (0.2, 0.4, 0.7, 1.0),
  'free_bits': (2.0, 4.0, 8.0, 12.0),
  'soft_free_bits': (2.0, 4.0, 8.0, 12.0),
  'lagrangian': (2.0, 4.0, 8.0, 12.0),
  'ae_free_bits': (2.0, 5.0, 8.0),
  'batch_norm': (0.3, 0.5, 0.7, 0.9),
  'committed': (2.0, 4.0, 8.0),
  'info_vae': (3.0, 10.0, 30.0),
  'word_dropout': (0.2, 0.4, 0.6),
  'von_mises_fisher': (10.0, 30.0, 60.0),
}

PROTOCOL = (
  'Penn Treebank, protocol `mikolov`, model and evaluation as in `ptb_vae` but '
  f'with {_SAMPLES} posterior samples a sentence, '
  f'{_EPOCHS} epochs (`ae_free_bits` after 5 more as an autoencoder); `lm_N` '
  'is the decoder as a language model, of N epochs; another row is '
  'a control and its strength: the weight of the KL term, a rate in nats, the '
  'deviation of posterior means, the weight of the MMD (beside a KL term of '
  'weight .4), the share of words dropped, a concentration.'
)
# The decoder as a language model, by its number of epochs.
_LMS = {
  control: 'lm_13' if control == 'ae_free_bits' else 'lm_8'
  for control in _STRENGTHS
}
ROWS = {
  name: {'published': {}, 'source': 'none'}
  for name in sorted(set(_LMS.values()))
} | {
  f'{control}_{strength:g}': {
    'published': {},
    'source': 'none',
    'gain_over': _LMS[control],
  }
  for control, strengths in _STRENGTHS.items()
  for strength in strengths
}
COLUMNS = (
  'test_elbo',
  'test_reconstruction',
  'test_kl',
  'test_mutual_information',
  'test_active_units',
)
# Metrics of the axes; rows that differ only after the last `_` form a curve.
PLOT = 'test_kl', 'test_reconstruction'


def get_config(tail: str = ''):
  name, rest = argument.take_row(tail)
  name = name or 'beta_1'
  argument.check_row(name, ROWS)
  control, _, strength = name.rpartition('_')
  if control == 'lm':
    row = ['row=lstm_lm', f'epochs={strength}']
    return _BASE['get_config'](','.join([*row, *rest]))
  row = [f'row={control}', f'strength={strength}', f'epochs={_EPOCHS}']
  config = _BASE['get_config'](','.join([*row, *rest]))
  config.evaluate.iw_samples = min(config.evaluate.iw_samples, _SAMPLES)
  return config
