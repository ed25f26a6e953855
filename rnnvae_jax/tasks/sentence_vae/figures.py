"""How the figures of a sentence VAE are shown."""

from rnnvae_jax.tasks import _likelihood, base


def _kl_label(figures) -> str:
  # Results of an earlier version have no kl_estimator, only the error.
  is_sampled = (
    'kl_standard_error' in figures or figures.get('kl_estimator') == 'sampled'
  )
  return 'KL' + ' (sampled)' * is_sampled


def _active_units_label(figures) -> str:
  # Some families fix the variance of the means, whatever z carries.
  is_fixed = figures.get('spread_of_means') == 'fixed'
  return f'active units of {figures.get("latents")}' + (
    ' (all, by construction)' if is_fixed else ''
  )


FIGURES = (
  *_likelihood.FIGURES,
  base.Figure('elbo', '-ELBO', '{:.3f}', '-ELBO'),
  base.Figure('reconstruction', 'reconstruction', '{:.3f}', 'reconstruction'),
  base.Figure('kl', _kl_label, '{:.3f}', 'KL'),
  base.Figure('kl_standard_error', '  standard error, over samples', '{:.4f}'),
  base.Figure('iwae_samples', 'importance samples', '{:,}'),
  base.Figure(
    'iwae_nll', 'nll (importance-weighted bound)', '{:.3f}', 'IW NLL'
  ),
  base.Figure(
    'iwae_standard_error', '  standard error, over samples', '{:.4f}'
  ),
  base.Figure('iwae_bias', '  bias, by the jackknife', '{:.4f}'),
  base.Figure(
    'iwae_doubling',
    '  by number of samples',
    lambda bounds: ', '.join(f'{k}: {v:.2f}' for k, v in bounds.items()),
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
      f'mutual information, groups of {f.get("mutual_information_batch_size")}'
    ),
    '{:.3f}',
    'MI in batches',
  ),
  base.Figure('mutual_information_batch_ceiling', '  at most', '{:.3f}'),
  base.Figure(
    'shuffling_loss',
    "nats lost with another sentence's z",
    '{:.3f}',
    'loss if shuffled',
  ),
  base.Figure(
    'active_units',
    _active_units_label,
    '{}',
    'active units',
  ),
  base.Figure(
    'informative_units',
    lambda f: f'units with .01 nats or more, of {f.get("latents")}',
    '{}',
    'informative units',
  ),
)
