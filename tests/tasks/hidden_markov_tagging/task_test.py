"""Hidden Markov models: probabilities by hand, unknown words, and files."""

import os

from absl.testing import absltest
import jax
import numpy as np

from rnnvae_jax.data import batches, corpora
from rnnvae_jax.tasks.hidden_markov_tagging import counts, task
from rnnvae_jax.training import evaluation
from tests import helpers

TEXT = 'the D\ndog N\nbarks V\n\nthe D\ncat N\nsleeps V\n\na D\nsong N\n'
TEST = 'the D\nfrog N\nleaps V\n'


class HiddenMarkovTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir()
    for split in ('train', 'valid', 'test'):
      text = TEST if split == 'test' else TEXT
      folder.create_file(f'{split}.txt', text)
    self.config = helpers.make_config(
      'hidden_markov_tagging',
      **{'corpus.columns': True, 'corpus.protocol': 'mikolov'},
    )
    settings = dict(self.config.corpus)
    settings.pop('name')
    self.corpus = corpora.build(
      folder.full_path, fields=task.HiddenMarkovTagging.FIELDS, **settings
    )
    self.task = task.HiddenMarkovTagging.fit(self.config, self.corpus)

  def test_unknown_words_have_the_tags_of_their_endings(self):
    split = self.corpus.splits['test']
    evaluate = evaluation.make_evaluator(
      self.task, split, batch_size=4, num_buckets=1
    )
    values = evaluate({}, {}, jax.random.key(0))
    figures = self.task.summarise(values, split, self.config)
    self.assertEqual(figures['accuracy'], 1.0)
    self.assertAlmostEqual(figures['unknown_share'], 2 / 3)

  def test_moves_and_words_are_shares_that_sum_to_one(self):
    model = self.task._model
    moves = np.exp(np.float64(model.transitions)).sum(axis=1)
    np.testing.assert_allclose(
      moves + np.exp(np.float64(model.end)), 1.0, atol=1e-6
    )
    self.assertLess(np.exp(np.float64(model.start)).sum(), 1.0)
    self.assertGreater(np.exp(np.float64(model.start)).sum(), 0.9)
    # p(tag | word) of all tags.
    shares = np.exp(np.float64(model.words)) * model.prior
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
    endings = model.endings.shares.sum(axis=1)
    np.testing.assert_allclose(endings, 1.0, atol=1e-12)

  def test_interpolation_is_that_of_the_definition(self):
    pairs = np.array([[4.0, 1.0], [0.0, 3.0]])
    # Left out of the counts, 3 of 4 against 3 of 7 pairs (4 votes); 0 of 4
    # against 3 of 7; 2 of 2 against 3 of 7 (3 votes).
    weight = (7 + 0.5) / (8 + 1.0)
    frequency = np.array([4.5, 4.5]) / 9.0
    want = weight * np.array([[0.8, 0.2], [0.0, 1.0]])
    want += (1 - weight) * frequency
    np.testing.assert_allclose(counts._interpolated(pairs), want)

  def test_a_model_that_is_read_again_is_the_same(self):
    workdir = self.create_tempdir().full_path
    self.task.save(workdir)
    again = task.HiddenMarkovTagging.load(
      self.config, self.corpus.vocab, self.corpus.labels, workdir
    )
    batch = batches.gather(
      batches.put(self.corpus.splits['test']),
      np.array([0, -1]),
      batches.Bucket(5),
    )
    for count in (1, 3):
      ours = self.task.tag({}, batch, {}, count)
      theirs = again.tag({}, batch, {}, count)
      jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    self.assertTrue(task.HiddenMarkovTagging.is_fitted(workdir))
    with open(os.path.join(workdir, 'hidden_markov.npz'), 'wb') as file:
      file.write(b'PK')
    with self.assertRaisesRegex(ValueError, 'is damaged'):
      task.HiddenMarkovTagging.load(
        self.config, self.corpus.vocab, self.corpus.labels, workdir
      )


if __name__ == '__main__':
  absltest.main()
