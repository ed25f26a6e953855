"""The objectives against NumPy, from the models' own outputs."""

import functools
from unittest import mock

from absl.testing import absltest, parameterized
import jax
from jax.experimental import rnn
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax import config_lib
from rnnvae_jax.data import batches, corpora, vocab
from rnnvae_jax.objectives import free_bits, posteriors
from rnnvae_jax.ops import backends, noise
from rnnvae_jax.training import optimizers, tasks, validation
from rnnvae_jax.training import state as state_lib

import tolerances

VOCAB = 17
LENGTHS = np.int32([4, 2, 6, 1, 5])
ROWS = np.int32([2, 0, batches.BLANK, 4, 1])
REAL = ROWS != batches.BLANK
LATENTS = 3
SAMPLES = 9
EMBEDDING, HIDDEN, ENCODER_HIDDEN = 10, 8, 7
# Nats are sums of sums: of a batch's tokens, of a softmax, of a logit, of six
# steps of the decoder, of the posterior's layer and of six of the encoder.
RTOL = tolerances.chain(
  sum(LENGTHS),
  VOCAB,
  EMBEDDING + HIDDEN,
  6 * (EMBEDDING + HIDDEN + LATENTS),
  ENCODER_HIDDEN,
  6 * (EMBEDDING + ENCODER_HIDDEN),
)


def make_split():
  ends = np.cumsum(LENGTHS)
  tokens = np.random.default_rng(0).integers(4, VOCAB, ends[-1]).astype('i4')
  tokens[ends - 1] = vocab.EOS
  offsets = (ends - LENGTHS).astype('i4')
  return corpora.Split(tokens, offsets, LENGTHS, 0, 0, {})


def make_config(kind, **overrides):
  config = config_lib.default()
  config.update_from_flattened_dict(
    {
      'model.kind': kind,
      'model.embedding_size': EMBEDDING,
      'model.hidden_size': HIDDEN,
      'model.latent_size': LATENTS,
      'model.encoder_hidden_size': ENCODER_HIDDEN,
      'model.latent_every_step': True,
      **overrides,
    }
  )
  return config


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  logits = logits - logits.max(axis=-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class Model:
  """A task, its parameters and a batch, in float64 from its logits on."""

  def __init__(self, kind, **overrides):
    config = make_config(kind, **overrides)
    self.task = tasks.build(config, VOCAB)
    self.hyperparameters = optimizers.hyperparameters(config)
    # Large enough for a posterior far from the prior.
    init = jax.jit(self.task.init)
    self.params = jax.tree.map(lambda x: 2 * x, init(jax.random.key(0)))
    corpus = batches.put(make_split())
    self.batch = batches.gather(corpus, jnp.asarray(ROWS), batches.Bucket(6))
    self.key = jax.random.key(1)

  @functools.cached_property
  def _step(self):
    return jax.jit(self.task.step)

  def nll(self, latents=None):
    """Nats of each row, token by token as in sampling: float64[B]."""
    if latents is not None:
      latents = jnp.asarray(latents, jnp.float32)
    carry = self.task.start(self.params, len(ROWS), latents)
    total = np.zeros(len(ROWS))
    for t in range(6):
      inputs, targets = self.batch['inputs'][:, t], self.batch['targets'][:, t]
      carry, logits = self._step(self.params, carry, inputs, latents)
      chosen = log_softmax(logits)[np.arange(len(ROWS)), np.asarray(targets)]
      total -= np.where(self.batch['mask'][:, t], chosen, 0)
    return total

  def posterior(self):
    """Mean and log-variance, float64[B, Z]."""
    encode = jax.jit(self.task.latents.encode)
    encoded = encode(self.params, self.batch, self.task.initial_extras())
    return tuple(np.asarray(x, np.float64) for x in encoded[:2])

  def noise(self, *samples, site='latents'):
    keys = noise.row_keys(self.key, jnp.asarray(ROWS))
    drawn = noise.normal(keys, site, (*samples, LATENTS))
    return np.asarray(drawn, np.float64)

  def loss(self, **extras):
    return jax.jit(self.task.loss)(
      self.params,
      self.batch,
      self.hyperparameters,
      self.key,
      self.task.initial_extras() | extras,
    )

  def evaluate(self, num_samples, chunk=4):
    evaluate = jax.jit(self.task.evaluate, static_argnums=(4, 5))
    extras = self.task.initial_extras()
    values = evaluate(
      self.params, self.batch, self.key, extras, num_samples, chunk
    )
    return {k: np.asarray(v, np.float64) for k, v in values.items()}


def gaussian_kl(mean, log_var):
  return 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)


