from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.objectives import losses

EPS = np.finfo(np.float32).eps


class GaussianKlTest(parameterized.TestCase):
  @parameterized.product(scale=(1e-4, 1e-2, 1.0, 10.0), jit=(False, True))
  def test_matches_float64(self, scale, jit):
    rng = np.random.default_rng(0)
    mean, log_var = np.float32(scale * rng.normal(size=(2, 4, 3)))
    fn = jax.jit(losses.gaussian_kl) if jit else losses.gaussian_kl
    m, v = np.float64(mean), np.float64(log_var)
    want = 0.5 * (m**2 + np.expm1(v) - v)
    # What rounding of the three terms allows; `exp(v) - 1` would need EPS.
    allowed = 4 * EPS * (m**2 + np.abs(np.expm1(v)) + np.abs(v))
    error = np.abs(np.float64(fn(mean, log_var)) - want)
    self.assertLessEqual(np.max(error / allowed), 1.0)

  def test_gradient_is_the_closed_form(self):
    mean, log_var = jnp.float32([0.5, -2.0]), jnp.float32([1.0, -3.0])
    grads = jax.grad(lambda m, v: losses.gaussian_kl(m, v).sum(), (0, 1))
    want = (mean, 0.5 * jnp.expm1(log_var))
    chex.assert_trees_all_close(grads(mean, log_var), want, rtol=1e-6)

  def test_gradient_keeps_its_digits_near_collapse(self):
    mean, log_var = np.float32([1e-6, -1e-5]), np.float32([-1e-6, 1e-5])
    grads = jax.grad(lambda m, v: losses.gaussian_kl(m, v).sum(), (0, 1))
    # d/dv is (exp(v) - 1) / 2, which cancels: EPS, absolute.
    want = (np.float64(mean), 0.5 * np.expm1(np.float64(log_var)))
    chex.assert_trees_all_close(grads(mean, log_var), want, rtol=0, atol=EPS)

  def test_of_the_prior_is_exactly_zero(self):
    got = losses.gaussian_kl(jnp.zeros((4, 3)), jnp.zeros((4, 3)))
    chex.assert_trees_all_equal(got, jnp.zeros((4, 3)))

  def test_refuses_to_broadcast(self):
    with self.assertRaisesRegex(ValueError, r'\(4, 3\), \(3,\)'):
      losses.gaussian_kl(jnp.zeros((4, 3)), jnp.zeros((3,)))


class GaussianLogDensityTest(parameterized.TestCase):
  @parameterized.product(log_var_scale=(0.1, 10.0), jit=(False, True))
  def test_matches_float64(self, log_var_scale, jit):
    rng = np.random.default_rng(0)
    z, mean, log_var = np.float32(rng.normal(size=(3, 2, 4, 5)))
    log_var *= np.float32(log_var_scale)
    fn = losses.gaussian_log_density
    got = (jax.jit(fn) if jit else fn)(z, mean, log_var)
    v, squared = np.float64(log_var), (np.float64(z) - np.float64(mean)) ** 2
    want = -0.5 * (np.log(2 * np.pi) + v + squared / np.exp(v))
    # Two ulps for exp, one for the difference, doubled by the square.
    allowed = 8 * EPS * (1 + np.abs(v) + squared / np.exp(v))
    self.assertLessEqual(np.max(np.abs(np.float64(got) - want) / allowed), 1.0)

  def test_has_no_overflow_where_the_density_has_none(self):
    log_var = jnp.float32([-120.0, 120.0])
    got = losses.gaussian_log_density(jnp.zeros(2), jnp.zeros(2), log_var)
    want = -0.5 * (np.log(2 * np.pi) + np.float64(log_var))
    np.testing.assert_allclose(got, want, rtol=4 * EPS)

  def test_refuses_to_broadcast(self):
    z = jnp.zeros((6, 4, 3))
    with self.assertRaisesRegex(ValueError, r'\(6, 4, 3\), \(4, 3\), \(4, 3\)'):
      losses.gaussian_log_density(z, z[0], z[0])


class ReparameteriseTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_matches_float64(self, jit):
    rng = np.random.default_rng(0)
    noise, mean, log_var = np.float32(rng.normal(size=(3, 4, 5)))
    fn = losses.reparameterise
    got = (jax.jit(fn) if jit else fn)(noise, mean, log_var)
    spread = np.exp(0.5 * np.float64(log_var)) * np.float64(noise)
    allowed = 4 * EPS * (np.abs(np.float64(mean)) + np.abs(spread))
    error = np.abs(np.float64(got) - (np.float64(mean) + spread))
    self.assertLessEqual(np.max(error / allowed), 1.0)

  def test_gradients_reach_the_mean_and_the_variance(self):
    noise, mean, log_var = np.float32([[1.5, -2.0], [0.1, 0.2], [0.0, -1.0]])
    grads = jax.grad(
      lambda m, v: losses.reparameterise(noise, m, v).sum(), (0, 1)
    )
    want = (np.ones(2), 0.5 * np.exp(0.5 * np.float64(log_var)) * noise)
    chex.assert_trees_all_close(grads(mean, log_var), want, rtol=4 * EPS)

  def test_refuses_noise_that_sentences_would_share(self):
    with self.assertRaisesRegex(ValueError, r'\(1, 3\), \(4, 3\), \(4, 3\)'):
      losses.reparameterise(
        jnp.zeros((1, 3)), jnp.zeros((4, 3)), jnp.zeros((4, 3))
      )


class LinearGaussian:
  """z ~ N(0, 1), x | z ~ N(slope z, noise): everything is in closed form."""

  slope, noise_log_var = 1.5, -0.5

  @property
  def x_variance(self):
    return self.slope**2 + np.exp(self.noise_log_var)

  def nll(self, x):
    """-log p(x), float64."""
    variance = self.x_variance
    return 0.5 * (np.log(2 * np.pi * variance) + np.float64(x) ** 2 / variance)

  def posterior(self, x):
    """Mean and log-variance of p(z | x)."""
    mean = self.slope * x / self.x_variance
    log_var = self.noise_log_var - np.log(self.x_variance)
    return np.float32(mean), np.full_like(mean, log_var, np.float32)

  def log_weights(self, x, noise, mean, log_var):
    """log p(x, z) - log q(z | x) with the functions under test, float[K, B]."""

    def one_sample(noise):
      z = losses.reparameterise(noise, mean, log_var)
      zeros = jnp.zeros_like(z)
      return (
        losses.gaussian_log_density(z, zeros, zeros)
        + losses.gaussian_log_density(
          x, self.slope * z, zeros + self.noise_log_var
        )
        - losses.gaussian_log_density(z, mean, log_var)
      )

    return jax.jit(jax.vmap(one_sample))(noise)


class ImportanceWeightedNllTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.model = LinearGaussian()
    self.x = np.float32([-2.0, 0.3, 4.0])
    # Neither the mean nor the variance of the posterior.
    mean, log_var = self.model.posterior(self.x)
    self.proposal = mean + np.float32(0.2), log_var + np.float32(0.4)

  def draw(self, samples):
    noise = np.random.default_rng(0).normal(size=(samples, len(self.x)))
    return self.model.log_weights(self.x, np.float32(noise), *self.proposal)

  @parameterized.parameters(False, True)
  def test_matches_float64(self, jit):
    log_weights = np.float32(
      -300 + 4 * np.random.default_rng(0).normal(size=(11, 4))
    )
    fn = losses.importance_weighted_nll
    got = (jax.jit(fn) if jit else fn)(log_weights)
    want = np.log(11) - np.logaddexp.reduce(np.float64(log_weights))
    # The logarithm is of a sum of 11 parts; the maximum of about 300 is added.
    np.testing.assert_allclose(got, want, rtol=2 * EPS, atol=16 * EPS)

  def test_of_one_sample_is_minus_the_log_weight(self):
    log_weights = np.float32([[-1e4, -0.1, 3.0]])
    got = losses.importance_weighted_nll(log_weights)
    chex.assert_trees_all_equal(np.asarray(got), -log_weights[0])

  def test_of_one_sample_is_the_negative_elbo_in_expectation(self):
    samples = 20_000
    terms = -np.float64(self.draw(samples))
    mean, log_var = np.float64(self.proposal)
    noise_variance = np.exp(self.model.noise_log_var)
    distance = (self.x - self.model.slope * mean) ** 2
    distance += self.model.slope**2 * np.exp(log_var)
    reconstruction = 0.5 * (
      np.log(2 * np.pi * noise_variance) + distance / noise_variance
    )
    want = reconstruction + np.float64(losses.gaussian_kl(*self.proposal))
    error = np.abs(terms.mean(axis=0) - want)
    standard_error = terms.std(axis=0) / np.sqrt(samples)
    self.assertLessEqual(np.max(error / standard_error), 5.0)

  def test_falls_as_samples_are_added_to_each_bound(self):
    # By Jensen's inequality this holds for any draw, not only in expectation,
    # when the same samples are shared out into ever larger groups.
    log_weights = self.draw(240)
    bounds = []
    for size in (1, 2, 8, 40, 240):
      groups = np.reshape(log_weights, (240 // size, size, -1))
      nll = jax.jit(jax.vmap(losses.importance_weighted_nll))(groups)
      bounds.append(np.mean(nll, axis=0))
    self.assertTrue(np.all(np.diff(bounds, axis=0) < 0), bounds)

  def test_tends_to_the_exact_likelihood(self):
    samples = 20_000
    log_weights = self.draw(samples)
    got = losses.importance_weighted_nll(log_weights)
    want = self.model.nll(self.x)
    weights = np.exp(np.float64(log_weights) + want)  # Of mean 1.
    standard_error = weights.std(axis=0) / np.sqrt(samples)
    error = np.abs(np.float64(got) - want)
    self.assertLessEqual(np.max(error / standard_error), 5.0)
    # The gap of the ELBO is far outside: the test can tell them apart.
    gap = -np.float64(log_weights).mean(axis=0) - want
    self.assertGreater(np.min(gap / standard_error), 10.0)

  @parameterized.parameters(1, 2, 7)
  def test_is_exact_for_the_true_posterior(self, samples):
    self.proposal = self.model.posterior(self.x)
    got = losses.importance_weighted_nll(self.draw(samples))
    # Three densities of at most 20 nats each, and the proposal's own rounding.
    np.testing.assert_allclose(
      got, self.model.nll(self.x), rtol=0, atol=8 * 60 * EPS
    )

  def test_gradient_weighs_samples_by_their_normalised_weights(self):
    log_weights = np.float32([[0.0, -900.0], [np.log(3.0), -900.0]])
    grad = jax.grad(lambda w: losses.importance_weighted_nll(w).sum())
    want = -np.array([[0.25, 0.5], [0.75, 0.5]])
    np.testing.assert_allclose(grad(log_weights), want, rtol=8 * EPS)


def leave_one_out(log_weights):
  """Bounds on -log p(x) that each leave out a sample, float64[K, B]."""
  log_weights = np.float64(log_weights)
  samples = len(log_weights)
  return np.stack(
    [
      np.log(samples - 1)
      - np.logaddexp.reduce(np.delete(log_weights, i, axis=0), axis=0)
      for i in range(samples)
    ]
  )


def nll(log_weights):
  log_weights = np.float64(log_weights)
  return np.log(len(log_weights)) - np.logaddexp.reduce(log_weights, axis=0)


class ImportanceWeightedVarianceTest(parameterized.TestCase):
  @parameterized.product(
    samples=(2, 5, 40), deviation=(0.01, 1.0, 30.0), jit=(False, True)
  )
  def test_is_that_of_bounds_that_leave_out_a_sample(
    self, samples, deviation, jit
  ):
    rng = np.random.default_rng(0)
    log_weights = np.float32(-300 + deviation * rng.normal(size=(samples, 7)))
    bounds = leave_one_out(log_weights)
    want = np.sum((bounds - bounds.mean(axis=0)) ** 2, axis=0)
    fn = losses.importance_weighted_variance
    got = (jax.jit(fn) if jit else fn)(log_weights)
    # A bound is the logarithm of a sum of at most 40 parts, each good to some
    # ulps; the error of a square is twice its root times that.
    error = 64 * EPS
    allowed = 2 * error * np.sqrt(samples * want) + samples * error**2
    allowed += 64 * EPS * want
    self.assertLessEqual(np.max(np.abs(got - want) / allowed), 1.0)

  @parameterized.product(deviation=(1.0, 2.0, 4.0), samples=(2, 10, 100, 200))
  def test_is_at_least_that_over_draws_and_not_much_more(
    self, deviation, samples
  ):
    # 3,000 sentences, each drawn once: their bounds have one distribution.
    rng = np.random.default_rng(0)
    log_weights = jnp.float32(deviation * rng.normal(size=(samples, 3_000)))
    actual = np.std(np.float64(losses.importance_weighted_nll(log_weights)))
    estimated = np.sqrt(
      np.mean(np.float64(losses.importance_weighted_variance(log_weights)))
    )
    # A deviation from 3,000 numbers is good to 1.3% if they are normal, and to
    # 2.6% if their kurtosis is 9; the estimate's to as much.
    self.assertLess(actual / estimated, 1.0 + 3 * 0.026)
    # At two samples the bound of one is 2 times as uncertain at the most.
    self.assertGreater(actual / estimated, np.sqrt(0.5) - 3 * 0.026)
    if samples >= 100:
      self.assertGreater(actual / estimated, 0.87)

  def test_the_standard_error_of_a_model_holds_over_repeated_draws(self):
    model = LinearGaussian()
    x = np.float32(np.random.default_rng(0).normal(size=40) * 2)
    mean, log_var = model.posterior(x)
    # A proposal that is off, and too narrow: heavy tails of weights.
    proposal = mean + np.float32(0.4), log_var - np.float32(1.0)
    noise = np.random.default_rng(1).normal(size=(400, 20, 40))
    log_weights = model.log_weights(
      x, jnp.float32(noise.reshape(8_000, 40)), *proposal
    ).reshape(400, 20, 40)
    bounds = jax.vmap(losses.importance_weighted_nll)(log_weights)
    variances = jax.vmap(losses.importance_weighted_variance)(log_weights)
    # Of the mean over the 40 sentences, over 400 repeated draws: good to 4%.
    actual = np.std(np.mean(np.float64(bounds), axis=1))
    estimated = np.sqrt(np.mean(np.sum(np.float64(variances), axis=1))) / 40
    self.assertLess(actual / estimated, 1.0 + 3 * 0.04)
    self.assertGreater(actual / estimated, 0.75)

  @parameterized.parameters(2, 200)
  def test_of_equal_weights_is_zero(self, samples):
    log_weights = jnp.full((samples, 3), -7.0)
    got = losses.importance_weighted_variance(log_weights)
    np.testing.assert_allclose(got, 0.0, atol=samples * (16 * EPS) ** 2)
    got = losses.importance_weighted_bias(log_weights)
    np.testing.assert_allclose(got, 0.0, atol=32 * EPS)

  def test_one_sample_says_nothing(self):
    for fn in (
      losses.importance_weighted_variance,
      losses.importance_weighted_bias,
    ):
      with self.assertRaisesRegex(ValueError, 'at least 2 samples, got 1'):
        fn(jnp.zeros((1, 3)))


class ImportanceWeightedBiasTest(parameterized.TestCase):
  @parameterized.product(samples=(2, 5, 40), deviation=(0.1, 1.0, 30.0))
  def test_is_the_jackknife_s(self, samples, deviation):
    rng = np.random.default_rng(0)
    log_weights = np.float32(-300 + deviation * rng.normal(size=(samples, 7)))
    bounds = leave_one_out(log_weights)
    want = (samples - 1) * (bounds.mean(axis=0) - nll(log_weights))
    got = losses.importance_weighted_bias(log_weights)
    self.assertGreaterEqual(np.min(want), 0.0)
    # Logarithms of 1 - p, of which K - 1 are near 1/K and one may be large.
    np.testing.assert_allclose(got, want, rtol=32 * EPS, atol=64 * EPS)

  @parameterized.parameters((0.5, 10), (0.5, 100), (1.0, 100))
  def test_finds_the_bias_where_weights_are_alike(self, deviation, samples):
    rng = np.random.default_rng(0)
    sentences = 40_000
    log_weights = deviation * rng.normal(size=(samples, sentences))
    bound = np.mean(nll(log_weights))
    # log E w of log-normal weights is half the variance.
    true = bound + deviation**2 / 2
    error = np.std(nll(log_weights)) / np.sqrt(sentences)
    got = np.mean(losses.importance_weighted_bias(jnp.float32(log_weights)))
    # The next order, measured: a tenth of it.
    self.assertAlmostEqual(float(got), true, delta=5 * error + 0.1 * true)
    self.assertGreater(true, 5 * error)


class ImportanceWeightedDoublingTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, (1,)),
    (2, (1, 2)),
    (6, (1, 3, 6)),
    (100, (12, 25, 50, 100)),
    (200, (25, 50, 100, 200)),
  )
  def test_is_the_mean_over_disjoint_groups(self, samples, sizes):
    self.assertEqual(losses.doubling_sizes(samples), sizes)
    log_weights = np.float32(
      3 * np.random.default_rng(0).normal(size=(samples, 5))
    )
    got = jax.jit(losses.importance_weighted_doubling)(log_weights)
    want = [
      np.mean(
        [
          nll(log_weights[start : start + size])
          for start in range(0, samples - size + 1, size)
        ],
        axis=0,
      )
      for size in sizes
    ]
    np.testing.assert_allclose(got, np.transpose(want), rtol=0, atol=64 * EPS)

  def test_falls_from_left_to_right(self):
    log_weights = np.random.default_rng(0).normal(size=(64, 9))
    got = losses.importance_weighted_doubling(jnp.float32(log_weights))
    self.assertTrue(np.all(np.diff(got, axis=1) < 0))


