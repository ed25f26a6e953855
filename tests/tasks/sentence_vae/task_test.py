"""The bound of a sentence VAE against float64, from its own outputs."""

import functools

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import batches
from rnnvae_jax.objectives import free_bits, losses
from rnnvae_jax.ops import noise
from rnnvae_jax.ops.native import library
from rnnvae_jax.tasks import base
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import validation

import helpers
import small_models

pytestmark = pytest.mark.usefixtures('compile_once')


@functools.cache
def vae():
  return small_models.Model('sentence_vae')


def gaussian_kl(mean, log_var):
  return 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)


def log_normal(z, mean, log_var):
  density = np.log(2 * np.pi) + log_var + (z - mean) ** 2 / np.exp(log_var)
  return -0.5 * density.sum(axis=-1)


def importance_figures(log_weights):
  """The bound's estimates of its own error, from their definitions.

  Args:
    log_weights: float64[K, B].
  """
  count = len(log_weights)
  bound = lambda x: np.log(len(x)) - np.logaddexp.reduce(x, axis=0)
  without = np.array(
    [bound(np.delete(log_weights, k, axis=0)) for k in range(count)]
  )
  sizes = losses.doubling_sizes(count)
  return {
    'iwae_variance': np.sum((without - without.mean(axis=0)) ** 2, axis=0),
    'iwae_bias': (count - 1) * (without.mean(axis=0) - bound(log_weights)),
    'iwae_doubling': np.stack(
      [
        np.mean(
          [
            bound(log_weights[first : first + size])
            for first in range(0, count - size + 1, size)
          ],
          axis=0,
        )
        for size in sizes
      ],
      axis=1,
    ),
  }


def importance_allowances(figures, error):
  """How far these may be off where log weights are off by `error`, nats."""
  count = small_models.SAMPLES
  # A sum of squared deviations changes by twice their root times what a
  # deviation is off, which is twice `error`, and by its square.
  variance = np.max(figures['iwae_variance'][small_models.REAL])
  return {
    'iwae_variance': 4 * error * np.sqrt(count * variance)
    + 4 * count * error**2,
    'iwae_bias': 2 * (count - 1) * error,
    'iwae_doubling': error,
  }


@functools.cache
def losses_by_free_bits():
  """By kind of free bits, the compiled loss."""
  return {
    per: jax.jit(
      helpers.make_task(
        small_models.make_config(
          'sentence_vae', **{'objective.free_bits_per': per}
        ),
        small_models.VOCAB,
      ).loss
    )
    for per in free_bits.PER
  }


class SentenceVaeTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.model = vae()
    self.mean, self.log_var = self.model.posterior()

  def latents(self, epsilon):
    return self.mean + np.exp(0.5 * self.log_var) * epsilon

  @parameterized.product(per=free_bits.PER, threshold=(0.0, 'some', 1e3))
  def test_loss_is_the_weighted_elbo(self, per, threshold):
    kl = gaussian_kl(self.mean, self.log_var)[small_models.REAL]
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
    nll = self.model.nll(self.latents(self.model.noise()))[small_models.REAL]
    loss, (sums, _) = losses_by_free_bits()[per](
      self.model.params,
      self.model.batch,
      self.model.hyperparameters.replace(
        {
          'objective.kl_weight': jnp.float32(0.25),
          'objective.free_bits': jnp.float32(threshold),
        }
      ),
      self.model.key,
      self.model.task.initial_extras(),
    )
    want = nll.mean() + 0.25 * penalty
    np.testing.assert_allclose(loss, want, rtol=small_models.RTOL)
    # What is reported is neither weighted nor thresholded.
    np.testing.assert_allclose(sums['kl'], kl.sum(), rtol=small_models.RTOL)
    np.testing.assert_allclose(
      sums['reconstruction'], nll.sum(), rtol=small_models.RTOL
    )

  @parameterized.parameters(
    ('lagrangian', {'multiplier': 0.1, 'square': 1.0, 'largest_weight': 0.0}),
    ('lagrangian', {'multiplier': 0.3, 'square': 1.0, 'largest_weight': 0.0}),
    # As after a cycle in which the KL weighed more.
    ('lagrangian', {'multiplier': 0.3, 'square': 1.0, 'largest_weight': 0.4}),
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
    model = small_models.Model(
      'sentence_vae', **overrides, **{'objective.kl_weight': 0.25}
    )
    # Of the same parameters as the model without the control.
    kl = (
      gaussian_kl(self.mean, self.log_var)[small_models.REAL].sum(axis=1).mean()
    )
    latents = self.latents(self.model.noise())
    want = self.model.nll(latents)[small_models.REAL].mean()
    if control == 'soft_free_bits':
      want += 0.25 * 0.4 * kl
    else:
      want += 0.25 * kl
    if control == 'lagrangian':  # At most what the KL weighs.
      largest = max(state['largest_weight'], 0.25)
      before = min(state['multiplier'], largest)
      want += min(before, 0.25) * (9.0 - kl)
    if control == 'mmd':
      of_prior = self.model.noise(site='mmd')
      near = lambda x, y: np.exp(
        -np.sum(
          (x[small_models.REAL][:, None] - y[small_models.REAL]) ** 2, axis=-1
        )
        / small_models.LATENTS
      ).mean()
      want += 3.0 * (
        near(latents, latents)
        + near(of_prior, of_prior)
        - 2 * near(latents, of_prior)
      )
    loss, (_, new) = model.loss(rate_control=jax.tree.map(jnp.float32, state))
    np.testing.assert_allclose(loss, want, rtol=small_models.RTOL)
    if control == 'lagrangian':  # An ascent by RMSprop.
      square = 0.99 + 0.01 * (9.0 - kl) ** 2
      multiplier = before + 0.01 * (9.0 - kl) / square**0.5
      state = {
        'multiplier': multiplier,
        'square': square,
        'largest_weight': largest,
      }
    elif control == 'soft_free_bits':
      self.assertLess(kl, 9.0)
      state = {'weight': 0.4 * 0.99}
    self.assertEqual(new['rate_control'].keys(), state.keys())
    for name, value in state.items():
      np.testing.assert_allclose(
        new['rate_control'][name], value, rtol=small_models.RTOL
      )

  @pytest.mark.slow
  def test_weights_of_the_decoder_are_dropped_once_for_all_steps(self):
    model = small_models.Model('sentence_vae', **{'dropout.weight': 0.5})
    loss, _ = model.loss()
    model.params = noise.drop_weights(
      model.params, jnp.float32(0.5), model.key, 'recurrent'
    )
    mean, log_var = model.posterior()
    latents = mean + np.exp(0.5 * log_var) * model.noise()
    want = model.nll(latents)[small_models.REAL].mean()
    want += gaussian_kl(mean, log_var)[small_models.REAL].sum(axis=1).mean()
    np.testing.assert_allclose(loss, want, rtol=small_models.RTOL)
    dry = vae().nll(latents)[small_models.REAL].mean()
    self.assertGreater(
      abs(dry - model.nll(latents)[small_models.REAL].mean()), 1e-3
    )

  @pytest.mark.slow
  def test_evaluation_is_the_elbo_and_the_importance_weighted_bound(self):
    values = self.model.evaluate(small_models.SAMPLES)
    epsilon = self.model.noise(small_models.SAMPLES)
    nll, log_weights = [], []
    for k in range(small_models.SAMPLES):
      z = self.latents(epsilon[:, k])
      nll.append(self.model.nll(z))
      prior = log_normal(z, np.zeros_like(z), np.zeros_like(z))
      posterior = log_normal(z, self.mean, self.log_var)
      log_weights.append(prior - posterior - nll[-1])
    bound = np.log(small_models.SAMPLES) - np.logaddexp.reduce(
      log_weights, axis=0
    )
    want = {
      'reconstruction': np.mean(nll, axis=0),
      'kl': gaussian_kl(self.mean, self.log_var).sum(axis=1),
      'iwae_nll': bound,
      'posterior_mean': self.mean,
      'mean': self.mean,
      'log_var': self.log_var,
      'noise': epsilon[:, 0],
    }
    want |= importance_figures(np.array(log_weights))
    self.assertEqual(set(values), set(want))
    # Of a log weight, hence of a bound of some of them.
    error = small_models.RTOL * np.abs(log_weights).max()
    allowed = importance_allowances(want, error)
    for name, value in want.items():
      np.testing.assert_allclose(
        values[name][small_models.REAL],
        value[small_models.REAL],
        rtol=0,
        atol=allowed.get(
          name,
          small_models.RTOL * np.abs(value[small_models.REAL]).max(),
        ),
        err_msg=name,
      )
    # Jensen's inequality, sample by sample; the samples do differ.
    sampled = -np.mean(log_weights, axis=0)
    self.assertTrue(
      (
        values['iwae_nll'][small_models.REAL]
        < sampled[small_models.REAL] - 1e-3
      ).all()
    )

  def test_one_sample_is_the_weight_of_that_sample(self):
    values = self.model.evaluate(1, chunk=1)
    z = self.latents(self.model.noise(1)[:, 0])
    prior = log_normal(z, np.zeros_like(z), np.zeros_like(z))
    posterior = log_normal(z, self.mean, self.log_var)
    want = self.model.nll(z) + posterior - prior
    np.testing.assert_allclose(
      values['iwae_nll'][small_models.REAL],
      want[small_models.REAL],
      rtol=small_models.RTOL,
    )

  def test_shuffled_latents_are_those_of_the_partners(self):
    model = self.model
    partners = np.int32([0, 4, batches.BLANK, 1, 2])
    corpus = batches.put(small_models.make_split())
    batch = model.batch | {
      'partners': batches.gather(
        corpus, jnp.asarray(partners), batches.Bucket(7)
      )
    }
    evaluate = small_models.evaluator(model.task, 2, 2, shuffled=True)
    extras = model.task.initial_extras()
    values = evaluate(model.params, batch, model.key, extras)
    encode = jax.jit(model.task.latents.encode)
    mean, log_var = encode(model.params, batch['partners'], extras)[:2]
    mean, log_var = np.float64(mean), np.float64(log_var)
    latents = mean + np.exp(0.5 * log_var) * model.noise(2)[:, 0]
    want = model.nll(latents)[small_models.REAL]
    got = values['reconstruction_shuffled'][small_models.REAL]
    np.testing.assert_allclose(got, want, rtol=small_models.RTOL)
    own = values['reconstruction'][small_models.REAL]
    self.assertGreater(np.min(np.abs(got - own)), 1e-3)

  def test_the_bound_is_tighter_with_more_samples_in_expectation(self):
    extras = self.model.task.initial_extras()
    evaluate = lambda count: jax.jit(
      jax.vmap(
        small_models.evaluator(self.model.task, count, 8),
        (None, None, 0, None),
      )
    )
    keys = jax.random.split(jax.random.key(2), 200)
    one, many = (
      {
        k: np.asarray(v, np.float64)[:, small_models.REAL]
        for k, v in evaluate(count)(
          self.model.params, self.model.batch, keys, extras
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
  def test_handwritten_layers_are_not_mapped_over_samples(self, samples, chunk):
    if library.obstacle('gru'):
      self.skipTest(library.obstacle('gru'))
    model = small_models.Model('sentence_vae', **{'model.backend': 'native'})
    args = model.params, model.batch
    extras = model.task.initial_extras()
    trained = jax.make_jaxpr(model.task.loss)(
      *args, model.hyperparameters, model.key, extras
    )
    evaluate = functools.partial(
      model.task.evaluate, samples=base.Samples(samples, chunk)
    )
    evaluated = jax.make_jaxpr(evaluate)(*args, model.key, extras)
    # The encoder and the decoder; of these the decoder is mapped.
    self.assertEqual(str(trained).count('rnnvae_gru_forward'), 2)
    self.assertEqual(str(evaluated).count('rnnvae_gru_forward'), 1)

  def test_validation_is_deaf_to_the_objective_and_the_step(self):
    split, figures = small_models.make_split(), []
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
      config = small_models.make_config('sentence_vae', **overrides)
      config.evaluate.num_buckets = 1
      task = helpers.make_task(config, small_models.VOCAB)
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
    model = small_models.Model(
      'sentence_vae',
      **{'model.posterior': 'batch_norm', 'model.posterior_scale': scale},
    )
    raw, log_var = vae().posterior()  # Of the same parameters.
    center = raw[small_models.REAL].mean(axis=0)
    mean = (
      scale
      * (raw - center)
      / np.sqrt(raw[small_models.REAL].var(axis=0) + 1e-5)
    )
    latents = mean + np.exp(0.5 * log_var) * model.noise()
    want = model.nll(latents)[small_models.REAL].mean()
    want += gaussian_kl(mean, log_var)[small_models.REAL].sum(axis=1).mean()
    loss, (_, extras) = model.loss()
    np.testing.assert_allclose(loss, want, rtol=small_models.RTOL)
    statistics = extras['posterior']
    np.testing.assert_allclose(
      statistics['mean'],
      0.01 * center,
      rtol=0,
      atol=small_models.RTOL * 0.01 * np.abs(raw).max(),
    )
    np.testing.assert_allclose(
      statistics['variance'],
      0.99 + 0.01 * raw[small_models.REAL].var(axis=0, ddof=1),
      rtol=small_models.RTOL,
    )
    # Evaluation reads them; those at first are of no batch.
    evaluate = small_models.evaluator(model.task, 1, 1)
    got = evaluate(model.params, model.batch, model.key, extras)
    running = {k: np.float64(v) for k, v in statistics.items()}
    width = np.sqrt(running['variance'] + 1e-5)
    np.testing.assert_allclose(
      got['posterior_mean'][small_models.REAL],
      (scale * (raw - running['mean']) / width)[small_models.REAL],
      rtol=1e-4,
      atol=1e-5,
    )

  def test_validation_is_by_the_running_statistics(self):
    config = small_models.make_config(
      'sentence_vae', **{'model.posterior': 'batch_norm'}
    )
    config.evaluate.num_buckets = 1
    task = helpers.make_task(config, small_models.VOCAB)
    validate = validation.make_validation(
      config, task, small_models.make_split()
    )
    statistics = task.initial_extras()
    moved = statistics | {
      'posterior': {
        'mean': jnp.ones(small_models.LATENTS),
        'variance': 4 * jnp.ones(small_models.LATENTS),
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
    self.model = small_models.Model('sentence_vae', **overrides)
    rng = np.random.default_rng(0)
    self.logits = np.float64(np.float32(rng.normal(size=4) + 2.0))
    outputs = rng.normal(size=(4, 2 * small_models.LATENTS))
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
        small_models.log_softmax(logits), mean, log_var, strict=True
      )
    ]
    return np.logaddexp.reduce(parts, axis=0)

  def latents(self, epsilon):
    return self.mean + np.exp(0.5 * self.log_var) * epsilon

  def test_evaluation_is_of_a_normalised_density(self):
    values = self.model.evaluate(small_models.SAMPLES)
    epsilon = self.model.noise(small_models.SAMPLES)
    divergence, log_weights = [], []
    for k in range(small_models.SAMPLES):
      z = self.latents(epsilon[:, k])
      divergence.append(
        log_normal(z, self.mean, self.log_var) - self.log_prior(z)
      )
      log_weights.append(-divergence[-1] - self.model.nll(z))
    figures = importance_figures(np.array(log_weights))
    of_kl = np.var(divergence, axis=0, ddof=1) / small_models.SAMPLES
    # Of a log weight; of a variance, see `importance_allowances`.
    error = small_models.RTOL * np.max(np.abs(log_weights))
    allowed = importance_allowances(figures, error)
    for name, want, most in (
      ('kl', np.mean(divergence, axis=0), error),
      ('kl_variance', of_kl, 2 * error * np.sqrt(of_kl)),
      (
        'iwae_nll',
        np.log(small_models.SAMPLES) - np.logaddexp.reduce(log_weights, axis=0),
        error,
      ),
      ('iwae_variance', figures['iwae_variance'], allowed['iwae_variance']),
    ):
      off = np.abs(values[name] - want)[small_models.REAL]
      np.testing.assert_array_less(
        off,
        np.broadcast_to(most, small_models.ROWS.shape)[small_models.REAL],
        err_msg=name,
      )

  def test_training_learns_it_by_the_same_density(self):
    model, weight = self.model, jnp.float32(0.25)
    model.hyperparameters = model.hyperparameters.replace(
      {'objective.kl_weight': weight}
    )
    z = self.latents(model.noise())[small_models.REAL]
    kl = log_normal(
      z, self.mean[small_models.REAL], self.log_var[small_models.REAL]
    ) - self.log_prior(z)
    nll = model.nll(self.latents(model.noise()))[small_models.REAL]
    loss, (sums, _) = model.loss()
    np.testing.assert_allclose(sums['kl'], kl.sum(), rtol=small_models.RTOL)
    np.testing.assert_allclose(
      loss, nll.mean() + 0.25 * kl.mean(), rtol=small_models.RTOL
    )
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

  def test_a_fitted_prior_changes_no_other_gradient(self):
    # Of models with the same weights: with the standard prior, with a mixture
    # in the KL term, and with one that is fitted.
    standard = small_models.Model('sentence_vae')
    fitted = small_models.Model(
      'sentence_vae',
      **{
        'model.prior': 'mixture',
        'model.prior_components': 4,
        'objective.fit_prior': True,
      },
    )
    fitted.params = self.model.params
    shared = dict(self.model.params['params'])
    of_prior = [shared.pop(f'prior_{x}') for x in ('logits', 'outputs')]
    self.assertLen(of_prior, 2)
    standard.params = {'params': shared}
    values, gradients, weight = {}, {}, jnp.float32(0.25)
    for name, model in (
      ('standard', standard),
      ('joint', self.model),
      ('fitted', fitted),
    ):
      (values[name], _), gradient = jax.jit(
        jax.value_and_grad(model.task.loss, has_aux=True)
      )(
        model.params,
        model.batch,
        model.hyperparameters.replace({'objective.kl_weight': weight}),
        model.key,
        model.task.initial_extras(),
      )
      gradients[name] = dict(gradient['params'])
    real = small_models.REAL
    nats = -self.log_prior(self.latents(self.model.noise())[real]).mean()
    np.testing.assert_allclose(
      values['fitted'],
      values['standard'] + 0.25 * nats,
      rtol=small_models.RTOL,
    )
    for part in ('prior_logits', 'prior_outputs'):
      np.testing.assert_allclose(
        gradients['fitted'].pop(part),
        gradients['joint'].pop(part),
        rtol=small_models.RTOL,
        atol=1e-7,
      )
    largest = max(
      float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(gradients['standard'])
    )
    chex.assert_trees_all_close(
      gradients['fitted'],
      gradients['standard'],
      rtol=0,
      atol=small_models.RTOL * largest,
    )
    off = jax.tree.map(
      lambda x, y: float(jnp.max(jnp.abs(x - y))),
      gradients['joint'],
      gradients['standard'],
    )
    self.assertGreater(
      max(jax.tree.leaves(off)), 100 * small_models.RTOL * largest
    )


if __name__ == '__main__':
  absltest.main()
