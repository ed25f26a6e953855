"""Posterior families against SciPy, determinants and their own promises."""

import math

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from rnnvae_jax.objectives import losses, posteriors

EPS = np.finfo(np.float32).eps
ROWS, LATENTS, LAYERS = 7, 5, 3
SETTINGS = {
  'scale': 0.7,
  'committed_rate': 2.0,
  'flow_layers': LAYERS,
  'concentration': 11.0,
}


def build(kind, latent_size=LATENTS, **settings):
  return posteriors.build(kind, latent_size, **SETTINGS | settings)


def outputs_of(family, scale=1.0, rows=ROWS, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.float32(scale * rng.normal(size=(rows, family.head_size)))


def noise_of(family, rows=ROWS, seed=1):
  rng = np.random.default_rng(seed)
  return jnp.float32(rng.normal(size=(rows, family.noise_size)))


def read(family, outputs):
  return family.read(outputs, family.initial())


class FamilyTest(parameterized.TestCase):
  @parameterized.parameters(*posteriors.KINDS)
  def test_shapes(self, kind):
    family = build(kind)
    posterior, statistics = family.adapt(
      outputs_of(family), family.initial(), jnp.ones(ROWS)
    )
    self.assertEqual(
      jax.tree.structure(statistics), jax.tree.structure(family.initial())
    )
    self.assertEqual(posterior.mean.shape, (ROWS, LATENTS))
    z, log_q = family.draw(noise_of(family), posterior)
    self.assertEqual((z.shape, log_q.shape), ((ROWS, LATENTS), (ROWS,)))
    self.assertEqual(family.center(posterior).shape, (ROWS, LATENTS))
    self.assertEqual(family.log_prior(z).shape, (ROWS,))
    self.assertEqual(family.draw_prior(noise_of(family)).shape, (ROWS, LATENTS))

  @parameterized.parameters(*posteriors.KINDS)
  def test_a_row_does_not_see_the_others_in_evaluation(self, kind):
    family = build(kind)
    outputs = outputs_of(family)
    one = read(family, outputs[2:3])
    whole = jax.tree.map(lambda x: x[2:3], read(family, outputs))
    jax.tree.map(np.testing.assert_array_equal, one, whole)

  @parameterized.parameters(*posteriors.KINDS)
  def test_gradients_are_finite_even_at_outputs_of_zero(self, kind):
    family = build(kind)

    def value(outputs):
      posterior, _ = family.adapt(outputs, family.initial(), jnp.ones(ROWS))
      z, log_q = family.draw(noise_of(family), posterior)
      return jnp.sum(z) + jnp.sum(log_q)

    for scale in (0.0, 1.0):
      grads = jax.grad(value)(outputs_of(family, scale))
      self.assertTrue(np.all(np.isfinite(grads)))

  @parameterized.product(kind=posteriors.KINDS, latents=(3, 128))
  def test_its_prior_has_the_deviation_that_it_names(self, kind, latents):
    family = build(kind, latents)
    z = np.float64(family.draw_prior(noise_of(family, rows=4_000)))
    deviation = np.sqrt(np.mean(np.square(z)))
    # Of at least 12,000 squares whose own deviation is at most sqrt(2).
    np.testing.assert_allclose(deviation, family.deviation, rtol=0.04)

  def test_an_unknown_one_is_named(self):
    with self.assertRaisesRegex(ValueError, "Did you mean 'planar'"):
      build('planer')


class GaussianTest(absltest.TestCase):
  def test_density_of_samples_is_that_of_scipy(self):
    family = build('gaussian')
    posterior = read(family, outputs_of(family))
    z, log_q = family.draw(noise_of(family), posterior)
    mean, deviation = posterior.mean, np.exp(0.5 * posterior.log_var)
    want = scipy.stats.norm.logpdf(z, mean, deviation).sum(axis=1)
    np.testing.assert_allclose(log_q, want, rtol=1e-5, atol=1e-5)

  def test_kl_is_the_expected_log_ratio(self):
    family, rows = build('gaussian'), 200_000
    outputs = jnp.repeat(outputs_of(family, rows=1), rows, axis=0)
    posterior = read(family, outputs)
    z, log_q = family.draw(noise_of(family, rows), posterior)
    ratio = np.float64(log_q - family.log_prior(z))
    error = 5 * ratio.std() / math.sqrt(rows)
    want = float(np.sum(family.kl(posterior)[0]))
    self.assertAlmostEqual(ratio.mean(), want, delta=error)


class BatchNormTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.family = build('batch_norm')
    # One latent hardly moves: it is what collapses elsewhere.
    width = np.r_[[0.1, 1, 3, 10, 1], np.ones(LATENTS)]
    self.outputs = outputs_of(self.family) * jnp.float32(width)[None] + 2.0

  def adapt(self, outputs, weights, statistics=None):
    statistics = self.family.initial() if statistics is None else statistics
    return self.family.adapt(outputs, statistics, jnp.float32(weights))

  def test_means_have_the_deviation_that_was_asked_for(self):
    posterior, _ = self.adapt(self.outputs, np.ones(ROWS))
    np.testing.assert_allclose(np.mean(posterior.mean, axis=0), 0, atol=1e-5)
    # The floor of 1e-5 under the variance takes a share of the smallest.
    np.testing.assert_allclose(np.std(posterior.mean, axis=0), 0.7, rtol=2e-3)

  def test_kl_is_at_least_what_the_paper_says(self):
    posterior, _ = self.adapt(self.outputs, np.ones(ROWS))
    kl = np.sum(self.family.kl(posterior), axis=1)
    self.assertGreaterEqual(np.mean(kl), 0.998 * LATENTS * 0.7**2 / 2)

  def test_blank_rows_count_for_nothing(self):
    weights = np.r_[np.ones(ROWS - 2), 0, 0]
    garbage = self.outputs.at[-2:].set(1e4)
    posterior, statistics = self.adapt(garbage, weights)
    want, of_real = self.adapt(self.outputs[:-2], np.ones(ROWS - 2))
    np.testing.assert_allclose(
      posterior.mean[:-2], want.mean, rtol=1e-4, atol=1e-5
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
      statistics,
      of_real,
    )

  def test_running_statistics_go_to_those_of_the_data(self):
    statistics = None
    for _ in range(1_200):  # 0.99**1200 is nothing.
      _, statistics = self.adapt(self.outputs, np.ones(ROWS), statistics)
    mean = np.float64(self.outputs[:, :LATENTS])
    np.testing.assert_allclose(statistics['mean'], mean.mean(axis=0), rtol=1e-4)
    # Of a first 1, 0.99**1200 is left.
    np.testing.assert_allclose(
      statistics['variance'], mean.var(axis=0, ddof=1), rtol=1e-4, atol=8e-6
    )
    posterior = self.family.read(self.outputs, statistics)
    want = 0.7 * (mean - mean.mean(axis=0)) / mean.std(axis=0, ddof=1)
    np.testing.assert_allclose(posterior.mean, want, rtol=1e-2, atol=1e-4)

  def test_a_single_sentence_teaches_no_variance(self):
    _, statistics = self.adapt(self.outputs, np.eye(ROWS)[0])
    jax.tree.map(
      np.testing.assert_array_equal, statistics, self.family.initial()
    )


class CommittedTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.01, 0.5, 8.0)
  def test_no_latent_says_less_than_its_share(self, rate):
    family = build('committed', committed_rate=rate * LATENTS)
    for scale in (0.0, 1.0, 30.0):
      posterior = read(family, outputs_of(family, scale, rows=500))
      kl = np.float64(family.kl(posterior))
      self.assertGreaterEqual(np.min(kl), rate - 8 * EPS * (1 + 4 * rate))

  def test_it_is_the_share_plus_half_the_square_of_the_free_part(self):
    family = build('committed')
    outputs = outputs_of(family, 1.5)
    free = np.float64(outputs[:, :LATENTS])
    kl = family.kl(read(family, outputs))
    want = 2.0 / LATENTS + 0.5 * free**2
    np.testing.assert_allclose(kl, want, rtol=1e-4)


