"""Every posterior, prior and control trains, and its estimates agree."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import batches
from rnnvae_jax.objectives import posteriors

import helpers
import small_models

pytestmark = pytest.mark.usefixtures('compile_once')


class GradientsTest(parameterized.TestCase):
  """Nothing that a loss depends on is kept from its gradient."""

  @parameterized.parameters(
    (
      'lagrangian',
      {'multiplier': 20.0, 'square': 1.0, 'largest_weight': 0.0},
    ),
    ('soft_free_bits', {'weight': 1.0}),
    ('info_vae', {}),
    ('batch_norm', {}),
    ('committed', {}),
    ('planar', {}),
  )
  @pytest.mark.slow
  def test_is_what_the_loss_changes_by(self, name, state):
    model = small_models.Model('sentence_vae', **TECHNIQUES[name][0])
    scalars = model.hyperparameters.replace(
      {'objective.kl_weight': jnp.float32(30.0)}
    )
    if name == 'info_vae':  # Of the MMD alone, nearly.
      scalars = model.hyperparameters.replace(
        {
          'objective.kl_weight': jnp.float32(0.0),
          'objective.mmd_weight': jnp.float32(1e4),
        }
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
    config = small_models.make_config('sentence_vae', **overrides)
    task = helpers.make_task(config, small_models.VOCAB)
    params = jax.jit(task.init)(jax.random.key(0))
    corpus = batches.put(small_models.make_split())
    batch = batches.gather(
      corpus, jnp.asarray(small_models.ROWS), batches.Bucket(6)
    )
    scalars = task.schedule(helpers.make_hyperparameters(config), jnp.int32(0))

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

    evaluate = lambda count, chunk: small_models.evaluator(task, count, chunk)(
      params, batch, jax.random.key(2), extras
    )
    figures = evaluate(200, 50)
    figures = {k: np.float64(v)[small_models.REAL] for k, v in figures.items()}
    elbo = figures['reconstruction'] + figures['kl']
    # By Jensen's inequality, where the KL is that of the same samples.
    self.assertLess(np.mean(figures['iwae_nll']), np.mean(elbo) + 0.05)
    self.assertGreater(np.mean(figures['iwae_nll']), np.mean(elbo) - 8.0)
    self.assertEqual('kl_variance' in figures, least is None)
    if least is None:  # One sample says that it is one, not how good it is.
      of_one = evaluate(1, 1)
      self.assertEqual(np.min(of_one['kl_variance']), np.inf)
    self.assertEqual('noise' in figures, 'planar' not in name)
    if least is not None:
      self.assertGreaterEqual(np.min(figures['kl']), least - 1e-3)
    keys = jax.random.split(jax.random.key(3), 6)
    draw = jax.jit(task.latents.draw_prior, static_argnums=2)
    drawn = draw(params, keys, 'prior')
    self.assertEqual(drawn.shape, (6, small_models.LATENTS))
    self.assertGreater(np.min(np.std(drawn, axis=0)), 0)

  def test_the_components_of_vamp_are_posteriors_of_its_sentences(self):
    # Set to the words of real sentences, they are what these are encoded to.
    overrides, _ = TECHNIQUES['vamp']
    model = small_models.Model('sentence_vae', **overrides)
    inner = model.params['params']
    pseudo = inner['pseudo_sentences']
    count, length, _ = pseudo.shape
    words = np.random.default_rng(0).integers(
      4, small_models.VOCAB, (count, length)
    )
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
    model = small_models.Model(
      'sentence_vae', **{'model.prior': 'mixture', 'model.prior_components': 1}
    )
    prior = np.random.default_rng(0).normal(size=(1, 2 * small_models.LATENTS))
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
    evaluate = small_models.evaluator(model.task, 20, 20)
    for key in keys:
      got = evaluate(
        model.params, model.batch, key, model.task.initial_extras()
      )
      values.append((got['kl'], got['kl_variance']))
    kl, variance = np.float64(values).swapaxes(0, 1)[..., small_models.REAL]
    error = np.sqrt(variance.sum(axis=0)) / len(keys)
    np.testing.assert_array_less(
      np.abs(kl.mean(axis=0) - want[small_models.REAL]), 5 * error
    )
    ratio = kl.var(axis=0, ddof=1).sum() / variance.mean(axis=0).sum()
    self.assertBetween(ratio, 0.7, 1.4)

  @parameterized.parameters(*posteriors.KINDS)
  def test_one_sample_of_the_bound_is_the_sampled_elbo(self, kind):
    # In expectation: the closed form of the KL and the densities agree.
    config = small_models.make_config(
      'sentence_vae', **{'model.posterior': kind}
    )
    task = helpers.make_task(config, small_models.VOCAB)
    params = jax.jit(task.init)(jax.random.key(0))
    corpus = batches.put(small_models.make_split())
    batch = batches.gather(
      corpus, jnp.asarray(small_models.ROWS), batches.Bucket(6)
    )
    extras = task.initial_extras()
    evaluate = lambda key: task.evaluate(params, batch, key, extras)
    keys = jax.random.split(jax.random.key(1), 2_000)
    one = jax.jit(jax.vmap(evaluate))(keys)
    elbo = np.float64(one['reconstruction'] + one['kl'])[:, small_models.REAL]
    gap = (elbo - np.float64(one['iwae_nll'])[:, small_models.REAL]).mean(
      axis=1
    )
    error = gap.std() / np.sqrt(len(gap))
    self.assertLessEqual(abs(gap.mean()), 4 * error + 1e-5)


if __name__ == '__main__':
  absltest.main()
