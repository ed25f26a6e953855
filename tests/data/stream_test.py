"""Texts as one stream, and single files as corpora."""

import os

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from rnnvae_jax.data import corpora, formats, vocab

TEXT = 'One line.\n\n  another "line"\nlast ' * 10


class StreamTest(parameterized.TestCase):
  def write(self, text):
    path = os.path.join(self.create_tempdir().full_path, 'text.txt')
    with open(path, 'w') as file:
      file.write(text)
    return path

  @parameterized.parameters('characters', 'bytes')
  def test_characters_are_all_of_the_text_without_an_end(self, protocol):
    corpus = corpora.build(self.write(TEXT), protocol, stream=True)
    self.assertEqual(set(corpus.splits), {'train', 'valid'})
    read = ''
    for split in corpus.splits.values():
      self.assertLen(split, 1)
      self.assertNotIn(vocab.EOS, split.tokens)
      self.assertEqual(split.lengths.tolist(), [len(split.tokens)])
      read += ''.join(corpus.vocab.tokens[i] for i in split.tokens)
    # A text file ends with a line end.
    self.assertEqual(read, TEXT + '\n')
    line_end = corpus.vocab.encode(['\n'])[0]
    self.assertEqual(corpus.splits['valid'].bos, line_end)

  def test_words_keep_the_ends_of_their_sentences(self):
    corpus = corpora.build(
      self.write(TEXT), 'mikolov', stream=True, max_length=3
    )
    split = corpus.splits['train']
    self.assertEqual(split.bos, vocab.EOS)
    # Nothing is cut, blank lines are no sentences.
    self.assertEqual(split.lengths[:3].tolist(), [3, 3, 4])
    np.testing.assert_array_equal(
      split.tokens[np.cumsum(split.lengths) - 1], vocab.EOS
    )

  @parameterized.parameters((0.1, 0.0), (0.2, 0.1), (0.05, 0.05))
  def test_a_file_is_cut_by_characters(self, valid_share, test_share):
    text = ''.join(chr(97 + i % 26) for i in range(1_000))
    parts = formats.cut(text, valid_share, test_share)
    self.assertEqual(''.join(parts.values()), text)
    self.assertEqual('test' in parts, test_share > 0)
    self.assertAlmostEqual(len(parts['valid']), 1_000 * valid_share, delta=1)

  def test_a_share_of_nothing_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'leave none for valid'):
      formats.cut('abc', 0.0, 0.3)
    with self.assertRaisesRegex(ValueError, 'leave none for train'):
      formats.cut('abcdef', 0.9, 0.1)

  def test_lines_of_a_user_have_no_end_in_a_stream_of_characters(self):
    words = vocab.Vocabulary.build('character', [['a', 'b']])
    for stream, wanted in ((True, [4, 5]), (False, [4, 5, vocab.EOS])):
      split = corpora.encode_lines(['ab'], 'characters', words, stream)
      self.assertEqual(split.tokens.tolist(), wanted)

  @pytest.mark.corpus
  def test_shakespeare_is_cut_after_nine_tenths(self):
    corpus = corpora.build('tiny_shakespeare', stream=True)
    self.assertLen(corpus.vocab, 65 + 4)
    lengths = {s: len(split.tokens) for s, split in corpus.splits.items()}
    self.assertEqual(lengths, {'train': 1_003_854, 'valid': 111_540})


if __name__ == '__main__':
  absltest.main()
