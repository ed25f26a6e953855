"""Figures of a split, computed from the nats of its sentences.

Ratios such as perplexity are computed from sums over the split.
"""

from collections.abc import Mapping
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnvae_jax.objectives import estimators, losses

Values = Mapping[str, np.ndarray]  # By name, float64[N, ...].


def likelihood_figures(
  nll: np.ndarray | float,
  lengths: np.ndarray,
  ends: bool = True,
  estimator: str = 'exact',
  unknown_share: float | None = None,
) -> dict[str, Any]:
  """The likelihood of a split, or a bound on it.

  Args:
    nll: float[N], nats of each sentence, or float, their mean.
    lengths: int[N], tokens of each sentence, eos counted.
    ends: whether sentences have eos; a stream of characters has none.
    estimator: how the nats were estimated: 'exact', 'elbo', ...
    unknown_share: share of unknown tokens; see `unknown_share`. A model only
      predicts <unk>, not the word behind it: the more unknown tokens, the
      smaller the nats.

  Returns:
    sentences; tokens; nll_per_sentence (nats); perplexity = exp(Σ nats / Σ
    tokens), eos counted; nll_per_token (nats); bits_per_token; estimator. If
    sentences have eos, perplexity_without_eos, which divides the nats by the
    number of words. If it is given, unknown_share.
  """
  sentences, tokens = _counts(lengths)
  mean = float(np.mean(nll))
  figures: dict[str, Any] = {'sentences': sentences, 'tokens': tokens}
  if ends:
    words = max(tokens - sentences, 1)
    figures['perplexity_without_eos'] = perplexity(mean, sentences, words)
  figures |= {
    'nll_per_sentence': mean,
    'perplexity': perplexity(mean, sentences, tokens),
    'nll_per_token': mean * sentences / tokens,
    'bits_per_token': mean * sentences / tokens / math.log(2),
    'estimator': estimator,
  }
  if unknown_share is not None:
    figures['unknown_share'] = unknown_share
  return figures


