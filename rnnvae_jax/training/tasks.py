"""What is trained: a model and its objective as a bundle of pure functions.

A language model and a sentence VAE differ here and nowhere else.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

from clu import metrics as clu_metrics
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.baselines import scorer as scorer_lib
from rnnvae_jax.data import vocab
from rnnvae_jax.models import build as models
from rnnvae_jax.objectives import (
  free_bits,
  losses,
  posteriors,
  rate_control,
)
from rnnvae_jax.ops import cross_entropy, noise
from rnnvae_jax.training import metrics

Batch = dict[str, Any]  # See `batches.gather`.

# Of what a count model holds for impossible, when it writes.
_LEAST_LOG_PROB = -1e3

# The parts of a VAE's parameters that only its posterior depends on.
ENCODER_PARTS = ('encoder', 'posterior')


class Latents(NamedTuple):
  """A VAE's side of a task.

  Attributes:
    size: Z.
    encode: (params, batch, extras) -> the posterior of each row.
    family: of the posterior: how it is drawn from, and more.
    draw_prior: (params, key[B], site) -> z float[B, Z].
    with_decoder_of: (params, other params) -> params, the decoder's of the
      other but for the embeddings, which the encoder reads through.
  """

  size: int
  encode: Callable[..., posteriors.Posterior]
  family: posteriors.Family
  draw_prior: Callable[..., jax.Array]
  with_decoder_of: Callable[[Any, Any], Any]


class LanguageObjective(NamedTuple):
  """The static choices of a language model's loss."""

  rows: int = 0  # B of a stream, whose state is carried; 0: sentences.
  teacher_interval: int = 0  # Updates that a copy serves; 0: there is no copy.
  through_teacher: bool = False  # Whether gradients flow to the teacher.


