from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.objectives import estimators

EPS = np.finfo(np.float32).eps


def posteriors(count, latents, mean_scale=1.0, log_var=-1.0, seed=0):
  """mean, log_var and noise, float32[N, Z]."""
  rng = np.random.default_rng(seed)
  mean, spread, noise = rng.normal(size=(3, count, latents))
  return (
    np.float32(mean_scale * mean),
    np.float32(log_var + 0.5 * spread),
    np.float32(noise),
  )


def brute_force(mean, log_var, noise):
  """Terms of the mutual information and what float32 may lose, float64[N]."""
  mean, log_var, noise = map(np.float64, (mean, log_var, noise))
  count, latents = mean.shape
  terms, allowed = np.zeros((2, count))
  for i in range(count):
    z = mean[i] + np.exp(log_var[i] / 2) * noise[i]
    log_density, rounding = np.zeros((2, count))
    for j in range(count):
      scaled = (z - mean[j]) / np.exp(log_var[j] / 2)
      log_density[j] = np.sum(
        -0.5 * (np.log(2 * np.pi) + log_var[j] + scaled**2)
      )
      # z is rounded, then the scaled deviation to 4 ulps, then sums over Z.
      rounding[j] = np.sum(
        4 * np.abs(scaled) * np.abs(z) / np.exp(log_var[j] / 2)
        + (8 + latents) * (scaled**2 + np.abs(log_var[j]))
      )
    aggregate = np.logaddexp.reduce(log_density)
    terms[i] = log_density[i] - aggregate + np.log(count)
    share = np.exp(log_density - aggregate)
    allowed[i] = EPS * (rounding[i] + share @ rounding + 8 + count)
  return terms, allowed


class MutualInformationTest(parameterized.TestCase):
  # Fewer sentences than the matrix has rows in memory, a multiple, and not.
  @parameterized.product(count=(1, 5, 16, 37), mean_scale=(0.1, 1.0, 30.0))
  def test_matches_the_brute_force_double_loop(self, count, mean_scale):
    arrays = posteriors(count, 3, mean_scale)
    got = estimators.mutual_information(*arrays)
    want, allowed = brute_force(*arrays)
    self.assertEqual(got.shape, (count,))
    self.assertLessEqual(np.max(np.abs(np.float64(got) - want) / allowed), 1.0)

  @parameterized.parameters((0.5, 0.0), (1.0, -1.5), (2.0, 0.5))
  def test_of_a_linear_gaussian_model_is_the_closed_form(self, slope, log_var):
    count, latents = 1500, 2
    rng = np.random.default_rng(0)
    x, noise = np.float32(rng.normal(size=(2, count, latents)))
    terms = np.float64(
      estimators.mutual_information(slope * x, np.full_like(x, log_var), noise)
    )
    # Of each latent, for x ~ N(0, 1).
    want = latents * 0.5 * np.log1p(slope**2 / np.exp(log_var))
    standard_error = terms.std() / np.sqrt(count)
    self.assertLess(abs(terms.mean() - want) / standard_error, 5.0)
    self.assertLess(standard_error, 0.1 * want)  # The error tells something.

  def test_of_separate_posteriors_is_the_ceiling_and_never_above(self):
    mean, log_var, noise = posteriors(20, 3, mean_scale=1e4)
    terms = estimators.mutual_information(mean, log_var, noise)
    chex.assert_trees_all_equal(
      np.asarray(terms), np.full(20, np.log(20), np.float32)
    )

  @parameterized.parameters(0.0, 0.5, 3.0)
  def test_no_term_exceeds_the_ceiling(self, mean_scale):
    terms = estimators.mutual_information(*posteriors(50, 3, mean_scale))
    self.assertLessEqual(np.max(terms), np.float32(np.log(50)))

  def test_of_a_collapsed_posterior_is_zero(self):
    noise = posteriors(30, 4)[2]
    terms = estimators.mutual_information(
      np.full_like(noise, 0.7), np.full_like(noise, -0.3), noise
    )
    # log 30 - log(30 exp(0)): two roundings of 3.4.
    np.testing.assert_allclose(terms, np.zeros(30), rtol=0, atol=8 * EPS)

  def test_narrow_posteriors_far_from_zero_keep_their_digits(self):
    # As far from 0 as 2e4 standard deviations, and one apart: squares of the
    # means would cancel to an error of 4e8 * EPS nats.
    count, log_var = 6, np.float32(2 * np.log(2.0**-7))
    mean = 150 + np.arange(count, dtype=np.float32)[:, None] * 2.0**-7
    noise = posteriors(count, 1)[2]
    arrays = np.float32(mean), np.full_like(mean, log_var), noise
    want, allowed = brute_force(*arrays)
    self.assertLess(np.max(allowed), 0.1)
    got = np.float64(estimators.mutual_information(*arrays))
    self.assertLessEqual(np.max(np.abs(got - want) / allowed), 1.0)

  def test_serves_a_population(self):
    trials = [posteriors(11, 3, seed=seed) for seed in range(2)]
    arrays = [np.stack(parts) for parts in zip(*trials, strict=True)]
    got = jax.jit(jax.vmap(estimators.mutual_information))(*arrays)
    want, allowed = np.swapaxes([brute_force(*trial) for trial in trials], 0, 1)
    self.assertLessEqual(np.max(np.abs(np.float64(got) - want) / allowed), 1.0)

  def test_gradient_matches_central_differences_in_float64(self):
    mean, log_var, noise = posteriors(11, 2)
    fn = lambda mean: estimators.mutual_information(mean, log_var, noise)
    grads = jax.grad(lambda mean: fn(mean).sum())(mean)
    step = 1e-5
    want = np.zeros_like(mean, np.float64)
    for index in np.ndindex(*mean.shape):
      moved = np.zeros_like(want)
      moved[index] = step
      above, below = (
        brute_force(mean + shift, log_var, noise)[0].sum()
        for shift in (moved, -moved)
      )
      want[index] = (above - below) / (2 * step)
    # A sum of 22 terms of order 1, and step ** 2 of the differences.
    np.testing.assert_allclose(grads, want, rtol=0, atol=22 * 16 * EPS)

  def test_refuses_shapes_that_differ_and_an_empty_split(self):
    mean, log_var, noise = posteriors(5, 3)
    with self.assertRaisesRegex(ValueError, r'\(5, 3\), \(5, 3\), \(1, 3\)'):
      estimators.mutual_information(mean, log_var, noise[:1])
    with self.assertRaisesRegex(ValueError, r'N > 0, got \(0, 3\)'):
      estimators.mutual_information(mean[:0], log_var[:0], noise[:0])