def log_normal(z, mean, log_var):
  density = np.log(2 * np.pi) + log_var + (z - mean) ** 2 / np.exp(log_var)
  return -0.5 * density.sum(axis=-1)


@functools.cache
def lm():
  return Model('language_model')


@functools.cache
def vae():
  return Model('sentence_vae')


@functools.cache
def losses_by_free_bits():
  """By kind of free bits, the compiled loss."""
  return {
    per: jax.jit(
      tasks.build(
        make_config('sentence_vae', **{'objective.free_bits_per': per}), VOCAB
      ).loss
    )
    for per in free_bits.PER
  }


class LanguageModelTest(absltest.TestCase):
  def test_loss_is_the_mean_nats_of_a_sentence(self):
    model = lm()
    loss, (sums, extras) = model.loss()
    want = model.nll()[REAL].sum()
    np.testing.assert_allclose(loss, want / 4, rtol=RTOL)
    np.testing.assert_allclose(sums['reconstruction'], want, rtol=RTOL)
    self.assertEqual(sums['sentences'], 4)
    self.assertEqual(sums['tokens'], LENGTHS[ROWS[REAL]].sum())
    self.assertEqual(extras, {})

  def test_weights_are_dropped_once_for_all_steps(self):
    model = Model('language_model', **{'dropout.weight': 0.5})
    loss, _ = model.loss()
    dry = model.nll()[REAL].mean()
    model.params = noise.drop_weights(
      model.params, jnp.float32(0.5), model.key, 'recurrent'
    )
    want = model.nll()[REAL].mean()
    np.testing.assert_allclose(loss, want, rtol=RTOL)
    self.assertGreater(abs(want - dry), 1e-3)

  def test_first_weights_are_as_wide_as_configured(self):
    task = tasks.build(
      make_config('language_model', **{'model.init_scale': 0.2}), VOCAB
    )
    params = jax.tree.leaves_with_path(jax.jit(task.init)(jax.random.key(0)))
    widest = {
      jax.tree_util.keystr(path): float(np.max(np.abs(leaf)))
      for path, leaf in params
      if leaf.ndim > 1
    }
    self.assertGreaterEqual(len(widest), 4)
    for name, width in widest.items():  # Of 40 draws and more.
      self.assertBetween(width, 0.15, 0.2, name)

  def test_evaluation_is_exact(self):
    model = lm()
    values = model.evaluate(num_samples=1)
    np.testing.assert_allclose(values['nll'], model.nll(), rtol=RTOL)
    self.assertIsNone(model.task.latents)


class SentenceVaeTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.model = vae()
    self.mean, self.log_var = self.model.posterior()

  def latents(self, epsilon):
    return self.mean + np.exp(0.5 * self.log_var) * epsilon

  @parameterized.product(per=free_bits.PER, threshold=(0.0, 'some', 1e3))
  def test_loss_is_the_weighted_elbo(self, per, threshold):
    kl = gaussian_kl(self.mean, self.log_var)[REAL]
    if threshold == 'some':  # Between the largest and the smallest part.
      parts = {
        'batch': [kl.sum(axis=1).mean() + 1],
        'sentence': kl.sum(axis=1),
        'latent': kl.mean(axis=0),
        'sentence_latent': kl,
      }
      threshold = float(np.median(parts[per]) + 1e-3)
    penalty = {
      'batch': max(kl.sum(axis=1).mean(), threshold),
      'sentence': np.maximum(kl.sum(axis=1), threshold).mean(),
      'latent': np.maximum(kl.mean(axis=0), threshold).sum(),
      'sentence_latent': np.maximum(kl, threshold).sum(axis=1).mean(),
    }[per]
    nll = self.model.nll(self.latents(self.model.noise()))[REAL]
    loss, (sums, _) = losses_by_free_bits()[per](
      self.model.params,
      self.model.batch,
      self.model.hyperparameters.replace(
        kl_weight=jnp.float32(0.25), free_bits=jnp.float32(threshold)
      ),
      self.model.key,
      self.model.task.initial_extras(),
    )
    want = nll.mean() + 0.25 * penalty
    np.testing.assert_allclose(loss, want, rtol=RTOL)
    # What is reported is neither weighted nor thresholded.
    np.testing.assert_allclose(sums['kl'], kl.sum(), rtol=RTOL)
    np.testing.assert_allclose(sums['reconstruction'], nll.sum(), rtol=RTOL)

  @parameterized.parameters(
    ('lagrangian', {'multiplier': 0.1, 'square': 1.0}),
    ('lagrangian', {'multiplier': 0.3, 'square': 1.0}),
    ('soft_free_bits', {'weight': 0.4}),
    ('mmd', {}),
  )
  def test_loss_has_what_a_control_adds(self, control, state):
    if control == 'mmd':
      overrides = {'objective.mmd_weight': 3.0}
    else:
      overrides = {
        'objective.rate_control': control,
        'objective.target_rate': 9.0,
      }
    model = Model('sentence_vae', **overrides, **{'objective.kl_weight': 0.25})
    # Of the same parameters as the model without the control.
    kl = gaussian_kl(self.mean, self.log_var)[REAL].sum(axis=1).mean()
    latents = self.latents(self.model.noise())
    want = self.model.nll(latents)[REAL].mean()
    if control == 'soft_free_bits':
      want += 0.25 * 0.4 * kl
    else:
      want += 0.25 * kl
    if control == 'lagrangian':  # At most what the KL weighs.
      before = min(state['multiplier'], 0.25)
      want += before * (9.0 - kl)
    if control == 'mmd':
      of_prior = self.model.noise(site='mmd')
      near = lambda x, y: np.exp(
        -np.sum((x[REAL][:, None] - y[REAL]) ** 2, axis=-1) / LATENTS
      ).mean()
      want += 3.0 * (
        near(latents, latents)
        + near(of_prior, of_prior)
        - 2 * near(latents, of_prior)
      )
    loss, (_, new) = model.loss(rate_control=jax.tree.map(jnp.float32, state))
    np.testing.assert_allclose(loss, want, rtol=RTOL)
    if control == 'lagrangian':  # An ascent by RMSprop.
      square = 0.99 + 0.01 * (9.0 - kl) ** 2
      multiplier = before + 0.01 * (9.0 - kl) / square**0.5
      state = {'multiplier': multiplier, 'square': square}
    elif control == 'soft_free_bits':
      self.assertLess(kl, 9.0)
      state = {'weight': 0.4 * 0.99}
    self.assertEqual(new['rate_control'].keys(), state.keys())
    for name, value in state.items():
      np.testing.assert_allclose(new['rate_control'][name], value, rtol=RTOL)

  @pytest.mark.slow
  def test_weights_of_the_decoder_are_dropped_once_for_all_steps(self):
    model = Model('sentence_vae', **{'dropout.weight': 0.5})
    loss, _ = model.loss()
    model.params = noise.drop_weights(
      model.params, jnp.float32(0.5), model.key, 'recurrent'
    )
    mean, log_var = model.posterior()
    latents = mean + np.exp(0.5 * log_var) * model.noise()
    want = model.nll(latents)[REAL].mean()
    want += gaussian_kl(mean, log_var)[REAL].sum(axis=1).mean()
    np.testing.assert_allclose(loss, want, rtol=RTOL)
    dry = vae().nll(latents)[REAL].mean()
    self.assertGreater(abs(dry - model.nll(latents)[REAL].mean()), 1e-3)

  def test_evaluation_is_the_elbo_and_the_importance_weighted_bound(self):
    values = self.model.evaluate(SAMPLES)
    epsilon = self.model.noise(SAMPLES)
    nll, log_weights = [], []
    for k in range(SAMPLES):
      z = self.latents(epsilon[:, k])
      nll.append(self.model.nll(z))
      prior = log_normal(z, np.zeros_like(z), np.zeros_like(z))
      posterior = log_normal(z, self.mean, self.log_var)
      log_weights.append(prior - posterior - nll[-1])
    bound = np.log(SAMPLES) - np.logaddexp.reduce(log_weights, axis=0)
    want = {
      'reconstruction': np.mean(nll, axis=0),
      'kl': gaussian_kl(self.mean, self.log_var).sum(axis=1),
      'iwae_nll': bound,
      'posterior_mean': self.mean,
      'mean': self.mean,
      'log_var': self.log_var,
      'noise': epsilon[:, 0],
    }
    self.assertEqual(set(values), {*want, 'iwae_variance'})
    for name, value in want.items():
      np.testing.assert_allclose(
        values[name][REAL],
        value[REAL],
        rtol=0,
        atol=RTOL * np.abs(value[REAL]).max(),
      )
    # Jensen's inequality, sample by sample; the samples do differ.
    sampled = -np.mean(log_weights, axis=0)
    self.assertTrue((values['iwae_nll'][REAL] < sampled[REAL] - 1e-3).all())

  def test_one_sample_is_the_weight_of_that_sample(self):
    values = self.model.evaluate(1, chunk=1)
    z = self.latents(self.model.noise(1)[:, 0])
    prior = log_normal(z, np.zeros_like(z), np.zeros_like(z))
    posterior = log_normal(z, self.mean, self.log_var)
    want = self.model.nll(z) + posterior - prior
    np.testing.assert_allclose(values['iwae_nll'][REAL], want[REAL], rtol=RTOL)

  def test_the_bound_is_tighter_with_more_samples_in_expectation(self):
    evaluate = jax.jit(
      jax.vmap(self.model.task.evaluate, (None, None, 0, None, None, None)),
      static_argnums=(4, 5),
    )
    keys = jax.random.split(jax.random.key(2), 200)
    one, many = (
      {
        k: np.asarray(v, np.float64)[:, REAL]
        for k, v in evaluate(
          self.model.params,
          self.model.batch,
          keys,
          self.model.task.initial_extras(),
          count,
          8,
        ).items()
      }
      for count in (1, 8)
    )
    elbo = (one['reconstruction'] + one['kl']).mean(axis=1)
    for gap in (
      elbo - many['iwae_nll'].mean(axis=1),
      one['iwae_nll'].mean(axis=1) - many['iwae_nll'].mean(axis=1),
    ):
      error = gap.std() / np.sqrt(len(gap))
      self.assertGreater(gap.mean(), 5 * error)
    # One sample's bound is the ELBO with a sampled KL term.
    gap = elbo - one['iwae_nll'].mean(axis=1)
    self.assertLess(abs(gap.mean()), 4 * gap.std() / np.sqrt(len(gap)))

  @parameterized.parameters((1, 1), (6, 3))
  def test_is_evaluated_where_cudnn_trains(self, samples, chunk):
    sizes = 'compute_rnn_workspace_reserve_space_sizes'
    with (
      mock.patch.object(backends, 'choose', lambda *_, **__: 'cudnn'),
      mock.patch.object(  # What it asks of a GPU.
        rnn.gpu_rnn, sizes, lambda *_: (1, 1), create=True
      ),
    ):
      model = Model('sentence_vae', **{'model.cell': 'lstm'})
      args = model.params, model.batch
      extras = model.task.initial_extras()
      trained = jax.make_jaxpr(model.task.loss)(
        *args, model.hyperparameters, model.key, extras
      )
      evaluate = functools.partial(
        model.task.evaluate, num_samples=samples, chunk=chunk
      )
      evaluated = jax.make_jaxpr(evaluate)(*args, model.key, extras)
    self.assertEqual(model.task.backend, 'cudnn')
    # The encoder and the decoder; of these the decoder is mapped.
    self.assertEqual(str(trained).count('= rnn_fwd['), 2)
    self.assertEqual(str(evaluated).count('= rnn_fwd['), 1)

  def test_validation_is_deaf_to_the_objective_and_the_step(self):
    split, figures = make_split(), []
    for step, overrides in (
      (0, {}),
      (
        700,
        {
          'objective.kl_weight': 0.125,
          'objective.kl_schedule': 'cyclical',
          'objective.free_bits': 2.0,
          'objective.free_bits_per': 'batch',
          'dropout.word': 0.5,
          'dropout.output': 0.5,
        },
      ),
    ):
      config = make_config('sentence_vae', **overrides)
      config.evaluate.num_buckets = 1
      task = tasks.build(config, VOCAB)
      state = state_lib.TrainState(
        step=jnp.int32(step),
        params=self.model.params,
        opt_state=None,
        extras=task.initial_extras(),
        key=jax.random.key(step),
        selection=None,
      )
      validate = validation.make_validation(config, task, split)
      figures.append(validate(state, config.seed))
    self.assertEqual(*figures)


