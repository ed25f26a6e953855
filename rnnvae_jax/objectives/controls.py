"""Config fragments and checks of everything that controls a VAE's KL term.

Checks within a component are in the component's fragment; checks across
components are here. They do not depend on names of posteriors or rate controls,
but on the properties that a posterior family declares.
"""

from typing import Any

from rnnvae_jax.objectives import (
  free_bits,
  losses,
  posteriors,
  rate_control,
  schedules,
)


def fragments() -> tuple[type, ...]:
  """The config fragments of the KL term, its controls and the posterior."""
  return (
    schedules.KLScheduleConfig,
    free_bits.FreeBitsConfig,
    losses.MMDConfig,
    *rate_control.fragments(),
    *posteriors.fragments(),
  )


def check(config: Any) -> None:
  """Checks the KL controls of a sentence VAE against each other.

  Args:
    config: with `model`, `objective`, `optimizer` and `train`, each key of
      which has a legal value by itself.

  Raises:
    ValueError: two settings contradict each other, or a setting would have no
      effect; the message says which one to change.
  """
  model, objective, train = config.model, config.objective, config.train
  family = posteriors.from_config(config)
  posterior = f'config.model.posterior = {model.posterior!r}'
  is_controlled = objective.rate_control != 'none'
  for wrong, message in (
    (
      objective.kl_weight == 0 and (objective.free_bits > 0 or is_controlled),
      'config.objective.kl_weight = 0 takes away the KL term that free bits '
      'and rate controls act on: set it above 0, or config.objective.free_bits '
      'and rate_control to their defaults.',
    ),
    (
      train.pretrain_steps > 0
      and not (objective.kl_weight or objective.kl_start)
      and not objective.mmd_weight,
      'config.objective.kl_weight = 0 trains an autoencoder to the end: set it '
      'above 0, or config.train.pretrain_steps to 0.',
    ),
    (
      objective.free_bits > 0 and is_controlled,
      'config.objective.free_bits and config.objective.rate_control both hold '
      'the rate up: set one of them to its default.',
    ),
    (
      family.constant_kl and (objective.free_bits > 0 or is_controlled),
      f'{posterior} has a constant KL: there is nothing for free bits or a '
      'rate control to hold. Set '
      f'{posteriors.option_names(model.posterior)} instead.',
    ),
    (
      objective.free_bits > 0
      and (
        (model.prior != 'standard' and not objective.fit_prior)
        or family.kl is None
      )
      and objective.free_bits_per != 'batch',
      f'config.objective.free_bits_per = {objective.free_bits_per!r} wants the '
      f'KL of each sentence; that of posterior {model.posterior!r} and prior '
      f"{model.prior!r} is known on average only. Legal: 'batch'.",
    ),
    (
      objective.fit_prior and family.kl is None,
      f'config.objective.fit_prior: posterior {model.posterior!r} has no exact '
      'KL to the standard prior. Set it to False.',
    ),
    (
      model.prior != 'standard' and not family.learnt_prior,
      f'config.model.prior = {model.prior!r} is a mixture of Gaussians; '
      f'posterior {model.posterior!r} supports only its own prior. '
      f'Legal: {", ".join(_kinds_with_learnt_priors())}.',
    ),
    (
      family.has_statistics and train.batch_size < 2,
      f'{posterior} wants config.train.batch_size >= 2: it normalises over the '
      'sentences of a batch, and of one sentence every mean is 0.',
    ),
  ):
    if wrong:
      raise ValueError(message)
  _check_floor(config, family)
  _check_training(config, family)


def _check_floor(config: Any, family: posteriors.Family) -> None:
  """Raises ValueError if the KL is always above the rate to be held."""
  model, objective = config.model, config.objective
  per = objective.free_bits_per
  is_controlled = objective.rate_control != 'none'
  if is_controlled:
    rate = objective.target_rate
  else:
    is_per_latent = per in ('latent', 'sentence_latent')
    rate = objective.free_bits * (model.latent_size if is_per_latent else 1)
  floor = family.least_kl
  if is_controlled or not per.startswith('sentence'):
    floor = max(floor, family.least_mean_kl)
  if 0 < rate <= floor:
    raise ValueError(
      f'{posteriors.option_names(model.posterior)} makes the KL at least '
      f'{floor:.4g} nats, so there is nothing to hold up to {rate:g}. Set '
      'config.objective.free_bits and rate_control to their defaults, or ask '
      'for more.'
    )


def _check_training(config: Any, family: posteriors.Family) -> None:
  """Checks the phases of training: pretraining, inner updates, averaging."""
  model, train, optimizer = config.model, config.train, config.optimizer
  posterior = f'config.model.posterior = {model.posterior!r}'
  for wrong, message in (
    (
      train.inner_steps > 0 and train.pretrain_steps > 0,
      'config.train.inner_steps and config.train.pretrain_steps: an '
      'autoencoder needs no encoder that runs ahead. Set one of them to 0.',
    ),
    (
      train.inner_steps > 0
      and (optimizer.name != 'sgd' or optimizer.average_patience > 0),
      'config.train.inner_steps want config.optimizer.name = '
      "'sgd' without averaging: the inner and the outer loop would share other "
      "optimisers' states.",
    ),
    (
      (train.inner_steps > 0 or optimizer.average_patience > 0)
      and family.has_statistics,
      f'{posterior} with config.train.inner_steps or '
      'config.optimizer.average_patience: its running statistics would belong '
      'to other weights. Set these to 0.',
    ),
    (
      train.inner_steps > 0 and family.as_gaussian is None,
      f'config.train.inner_steps and {posterior}: inner updates end when '
      'mutual information falls, which cannot be estimated here.',
    ),
  ):
    if wrong:
      raise ValueError(message)


def _kinds_with_learnt_priors() -> list[str]:
  return [
    kind for kind in posteriors.KINDS if posteriors.build(kind, 2).learnt_prior
  ]