class MixtureLogDensityTest(absltest.TestCase):
  def test_matches_float64(self):
    rng = np.random.default_rng(0)
    z, mean = rng.normal(size=(5, 3)), 2 * rng.normal(size=(4, 3))
    log_var = rng.normal(size=(4, 3))
    weights = rng.dirichlet(np.ones(4))
    got = losses.mixture_log_density(
      *map(jnp.float32, (z, np.log(weights), mean, log_var))
    )
    density = np.prod(
      np.exp(-0.5 * (z[:, None] - mean) ** 2 / np.exp(log_var))
      / np.sqrt(2 * np.pi * np.exp(log_var)),
      axis=-1,
    )
    np.testing.assert_allclose(got, np.log(density @ weights), rtol=2e-5)


class MaximumMeanDiscrepancyTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.x, self.y = rng.normal(size=(2, 6, 3))
    self.weights = np.float32([1, 1, 0, 1, 1, 0])

  def got(self, x, y):
    return float(
      losses.maximum_mean_discrepancy(*map(jnp.float32, (x, y, self.weights)))
    )

  def test_matches_a_loop_over_the_rows_that_count(self):
    real = np.flatnonzero(self.weights)
    mean = lambda a, b: np.mean(
      [np.exp(-np.sum((a[i] - b[j]) ** 2) / 3) for i in real for j in real]
    )
    x, y = self.x, self.y
    want = mean(x, x) + mean(y, y) - 2 * mean(x, y)
    self.assertAlmostEqual(self.got(x, y), want, delta=1e-6)

  def test_of_equal_samples_is_zero_and_grows_with_the_distance(self):
    self.assertAlmostEqual(self.got(self.x, self.x), 0.0, delta=1e-6)
    near, far = (self.got(self.x, self.x + d) for d in (0.1, 1.0))
    self.assertLess(near, far)


if __name__ == '__main__':
  absltest.main()
