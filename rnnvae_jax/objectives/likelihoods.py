"""Figures of a split from the nats of its sentences; ratios come from sums."""

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
    lengths: int[N], tokens, eos counted.
    ends: whether sentences have eos; a stream of characters has none.
    estimator: of the nats: 'exact', 'elbo', ...
    unknown_share: of the tokens; see `unknown_share`. A model that says <unk>
      is not told which word it was: the more there are, the smaller the nats.

  Returns:
    sentences, tokens, perplexity_without_eos, which divides the nats by the
    words alone, if sentences have eos, nll_per_sentence (nats), perplexity =
    exp(Σ nats / Σ tokens), eos counted, nll_per_token (nats), bits_per_token,
    the estimator, and unknown_share if it is known.
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
    values: reconstruction and kl float[N], nats; of a sampled KL kl_variance
      float[N], of each estimate, inf where it is unknown. Optional, of shuffled
      latents (see `estimators.derangement`), reconstruction_shuffled float[N].
    lengths: int[N], tokens, eos counted.
    ends: whether sentences have eos.
    unknown_share: see `likelihood_figures`.

  Returns:
    Those of `likelihood_figures`, by the estimator 'elbo'; elbo (the negative
    one: an upper bound on the nats), reconstruction, kl, all in nats per
    sentence; kl_estimator, 'exact' or 'sampled', and the standard error of a
    sampled one; shuffling_loss, nats of reconstruction per sentence that are
    lost when sentences exchange their latents.
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
  """The importance-weighted bound of a split, and how far it may be off.

  Args:
    values: iwae_nll float[N], nats; with several samples iwae_variance and
      iwae_bias float[N] and iwae_doubling float[N, D], by the functions
      `losses.importance_weighted_*`.
    lengths: int[N], tokens, eos counted.
    samples: of each sentence.

  Returns:
    iwae_nll (nats per sentence), iwae_samples, iwae_perplexity, eos counted.
    With several samples iwae_standard_error, over draws of the samples;
    iwae_bias, the jackknife's estimate of what the bound is above the nats,
    which is less than the whole where few samples carry the weight; and
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
  """How much the latents of a split say; see `estimators` for which is which.

  Args:
    values: posterior_mean float[N, Z]; where densities are at hand for any z,
      mean, log_var and noise float[N, Z].
    group_size: of the mutual information of batches.
    per_latent: whether each latent's information is estimated as well, which
      takes Z times as long as that of all. For families of independent latents
      alone.

  Returns:
    active_units, latents; where densities are at hand mutual_information, its
    standard error and ceiling, and those of batches, in nats; per latent,
    informative_units and information_per_latent, a list of Z nats.
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
  """The share of tokens that are <unk>; 0 of none.

  Args:
    tokens: int[...], all real.
    unknown: the id of <unk>.
  """
  return float(np.mean(tokens == unknown)) if np.size(tokens) else 0.0


def standard_error(variances: np.ndarray) -> float:
  """Of the mean of independent estimates, from the variance of each."""
  return float(np.sqrt(np.sum(variances)) / len(variances))


def perplexity(nll_per_sentence: float, sentences: int, events: int) -> float:
  """exp(Σ nats / Σ events); inf where that overflows."""
  with np.errstate(over='ignore'):
    return float(np.exp(np.float64(nll_per_sentence) * sentences / events))


def _counts(lengths: np.ndarray) -> tuple[int, int]:
  """Sentences and tokens."""
  return len(lengths), int(np.sum(lengths, dtype=np.int64))