@pytest.mark.slow
class BatchNormTest(absltest.TestCase):
  def test_the_loss_is_of_means_normalised_over_the_batch(self):
    scale = 0.7
    model = Model(
      'sentence_vae',
      **{'model.posterior': 'batch_norm', 'model.posterior_scale': scale},
    )
    raw, log_var = vae().posterior()  # Of the same parameters.
    center = raw[REAL].mean(axis=0)
    mean = scale * (raw - center) / np.sqrt(raw[REAL].var(axis=0) + 1e-5)
    latents = mean + np.exp(0.5 * log_var) * model.noise()
    want = model.nll(latents)[REAL].mean()
    want += gaussian_kl(mean, log_var)[REAL].sum(axis=1).mean()
    loss, (_, extras) = model.loss()
    np.testing.assert_allclose(loss, want, rtol=RTOL)
    statistics = extras['posterior']
    np.testing.assert_allclose(
      statistics['mean'],
      0.01 * center,
      rtol=0,
      atol=RTOL * 0.01 * np.abs(raw).max(),
    )
    np.testing.assert_allclose(
      statistics['variance'],
      0.99 + 0.01 * raw[REAL].var(axis=0, ddof=1),
      rtol=RTOL,
    )
    # Evaluation reads them; those at first are of no batch.
    evaluate = jax.jit(model.task.evaluate, static_argnums=(4, 5))
    got = evaluate(model.params, model.batch, model.key, extras, 1, 1)
    running = {k: np.float64(v) for k, v in statistics.items()}
    width = np.sqrt(running['variance'] + 1e-5)
    np.testing.assert_allclose(
      got['posterior_mean'][REAL],
      (scale * (raw - running['mean']) / width)[REAL],
      rtol=1e-4,
      atol=1e-5,
    )

  def test_validation_is_by_the_running_statistics(self):
    config = make_config('sentence_vae', **{'model.posterior': 'batch_norm'})
    config.evaluate.num_buckets = 1
    task = tasks.build(config, VOCAB)
    validate = validation.make_validation(config, task, make_split())
    statistics = task.initial_extras()
    moved = statistics | {
      'posterior': {
        'mean': jnp.ones(LATENTS),
        'variance': 4 * jnp.ones(LATENTS),
      }
    }
    figures = [
      validate(
        state_lib.TrainState(
          step=jnp.int32(0),
          params=vae().params,
          opt_state=None,
          extras=extras,
          key=jax.random.key(0),
          selection=None,
        ),
        config.seed,
      )['kl']
      for extras in (statistics, moved)
    ]
    self.assertGreater(abs(figures[0] - figures[1]), 1e-2)