class Objective(NamedTuple):
  """The static choices of a VAE's loss; scalars are `Hyperparameters`."""

  free_bits_per: str = 'sentence'
  rate_control: str = 'none'


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
    start: (params, batch_size, latents) -> the carry before the first token.
    step: (params, carry, tokens int[B], latents) -> carry, logits
      float[B, V].
    read: (params, batch, carry) -> `language_model.Reading` of a language
      model, whose carry is the next batch's; None for other tasks.
    latents: what only a VAE has; None for a language model.
    metrics: what training reports of a batch's sums.
    backend: which one runs the recurrence; see `ops.backends.choose`.
  """

  init: Callable
  initial_extras: Callable
  loss: Callable
  evaluate: Callable
  start: Callable
  step: Callable
  metrics: type[clu_metrics.Collection]
  read: Callable | None = None
  latents: Latents | None = None
  backend: str = ''


def build(config: Any, vocab_size: int) -> Task:
  """The task that a config describes, if it is one of gradients.

  Raises:
    ValueError: it is a count model's; see `scored`.
  """
  model, objective = config.model, config.objective

  def as_configured(task):
    def init(key):
      of_model, of_scale = jax.random.split(key)
      return models.initialised(config, task.init(of_model), of_scale)

    drawn = model.init_scale or model.embedding_init_scale
    return dataclasses.replace(task, init=init) if drawn else task

  if model.kind == 'ngrams':
    raise ValueError("config.model.kind = 'ngrams' is not trained in steps.")
  if model.kind == 'language_model':
    of_language = LanguageObjective(
      rows=config.train.batch_size if config.corpus.stream else 0,
      teacher_interval=objective.teacher_interval,
      through_teacher=not objective.teacher_stop_gradient,
    )
    return as_configured(
      language_model(models.language_model(config, vocab_size), of_language)
    )
  family = posteriors.build(
    model.posterior,
    model.latent_size,
    scale=model.posterior_scale,
    committed_rate=model.committed_rate,
    flow_layers=model.flow_layers,
    concentration=model.concentration,
  )
  task = sentence_vae(
    models.sentence_vae(config, vocab_size, family.head_size),
    family,
    Objective(objective.free_bits_per, objective.rate_control),
  )
  return as_configured(task)


def scored(scorer: scorer_lib.Scorer) -> Task:
  """A model without parameters, which is called back on the host."""

  def nats(targets, mask):
    rows = zip(np.asarray(targets), np.asarray(mask), strict=True)
    totals = [-np.sum(scorer.log_probs(ids[real])) for ids, real in rows]
    return np.array(totals, np.float32)

  def evaluate(params, batch, key, extras, num_samples, chunk):
    del params, key, extras, num_samples, chunk
    shape = jax.ShapeDtypeStruct(batch['index'].shape, jnp.float32)
    arrays = batch['targets'], batch['mask']
    return {'nll': jax.pure_callback(nats, shape, *arrays)}

  def next_log_probs(contexts):
    logits = scorer.next_log_probs(np.asarray(contexts)).astype(np.float32)
    # Where all that is possible is forbidden, anything is better than nothing.
    return np.maximum(logits, _LEAST_LOG_PROB)

  def step(params, contexts, tokens, latents):
    del params, latents
    # Behind the end of a sentence another one begins.
    tokens = jnp.where(tokens == vocab.EOS, vocab.BOS, tokens)
    contexts = jnp.concatenate([contexts[:, 1:], tokens[:, None]], axis=1)
    shape = (len(tokens), scorer.vocab_size)
    logits = jax.pure_callback(
      next_log_probs, jax.ShapeDtypeStruct(shape, jnp.float32), contexts
    )
    return contexts, logits

  def untrained(*_):
    raise ValueError('A count model is fitted, not trained by gradients.')

  return Task(
    init=lambda key: {},
    initial_extras=dict,
    loss=untrained,
    evaluate=evaluate,
    start=lambda params, rows, latents: jnp.full(
      (rows, scorer.context_size), vocab.PAD
    ),
    step=step,
    metrics=metrics.LanguageModelMetrics,
  )


def language_model(model, objective: LanguageObjective) -> Task:
  """Exact maximum likelihood, of sentences or of a stream."""

  def reading_of(params, batch, carry=None, **options):
    return model.apply(
      params,
      *_arrays(batch),
      carry=carry,
      token_counts=batch['token_counts'],
      **options,
    )

  def carried(batch, extras):
    """The carry before a stream's windows; None for sentences."""
    if not objective.rows:
      return None
    begins = batch['begins'][:, None]
    return jax.tree.map(lambda x: jnp.where(begins, 0, x), extras['carry'])

  def teach(params, hyperparameters, extras):
    """The teacher, if there is one, and the extras that it changes."""
    if hyperparameters.augmentation is None:
      return None, {}
    table, changed = params['params']['embedding']['embedding'], {}
    if objective.teacher_interval:
      old, age = extras['teacher'], extras['teacher_age']
      fresh = age % objective.teacher_interval == 0
      table = jnp.where(fresh, jax.lax.stop_gradient(table), old)
      changed = {'teacher': table, 'teacher_age': age + 1}
    temperature = hyperparameters.teacher_temperature
    weight = hyperparameters.augmentation * temperature
    return cross_entropy.Teacher(table, temperature, weight), changed

  def loss(params, batch, hyperparameters, key, extras):
    rates = hyperparameters.dropout
    teacher, changed = teach(params, hyperparameters, extras)
    reading = reading_of(
      noise.drop_weights(params, rates.weight, key, 'recurrent', 'backward'),
      batch,
      carried(batch, extras),
      rates=rates,
      keys=noise.row_keys(key, batch['index']),
      smoothing=hyperparameters.label_smoothing,
      teacher=teacher,
      through_teacher=objective.through_teacher,
    )
    value = reading.total
    if hyperparameters.activation_penalty is not None:
      value += hyperparameters.activation_penalty * losses.activation(
        reading.dropped, batch['mask']
      )
    if hyperparameters.temporal_penalty is not None:
      value += hyperparameters.temporal_penalty * losses.temporal_activation(
        reading.outputs, batch['mask']
      )
    sums = {'reconstruction': jnp.sum(reading.nll), **_counts(batch)}
    if objective.rows:
      changed['carry'] = jax.lax.stop_gradient(reading.carry)
    return value / sums['sentences'], (sums, extras | changed)

  def initial_extras():
    extras = {}
    if objective.rows:
      extras['carry'] = model.stack.zero_carry(objective.rows)
    if objective.teacher_interval:
      shape = model.vocab_size, model.embedding_size
      extras |= {'teacher': jnp.zeros(shape), 'teacher_age': jnp.int32(0)}
    return extras

  def evaluate(params, batch, key, extras, num_samples, chunk):
    del key, extras, num_samples, chunk  # The likelihood is exact.
    reading = reading_of(params, batch)
    values = {'nll': jnp.sum(reading.nll, axis=1)}
    if reading.backward_nll is not None:
      values['backward_nll'] = jnp.sum(reading.backward_nll, axis=1)
    return values

  return Task(
    init=lambda key: model.init(key, *_arrays(_tiny_batch())),
    initial_extras=initial_extras,
    loss=loss,
    evaluate=evaluate,
    start=_bind(model, 'start'),
    step=_bind(model, 'step'),
    read=reading_of,
    metrics=(
      metrics.StreamMetrics if objective.rows else metrics.LanguageModelMetrics
    ),
    backend=model.stack.backend,
  )