class PlanarTest(absltest.TestCase):
  def test_density_is_that_of_the_change_of_variables(self):
    family, gaussian = build('planar'), build('gaussian')
    outputs, noise = outputs_of(family, 2.0), noise_of(family)
    posterior = read(family, outputs)
    z, log_q = family.draw(noise, posterior)

    def of_one(noise, posterior):
      row = lambda x: x[None]
      return family.draw(row(noise), jax.tree.map(row, posterior))[0][0]

    jacobian = np.float64(jax.vmap(jax.jacfwd(of_one))(noise, posterior))
    determinant = np.linalg.det(jacobian)
    self.assertTrue(np.all(determinant > 0))  # It can be inverted.
    base = read(gaussian, outputs[:, : 2 * LATENTS])
    start, log_q0 = gaussian.draw(noise, base)
    # The Jacobian is to the noise: the deviations are in it, too.
    of_noise = scipy.stats.norm.logpdf(noise).sum(axis=1)
    np.testing.assert_allclose(
      log_q, of_noise - np.log(determinant), rtol=1e-4, atol=1e-4
    )
    self.assertTrue(np.any(np.abs(z - start) > 0.1))
    self.assertTrue(np.any(np.abs(log_q - log_q0) > 0.1))

  def test_of_one_latent_it_integrates_to_one_and_to_the_kl(self):
    family, points = build('planar', 1), 8_001
    outputs = jnp.repeat(outputs_of(family, 2.0, rows=1), points, axis=0)
    grid = np.linspace(-9, 9, points)
    z, log_q = family.draw(jnp.float32(grid)[:, None], read(family, outputs))
    log_prior = np.float64(family.log_prior(z))
    z, log_q = np.float64(z[:, 0]), np.float64(log_q)
    self.assertTrue(np.all(np.diff(z) > 0))  # A density of its own noise.
    density = np.exp(log_q)
    mass = np.trapezoid(density, z)
    self.assertAlmostEqual(mass, 1.0, delta=1e-4)
    kl = np.trapezoid(density * (log_q - log_prior), z)
    # The same by the noise's density, as samples have it.
    of_noise = scipy.stats.norm.pdf(grid) * (log_q - log_prior)
    self.assertAlmostEqual(kl, np.trapezoid(of_noise, grid), delta=1e-3 * kl)