@pytest.mark.slow
class LearntPriorTest(absltest.TestCase):
  """A mixture of Gaussians, its weights unequal, against float64."""

  def setUp(self):
    super().setUp()
    overrides = {'model.prior': 'mixture', 'model.prior_components': 4}
    self.model = Model('sentence_vae', **overrides)
    rng = np.random.default_rng(0)
    self.logits = np.float64(np.float32(rng.normal(size=4) + 2.0))
    outputs = rng.normal(size=(4, 2 * LATENTS))
    self.outputs = np.float64(np.float32(outputs))
    self.model.params = {
      'params': self.model.params['params']
      | {
        'prior_logits': jnp.float32(self.logits),
        'prior_outputs': jnp.float32(self.outputs),
      }
    }
    self.mean, self.log_var = self.model.posterior()

  def log_prior(self, z, logits=None, outputs=None):
    logits = self.logits if logits is None else logits
    outputs = self.outputs if outputs is None else outputs
    mean, log_var = np.split(outputs, 2, axis=1)
    parts = [
      weight + log_normal(z, *of_one)
      for weight, *of_one in zip(
        log_softmax(logits), mean, log_var, strict=True
      )
    ]
    return np.logaddexp.reduce(parts, axis=0)

  def latents(self, epsilon):
    return self.mean + np.exp(0.5 * self.log_var) * epsilon

  def test_evaluation_is_of_a_normalised_density(self):
    values = self.model.evaluate(SAMPLES)
    epsilon = self.model.noise(SAMPLES)
    divergence, log_weights = [], []
    for k in range(SAMPLES):
      z = self.latents(epsilon[:, k])
      divergence.append(
        log_normal(z, self.mean, self.log_var) - self.log_prior(z)
      )
      log_weights.append(-divergence[-1] - self.model.nll(z))
    weights = np.exp(np.array(log_weights) - np.max(log_weights, axis=0))
    of_mean = weights.var(axis=0, ddof=1) / SAMPLES
    of_bound = of_mean / weights.mean(axis=0) ** 2
    of_kl = np.var(divergence, axis=0, ddof=1) / SAMPLES
    # Of a log weight; of variances, to first order in it: a variance changes by
    # twice the covariance, and weights over their mean by twice the error.
    error = RTOL * np.max(np.abs(log_weights))
    for name, want, allowed in (
      ('kl', np.mean(divergence, axis=0), error),
      ('kl_variance', of_kl, 2 * error * np.sqrt(of_kl)),
      (
        'iwae_nll',
        np.log(SAMPLES) - np.logaddexp.reduce(log_weights, axis=0),
        error,
      ),
      ('iwae_variance', of_bound, 4 * error * (of_bound + 2 / (SAMPLES - 1))),
    ):
      off = np.abs(values[name] - want)[REAL]
      np.testing.assert_array_less(
        off, np.broadcast_to(allowed, ROWS.shape)[REAL], err_msg=name
      )

  def test_training_learns_it_by_the_same_density(self):
    model, weight = self.model, jnp.float32(0.25)
    model.hyperparameters = model.hyperparameters.replace(kl_weight=weight)
    z = self.latents(model.noise())[REAL]
    kl = log_normal(z, self.mean[REAL], self.log_var[REAL]) - self.log_prior(z)
    nll = model.nll(self.latents(model.noise()))[REAL]
    loss, (sums, _) = model.loss()
    np.testing.assert_allclose(sums['kl'], kl.sum(), rtol=RTOL)
    np.testing.assert_allclose(loss, nll.mean() + 0.25 * kl.mean(), rtol=RTOL)
    # What the decoder says does not depend on the prior: central differences
    # of the density are the whole gradient.
    gradient = jax.jit(jax.grad(model.task.loss, has_aux=True))(
      model.params,
      model.batch,
      model.hyperparameters,
      model.key,
      model.task.initial_extras(),
    )[0]['params']
    for name, at in (
      ('prior_logits', self.logits),
      ('prior_outputs', self.outputs),
    ):
      key = name.removeprefix('prior_')
      want = np.zeros_like(at)
      for index in np.ndindex(at.shape):
        ends = []
        for step in (1e-5, -1e-5):
          moved = at.copy()
          moved[index] += step
          ends.append(-0.25 * self.log_prior(z, **{key: moved}).mean())
        want[index] = (ends[0] - ends[1]) / 2e-5
      self.assertGreater(np.abs(want).max(), 0.01)
      np.testing.assert_allclose(gradient[name], want, rtol=1e-3, atol=1e-5)


