"""The evidence lower bound of recurrent sentence VAEs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import build as model_build
from rnnvae_jax.models import sentence_vae
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.objectives import (
  controls,
  free_bits,
  likelihoods,
  losses,
  posteriors,
  rate_control,
  schedules,
)
from rnnvae_jax.ops import noise, recurrence, rows
from rnnvae_jax.tasks import _likelihood, _metrics, base
from rnnvae_jax.tasks.sentence_vae import figures as figures_lib
from rnnvae_jax.tasks.sentence_vae import phases, settings

# The parameters of the encoder, which only the posterior depends on.
_ENCODER_PARTS = ('encoder', 'posterior')
# Group size of the mutual information in a validation. It decides when inner
# loops end, so it must not depend on config keys of evaluation.
_GROUP = 32
# Largest KL of a collapsed posterior, in nats a sentence.
COLLAPSED_KL = 0.1


_PLAIN = settings.Choices()


class SentenceVae(_likelihood.Recurrent, base.Scores, base.HasLatents):
  """q(z | sentence) and p(sentence | z), trained by the ELBO."""

  FRAGMENTS = (
    model_build.RecurrentConfig,
    model_build.LatentConfig,
    *cells.fragments(),
    model_build.DropoutConfig,
    losses.LabelSmoothingConfig,
    *controls.fragments(),
    settings.PriorConfig,
    settings.TrainConfig,
    settings.EvaluateConfig,
  )
  FIGURES = figures_lib.FIGURES
  metrics = _metrics.SentenceVaeMetrics
  score = 'iwae_nll'
  inner_parts = _ENCODER_PARTS

  def __init__(
    self,
    model: sentence_vae.SentenceVAE,
    family: posteriors.Family,
    choices: settings.Choices = _PLAIN,
    initialise: Callable | None = None,
  ):
    """Creates the task.

    Args:
      model: the Flax module.
      family: family of the posterior.
      choices: static choices of the loss.
      initialise: (params, key) -> initial params; None: those of the modules.
    """
    self.model = model
    self.family = family
    self.choices = choices
    self.backend = model.decoder.stack.backend
    self.backend_reason = model.decoder.stack.backend_reason
    self.inner_steps = choices.inner_steps
    self.latents = base.Latents(
      model.decoder.latent_size, self._encode, family, self._draw_prior
    )
    self._initialise = initialise
    self._own_prior = model.prior == 'standard'
    self._exact_kl = family.kl if self._own_prior else None
    # A prior that is fitted to the posterior has no part in the loss's KL term.
    self._loss_kl = family.kl if choices.fit_prior else self._exact_kl
    self._mapped = model.clone(decoder=_over_samples(model.decoder))

  @classmethod
  def check(cls, config: Any) -> None:
    if config.corpus.stream:
      raise ValueError(
        'config.corpus.stream = True is for language models: a VAE encodes '
        'sentences. Legal: False.'
      )
    if not cells.is_recurrent(config.model.cell):
      legal = ', '.join(cells.recurrent_names())
      raise ValueError(
        f'config.model.cell = {config.model.cell!r} has no state that a latent '
        f'vector could set. Legal for a VAE: {legal}.'
      )
    phases.check(config.train)
    controls.check(config)

  @classmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'SentenceVae':
    del labels
    objective = config.objective
    family = posteriors.from_config(config)
    return cls(
      model_build.sentence_vae(config, len(vocab), family.head_size),
      family,
      settings.Choices(
        objective.free_bits_per,
        objective.rate_control,
        schedules.resolve(objective.kl_schedule),
        config.train.inner_steps,
        objective.fit_prior,
      ),
      _likelihood.initialiser(config),
    )

  def init(self, key: jax.Array) -> Any:
    arrays = _likelihood.arrays(_likelihood.tiny_batch())
    return _likelihood.init(self.model, arrays, self._initialise, key)

  def initial_extras(self) -> dict[str, Any]:
    return {
      'posterior': self.family.initial(),
      'rate_control': rate_control.initial(self.choices.rate_control),
    }

  def learning_rate_step(self, hyperparameters, step):
    """The learning rate's schedule begins after pretraining."""
    pretrain_steps = hyperparameters.train.pretrain_steps
    since = jnp.maximum(step - pretrain_steps, 0.0)
    return since, hyperparameters.train.num_steps - pretrain_steps

  def schedule(self, hyperparameters: Any, step: jax.Array) -> Any:
    """Sets the weights of the KL term and its controls for a step.

    They are 0 while an autoencoder is pretrained.
    """
    objective = hyperparameters.objective
    since = step - hyperparameters.train.pretrain_steps
    active = jnp.where(since < 0, 0.0, 1.0)
    weight = schedules.anneal(
      self.choices.kl_schedule,
      jnp.maximum(since, 0.0),
      start=_given(objective.kl_start, 0.0),
      end=_given(objective.kl_weight, 1.0),
      steps=_given(objective.kl_anneal_steps, 0.0),
      cycles=_given(objective.kl_cycles, 1.0),
    )
    scheduled = {'objective.kl_weight': active * weight}
    for name in ('target_rate', 'mmd_weight'):
      value = getattr(objective, name)
      if value is not None:
        scheduled[f'objective.{name}'] = active * value
    return hyperparameters.replace(scheduled)

  def loss(self, params, batch, hyperparameters, key, extras):
    choices, objective = self.choices, hyperparameters.objective
    rates = noise.rates(hyperparameters.dropout)
    params = noise.drop_weights(params, rates.weight, key, 'recurrent')
    keys, weights = noise.row_keys(key, batch['index']), batch['weights']
    posterior, statistics = self.family.adapt(
      self._outputs(params, batch), extras['posterior'], weights
    )
    draws = noise.normal(keys, 'latents', (self.family.noise_size,))
    latents, log_q = self.family.draw(draws, posterior)
    total, nll = _decode(
      self.model,
      params,
      batch,
      latents,
      rates=rates,
      keys=keys,
      smoothing=objective.label_smoothing,
    )
    if self._loss_kl is not None:
      kl = self._loss_kl(posterior)
    else:
      kl = (log_q - self._log_prior(params)(latents))[:, None]
    counts = _likelihood.counts(batch)
    total_kl = rows.total(
      jnp.sum(jnp.where(weights > 0, jnp.sum(kl, axis=1), 0.0))
    )
    mean_kl = total_kl / counts['sentences']
    target = objective.target_rate
    state = rate_control.bounded(
      choices.rate_control,
      jax.lax.stop_gradient(extras['rate_control']),
      objective.kl_weight,
    )
    factor, added = rate_control.penalty(
      choices.rate_control,
      state,
      mean_kl,
      target,
      objective.kl_weight,
      objective,
    )
    penalty = free_bits.penalised_kl(
      kl, _given(objective.free_bits, 0.0), choices.free_bits_per, weights
    )
    kl_weight = objective.kl_weight * factor
    value = rows.total(total) / counts['sentences'] + kl_weight * penalty
    value += added
    if choices.fit_prior:
      drawn = jax.lax.stop_gradient(latents)
      fit = jnp.where(weights > 0, -self._log_prior(params)(drawn), 0.0)
      # Nothing is fitted to an autoencoder, whose weight of the KL term is 0.
      fit = rows.total(jnp.sum(fit))
      value += objective.kl_weight * fit / counts['sentences']
    if objective.mmd_weight is not None:
      prior = self._draw_prior(params, keys, 'mmd')
      value += objective.mmd_weight * losses.maximum_mean_discrepancy(
        latents, prior, weights
      )
    new_extras = {
      'posterior': statistics,
      'rate_control': rate_control.update(
        choices.rate_control,
        state,
        jax.lax.stop_gradient(mean_kl),
        target,
        objective.rate_control_speed,
        objective,
      ),
    }
    sums = {
      'reconstruction': rows.total(jnp.sum(nll)),
      'kl': total_kl,
      'kl_weight': rate_control.kl_weight(
        choices.rate_control, state, objective.kl_weight
      ),
      **counts,
    }
    return value, (sums, new_extras)

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """Values of each row from posterior samples.

    The same samples are used for the reconstruction term and for the
    importance-weighted bound, so nothing is computed twice.

    Returns:
      reconstruction, kl, iwae_nll float[B], nats. posterior_mean float[B, Z],
      the family's `center` divided by the deviation of the family's own prior,
      even if a prior is learnt. If mutual information can be estimated, mean,
      log_var and noise float[B, Z] of the first sample. With several samples
      iwae_variance and iwae_bias float[B] and iwae_doubling float[B, D], see
      `objectives.losses`. If the KL is a mean over samples, kl_variance
      float[B], the variance of that mean, inf for one sample. With shuffled
      latents reconstruction_shuffled float[B], nats given a sample of another
      sentence's posterior.
    """
    family = self.family
    keys = noise.row_keys(key, batch['index'])
    posterior = self._encode(params, batch, extras)
    log_prior = self._log_prior(params)
    draws = noise.normal(keys, 'latents', (samples.count, family.noise_size))
    draws = jnp.swapaxes(draws, 0, 1)  # [K, B, N]

    def one_sample(draws):
      latents, log_q = family.draw(draws, posterior)
      _, nll = _decode(self._mapped, params, batch, latents)
      return nll, log_q - log_prior(latents)

    nll, divergence = jax.lax.map(one_sample, draws, batch_size=samples.chunk)
    log_weights = -nll - divergence
    values = {
      'reconstruction': jnp.mean(nll, axis=0),
      'iwae_nll': losses.importance_weighted_nll(log_weights),
      'posterior_mean': family.center(posterior) / family.deviation,
    }
    if self._exact_kl is not None:
      values['kl'] = jnp.sum(self._exact_kl(posterior), axis=-1)
    else:
      values['kl'] = jnp.mean(divergence, axis=0)
    if samples.count > 1:  # The error cannot be estimated from one sample.
      values |= {
        'iwae_variance': losses.importance_weighted_variance(log_weights),
        'iwae_bias': losses.importance_weighted_bias(log_weights),
        'iwae_doubling': losses.importance_weighted_doubling(log_weights),
      }
    if self._exact_kl is None:
      variance = (
        jnp.var(divergence, axis=0, ddof=1) if samples.count > 1 else jnp.inf
      )
      values['kl_variance'] = jnp.full_like(
        values['kl'], variance / samples.count
      )
    if family.as_gaussian is not None:
      names = 'mean', 'log_var', 'noise'
      gaussians = family.as_gaussian(draws[0], posterior)
      values |= dict(zip(names, gaussians, strict=True))
    if samples.shuffled:
      other = self._encode(params, batch['partners'], extras)
      latents, _ = family.draw(draws[0], other)
      _, shuffled = _decode(self._mapped, params, batch, latents)
      values['reconstruction_shuffled'] = shuffled
    return values

  def summarise(self, values, split, config, final=False):
    lengths, settings = split.lengths, config.evaluate
    figures = likelihoods.elbo_figures(
      values, lengths, split.ends, _likelihood.unknown_share(split)
    )
    group = settings.mutual_information_group if final else _GROUP
    per_latent = final and self.family.independent_latents
    figures |= likelihoods.latent_figures(values, group, per_latent)
    if self.family.has_statistics or self.family.constant_kl:
      figures['spread_of_means'] = (
        'fixed'  # All units are active because of it.
      )
    if final:
      figures |= likelihoods.importance_figures(
        values, lengths, settings.iw_samples
      )
    return figures

  def summarise_label(self, values, split, config):
    del config
    share = _likelihood.unknown_share(split)
    return likelihoods.elbo_figures(values, split.lengths, split.ends, share)

  def samples(self, config: Any) -> base.Samples:
    settings = config.evaluate
    return base.Samples(settings.iw_samples, settings.chunk, shuffled=True)

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _likelihood.unknown_warnings(figures)

  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    return float(figures[config.train.select_by])

  def report(self, figures: Mapping[str, Any]) -> str:
    return (
      f'{_likelihood.report(figures)} (bound), reconstruction '
      f'{figures["reconstruction"]:.3f}, KL {figures["kl"]:.3f}, active units '
      f'{figures["active_units"]} of {figures["latents"]}'
    )

  def training_warnings(self, figures: Mapping[str, Any]) -> list[str]:
    """Warns if the posterior has collapsed."""
    if figures['kl'] >= COLLAPSED_KL and figures['active_units']:
      return []
    return [
      f'the posterior has collapsed (KL {figures["kl"]:.4f} nats, '
      f'{figures["active_units"]} active units): the decoder ignores z. Try '
      'config.objective.free_bits, a slower config.objective.kl_schedule or '
      'config.dropout.word.'
    ]

  def after_validation(self, state, figures, config, fresh):
    steps = config.train.pretrain_steps
    return phases.after_validation(state, figures, steps, fresh)

  def start(self, params, batch_size, latents=None):
    return self.model.apply(params, batch_size, latents, method='start')

  def step(self, params, carry, tokens, latents=None):
    return self.model.apply(params, carry, tokens, latents, method='step')

  def _outputs(self, params, batch):
    arrays = batch['targets'], batch['mask']
    return self.model.apply(params, *arrays, method='encode')

  def _encode(self, params, batch, extras):
    return self.family.read(self._outputs(params, batch), extras['posterior'])

  def _log_prior(self, params):
    """Returns the function z float[B, Z] -> log p(z) float[B], nats.

    The components of a mixture prior are computed once.
    """
    if self._own_prior:
      return self.family.log_prior
    components = self.model.apply(params, method='components')
    return lambda z: losses.mixture_log_density(z, *components)

  def _draw_prior(self, params, keys, site):
    """Draws from the prior: key[B] -> z float[B, Z]."""
    draws = noise.normal(keys, site, (self.family.noise_size,))
    if self._own_prior:
      return self.family.draw_prior(draws)
    components: Any = self.model.apply(params, method='components')
    log_weights, mean, log_var = components
    draw_component = lambda key: jax.random.categorical(key, log_weights)
    component_keys = noise.site_keys(keys, f'{site}/component')
    chosen = jax.vmap(draw_component)(component_keys)
    return losses.reparameterise(draws, mean[chosen], log_var[chosen])


def _given(scalar, default):
  """The scalar, or a default if it is None because the config ignores it."""
  return default if scalar is None else scalar


def _over_samples(decoder):
  """The decoder whose runs are mapped over samples of z, in one loop for all.

  Handwritten layers would run one sample after another.
  """
  if decoder.stack.backend not in recurrence.HANDWRITTEN:
    return decoder
  return decoder.clone(stack=decoder.stack.clone(backend='fused'))


def _decode(model, params, batch, latents, **options):
  """Reconstruction loss given z: of the batch, and nats of each sentence."""
  reading = model.apply(
    params,
    latents,
    *_likelihood.arrays(batch),
    token_counts=batch['token_counts'],
    method='decode',
    **options,
  )
  return reading.total, jnp.sum(reading.nll, axis=1)