class BatchMutualInformationTest(parameterized.TestCase):
  # Groups that divide the split, that leave a short one, and one for all.
  @parameterized.parameters(1, 7, 9, 21, 32)
  def test_matches_brute_force_inside_each_group(self, group_size):
    arrays = posteriors(21, 3)
    got = estimators.batch_mutual_information(*arrays, group_size)
    groups = [
      brute_force(*(x[i : i + group_size] for x in arrays))
      for i in range(0, 21, group_size)
    ]
    want, allowed = np.concatenate(groups, axis=1)
    self.assertEqual(got.shape, (21,))
    self.assertLessEqual(np.max(np.abs(np.float64(got) - want) / allowed), 1.0)

  def test_ceilings_are_the_logarithms_of_the_group_sizes(self):
    arrays = posteriors(70, 3, mean_scale=1e4)
    terms = np.asarray(estimators.batch_mutual_information(*arrays))
    want = np.float32(np.log([32] * 64 + [6] * 6))
    chex.assert_trees_all_equal(terms, want)

  def test_refuses_groups_of_none(self):
    with self.assertRaisesRegex(ValueError, 'group_size = 0 .* value: 1'):
      estimators.batch_mutual_information(*posteriors(5, 3), group_size=0)


class ActiveUnitsTest(parameterized.TestCase):
  def test_matches_float64(self):
    scale = np.array([1e-3, 0.09, 0.11, 1.0, 0.0])
    rng = np.random.default_rng(0)
    # Far from 0: a difference of squares would lose the small variances.
    mean = np.float32(50 + scale * rng.normal(size=(2000, 5)))
    count, variances = estimators.active_units(mean)
    want = np.float64(mean).var(axis=0)
    # The mean of the data is rounded to some ulps of 50.
    allowed = 64 * EPS * want + (16 * 50 * EPS) ** 2
    error = np.abs(np.float64(variances) - want)
    self.assertLessEqual(np.max(error / allowed), 1.0)
    self.assertEqual(count, 2)
    self.assertTrue(jnp.issubdtype(count.dtype, jnp.integer))

  @parameterized.parameters((0.5, 3), (1.0, 2), (100.0, 0))
  def test_counts_what_exceeds_the_threshold(self, threshold, want):
    # Variances 1, 4 and 9.
    mean = np.float32([[1.0, -2.0, 3.0], [-1.0, 2.0, -3.0]])
    count, variances = estimators.active_units(mean, threshold)
    self.assertEqual(count, want)
    np.testing.assert_array_equal(variances, [1, 4, 9])

  def test_serves_a_population(self):
    mean = np.float32([[[0.0], [2.0]], [[1.0], [1.0]]])
    counts, _ = jax.vmap(estimators.active_units)(mean)
    np.testing.assert_array_equal(counts, [1, 0])

  def test_refuses_what_is_not_a_split(self):
    with self.assertRaisesRegex(ValueError, r'got \(3,\)'):
      estimators.active_units(jnp.zeros(3))