class VonMisesFisherTest(parameterized.TestCase):
  @parameterized.product(latents=(2, 3, 32), concentration=(0.5, 13.0, 300.0))
  def test_kl_is_the_closed_form(self, latents, concentration):
    family = build('von_mises_fisher', latents, concentration=concentration)
    half = 0.5 * latents
    bessel = lambda order: (
      np.log(scipy.special.ive(order, concentration)) + concentration
    )
    cosine = np.exp(bessel(half) - bessel(half - 1))
    log_c = (
      (half - 1) * np.log(concentration)
      - half * np.log(2 * np.pi)
      - bessel(half - 1)
    )
    log_surface = np.log(2) + half * np.log(np.pi) - scipy.special.gammaln(half)
    want = concentration * cosine + log_c + log_surface
    posterior = read(family, jnp.ones((1, latents)))
    np.testing.assert_allclose(family.kl(posterior)[0, 0], want, rtol=1e-4)

  def test_samples_lie_on_the_sphere_around_their_mean(self):
    family, rows = build('von_mises_fisher'), 100_000
    outputs = jnp.repeat(outputs_of(family, rows=1), rows, axis=0)
    posterior = read(family, outputs)
    z, log_q = family.draw(noise_of(family, rows), posterior)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    cosine = np.sum(np.float64(z * posterior.mean), axis=1)
    order = 0.5 * LATENTS
    want = scipy.special.ive(order, 11.0) / scipy.special.ive(order - 1, 11.0)
    error = 5 * cosine.std() / math.sqrt(rows)
    self.assertAlmostEqual(cosine.mean(), want, delta=error)
    # No side of the mean is preferred.
    residual = np.mean(np.float64(z), axis=0) - want * posterior.mean[0]
    self.assertLess(np.max(np.abs(residual)), 5 / math.sqrt(rows))
    # And the density that is returned is the one whose KL is.
    ratio = np.float64(log_q - family.log_prior(z))
    error = 5 * ratio.std() / math.sqrt(rows)
    kl = float(family.kl(posterior)[0, 0])
    self.assertAlmostEqual(ratio.mean(), kl, delta=error)

  def test_density_integrates_to_one_on_the_circle(self):
    family = build('von_mises_fisher', 2)
    posterior = read(family, jnp.float32([[1.0, 0.0]]))
    angles = np.linspace(-np.pi, np.pi, 2_000, endpoint=False)
    z = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # The density at any z, from that at a sample and the ratio to it.
    noise = noise_of(family, rows=1)
    sample, log_q = family.draw(noise, posterior)
    ratio = 11.0 * (z - np.float64(sample)) @ np.float64(posterior.mean[0])
    mass = np.mean(np.exp(float(log_q[0]) + ratio)) * 2 * np.pi
    self.assertAlmostEqual(mass, 1.0, delta=1e-3)

  def test_stands_for_gaussians_with_the_same_ratios(self):
    family = build('von_mises_fisher')
    posterior = read(family, outputs_of(family))
    noise = noise_of(family)
    z, _ = family.draw(noise, posterior)
    mean, log_var, of_gaussian = family.as_gaussian(noise, posterior)
    sample = losses.reparameterise(of_gaussian, mean, log_var)
    density = scipy.stats.norm.logpdf(
      np.float64(sample)[:, None], np.float64(mean)[None]
    ).sum(axis=-1)
    got = density - np.diag(density)[:, None]
    exponent = 11.0 * np.float64(z) @ np.float64(posterior.mean).T
    want = exponent - np.diag(exponent)[:, None]
    np.testing.assert_allclose(got, want, atol=1e-3)

  def test_one_latent_has_no_direction(self):
    with self.assertRaisesRegex(ValueError, 'latent_size >= 2, got 1'):
      build('von_mises_fisher', 1)


if __name__ == '__main__':
  absltest.main()