def backward_figures(nll: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
  """The likelihood by a second model that reads each sentence in reverse.

  Args:
    nll: float[N], nats of each sentence.
    lengths: int[N], tokens, eos counted.

  Returns:
    backward_nll_per_sentence (nats) and backward_perplexity, eos counted.
  """
  mean = float(np.mean(nll))
  return {
    'backward_nll_per_sentence': mean,
    'backward_perplexity': perplexity(mean, *_counts(lengths)),
  }


def elbo_figures(
  values: Values,
  lengths: np.ndarray,
  ends: bool = True,
  unknown_share: float | None = None,
) -> dict[str, Any]:
  """The evidence lower bound of a split, and its two parts.

  Args:
    values: reconstruction and kl float[N], nats. If the KL is sampled,
      kl_variance float[N], the variance of each estimate, inf if unknown.
      Optionally reconstruction_shuffled float[N], the reconstruction from the
      latents of another sentence of the split.
    lengths: int[N], tokens of each sentence, eos counted.
    ends: whether sentences have eos.
    unknown_share: see `likelihood_figures`.

  Returns:
    The figures of `likelihood_figures` with the estimator 'elbo'; elbo (the
    negative ELBO, an upper bound on the nats), reconstruction and kl, in nats
    per sentence; kl_estimator, 'exact' or 'sampled'; kl_standard_error of a
    sampled KL; shuffling_loss, by how many nats per sentence reconstruction is
    worse when sentences exchange their latents.
  """
  reconstruction = float(np.mean(values['reconstruction']))
  kl = float(np.mean(values['kl']))
  is_sampled = 'kl_variance' in values
  figures = likelihood_figures(
    reconstruction + kl, lengths, ends, 'elbo', unknown_share
  ) | {
    'elbo': reconstruction + kl,
    'reconstruction': reconstruction,
    'kl': kl,
    'kl_estimator': 'sampled' if is_sampled else 'exact',
  }
  if is_sampled and np.all(np.isfinite(values['kl_variance'])):
    figures['kl_standard_error'] = standard_error(values['kl_variance'])
  if 'reconstruction_shuffled' in values:
    shuffled = float(np.mean(values['reconstruction_shuffled']))
    figures['shuffling_loss'] = shuffled - reconstruction
  return figures


def importance_figures(
  values: Values, lengths: np.ndarray, samples: int
) -> dict[str, Any]:
  """The importance-weighted bound of a split, with its estimated errors.

  Args:
    values: iwae_nll float[N], nats; with several samples also iwae_variance and
      iwae_bias float[N] and iwae_doubling float[N, D], computed by
      `losses.importance_weighted_*`.
    lengths: int[N], tokens of each sentence, eos counted.
    samples: number of posterior samples of each sentence.

  Returns:
    iwae_nll (nats per sentence), iwae_samples, and iwae_perplexity, eos
    counted. With several samples iwae_standard_error, over draws of the
    samples; iwae_bias, the jackknife's estimate of the bound minus the true
    nats, which is too small if a few samples have most of the weight; and
    iwae_doubling, {number of samples: nats per sentence}.
  """
  mean = float(np.mean(values['iwae_nll']))
  figures: dict[str, Any] = {
    'iwae_nll': mean,
    'iwae_samples': samples,
    'iwae_perplexity': perplexity(mean, *_counts(lengths)),
  }
  if 'iwae_variance' in values:
    figures['iwae_standard_error'] = standard_error(values['iwae_variance'])
  if 'iwae_bias' in values:
    figures['iwae_bias'] = float(np.mean(values['iwae_bias']))
  if 'iwae_doubling' in values:
    sizes = losses.doubling_sizes(samples)
    means = np.mean(values['iwae_doubling'], axis=0)
    figures['iwae_doubling'] = {
      str(size): float(bound) for size, bound in zip(sizes, means, strict=True)
    }
  return figures


def latent_figures(
  values: Values, group_size: int, per_latent: bool = False
) -> dict[str, Any]:
  """The information that latents carry about sentences; see `estimators`.

  Args:
    values: posterior_mean float[N, Z]; if the posterior's density can be
      computed at any z, also mean, log_var and noise float[N, Z].
    group_size: sentences of a group of the mutual information in batches.
    per_latent: whether each latent's information is estimated as well, which
      takes Z times as long. Only for families with independent latents.

  Returns:
    active_units and latents. With densities mutual_information, its standard
    error and its largest possible value, and the mutual information in batches,
    all in nats. With `per_latent` informative_units and information_per_latent,
    a list of Z nats.
  """
  active, _ = estimators.active_units(jnp.float32(values['posterior_mean']))
  count, latents = values['posterior_mean'].shape
  figures = {'active_units': int(active), 'latents': latents}
  if 'noise' not in values:
    return figures
  posteriors = [
    jnp.float32(values[name]) for name in ('mean', 'log_var', 'noise')
  ]
  whole = np.asarray(estimators.mutual_information(*posteriors), np.float64)
  batch = np.asarray(
    estimators.batch_mutual_information(*posteriors, group_size), np.float64
  )
  figures |= {
    'mutual_information': float(np.mean(whole)),
    'mutual_information_standard_error': float(np.std(whole) / np.sqrt(count)),
    'mutual_information_ceiling': float(np.log(count)),
    'mutual_information_batch': float(np.mean(batch)),
    'mutual_information_batch_size': group_size,
    'mutual_information_batch_ceiling': float(np.log(min(group_size, count))),
  }
  if per_latent:
    information = estimators.mutual_information_per_latent(*posteriors)
    figures['informative_units'] = int(
      estimators.informative_units(information)
    )
    figures['information_per_latent'] = np.asarray(information).tolist()
  return figures


def unknown_share(tokens: np.ndarray, unknown: int) -> float:
  """The share of tokens that are <unk>; 0 if there are no tokens.

  Args:
    tokens: int[...], without padding.
    unknown: the id of <unk>.
  """
  return float(np.mean(tokens == unknown)) if np.size(tokens) else 0.0


def standard_error(variances: np.ndarray) -> float:
  """The standard error of the mean of independent estimates."""
  return float(np.sqrt(np.sum(variances)) / len(variances))


def perplexity(nll_per_sentence: float, sentences: int, events: int) -> float:
  """exp(Σ nats / Σ events); inf if that overflows."""
  with np.errstate(over='ignore'):
    return float(np.exp(np.float64(nll_per_sentence) * sentences / events))


def _counts(lengths: np.ndarray) -> tuple[int, int]:
  """Numbers of sentences and of tokens."""
  return len(lengths), int(np.sum(lengths, dtype=np.int64))
