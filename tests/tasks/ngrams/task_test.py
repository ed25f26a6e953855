"""A count model as a task: fitted, saved, evaluated like all others."""

import os

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches
from rnnvae_jax.tasks.ngrams import counts
from rnnvae_jax.training import evaluation, loop, preparation

import helpers

LINES = ['a b a', 'a b c a', 'c', 'a b a', 'b b c a']


class TaskTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    root = self.create_tempdir().full_path
    self.workdir, folder = os.path.join(root, 'run'), os.path.join(root, 'text')
    os.makedirs(folder)
    for split in ('train', 'valid', 'test'):
      lines = LINES if split == 'train' else ['a c', 'b a d']
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write('\n'.join(lines) + '\n')
    self.config = helpers.make_config(
      'ngrams',
      **{
        'corpus.name': folder,
        'corpus.protocol': 'mikolov',
        'model.ngrams.order': 3,
      },
    )

  def test_is_fitted_by_the_training_loop_and_loaded(self):
    kind = config_build.task('ngrams')
    os.makedirs(self.workdir)
    self.assertFalse(kind.is_fitted(self.workdir))
    with self.assertRaisesRegex(FileNotFoundError, 'no counts yet'):
      kind.load(self.config, None, (), self.workdir)
    corpus = loop.train(self.config, self.workdir)
    self.assertTrue(kind.is_fitted(self.workdir))
    self.assertEqual(preparation.labels(self.workdir), ())
    loaded = kind.load(self.config, corpus.vocab, (), self.workdir)
    fitted = counts.NGrams.fit(
      corpus.splits['train'].tokens, len(corpus.vocab), 3
    )
    ids = corpus.splits['valid'].tokens
    np.testing.assert_array_equal(
      loaded.scorer.log_probs(ids), fitted.log_probs(ids)
    )
    self.assertEqual(loaded.scorer.vocab_size, len(corpus.vocab))

  def test_a_split_s_nats_are_those_of_its_sentences(self):
    corpus = preparation.build_corpus(self.config)
    task = config_build.task('ngrams').fit(self.config, corpus)
    split = corpus.splits['valid']
    evaluate = evaluation.make_evaluator(
      task, split, batch_size=2, num_buckets=1
    )
    values = evaluate({}, {}, jax.random.key(0))
    nats = -task.scorer.log_probs(split.tokens)
    want = np.add.reduceat(nats, split.offsets)
    # Float32 is what a callback returns.
    np.testing.assert_allclose(values['nll'], want, rtol=1e-6)
    figures = task.summarise(values, split, self.config)
    np.testing.assert_allclose(
      figures['perplexity'], np.exp(np.sum(want) / len(nats)), rtol=1e-6
    )
    self.assertEqual(figures['unknown_share'], 1 / 7)  # Of d.
    self.assertEqual(figures['estimator'], 'exact')

  def test_a_blank_row_has_no_nats(self):
    corpus = preparation.build_corpus(self.config)
    task = config_build.task('ngrams').fit(self.config, corpus)
    text = batches.put(corpus.splits['valid'])
    rows = jnp.int32([batches.BLANK, 1])
    batch = batches.gather(text, rows, batches.Bucket(5))
    nll = np.asarray(task.evaluate({}, batch, jax.random.key(0), {})['nll'])
    self.assertEqual(nll[0], 0.0)
    self.assertGreater(nll[1], 0.0)


if __name__ == '__main__':
  absltest.main()
