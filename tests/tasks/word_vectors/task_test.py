"""GloVe as a task: fitted, stopped, resumed, saved, evaluated."""

import os
from unittest import mock

from absl.testing import absltest
import jax
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks.word_vectors import adagrad, task
from rnnvae_jax.training import evaluation, loop, preparation

import helpers

LINES = ['a b a c', 'a b c a d', 'c', 'a b a e e', 'b b c a', 'd e a b c']
KIND = config_build.task('word_vectors')


class TaskTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    folder = os.path.join(self.root, 'text')
    os.makedirs(folder)
    for split in ('train', 'valid', 'test'):
      lines = LINES if split == 'train' else ['a c', 'b a x']
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        file.write('\n'.join(lines) + '\n')
    self.config = helpers.make_config(
      'word_vectors',
      **{
        'corpus.name': folder,
        'corpus.protocol': 'mikolov',
        'model.glove.vector_size': 3,
        'model.glove.window': 2,
        'model.glove.passes': 4,
        'model.glove.counts_per_update': 5,
        'model.glove.updates_per_call': 2,
      },
    )

  def workdir(self, name):
    path = os.path.join(self.root, name)
    os.makedirs(path, exist_ok=True)
    return path

  def fit(self, **overrides):
    self.config.update_from_flattened_dict(overrides)
    return KIND.fit(self.config, preparation.build_corpus(self.config))

  def test_is_fitted_by_the_training_loop_and_loaded(self):
    workdir = self.workdir('run')
    self.assertFalse(KIND.is_fitted(workdir))
    with self.assertRaisesRegex(FileNotFoundError, 'no word vectors yet'):
      KIND.load(self.config, None, (), workdir)
    corpus = loop.train(self.config, workdir)
    loaded = KIND.load(self.config, corpus.vocab, (), workdir)
    fitted = self.fit()
    np.testing.assert_array_equal(loaded.table, fitted.table)
    self.assertEqual(loaded.losses, fitted.losses)
    self.assertLen(loaded.losses, 4)
    self.assertLess(loaded.losses[-1], loaded.losses[0])
    self.assertIn(f'words: {len(corpus.vocab) - 4}', loaded.describe())
    self.assertNotIn('glove_progress.npz', os.listdir(workdir))
    # Training again leaves what is there.
    with mock.patch.object(adagrad, 'steps', side_effect=AssertionError):
      loop.train(self.config, workdir)

  def test_a_stopped_run_goes_on_bit_for_bit(self):
    corpus, calls = preparation.build_corpus(self.config), []
    whole = self.fit()
    steps = adagrad.steps

    def dying(*args):
      calls.append(1)
      if len(calls) == 6:
        raise KeyboardInterrupt
      return steps(*args)

    workdir = self.workdir('stopped')
    with mock.patch.object(task, '_KEEP_EVERY', 0.0):
      with (
        mock.patch.object(adagrad, 'steps', dying),
        self.assertRaises(KeyboardInterrupt),
      ):
        KIND.fit_in(self.config, corpus, workdir)
      rest = mock.Mock(wraps=steps)
      with mock.patch.object(adagrad, 'steps', rest):
        resumed = KIND.fit_in(self.config, corpus, workdir)
    np.testing.assert_array_equal(resumed.table, whole.table)
    self.assertEqual(resumed.losses, whole.losses)
    per_epoch = -(-whole.entries // 10)
    self.assertEqual(rest.call_count, 4 * per_epoch - 5)

  def test_progress_of_another_fit_is_not_taken(self):
    corpus, workdir = preparation.build_corpus(self.config), self.workdir('b')
    with mock.patch.object(task, '_KEEP_EVERY', 0.0):
      KIND.fit_in(self.config, corpus, workdir)  # Leaves its progress.
    self.assertIn('glove_progress.npz', os.listdir(workdir))
    self.config.seed = 1
    other = KIND.fit_in(self.config, corpus, workdir)
    np.testing.assert_array_equal(other.table, self.fit().table)

  def test_the_seed_decides(self):
    first, same, other = self.fit(), self.fit(), self.fit(seed=1)
    np.testing.assert_array_equal(first.table, same.table)
    self.assertFalse(np.array_equal(first.table, other.table))

  def test_updates_of_one_entry_are_those_of_numpy(self):
    # Batches of 1 in the order of the epochs, in float64.
    fitted = self.fit(**{'model.glove.counts_per_update': 1})
    corpus = preparation.build_corpus(self.config)
    size = len(corpus.vocab) - 4
    from rnnvae_jax.tasks.word_vectors import cooccurrence

    words, sentences = task._words(corpus.splits['train'])
    counts = cooccurrence.count(words, sentences, size, 2)
    state = adagrad.init(jax.random.key(0), size, 3)
    table, squares = np.float64(state.table), np.float64(state.squares)
    for epoch in range(4):
      order = np.random.default_rng([0, epoch]).permutation(len(counts.values))
      for e in order:
        i, j = counts.rows[e], size + counts.columns[e]
        x = np.float64(counts.values[e])
        w, c = table[i].copy(), table[j].copy()
        residual = w[:-1] @ c[:-1] + w[-1] + c[-1] - np.log(x)
        slope = 0.05 * min(x / 100, 1) ** 0.75 * residual
        for row, other in ((i, c), (j, w)):
          gradient = slope * np.append(other[:-1], 1)
          squares[row] += gradient**2
          table[row] -= gradient / np.sqrt(squares[row])
    np.testing.assert_allclose(
      fitted.table.reshape(2 * size, 4), table, rtol=1e-4, atol=1e-5
    )

  def test_words_and_contexts_are_added_up(self):
    fitted = self.fit()
    ids, vectors = fitted.word_vectors()
    np.testing.assert_array_equal(ids, np.arange(4, 4 + len(vectors)))
    np.testing.assert_array_equal(
      vectors, fitted.table[0, :, :3] + fitted.table[1, :, :3]
    )

  def test_the_coverage_of_a_split(self):
    corpus, fitted = preparation.build_corpus(self.config), self.fit()
    split = corpus.splits['valid']
    evaluate = evaluation.make_evaluator(
      fitted, split, batch_size=2, num_buckets=1
    )
    values = evaluate({}, {}, jax.random.key(0))
    figures = fitted.summarise(values, split, self.config)
    self.assertEqual(figures['coverage'], 4 / 5)  # x has no vector.
    self.assertEqual((figures['sentences'], figures['tokens']), (2, 7))
    self.assertEqual(figures['training_loss'], fitted.losses[-1])

  def test_unknown_words_are_left_out_before_distances(self):
    corpus = preparation.build_corpus(self.config)
    tokens = np.int32([4, vocab_lib.UNK, 5, vocab_lib.EOS, 6, vocab_lib.EOS])
    import dataclasses

    split = dataclasses.replace(
      corpus.splits['train'],
      tokens=tokens,
      offsets=np.int32([0, 4]),
      lengths=np.int32([4, 2]),
    )
    words, sentences = task._words(split)
    np.testing.assert_array_equal(words, [0, 1, 2])
    np.testing.assert_array_equal(sentences, [0, 0, 1])

  def test_a_damaged_file_and_another_vocabulary_are_refused(self):
    workdir = self.workdir('damaged')
    corpus = preparation.build_corpus(self.config)
    self.fit().save(workdir)
    self.config.model.glove.vector_size = 9
    with self.assertRaisesRegex(ValueError, 'does not fit its config'):
      KIND.load(self.config, corpus.vocab, (), workdir)
    with open(os.path.join(workdir, 'glove.npz'), 'r+b') as file:
      file.truncate(40)
    with self.assertRaisesRegex(ValueError, 'is damaged'):
      KIND.load(self.config, corpus.vocab, (), workdir)

  def test_characters_are_refused(self):
    self.config.corpus.protocol = 'characters'
    with self.assertRaisesRegex(ValueError, 'need a text of words'):
      self.fit()


if __name__ == '__main__':
  absltest.main()
