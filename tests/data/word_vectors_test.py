"""Pretrained vectors against their file, and the coverage by hand."""

import gzip
import os
import threading

from absl.testing import absltest
import numpy as np
import pytest

from rnnvae_jax.data import vocab, word_vectors

WORDS = vocab.Vocabulary('word', (*vocab.SPECIALS, 'the', 'Dog', 'xyzzy'))
TEXT = np.array([4, 5, 6, 4, vocab.EOS])


class WordVectorsTest(absltest.TestCase):
  def write(self, text):
    path = os.path.join(self.create_tempdir().full_path, 'vectors.txt')
    with open(path, 'w') as file:
      file.write(text)
    return path

  def check(self, vectors):
    np.testing.assert_array_equal(vectors.rows, [4, 5])
    np.testing.assert_array_equal(vectors.values, [[1.5, -2, 0], [0, 1, 3]])
    self.assertEqual(
      (vectors.exact, vectors.lower_cased, vectors.missing), (1, 1, 1)
    )
    self.assertAlmostEqual(vectors.token_share, 3 / 5)
    self.assertIn('1 of 3 words as they are', vectors.report())

  def test_reads_what_glove_writes(self):
    path = self.write('dog 0 1 3\nthe 1.5 -2 0\ncat 1 1 1\n')
    self.check(word_vectors.read(path, WORDS, TEXT))

  def test_reads_words_with_spaces_within_and_the_first_of_two(self):
    path = self.write('dog 0 1 3\n. . 7 7 7\nthe 1.5 -2 0\nthe 9 9 9\n')
    self.check(word_vectors.read(path, WORDS, TEXT))
    packed = f'{path}.gz'
    with open(path, 'rb') as plain, gzip.open(packed, 'wb') as file:
      file.write(plain.read())
    self.check(word_vectors.read(packed, WORDS, TEXT))

  def test_reads_what_word2vec_writes(self):
    path = self.write('3 3\ndog 0 1 3\nthe 1.5 -2 0\ncat 1 1 1\n')
    self.check(word_vectors.read(path, WORDS, TEXT))

  def test_a_wrong_byte_is_named_with_its_line(self):
    path = self.write('')
    lines = [b'w%d 0 1 3' % i for i in range(5_000)]
    lines[3_000] = b'caf\xe9 0 1 3'  # Far behind what is read at once.
    with open(path, 'wb') as file:
      file.write(b'\n'.join(lines))
    with self.assertRaisesRegex(
      ValueError, 'line 3001: byte 0xe9 is not UTF-8'
    ):
      word_vectors.read(path, WORDS, TEXT)

  def test_reads_a_pipe(self):
    path = os.path.join(self.create_tempdir().full_path, 'pipe')
    os.mkfifo(path)
    data = gzip.compress(b'dog 0 1 3\nthe 1.5 -2 0\n')

    def write():
      with open(path, 'wb') as pipe:
        pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    self.check(word_vectors.read(path, WORDS, TEXT))
    thread.join()

  def test_what_is_no_vectors_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'holds no word vectors'):
      word_vectors.read(self.write('a b c\nd e\n'), WORDS, TEXT)
    for text in (
      '',
      'the\n',
      'dog 0 1 3\nthe 1.5\n',
      'dog 0 1\nthe 0 x\n',
      'the 0 nan\n',
      'the 1e39 0\n',
    ):
      with self.assertRaisesRegex(ValueError, r'holds no word vectors.* line'):
        word_vectors.read(self.write(text), WORDS, TEXT)
    with self.assertRaisesRegex(ValueError, "none of the vocabulary's 3"):
      word_vectors.read(self.write('cat 1 2\ncow 1 3\n'), WORDS, TEXT)
    with self.assertRaisesRegex(FileNotFoundError, 'is no file'):
      word_vectors.read('/no/such/file', WORDS, TEXT)

  def test_a_line_that_would_fill_the_memory_is_refused(self):
    path = self.write('dog 0 1 3\nthe ' + '1 ' * 2**20 + '\n')
    with self.assertRaisesRegex(ValueError, 'line 2: it is longer than'):
      word_vectors.read(path, WORDS, TEXT)

  @pytest.mark.corpus
  def test_covers_the_treebank_as_known(self):
    root = os.environ['RNNVAE_DATA_DIR']
    path = os.path.join(root, 'glove', 'glove.6B.50d.subset.txt')
    with open(os.path.join(root, 'ptb', 'ptb.train.txt')) as file:
      sentences = [line.split() for line in file]
    words = vocab.Vocabulary.build('word', sentences)
    vectors = word_vectors.read(path, words, np.array([4]))
    # `N` is there as `n` only.
    self.assertEqual((vectors.exact, vectors.lower_cased), (9_809, 1))
    self.assertEqual(vectors.values.shape, (9_810, 50))


if __name__ == '__main__':
  absltest.main()