def sentence_vae(
  model, family: posteriors.Family, objective: Objective
) -> Task:
  """The evidence lower bound, its KL term controlled as configured."""
  latent_size = model.decoder.latent_size
  own_prior = model.prior == 'standard'
  exact_kl = family.kl if own_prior else None
  # Samples are mapped over, which cuDNN cannot be; the parameters are the same.
  mapped = model
  if model.decoder.stack.backend == 'cudnn':
    stack = model.decoder.stack.clone(backend='fused')
    mapped = model.clone(decoder=model.decoder.clone(stack=stack))

  def outputs_of(params, batch):
    arrays = batch['targets'], batch['mask']
    return model.apply(params, *arrays, method='encode')

  def encode(params, batch, extras):
    return family.read(outputs_of(params, batch), extras['posterior'])

  def decode(model, params, batch, latents, **options):
    """Reconstruction given z: nats of the batch, and of each sentence."""
    reading = model.apply(
      params,
      latents,
      *_arrays(batch),
      token_counts=batch['token_counts'],
      method='decode',
      **options,
    )
    return reading.total, jnp.sum(reading.nll, axis=1)

  def make_log_prior(params):
    """z float[B, Z] -> float[B], nats; the components computed once."""
    if own_prior:
      return family.log_prior
    components = model.apply(params, method='components')
    return lambda z: losses.mixture_log_density(z, *components)

  def draw_prior(params, keys, site):
    """key[B] -> z float[B, Z], drawn from the prior."""
    draws = noise.normal(keys, site, (family.noise_size,))
    if own_prior:
      return family.draw_prior(draws)
    log_weights, mean, log_var = model.apply(params, method='components')
    pick = lambda key: jax.random.categorical(key, log_weights)
    chosen = jax.vmap(pick)(noise.site_keys(keys, f'{site}/component'))
    return losses.reparameterise(draws, mean[chosen], log_var[chosen])

  def loss(params, batch, hyperparameters, key, extras):
    params = noise.drop_weights(
      params, hyperparameters.dropout.weight, key, 'recurrent'
    )
    keys, weights = noise.row_keys(key, batch['index']), batch['weights']
    posterior, statistics = family.adapt(
      outputs_of(params, batch), extras['posterior'], weights
    )
    draws = noise.normal(keys, 'latents', (family.noise_size,))
    latents, log_q = family.draw(draws, posterior)
    total, nll = decode(
      model,
      params,
      batch,
      latents,
      rates=hyperparameters.dropout,
      keys=keys,
      smoothing=hyperparameters.label_smoothing,
    )
    if exact_kl is not None:
      kl = exact_kl(posterior)
    else:
      kl = (log_q - make_log_prior(params)(latents))[:, None]
    counts = _counts(batch)
    total_kl = jnp.sum(jnp.where(weights > 0, jnp.sum(kl, axis=1), 0.0))
    mean_kl = total_kl / counts['sentences']
    target = hyperparameters.target_rate
    state = rate_control.bounded(
      objective.rate_control,
      jax.lax.stop_gradient(extras['rate_control']),
      hyperparameters.kl_weight,
    )
    factor, added = rate_control.penalty(
      objective.rate_control, state, mean_kl, target
    )
    penalty = free_bits.penalised_kl(
      kl, hyperparameters.free_bits, objective.free_bits_per, weights
    )
    kl_weight = hyperparameters.kl_weight * factor
    value = total / counts['sentences'] + kl_weight * penalty + added
    if hyperparameters.mmd_weight is not None:
      of_prior = draw_prior(params, keys, 'mmd')
      value += hyperparameters.mmd_weight * losses.maximum_mean_discrepancy(
        latents, of_prior, weights
      )
    new_extras = {
      'posterior': statistics,
      'rate_control': rate_control.update(
        objective.rate_control,
        state,
        jax.lax.stop_gradient(mean_kl),
        target,
        hyperparameters.rate_control_speed,
      ),
    }
    sums = {
      'reconstruction': jnp.sum(nll),
      'kl': total_kl,
      'kl_weight': kl_weight - state.get('multiplier', 0.0),
      **counts,
    }
    return value, (sums, new_extras)

  def evaluate(params, batch, key, extras, num_samples, chunk):
    """Values of each row from `num_samples` posterior samples.

    The samples serve the reconstruction term and the importance-weighted
    bound at once, so no encoder pass and no logit is computed twice.

    Returns:
      reconstruction, kl, iwae_nll float[B], nats; posterior_mean float[B, Z],
      the family's `center`, in units of the deviation of its own prior,
      whichever prior is learnt; where mutual information can be estimated
      mean, log_var and noise float[B, Z] for it, of the first sample.
      Of several samples iwae_variance float[B], over draws of them; where the
      KL is their mean kl_variance float[B], that of this mean, inf of one.
    """
    keys = noise.row_keys(key, batch['index'])
    posterior = encode(params, batch, extras)
    log_prior = make_log_prior(params)
    draws = noise.normal(keys, 'latents', (num_samples, family.noise_size))
    draws = jnp.swapaxes(draws, 0, 1)  # [K, B, N]

    def one_sample(draws):
      latents, log_q = family.draw(draws, posterior)
      _, nll = decode(mapped, params, batch, latents)
      return nll, log_q - log_prior(latents)

    nll, divergence = jax.lax.map(one_sample, draws, batch_size=chunk)
    log_weights = -nll - divergence
    values = {
      'reconstruction': jnp.mean(nll, axis=0),
      'iwae_nll': losses.importance_weighted_nll(log_weights),
      'posterior_mean': family.center(posterior) / family.deviation,
    }
    if exact_kl is not None:
      values['kl'] = jnp.sum(exact_kl(posterior), axis=-1)
    else:
      values['kl'] = jnp.mean(divergence, axis=0)
    is_one = num_samples == 1  # Which says nothing of its error.
    if not is_one:
      values['iwae_variance'] = losses.importance_weighted_variance(log_weights)
    if exact_kl is None:
      of_one = jnp.inf if is_one else jnp.var(divergence, axis=0, ddof=1)
      values['kl_variance'] = jnp.full_like(values['kl'], of_one / num_samples)
    if family.as_gaussian is not None:
      names = 'mean', 'log_var', 'noise'
      of_first = family.as_gaussian(draws[0], posterior)
      values |= dict(zip(names, of_first, strict=True))
    return values

  return Task(
    init=lambda key: model.init(key, *_arrays(_tiny_batch())),
    initial_extras=lambda: {
      'posterior': family.initial(),
      'rate_control': rate_control.initial(objective.rate_control),
    },
    loss=loss,
    evaluate=evaluate,
    start=_bind(model, 'start'),
    step=_bind(model, 'step'),
    latents=Latents(latent_size, encode, family, draw_prior, _with_decoder_of),
    metrics=metrics.SentenceVaeMetrics,
    backend=model.decoder.stack.backend,
  )


def _with_decoder_of(params, other):
  """Another's decoder, but for the embeddings, which the encoder reads too.

  Where they are tied, so is the output layer kept.
  """
  ours, theirs = params['params'], other['params']['decoder']
  decoder = theirs | {'embedding': ours['decoder']['embedding']}
  return {'params': ours | {'decoder': decoder}}


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
