"""Vocabularies."""

import json
import os

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.vocab import Vocabulary

SENTENCES = [['b', 'a', 'c', 'a'], ['d', 'b', '<unk>', 'a'], ['c', 'e']]


class VocabularyTest(parameterized.TestCase):
  def test_orders_by_count_then_spelling_behind_the_marks(self):
    vocab = Vocabulary.build('word', SENTENCES)
    want = ('<pad>', '<s>', '</s>', '<unk>', 'a', 'b', 'c', 'd', 'e')
    self.assertEqual(vocab.tokens, want)

  def test_does_not_depend_on_the_order_of_the_text(self):
    backwards = [s[::-1] for s in SENTENCES[::-1]]
    self.assertEqual(
      Vocabulary.build('word', SENTENCES), Vocabulary.build('word', backwards)
    )

  @parameterized.parameters(
    (2, 0, ('a', 'b', 'c')), (3, 0, ('a',)), (1, 6, ('a', 'b'))
  )
  def test_limits_count_and_size(self, min_count, max_size, want):
    vocab = Vocabulary.build('word', SENTENCES, min_count, max_size)
    self.assertEqual(vocab.tokens[4:], want)

  def test_encodes_the_unknown_as_unk_and_adds_no_marks(self):
    vocab = Vocabulary.build('word', SENTENCES, min_count=2)
    ids = vocab.encode(['a', 'never', '<unk>', 'c'])
    np.testing.assert_array_equal(ids, [4, vocab_lib.UNK, vocab_lib.UNK, 6])
    self.assertEqual(ids.dtype, np.int32)

  def test_text_that_spells_a_mark_does_not_become_one(self):
    vocab = Vocabulary.build('word', [['</s>', '<pad>', '<s>', 'a']])
    self.assertLen(vocab, 5)
    ids = vocab.encode(['</s>', '<pad>', '<s>'])
    np.testing.assert_array_equal(ids, [vocab_lib.UNK] * 3)

  def test_decodes_up_to_eos_without_bos_and_pad(self):
    vocab = Vocabulary.build('word', SENTENCES)
    ids = np.array([1, 0, 5, 3, 4, 2, 6, 0])
    self.assertEqual(vocab.decode(ids), ['b', '<unk>', 'a'])

  def test_bytes_are_the_same_for_every_text(self):
    vocab = Vocabulary.build('byte', SENTENCES)
    self.assertEqual(vocab, Vocabulary.build('byte', []))
    self.assertLen(vocab, 260)
    text = [chr(b) for b in 'žluť'.encode()]
    self.assertEqual(vocab.decode(vocab.encode(text)), text)

  def test_hash_tells_kind_content_and_order_apart(self):
    def hash_of(kind, *tokens):
      return Vocabulary(kind, vocab_lib.SPECIALS + tokens).content_hash

    hashes = [
      hash_of('word', 'a', 'b'),
      hash_of('word', 'b', 'a'),
      hash_of('word', 'ab'),
      hash_of('word', 'a'),
      hash_of('character', 'a', 'b'),
    ]
    self.assertLen(set(hashes), 5)

  def test_hash_is_the_same_for_ever(self):
    # By hand: sha256 of '["word", ["<pad>", "<s>", "</s>", "<unk>", "a"]]'.
    # Saved runs are checked by it, so another value would orphan them.
    vocab = Vocabulary('word', (*vocab_lib.SPECIALS, 'a'))
    self.assertEqual(vocab.content_hash[:16], '8547cf48eb62b471')

  def test_save_then_load_is_the_identity(self):
    path = os.path.join(self.create_tempdir().full_path, 'vocab.json')
    vocab = Vocabulary.build('character', ['"\\\u2028 é😀\x7f'])
    vocab.save(path)
    self.assertEqual(Vocabulary.load(path), vocab)
    self.assertEqual(os.listdir(os.path.dirname(path)), ['vocab.json'])

  def test_refuses_an_edited_file(self):
    path = self.create_tempfile().full_path
    Vocabulary.build('word', SENTENCES).save(path)
    with open(path) as f:
      content = json.load(f)
    content['tokens'][4:6] = reversed(content['tokens'][4:6])
    with open(path, 'w') as f:
      json.dump(content, f)
    with self.assertRaisesRegex(ValueError, 'was edited or is corrupt'):
      Vocabulary.load(path)

  @parameterized.parameters(
    '', '{}', '[1]', '{"kind": "word"', '\xff', 5_000 * '['
  )
  def test_refuses_what_is_no_vocabulary(self, content):
    path = self.create_tempfile(content=content.encode('latin-1')).full_path
    with self.assertRaisesRegex(ValueError, 'is not a saved vocabulary'):
      Vocabulary.load(path)

  def test_refuses_impossible_arguments(self):
    with self.assertRaisesRegex(ValueError, "'words' is unknown"):
      Vocabulary.build('words', SENTENCES)
    with self.assertRaisesRegex(ValueError, 'Nearest legal value: 5'):
      Vocabulary.build('word', SENTENCES, max_size=4)
    with self.assertRaisesRegex(ValueError, '256 bytes'):
      Vocabulary.build('byte', SENTENCES, max_size=100)
    with self.assertRaisesRegex(ValueError, 'starts with'):
      Vocabulary('word', ('a', 'b'))
    with self.assertRaisesRegex(ValueError, "'a' is twice"):
      Vocabulary('word', (*vocab_lib.SPECIALS, 'a', 'a'))


if __name__ == '__main__':
  absltest.main()