class MutualInformationPerLatentTest(parameterized.TestCase):
  @parameterized.product(count=(1, 5, 16, 37), mean_scale=(0.1, 1.0, 30.0))
  def test_matches_the_brute_force_double_loop(self, count, mean_scale):
    mean, log_var, noise = posteriors(count, 3, mean_scale)
    got = estimators.mutual_information_per_latent(mean, log_var, noise)
    self.assertEqual(got.shape, (3,))
    for j in range(3):
      one = slice(j, j + 1)
      terms, allowed = brute_force(mean[:, one], log_var[:, one], noise[:, one])
      error = abs(float(got[j]) - terms.mean())
      # The mean adds a rounding of the largest term for each doubling of N.
      mean_error = 8 * EPS * np.log(count + 1)
      self.assertLessEqual(error, allowed.mean() + mean_error)

  def test_tells_latents_that_carry_from_those_that_do_not(self):
    count = 1_500
    rng = np.random.default_rng(0)
    x, other, noise = rng.normal(size=(3, count, 1))
    # The first carries x, the second is the prior, the third is off it, but
    # alike for all sentences.
    mean = np.concatenate([x, 0 * x, 0 * x + 3], axis=1)
    log_var = np.full((count, 3), [-1.5, 0.0, 0.7])
    noise = np.concatenate([noise, other, noise[::-1]], axis=1)
    got = estimators.mutual_information_per_latent(
      *map(jnp.float32, (mean, log_var, noise))
    )
    want = 0.5 * np.log1p(np.exp(1.5))
    # A term's deviation is below 1 nat: it is half a difference of squares of
    # which one is of a normal number.
    self.assertAlmostEqual(float(got[0]), want, delta=5 / np.sqrt(count))
    np.testing.assert_allclose(got[1:], 0, atol=8 * EPS * np.log(count))
    self.assertEqual(estimators.informative_units(got), 1)

  def test_means_of_noise_with_a_fixed_spread_carry_what_theory_says(self):
    # What batch_norm makes of an encoder that only guesses: every unit is
    # active, and z does tell the sentences apart, if the decoder reads it or
    # not: at a scale of .6 by log(1.36) / 2 = .154 nats a latent.
    mean, _, noise = posteriors(1_500, 4)
    mean = 0.6 * (mean - mean.mean(axis=0)) / mean.std(axis=0)
    active, _ = estimators.active_units(mean)
    got = estimators.mutual_information_per_latent(
      mean, np.zeros_like(mean), noise
    )
    np.testing.assert_allclose(got, 0.5 * np.log(1.36), atol=0.08)
    self.assertEqual((active, estimators.informative_units(got)), (4, 4))

  def test_refuses_shapes_that_differ(self):
    mean, log_var, noise = posteriors(5, 3)
    with self.assertRaisesRegex(ValueError, r'\(5, 3\), \(5, 3\), \(1, 3\)'):
      estimators.mutual_information_per_latent(mean, log_var, noise[:1])


if __name__ == '__main__':
  absltest.main()
