"""A trained language model comes as near to the grammar as it should."""

from absl.testing import absltest
import numpy as np
import pytest

from rnnvae_jax.config import build
from rnnvae_jax.data.sources import grammar
from rnnvae_jax.inference import evaluate
from rnnvae_jax.training import loop


class GrammarEntropyTest(absltest.TestCase):
  @pytest.mark.slow
  def test_a_small_gru_is_within_two_percent_of_the_entropy(self):
    config = build.default('language_model')
    config.corpus.name = 'grammar'
    config.model.embedding_size = 24
    config.model.hidden_size = 64
    config.optimizer.learning_rate = 0.01
    config.optimizer.schedule = 'cosine'
    config.train.batch_size = 64
    config.train.num_steps = config.train.eval_every = 700
    config.train.steps_per_call = 100
    config.train.num_buckets = 2
    config.evaluate.num_buckets = 1
    config.evaluate.batch_size = 256
    workdir = self.create_tempdir().full_path
    corpus = loop.train(config, workdir)
    figures = evaluate.evaluate(config, workdir, corpus)['test']
    self.assertEqual(figures['truncated'], 0)
    self.assertEqual(figures['sentences'], len(grammar.splits()['test']))
    nll = figures['nll_per_sentence']

    # The grammar's own figure for these sentences, off the entropy by chance.
    own = -np.array(
      [grammar.log_prob(r['text'].split()) for r in grammar.splits()['test']]
    )
    error = own.std() / np.sqrt(len(own))
    self.assertLess(abs(own.mean() - grammar.entropy()), 4 * error)
    self.assertLess(nll, 1.02 * own.mean())
    self.assertGreater(nll, own.mean())  # No model is better than the truth.
    self.assertLess(nll, 1.02 * grammar.entropy())


if __name__ == '__main__':
  absltest.main()
