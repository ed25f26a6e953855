"""What is trained: a model and its objective as a bundle of pure functions.

A language model and a sentence VAE differ here and nowhere else.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from clu import metrics as clu_metrics
import jax
import jax.numpy as jnp

from rnnvae_jax import models
from rnnvae_jax.objectives import free_bits, losses
from rnnvae_jax.ops import noise
from rnnvae_jax.training import metrics

Batch = dict[str, Any]  # See `batches.gather`.


@dataclasses.dataclass(frozen=True)
class Task:
  """Pure functions of the parameters.

  Attributes:
    init: key -> params.
    initial_extras: () -> what the objective adapts beside the parameters.
    loss: (params, batch, hyperparameters, key, extras) -> nats per sentence
      to minimise, and (sums over the batch, new extras).
    evaluate: (params, batch, key, extras, num_samples, chunk) -> values of
      each row, without dropout.
    encode: (params, batch) -> mean and log-variance float[B, Z], or None.
    start: (params, batch_size, latents) -> the carry before the first token.
    step: (params, carry, tokens int[B], latents) -> carry, logits
      float[B, V].
    latent_size: Z, 0 for a language model.
    metrics: what training reports of a batch's sums.
    backend: which one runs the recurrence; see `ops.recurrence.choose`.
  """

  init: Callable
  initial_extras: Callable
  loss: Callable
  evaluate: Callable
  encode: Callable | None
  start: Callable
  step: Callable
  latent_size: int
  metrics: type[clu_metrics.Collection]
  backend: str = ''


def build(config: Any, vocab_size: int) -> Task:
  """The task that a config describes."""
  model = models.build(config, vocab_size)
  if config.model.kind == 'language_model':
    return language_model(model)
  return sentence_vae(
    model, config.model.latent_size, config.objective.free_bits_per
  )


def language_model(model) -> Task:
  """Exact maximum likelihood."""

  def nll_of(params, batch, rates=None, keys=None):
    return model.apply(
      params,
      *_arrays(batch),
      latents=None,
      rates=rates,
      keys=keys,
      token_counts=batch['token_counts'],
    )

  def loss(params, batch, hyperparameters, key, extras):
    keys = noise.row_keys(key, batch['index'])
    total, _ = nll_of(params, batch, hyperparameters.dropout, keys)
    sums = {'reconstruction': total, **_counts(batch)}
    return total / sums['sentences'], (sums, extras)

  def evaluate(params, batch, key, extras, num_samples, chunk):
    del key, extras, num_samples, chunk  # The likelihood is exact.
    _, nll = nll_of(params, batch)
    return {'nll': jnp.sum(nll, axis=1)}

  return Task(
    init=lambda key: model.init(key, *_arrays(_tiny_batch())),
    initial_extras=dict,
    loss=loss,
    evaluate=evaluate,
    encode=None,
    start=_bind(model, 'start'),
    step=_bind(model, 'step'),
    latent_size=0,
    metrics=metrics.LanguageModelMetrics,
    backend=model.stack.backend,
  )


def sentence_vae(model, latent_size: int, free_bits_per: str) -> Task:
  """The evidence lower bound, its KL term weighted and thresholded."""

  def encode(params, batch):
    arrays = batch['targets'], batch['mask']
    return model.apply(params, *arrays, method='encode')

  def decode(params, batch, latents, rates=None, keys=None):
    """Reconstruction given z: nats of the batch, and of each sentence."""
    total, nll = model.apply(
      params,
      latents,
      *_arrays(batch),
      rates=rates,
      keys=keys,
      token_counts=batch['token_counts'],
      method='decode',
    )
    return total, jnp.sum(nll, axis=1)

  def loss(params, batch, hyperparameters, key, extras):
    keys = noise.row_keys(key, batch['index'])
    mean, log_var = encode(params, batch)
    epsilon = noise.normal(keys, 'latents', (latent_size,))
    latents = losses.reparameterise(epsilon, mean, log_var)
    total, _ = decode(params, batch, latents, hyperparameters.dropout, keys)
    kl = losses.gaussian_kl(mean, log_var)
    penalty = free_bits.penalised_kl(
      kl, hyperparameters.free_bits, free_bits_per, batch['weights']
    )
    sums = {
      'reconstruction': total,
      'kl': jnp.sum(jnp.sum(kl, axis=1) * batch['weights']),
      **_counts(batch),
    }
    value = total / sums['sentences']
    return value + hyperparameters.kl_weight * penalty, (sums, extras)

  def evaluate(params, batch, key, extras, num_samples, chunk):
    """Values of each row from `num_samples` posterior samples.

    The samples serve the reconstruction term and the importance-weighted
    bound at once, so no encoder pass and no logit is computed twice.

    Returns:
      reconstruction, kl, iwae_nll float[B], nats; mean, log_var, noise
      float[B, Z] (`noise` is the first sample's).
    """
    del extras
    keys = noise.row_keys(key, batch['index'])
    mean, log_var = encode(params, batch)
    epsilon = noise.normal(keys, 'latents', (num_samples, latent_size))
    epsilon = jnp.swapaxes(epsilon, 0, 1)  # [K, B, Z]

    def one_sample(epsilon):
      latents = losses.reparameterise(epsilon, mean, log_var)
      _, nll = decode(params, batch, latents)
      prior = losses.gaussian_log_density(
        latents, jnp.zeros_like(mean), jnp.zeros_like(mean)
      )
      posterior = losses.gaussian_log_density(latents, mean, log_var)
      return nll, jnp.sum(prior - posterior, axis=-1) - nll

    nll, log_weights = jax.lax.map(one_sample, epsilon, batch_size=chunk)
    return {
      'reconstruction': jnp.mean(nll, axis=0),
      'kl': jnp.sum(losses.gaussian_kl(mean, log_var), axis=-1),
      'iwae_nll': losses.importance_weighted_nll(log_weights),
      'mean': mean,
      'log_var': log_var,
      'noise': epsilon[0],
    }

  return Task(
    init=lambda key: model.init(key, *_arrays(_tiny_batch())),
    initial_extras=dict,
    loss=loss,
    evaluate=evaluate,
    encode=encode,
    start=_bind(model, 'start'),
    step=_bind(model, 'step'),
    latent_size=latent_size,
    metrics=metrics.SentenceVaeMetrics,
    backend=model.decoder.stack.backend,
  )


def _bind(model, method: str) -> Callable:
  return lambda params, *args: model.apply(params, *args, method=method)


def _arrays(batch: Batch):
  return batch['inputs'], batch['targets'], batch['mask']


def _counts(batch: Batch) -> Batch:
  """Denominators; a batch of blank rows counts as one sentence, not none."""
  return {
    'sentences': jnp.maximum(jnp.sum(batch['weights']), 1.0),
    'tokens': jnp.sum(batch['mask'], dtype=jnp.float32),
  }


def _tiny_batch() -> Batch:
  """The smallest batch there is: shapes of parameters need no data."""
  ids = jnp.zeros((1, 1), jnp.int32)
  return {'inputs': ids, 'targets': ids, 'mask': jnp.ones((1, 1), bool)}