class GradientsTest(parameterized.TestCase):
  """Nothing that a loss depends on is kept from its gradient."""

  @parameterized.parameters(
    ('lagrangian', {'multiplier': 20.0, 'square': 1.0}),
    ('soft_free_bits', {'weight': 1.0}),
    ('info_vae', {}),
    ('batch_norm', {}),
    ('committed', {}),
    ('planar', {}),
  )
  @pytest.mark.slow
  def test_is_what_the_loss_changes_by(self, name, state):
    model = Model('sentence_vae', **TECHNIQUES[name][0])
    scalars = model.hyperparameters.replace(kl_weight=jnp.float32(30.0))
    if name == 'info_vae':  # Of the MMD alone, nearly.
      scalars = model.hyperparameters.replace(
        kl_weight=jnp.float32(0.0), mmd_weight=jnp.float32(1e4)
      )
    extras = model.task.initial_extras()
    if state:
      extras |= {'rate_control': jax.tree.map(jnp.float32, state)}
    loss = jax.jit(jax.value_and_grad(model.task.loss, has_aux=True))
    at = lambda params: loss(params, model.batch, scalars, model.key, extras)
    (_, _), gradient = at(model.params)
    # Along a direction of the posterior's layer alone, of a length at which
    # neither rounding nor curvature plays a part.
    layer = model.params['params']['posterior']
    rng = np.random.default_rng(0)
    way = jax.tree.map(
      lambda p: jnp.float32(2e-3 * rng.normal(size=p.shape)), layer
    )
    ends = []
    for sign in (1, -1):
      moved = jax.tree.map(lambda p, w, s=sign: p + s * w, layer, way)
      params = {'params': model.params['params'] | {'posterior': moved}}
      ends.append(float(at(params)[0][0]))
    change = (ends[0] - ends[1]) / 2
    products = jax.tree.map(
      lambda g, w: np.sum(np.float64(g) * np.float64(w)),
      gradient['params']['posterior'],
      way,
    )
    want = sum(jax.tree.leaves(products))
    self.assertGreater(abs(want), 5e-3)
    np.testing.assert_allclose(change, want, rtol=0.02)


