"""Figures of three sentences, by hand."""

import json

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from rnnvae_jax.objectives import likelihoods, losses

# Three sentences of 2, 4 and 6 tokens, eos counted: 12 tokens, 9 words.
LENGTHS = np.int32([2, 4, 6])
OF_18_NATS = {
  'sentences': 3,
  'tokens': 12,
  'nll_per_sentence': 6.0,
  'perplexity': np.exp(18 / 12),
  'perplexity_without_eos': np.exp(18 / 9),
  'nll_per_token': 18 / 12,
  'bits_per_token': 18 / 12 / np.log(2),
}


def vae_values(**others):
  return {
    'reconstruction': np.float64([2.0, 5.0, 8.0]),
    'kl': np.float64([1.0, 0.0, 2.0]),
  } | {name: np.float64(value) for name, value in others.items()}


class LikelihoodFiguresTest(absltest.TestCase):
  def test_of_sentences(self):
    got = likelihoods.likelihood_figures(np.float64([3.0, 5.0, 10.0]), LENGTHS)
    self.assertEqual(got, OF_18_NATS | {'estimator': 'exact'})

  def test_of_a_text_without_ends(self):
    got = likelihoods.likelihood_figures(
      np.float64([3.0, 5.0, 10.0]), LENGTHS, ends=False, estimator='other'
    )
    want = OF_18_NATS | {'estimator': 'other'}
    del want['perplexity_without_eos']
    self.assertEqual(got, want)

  def test_names_the_share_of_unknown_tokens(self):
    got = likelihoods.likelihood_figures(
      np.float64([3.0, 5.0, 10.0]), LENGTHS, unknown_share=0.25
    )
    self.assertEqual(
      got, OF_18_NATS | {'estimator': 'exact', 'unknown_share': 0.25}
    )
    self.assertEqual(
      likelihoods.unknown_share(np.int32([1, 5, 1, 3, 2, 1, 7, 9]), 1), 3 / 8
    )
    self.assertEqual(likelihoods.unknown_share(np.zeros(0, np.int32), 1), 0.0)

  def test_of_two_directions(self):
    got = likelihoods.backward_figures(np.float64([6.0, 6.0, 9.0]), LENGTHS)
    self.assertEqual(
      got,
      {
        'backward_nll_per_sentence': 7.0,
        'backward_perplexity': np.exp(21 / 12),
      },
    )

  def test_of_sentences_without_a_word_divides_by_one(self):
    got = likelihoods.likelihood_figures(
      np.float64([0.5, 1.0]), np.int32([1, 1])
    )
    self.assertEqual(got['perplexity'], np.exp(0.75))
    self.assertEqual(got['perplexity_without_eos'], np.exp(1.5))

  def test_a_perplexity_too_large_is_infinite(self):
    self.assertEqual(likelihoods.perplexity(1e6, 3, 4), np.inf)
    self.assertEqual(likelihoods.perplexity(0.0, 3, 4), 1.0)

  def test_counts_more_tokens_than_an_int32_holds(self):
    lengths = np.full(3, 2**30, np.int32)
    got = likelihoods.likelihood_figures(np.zeros(3), lengths)
    self.assertEqual(got['tokens'], 3 * 2**30)


class ElboFiguresTest(absltest.TestCase):
  def test_has_its_two_parts(self):
    self.assertEqual(
      likelihoods.elbo_figures(vae_values(), LENGTHS),
      OF_18_NATS
      | {
        'elbo': 6.0,
        'reconstruction': 5.0,
        'kl': 1.0,
        'estimator': 'elbo',
        'kl_estimator': 'exact',
      },
    )

  def test_a_sampled_kl_has_a_standard_error(self):
    values = vae_values(kl_variance=[0.5, 0.3, 1.2])
    got = likelihoods.elbo_figures(values, LENGTHS)
    # Of a mean of three: the root of the sum of their variances, over three.
    self.assertAlmostEqual(got['kl_standard_error'], 2**0.5 / 3)
    self.assertEqual(got['kl_estimator'], 'sampled')
    values['kl_variance'][:] = np.inf  # Of one sample nothing is known.
    got = likelihoods.elbo_figures(values, LENGTHS)
    self.assertNotIn('kl_standard_error', got)
    self.assertEqual(got['kl_estimator'], 'sampled')

  def test_shuffled_latents_cost_the_difference(self):
    values = vae_values(reconstruction_shuffled=[4.0, 5.0, 12.0])
    got = likelihoods.elbo_figures(values, LENGTHS, unknown_share=0.5)
    self.assertEqual(got['shuffling_loss'], 2.0)
    self.assertEqual(got['unknown_share'], 0.5)


