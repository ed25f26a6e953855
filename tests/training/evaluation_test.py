"""A split's figures: of sentences, not of batches."""

import functools

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax.data import corpora, vocab
from rnnvae_jax.objectives import likelihoods
from rnnvae_jax.tasks import base
from rnnvae_jax.training import evaluation

import helpers
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
  sizes = {'model.embedding_size': 5, 'model.hidden_size': 8}
  if kind == 'sentence_vae':
    sizes |= {'model.latent_size': 3, 'model.encoder_hidden_size': 6}
  task = helpers.make_task(helpers.make_config(kind, **sizes), VOCAB)
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
    samples=base.Samples(SAMPLES, chunk, shuffled=True),
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

  @pytest.mark.slow
  def test_a_language_model_s_perplexity_does_not_depend_on_the_layout(self):
    lengths = make_split().lengths
    perplexities = [
      likelihoods.likelihood_figures(
        evaluate(layout, kind='language_model')['nll'], lengths
      )['perplexity']
      for layout in ((1, 1, 1), *LAYOUTS)
    ]
    np.testing.assert_allclose(perplexities[1:], perplexities[0], rtol=32 * EPS)

  @pytest.mark.slow
  def test_summaries_do_not_depend_on_the_layout(self):
    lengths = make_split().lengths
    summaries = [
      likelihoods.elbo_figures(values, lengths)
      | likelihoods.latent_figures(values, 8)
      for values in (evaluate(layout) for layout in LAYOUTS)
    ]
    for name, value in summaries[0].items():
      for other in summaries[1:]:
        if isinstance(value, float):
          np.testing.assert_allclose(other[name], value, 1e-5, 1e-6, name)
        else:
          self.assertEqual(other[name], value, name)

  def test_two_evaluations_are_identical_and_another_seed_differs(self):
    first, again = evaluate(LAYOUTS[0]), evaluate(LAYOUTS[0])
    other = evaluate(LAYOUTS[0], seed=1)
    for name, value in first.items():
      np.testing.assert_array_equal(again[name], value)
      fixed = name in ('kl', 'posterior_mean', 'mean', 'log_var')
      self.assertEqual((other[name] == value).all(), fixed, name)

  @pytest.mark.slow
  def test_reports_how_far_it_is(self):
    seen = []
    evaluate(LAYOUTS[1], report=lambda *done_total: seen.append(done_total))
    self.assertEqual(seen, [(1, 4), (2, 4), (3, 4), (4, 4)])


class LatentFiguresTest(absltest.TestCase):
  def test_the_informations_are_those_of_the_estimators(self):
    values = evaluate(LAYOUTS[0])
    figures = likelihoods.latent_figures(values, group_size=8)
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
    close(figures['mutual_information'], whole.mean())
    close(
      figures['mutual_information_standard_error'],
      whole.std() / np.sqrt(COUNT),
    )
    close(figures['mutual_information_batch'], batch.mean())
    close(figures['mutual_information_ceiling'], np.log(COUNT), 1e-12)
    close(figures['mutual_information_batch_ceiling'], np.log(8), 1e-12)
    self.assertEqual(figures['mutual_information_batch_size'], 8)
    self.assertEqual(figures['active_units'], np.sum(mean.var(axis=0) > 0.01))
    self.assertEqual(figures['latents'], 3)


if __name__ == '__main__':
  absltest.main()