# Of each technique, the config and the least its KL can be, in nats a row.
TECHNIQUES = {
  'batch_norm': ({'model.posterior': 'batch_norm'}, 0.0),
  'committed': (
    {'model.posterior': 'committed', 'model.committed_rate': 1.5},
    1.5,
  ),
  'planar': ({'model.posterior': 'planar'}, None),
  'von_mises_fisher': ({'model.posterior': 'von_mises_fisher'}, 1.0),
  'mixture': ({'model.prior': 'mixture', 'model.prior_components': 4}, None),
  'vamp': ({'model.prior': 'vamp', 'model.prior_components': 4}, None),
  'planar_mixture': (
    {'model.prior': 'mixture', 'model.posterior': 'planar'},
    None,
  ),
  'skip': ({'model.latent_to_output': True}, 0.0),
  'skip_tied': (
    {'model.latent_to_output': True, 'model.tied_embeddings': True},
    0.0,
  ),
  'lagrangian': (
    {'objective.rate_control': 'lagrangian', 'objective.target_rate': 9.0},
    0.0,
  ),
  'soft_free_bits': (
    {'objective.rate_control': 'soft_free_bits', 'objective.target_rate': 9.0},
    0.0,
  ),
  'info_vae': ({'objective.mmd_weight': 3.0}, 0.0),
  'regularised': (
    {
      'dropout.recurrent': 0.3,
      'dropout.weight': 0.4,
      'objective.label_smoothing': 0.1,
      'model.init_scale': 0.2,
      'model.output_bias': False,
    },
    0.0,
  ),
}


