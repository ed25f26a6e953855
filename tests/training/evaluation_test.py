"""A split's figures: of sentences, not of batches."""

import functools

from absl.testing import absltest, parameterized
import jax
import numpy as np

from rnnvae_jax import config_lib
from rnnvae_jax.data import corpora, vocab
from rnnvae_jax.training import evaluation, tasks

import tolerances

EPS = np.finfo(np.float32).eps
VOCAB = 17
COUNT = 23
SAMPLES = 5


@functools.cache
def make_split():
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, 9, COUNT).astype('i4')
  ends = np.cumsum(lengths)
  tokens = rng.integers(4, VOCAB, ends[-1]).astype('i4')
  tokens[ends - 1] = vocab.EOS
  offsets = (ends - lengths).astype('i4')
  return corpora.Split(tokens, offsets, lengths, 0, 0, {})


@functools.cache
def make_task(kind):
  """A task and parameters; of a VAE, its posterior is far from the prior."""
  config = config_lib.default()
  config.update_from_flattened_dict(
    {
      'model.kind': kind,
      'model.embedding_size': 5,
      'model.hidden_size': 8,
      'model.latent_size': 3,
      'model.encoder_hidden_size': 6,
    }
  )
  task = tasks.build(config, VOCAB)
  params = jax.jit(task.init)(jax.random.key(0))
  return task, jax.tree.map(lambda x: 3 * x, params)


@functools.cache
def make_evaluator(kind, batch_size, num_buckets, chunk):
  task, _ = make_task(kind)
  return evaluation.make_evaluator(
    task,
    make_split(),
    batch_size=batch_size,
    num_buckets=num_buckets,
    num_samples=SAMPLES,
    chunk=chunk,
  )


def evaluate(layout, seed=0, report=None, kind='sentence_vae'):
  task, params = make_task(kind)
  extras, key = task.initial_extras(), jax.random.key(seed)
  return make_evaluator(kind, *layout)(params, extras, key, report)


LAYOUTS = ((4, 1, 1), (7, 3, 2), (COUNT, 2, 8))


@functools.cache
def allowed():
  """What rounding may change each value of the VAE by."""
  task, params = make_task('sentence_vae')
  run = make_evaluator('sentence_vae', *LAYOUTS[0])
  return tolerances.spread(
    lambda params: run(params, task.initial_extras(), jax.random.key(0)),
    params,
    terms=VOCAB,
  )


class MakeEvaluatorTest(parameterized.TestCase):
  def test_values_do_not_depend_on_the_layout(self):
    first = evaluate(LAYOUTS[0])
    self.assertEqual(first['reconstruction'].dtype, np.float64)
    self.assertEqual(first['mean'].shape, (COUNT, 3))
    for layout in LAYOUTS[1:]:
      other = evaluate(layout)
      self.assertEqual(set(first), set(other))
      for name, value in first.items():
        np.testing.assert_allclose(
          other[name], value, rtol=0, atol=allowed()[name], err_msg=name
        )

  def test_a_language_model_s_perplexity_does_not_depend_on_the_layout(self):
    lengths = make_split().lengths
    perplexities = [
      evaluation.summarise(evaluate(layout, kind='language_model'), lengths)[
        'perplexity'
      ]
      for layout in ((1, 1, 1), *LAYOUTS)
    ]
    np.testing.assert_allclose(perplexities[1:], perplexities[0], rtol=32 * EPS)

  def test_summaries_do_not_depend_on_the_layout(self):
    lengths = make_split().lengths
    summaries = [
      evaluation.summarise(values, lengths)
      | evaluation.summarise_latents(values, 8)
      for values in (evaluate(layout) for layout in LAYOUTS)
    ]
    for name, value in summaries[0].items():
      for other in summaries[1:]:
        if isinstance(value, float):
          np.testing.assert_allclose(other[name], value, 1e-5, 1e-6, name)
        else:
          self.assertEqual(other[name], value, name)

  def test_two_evaluations_are_identical_and_another_seed_differs(self):
    first, again = evaluate(LAYOUTS[1]), evaluate(LAYOUTS[1])
    other = evaluate(LAYOUTS[1], seed=1)
    for name, value in first.items():
      np.testing.assert_array_equal(again[name], value)
      drawn = name in ('reconstruction', 'iwae_nll', 'iwae_variance', 'noise')
      self.assertEqual((other[name] != value).any(), drawn, name)

  def test_reports_how_far_it_is(self):
    seen = []
    evaluate(LAYOUTS[1], report=lambda *done_total: seen.append(done_total))
    self.assertEqual(seen, [(1, 4), (2, 4), (3, 4), (4, 4)])


