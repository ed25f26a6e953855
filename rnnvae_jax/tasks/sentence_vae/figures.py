"""The figures of a sentence VAE, from the values of a split's sentences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.objectives import estimators
from rnnvae_jax.tasks import _likelihood, base


def _kl_label(figures) -> str:
  # An earlier version said that the KL is sampled by its error alone.
  is_sampled = (
    'kl_standard_error' in figures or figures.get('kl_estimator') == 'sampled'
  )
  return 'KL' + ' (sampled)' * is_sampled


FIGURES = (
  *_likelihood.FIGURES,
  base.Figure('elbo', '-ELBO', '{:.3f}', '-ELBO'),
  base.Figure('reconstruction', 'reconstruction', '{:.3f}', 'reconstruction'),
  base.Figure('kl', _kl_label, '{:.3f}', 'KL'),
  base.Figure(
    'kl_standard_error', '  standard error, over samples', '{:.4f}'
  ),
  base.Figure('iwae_samples', 'importance samples', '{:,}'),
  base.Figure(
    'iwae_nll', 'nll (importance-weighted bound)', '{:.3f}', 'IW NLL'
  ),
  base.Figure(
    'iwae_standard_error', '  standard error, over samples', '{:.4f}'
  ),
  base.Figure(
    'iwae_perplexity',
    'perplexity, eos counted (importance-weighted)',
    '{:.2f}',
    'IW perplexity',
  ),
  base.Figure(
    'mutual_information', 'mutual information, whole split', '{:.3f}', 'MI'
  ),
  base.Figure(
    'mutual_information_standard_error',
    '  standard error, over sentences',
    '{:.3f}',
  ),
  base.Figure('mutual_information_ceiling', '  at most', '{:.3f}'),
  base.Figure(
    'mutual_information_batch',
    lambda f: (
      'mutual information, groups of '
      f'{f.get("mutual_information_batch_size")}'
    ),
    '{:.3f}',
    'MI in batches',
  ),
  base.Figure('mutual_information_batch_ceiling', '  at most', '{:.3f}'),
  base.Figure(
    'shuffled_reconstruction_loss',
    "nats lost with another sentence's z",
    '{:.3f}',
    'loss if shuffled',
  ),
  base.Figure(
    'active_units',
    lambda f: f'active units of {f.get("latents")}',
    '{}',
    'active units',
  ),
)


def bound(values: base.Values, split: corpora.Split) -> dict[str, Any]:
  """The ELBO of a split and its parts, in nats a sentence.

  Returns:
    The figures of a likelihood, which the negative ELBO bounds; elbo (the
    negative one: an upper bound on the nats), reconstruction, kl, whether that
    is exact or sampled, and the standard error of the mean of several samples.
  """
  reconstruction = float(np.mean(values['reconstruction']))
  kl = float(np.mean(values['kl']))
  nll = reconstruction + kl
  figures = _likelihood.figures(nll, split, estimator='elbo') | {
    'elbo': nll,
    'reconstruction': reconstruction,
    'kl': kl,
  }
  is_sampled = 'kl_variance' in values
  figures['kl_estimator'] = 'sampled' if is_sampled else 'exact'
  if is_sampled and np.all(np.isfinite(values['kl_variance'])):
    figures['kl_standard_error'] = standard_error(values['kl_variance'])
  return figures


def importance_weighted(
  values: base.Values, split: corpora.Split, samples: int
) -> dict[str, Any]:
  """The importance-weighted bound of a split, in nats a sentence."""
  nll = float(np.mean(values['iwae_nll']))
  tokens = int(np.sum(split.lengths, dtype=np.int64))
  figures = {
    'iwae_nll': nll,
    'iwae_samples': samples,
    'iwae_perplexity': _likelihood.perplexity(nll, len(split), tokens),
  }
  if 'iwae_variance' in values:
    figures['iwae_standard_error'] = standard_error(values['iwae_variance'])
  return figures


def latents(values: base.Values, group_size: int) -> dict[str, Any]:
  """How much the latents of a split say.

  Posteriors whose density is not at hand for any z have no informations. Where
  the spread of the means is fixed, as by batch normalisation or on a sphere,
  active units say nothing: all are active by construction.
  """
  active, _ = estimators.active_units(_float32(values['posterior_mean']))
  count, size = values['posterior_mean'].shape
  figures = {'active_units': int(active), 'latents': size}
  if 'shuffled_reconstruction' in values:
    shuffled = float(np.mean(values['shuffled_reconstruction']))
    figures['shuffled_reconstruction_loss'] = shuffled - float(
      np.mean(values['reconstruction'])
    )
  if 'noise' not in values:
    return figures
  arrays = [_float32(values[name]) for name in ('mean', 'log_var', 'noise')]
  whole = np.asarray(estimators.mutual_information(*arrays), np.float64)
  batch = np.asarray(
    estimators.batch_mutual_information(*arrays, group_size), np.float64
  )
  return figures | {
    'mutual_information': float(np.mean(whole)),
    'mutual_information_standard_error': float(np.std(whole) / np.sqrt(count)),
    'mutual_information_ceiling': float(np.log(count)),
    'mutual_information_batch': float(np.mean(batch)),
    'mutual_information_batch_size': group_size,
    'mutual_information_batch_ceiling': float(np.log(min(group_size, count))),
  }


def standard_error(variances: np.ndarray) -> float:
  """Standard error of a mean of independent estimates, from their variances."""
  return float(np.sqrt(np.sum(variances)) / len(variances))


def _float32(values: np.ndarray) -> jax.Array:
  return jnp.asarray(values, jnp.float32)