class ImportanceFiguresTest(absltest.TestCase):
  def test_of_several_samples(self):
    rng = np.random.default_rng(0)
    log_weights = np.float32(rng.normal(size=(8, 3)) - 6)
    values = {
      'iwae_nll': losses.importance_weighted_nll(log_weights),
      'iwae_variance': losses.importance_weighted_variance(log_weights),
      'iwae_bias': losses.importance_weighted_bias(log_weights),
      'iwae_doubling': losses.importance_weighted_doubling(log_weights),
    }
    values = {name: np.float64(value) for name, value in values.items()}
    got = likelihoods.importance_figures(values, LENGTHS, 8)
    mean = values['iwae_nll'].mean()
    self.assertEqual(got['iwae_nll'], mean)
    self.assertEqual(got['iwae_perplexity'], np.exp(3 * mean / 12))
    self.assertAlmostEqual(
      got['iwae_standard_error'], np.sqrt(values['iwae_variance'].sum()) / 3
    )
    self.assertEqual(got['iwae_bias'], values['iwae_bias'].mean())
    self.assertEqual(list(got['iwae_doubling']), ['1', '2', '4', '8'])
    self.assertAlmostEqual(got['iwae_doubling']['8'], mean, places=5)
    self.assertAlmostEqual(
      got['iwae_doubling']['1'], -np.float64(log_weights).mean(), places=5
    )
    json.dumps(got)

  def test_of_one_sample_says_nothing_of_its_error(self):
    got = likelihoods.importance_figures(
      {'iwae_nll': np.float64([3.0, 5.0, 10.0])}, LENGTHS, 1
    )
    self.assertEqual(
      got,
      {'iwae_nll': 6.0, 'iwae_samples': 1, 'iwae_perplexity': np.exp(18 / 12)},
    )


class LatentFiguresTest(parameterized.TestCase):
  def values(self, count=21, latents=3):
    rng = np.random.default_rng(0)
    mean, log_var, noise = rng.normal(size=(3, count, latents))
    # One latent that says nothing, whose mean is the same everywhere.
    mean[:, 0], log_var[:, 0] = 0.3, 0.0
    return {
      'posterior_mean': mean,
      'mean': mean,
      'log_var': log_var,
      'noise': noise,
    }

  def information(self, values, rows, latents):
    """The mean of log q(z | x) - log q(z) over rows, by its definition."""
    mean, log_var, noise = (
      values[name][rows][:, latents] for name in ('mean', 'log_var', 'noise')
    )
    z = mean + np.exp(0.5 * log_var) * noise
    log_densities = -0.5 * np.sum(
      log_var + (z[:, None] - mean) ** 2 / np.exp(log_var), axis=-1
    )
    aggregate = np.logaddexp.reduce(log_densities, axis=1) - np.log(len(mean))
    return np.diag(log_densities) - aggregate

  @pytest.mark.slow
  def test_informations_are_those_of_their_definitions(self):
    values, every = self.values(), slice(None)
    got = likelihoods.latent_figures(values, 8, per_latent=True)
    whole = self.information(values, every, every)
    groups = [slice(0, 8), slice(8, 16), slice(16, 21)]
    batch = np.concatenate(
      [self.information(values, group, every) for group in groups]
    )
    # Differences of float32 densities, some tens of nats large.
    close = lambda one, two: np.testing.assert_allclose(
      one, two, rtol=1e-4, atol=1e-5
    )
    close(got['mutual_information'], whole.mean())
    close(got['mutual_information_standard_error'], whole.std() / 21**0.5)
    close(got['mutual_information_ceiling'], np.log(21))
    close(got['mutual_information_batch'], batch.mean())
    close(got['mutual_information_batch_ceiling'], np.log(8))
    self.assertEqual(got['mutual_information_batch_size'], 8)
    each = [
      self.information(values, every, slice(j, j + 1)).mean() for j in range(3)
    ]
    close(got['information_per_latent'], each)
    self.assertEqual((got['active_units'], got['informative_units']), (2, 2))
    self.assertEqual(got['latents'], 3)
    json.dumps(got)

  def test_the_ceiling_of_a_short_split_is_its_own(self):
    values = {name: value[:5] for name, value in self.values().items()}
    got = likelihoods.latent_figures(values, 8)
    self.assertEqual(got['mutual_information_batch_ceiling'], np.log(5))
    self.assertAlmostEqual(
      got['mutual_information_batch'], got['mutual_information']
    )
    self.assertNotIn('informative_units', got)

  def test_without_densities_only_units_are_counted(self):
    values = {'posterior_mean': self.values()['mean']}
    self.assertEqual(
      likelihoods.latent_figures(values, 8, per_latent=True),
      {'active_units': 2, 'latents': 3},
    )


if __name__ == '__main__':
  absltest.main()