class SummariseTest(parameterized.TestCase):
  # Three sentences of 2, 4 and 6 tokens, eos counted: 12 tokens, 9 words.
  lengths = np.int32([2, 4, 6])

  def test_of_a_language_model(self):
    values = {'nll': np.float64([3.0, 5.0, 10.0])}
    self.assertEqual(
      evaluation.summarise(values, self.lengths),
      {
        'sentences': 3,
        'tokens': 12,
        'nll_per_sentence': 6.0,
        'perplexity': np.exp(18 / 12),
        'perplexity_without_eos': np.exp(18 / 9),
        'nll_per_token': 18 / 12,
        'bits_per_token': 18 / 12 / np.log(2),
        'estimator': 'exact',
      },
    )

  def test_of_two_directions(self):
    values = {
      'nll': np.float64([3.0, 5.0, 10.0]),
      'backward_nll': np.float64([6.0, 6.0, 9.0]),
    }
    got = evaluation.summarise(values, self.lengths)
    self.assertEqual(got['nll_per_sentence'], 6.0)
    self.assertEqual(got['perplexity'], np.exp(18 / 12))
    self.assertEqual(got['backward_nll_per_sentence'], 7.0)
    self.assertEqual(got['backward_perplexity'], np.exp(21 / 12))

  def test_of_a_vae(self):
    values = {
      'reconstruction': np.float64([2.0, 5.0, 8.0]),
      'kl': np.float64([1.0, 0.0, 2.0]),
    }
    self.assertEqual(
      evaluation.summarise(values, self.lengths),
      {
        'sentences': 3,
        'tokens': 12,
        'elbo': 6.0,
        'reconstruction': 5.0,
        'kl': 1.0,
        'nll_per_sentence': 6.0,
        'perplexity': np.exp(18 / 12),
        'perplexity_without_eos': np.exp(18 / 9),
        'nll_per_token': 18 / 12,
        'bits_per_token': 18 / 12 / np.log(2),
        'estimator': 'elbo',
        'kl_estimator': 'exact',
      },
    )

  def test_a_sampled_kl_has_a_standard_error(self):
    values = {
      'reconstruction': np.float64([2.0, 5.0, 8.0]),
      'kl': np.float64([1.0, 0.0, 2.0]),
      'kl_variance': np.float64([0.5, 0.3, 1.2]),
    }
    summary = evaluation.summarise(values, self.lengths)
    # Of a mean of three: the root of the sum of their variances, over three.
    self.assertAlmostEqual(summary['kl_standard_error'], 2**0.5 / 3)
    self.assertEqual(summary['kl_estimator'], 'sampled')
    values['kl_variance'][:] = np.inf  # Of one sample nothing is known.
    summary = evaluation.summarise(values, self.lengths)
    self.assertNotIn('kl_standard_error', summary)
    self.assertEqual(summary['kl_estimator'], 'sampled')

  def test_of_sentences_without_a_word_divides_by_one(self):
    values = {'nll': np.float64([0.5, 1.0])}
    summary = evaluation.summarise(values, np.int32([1, 1]))
    self.assertEqual(summary['perplexity'], np.exp(0.75))
    self.assertEqual(summary['perplexity_without_eos'], np.exp(1.5))

  def test_a_perplexity_too_large_is_infinite(self):
    self.assertEqual(evaluation.perplexity(1e6, 3, 4), np.inf)
    self.assertEqual(evaluation.perplexity(0.0, 3, 4), 1.0)

  def test_the_informations_are_those_of_the_estimators(self):
    values = evaluate(LAYOUTS[0])
    summary = evaluation.summarise_latents(values, group_size=8)
    mean, log_var = values['mean'], values['log_var']
    z = mean + np.exp(0.5 * log_var) * values['noise']

    def information(rows):
      """The mean of log q(z | x) - log q(z) over rows, by its definition."""
      terms = []
      for i in rows:
        log_densities = -0.5 * np.sum(
          log_var[rows] + (z[i] - mean[rows]) ** 2 / np.exp(log_var[rows]), 1
        )
        own = log_densities[list(rows).index(i)]
        terms.append(
          own - np.logaddexp.reduce(log_densities) + np.log(len(rows))
        )
      return np.array(terms)

    whole = information(range(COUNT))
    groups = [range(8), range(8, 16), range(16, COUNT)]
    batch = np.concatenate([information(group) for group in groups])
    # Exponents of float32 densities, some tens of nats large.
    close = lambda one, two, rtol=1e-4: np.testing.assert_allclose(
      one, two, rtol
    )
    close(summary['mutual_information'], whole.mean())
    close(
      summary['mutual_information_standard_error'],
      whole.std() / np.sqrt(COUNT),
    )
    close(summary['mutual_information_batch'], batch.mean())
    close(summary['mutual_information_ceiling'], np.log(COUNT), 1e-12)
    close(summary['mutual_information_batch_ceiling'], np.log(8), 1e-12)
    self.assertEqual(summary['mutual_information_batch_size'], 8)
    self.assertEqual(summary['active_units'], np.sum(mean.var(axis=0) > 0.01))
    self.assertEqual(summary['latents'], 3)

  def test_the_ceiling_of_a_short_split_is_its_own(self):
    values = {k: v[:5] for k, v in evaluate(LAYOUTS[0]).items()}
    summary = evaluation.summarise_latents(values, group_size=8)
    self.assertEqual(summary['mutual_information_batch_ceiling'], np.log(5))
    self.assertAlmostEqual(
      summary['mutual_information_batch'], summary['mutual_information']
    )


if __name__ == '__main__':
  absltest.main()
