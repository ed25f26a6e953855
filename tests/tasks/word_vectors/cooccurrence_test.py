"""Counts of co-occurrences against two loops."""

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.tasks.word_vectors import cooccurrence

SIZE = 7


def text(lengths=(5, 1, 0, 11, 3), seed=0):
  rng = np.random.default_rng(seed)
  sentences = np.repeat(np.arange(len(lengths)), lengths)
  return rng.integers(SIZE, size=len(sentences)), sentences


def brute_force(words, sentences, window):
  matrix = np.zeros((SIZE, SIZE))
  for i in range(len(words)):
    for j in range(max(0, i - window), i):
      if sentences[i] == sentences[j]:
        matrix[words[i], words[j]] += 1 / (i - j)
        matrix[words[j], words[i]] += 1 / (i - j)
  return matrix


def dense(counts):
  matrix = np.zeros((SIZE, SIZE))
  places = counts.rows, counts.columns
  np.add.at(matrix, places, 1)
  np.testing.assert_array_less(matrix, 2)  # Each entry once.
  matrix[places] = counts.values
  return matrix


class CountTest(parameterized.TestCase):
  # The memory of 1 makes chunks of one word; 30 of several.
  @parameterized.product(window=(1, 4, 50), memory=(1, 30, 10_000))
  def test_is_two_loops(self, window, memory):
    folder = self.create_tempdir().full_path
    counts = cooccurrence.count(*text(), SIZE, window, memory, folder)
    matrix = dense(counts)
    np.testing.assert_allclose(
      matrix, brute_force(*text(), window), rtol=np.finfo(np.float32).eps
    )
    np.testing.assert_array_equal(matrix, matrix.T)
    self.assertGreater(counts.values.min(), 0)

  def test_chunks_change_nothing(self):
    whole = cooccurrence.count(*text(), SIZE, 4)
    for memory in (1, 13, 30):
      parts = cooccurrence.count(*text(), SIZE, 4, memory)
      np.testing.assert_array_equal(dense(parts), dense(whole))

  def test_runs_are_merged_in_little_memory(self):
    rng = np.random.default_rng(1)
    runs, want = [], np.zeros(60)
    for length in (1, 20, 33):
      keys = np.sort(rng.choice(60, length, replace=False))
      values = rng.integers(1, 9, length).astype(float)
      want[keys] += values
      runs.append(cooccurrence._Run(keys, values))
    parts = list(cooccurrence._merged(runs, memory=9))
    self.assertGreater(len(parts), 5)
    self.assertLessEqual(max(len(part.keys) for part in parts), 9)
    keys = np.concatenate([part.keys for part in parts])
    np.testing.assert_array_equal(keys, np.flatnonzero(want))
    np.testing.assert_array_equal(
      np.concatenate([part.values for part in parts]), want[keys]
    )

  def test_nothing_occurs_in_a_text_of_single_words(self):
    for lengths in ((), (1, 1, 1)):
      counts = cooccurrence.count(*text(lengths), SIZE, 3)
      self.assertEmpty(counts.values)


if __name__ == '__main__':
  absltest.main()