@pytest.mark.slow
class TechniquesTest(parameterized.TestCase):
  @parameterized.parameters(*TECHNIQUES)
  def test_trains_and_is_evaluated(self, name):
    overrides, least = TECHNIQUES[name]
    config = make_config('sentence_vae', **overrides)
    task = tasks.build(config, VOCAB)
    params = jax.jit(task.init)(jax.random.key(0))
    corpus = batches.put(make_split())
    batch = batches.gather(corpus, jnp.asarray(ROWS), batches.Bucket(6))
    scalars = optimizers.hyperparameters(config)

    @jax.jit
    def update(params, extras):
      loss = jax.value_and_grad(task.loss, has_aux=True)
      (_, (sums, extras)), grads = loss(
        params, batch, scalars, jax.random.key(1), extras
      )
      params = jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)
      return params, extras, sums['reconstruction']

    extras, values = task.initial_extras(), []
    first = jax.tree.structure(extras)
    for _ in range(30):
      params, extras, value = update(params, extras)
      values.append(float(value))
    self.assertEqual(jax.tree.structure(extras), first)
    self.assertTrue(np.all(np.isfinite(values)))
    self.assertLess(values[-1], values[0])

    evaluate = jax.jit(task.evaluate, static_argnums=(4, 5))
    figures = evaluate(params, batch, jax.random.key(2), extras, 200, 50)
    figures = {k: np.float64(v)[REAL] for k, v in figures.items()}
    elbo = figures['reconstruction'] + figures['kl']
    # By Jensen's inequality, where the KL is that of the same samples.
    self.assertLess(np.mean(figures['iwae_nll']), np.mean(elbo) + 0.05)
    self.assertGreater(np.mean(figures['iwae_nll']), np.mean(elbo) - 8.0)
    self.assertEqual('kl_variance' in figures, least is None)
    if least is None:  # One sample says that it is one, not how good it is.
      of_one = evaluate(params, batch, jax.random.key(2), extras, 1, 1)
      self.assertEqual(np.min(of_one['kl_variance']), np.inf)
    self.assertEqual('noise' in figures, 'planar' not in name)
    if least is not None:
      self.assertGreaterEqual(np.min(figures['kl']), least - 1e-3)
    keys = jax.random.split(jax.random.key(3), 6)
    draw = jax.jit(task.latents.draw_prior, static_argnums=2)
    drawn = draw(params, keys, 'prior')
    self.assertEqual(drawn.shape, (6, LATENTS))
    self.assertGreater(np.min(np.std(drawn, axis=0)), 0)

  def test_the_components_of_vamp_are_posteriors_of_its_sentences(self):
    # Set to the words of real sentences, they are what these are encoded to.
    overrides, _ = TECHNIQUES['vamp']
    model = Model('sentence_vae', **overrides)
    inner = model.params['params']
    pseudo = inner['pseudo_sentences']
    count, length, _ = pseudo.shape
    words = np.random.default_rng(0).integers(4, VOCAB, (count, length))
    table = inner['decoder']['embedding']['embedding']
    params = {'params': inner | {'pseudo_sentences': table[words]}}
    batch = {'targets': jnp.int32(words), 'mask': np.ones(words.shape, bool)}
    posterior = model.task.latents.encode(
      params, batch, model.task.initial_extras()
    )
    keys = jax.random.split(jax.random.key(0), 20_000)
    draw = jax.jit(model.task.latents.draw_prior, static_argnums=2)
    drawn = np.float64(draw(params, keys, 'prior'))
    weights = np.float64(jax.nn.softmax(inner['prior_logits']))
    means = np.float64(posterior.mean)
    want = weights @ means
    second = weights @ (means**2 + np.exp(np.float64(posterior.log_var)))
    error = np.sqrt((second - want**2) / len(drawn))
    self.assertGreater(np.ptp(means), 0.1)  # They differ.
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - want), 5 * error)
    np.testing.assert_allclose((drawn**2).mean(axis=0), second, rtol=0.1)

  def test_a_sampled_kl_is_the_closed_one_within_its_error(self):
    # To a mixture of one Gaussian, which is known.
    model = Model(
      'sentence_vae', **{'model.prior': 'mixture', 'model.prior_components': 1}
    )
    prior = np.random.default_rng(0).normal(size=(1, 2 * LATENTS))
    model.params = {
      'params': model.params['params'] | {'prior_outputs': jnp.float32(prior)}
    }
    mean, log_var = model.posterior()
    of_mean, of_log_var = np.split(prior, 2, axis=1)
    want = 0.5 * (
      of_log_var
      - log_var
      - 1
      + (np.exp(log_var) + (mean - of_mean) ** 2) / np.exp(of_log_var)
    ).sum(axis=1)
    values, keys = [], jax.random.split(jax.random.key(3), 100)
    evaluate = jax.jit(model.task.evaluate, static_argnums=(4, 5))
    for key in keys:
      got = evaluate(
        model.params, model.batch, key, model.task.initial_extras(), 20, 20
      )
      values.append((got['kl'], got['kl_variance']))
    kl, variance = np.float64(values).swapaxes(0, 1)[..., REAL]
    error = np.sqrt(variance.sum(axis=0)) / len(keys)
    np.testing.assert_array_less(
      np.abs(kl.mean(axis=0) - want[REAL]), 5 * error
    )
    ratio = kl.var(axis=0, ddof=1).sum() / variance.mean(axis=0).sum()
    self.assertBetween(ratio, 0.7, 1.4)

  @parameterized.parameters(*posteriors.KINDS)
  def test_one_sample_of_the_bound_is_the_sampled_elbo(self, kind):
    # In expectation: the closed form of the KL and the densities agree.
    config = make_config('sentence_vae', **{'model.posterior': kind})
    task = tasks.build(config, VOCAB)
    params = jax.jit(task.init)(jax.random.key(0))
    corpus = batches.put(make_split())
    batch = batches.gather(corpus, jnp.asarray(ROWS), batches.Bucket(6))
    extras = task.initial_extras()
    evaluate = lambda key: task.evaluate(params, batch, key, extras, 1, 1)
    keys = jax.random.split(jax.random.key(1), 2_000)
    one = jax.jit(jax.vmap(evaluate))(keys)
    elbo = np.float64(one['reconstruction'] + one['kl'])[:, REAL]
    gap = (elbo - np.float64(one['iwae_nll'])[:, REAL]).mean(axis=1)
    error = gap.std() / np.sqrt(len(gap))
    self.assertLessEqual(abs(gap.mean()), 4 * error + 1e-5)


if __name__ == '__main__':
  absltest.main()
