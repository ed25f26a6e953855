"""What is written and scored, against the model asked token by token."""

import itertools
import os
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax import config_lib, evaluate, generate
from rnnvae_jax.data import corpora, vocab
from rnnvae_jax.training import runs, tasks

pytestmark = pytest.mark.usefixtures('compile_once')

WORDS = ('a', 'b', 'c', 'd', 'e')
LINES = ('a b e', 'c', 'd d zebra a b c a')  # One word is unknown.


def log_softmax(logits):
  logits = np.float64(logits)
  return logits - np.logaddexp.reduce(logits)


def make_run(kind, **changes):
  config = config_lib.default()
  config.update_from_flattened_dict(
    {
      'corpus.protocol': 'mikolov',
      'model.kind': kind,
      'model.cell': 'gru',
      'model.embedding_size': 6,
      'model.hidden_size': 7,
      'model.latent_size': 5,
      'model.encoder_hidden_size': 10,
      'evaluate.iw_samples': 4,
      **changes,
    }
  )
  words = vocab.Vocabulary('word', (*vocab.SPECIALS, *WORDS))
  task = tasks.build(config, len(words))
  params = jax.jit(task.init)(jax.random.key(0))
  params = jax.tree.map(lambda x: 3 * x, params)
  return runs.Run(config, words, task, params, task.initial_extras(), 'none')


def fond_of_unknown_words(run):
  """Its output layer would rather write UNK than anything else."""
  inner = run.params['params']
  bias = inner['output_bias'].at[vocab.UNK].set(50.0)
  return run._replace(params={'params': inner | {'output_bias': bias}})


class DecodeTest(parameterized.TestCase):
  @parameterized.parameters('', 'b e')
  def test_greedy_text_is_the_likeliest_token_after_token(self, prime):
    run = make_run('language_model', **{'generate.max_length': 11})
    (got,) = generate.decode(run, jnp.zeros((1, 0)), 0.0, prime=prime)
    begun = list(run.vocab.encode(prime.split()))
    self.assertEqual(list(got[: len(begun)]), begun)
    step = jax.jit(run.task.step)
    carry, want = run.task.start(run.params, 1, None), []
    for token in [vocab.BOS, *begun]:
      carry, logits = step(run.params, carry, jnp.array([token]), None)
    while len(want) < 11 and vocab.EOS not in want:
      logits = np.array(logits[0])
      logits[[vocab.PAD, vocab.BOS, vocab.UNK]] = -np.inf
      want.append(int(np.argmax(logits)))
      carry, logits = step(run.params, carry, jnp.array(want[-1:]), None)
    self.assertEqual(list(got[len(begun) :]), want)

  def test_unknown_words_are_written_only_where_that_is_allowed(self):
    run = fond_of_unknown_words(make_run('language_model'))
    some = np.concatenate(generate.prior_samples(run, 5, forbid_unk=False))
    none = np.concatenate(generate.prior_samples(run, 5))
    self.assertEqual(set(some.tolist()), {vocab.UNK})
    self.assertNotIn(vocab.UNK, none)


@pytest.mark.slow
class PosteriorTest(absltest.TestCase):
  def test_is_the_mean_or_a_sample_of_it(self):
    run = make_run('sentence_vae')
    count = 600
    split = corpora.split_of([run.vocab.encode(['a', 'b', 'e'])] * count)
    mean = np.asarray(generate.posterior(run, split))
    np.testing.assert_allclose(mean, np.tile(mean[:1], (count, 1)), rtol=1e-5)
    run.config.generate.posterior_sample = True
    drawn = np.asarray(generate.posterior(run, split))
    width = drawn.std(axis=0)
    self.assertGreater(width.min(), 0.05)
    error = np.abs(drawn.mean(axis=0) - mean[0])
    np.testing.assert_array_less(error, 5 * width / count**0.5)


class ScoreTest(absltest.TestCase):
  def score(self, run):
    folder = self.create_tempdir().full_path
    source, target = (os.path.join(folder, name) for name in ('in', 'out'))
    with open(source, 'w') as file:
      file.write('\n'.join(LINES))
    run.config.generate.input = source
    run.config.generate.output = target
    with mock.patch.object(runs, 'open_run', return_value=run):
      generate.score(run.config, folder)
    with open(target) as file:
      rows = [line.rstrip('\n').split('\t') for line in file]
    nats, tokens, texts = zip(*rows, strict=True)
    self.assertEqual(
      texts, tuple(line.replace('zebra', '<unk>') for line in LINES)
    )
    self.assertEqual(tokens, ('4', '2', '8'))
    return np.float64(nats)

  def test_a_language_model_says_its_own_log_probabilities(self):
    run = make_run('language_model')
    step, want = jax.jit(run.task.step), []
    for line in LINES:
      carry, total = run.task.start(run.params, 1, None), 0.0
      ids = [vocab.BOS, *run.vocab.encode(line.split()), vocab.EOS]
      for before, token in itertools.pairwise(ids):
        carry, logits = step(run.params, carry, jnp.array([before]), None)
        total -= log_softmax(logits[0])[token]
      want.append(total)
    np.testing.assert_allclose(self.score(run), want, rtol=1e-5, atol=1e-4)

  def test_a_vae_says_the_importance_weighted_bound(self):
    run = make_run('sentence_vae')
    split = corpora.encode_lines(LINES, 'mikolov', run.vocab)
    corpus = corpora.Corpus('toy', 'mikolov', run.vocab, {'test': split})
    figures = evaluate.evaluate_split(run, corpus, 'test')
    got = float(np.mean(self.score(run)))
    self.assertAlmostEqual(got, figures['iwae_nll'], delta=1e-3)
    self.assertLess(got, figures['elbo'] - 1e-2)


if __name__ == '__main__':
  absltest.main()
