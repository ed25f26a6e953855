"""Sentences of reviews with their labels."""

from absl.testing import absltest
import pytest

from rnnvae_jax.data import corpora
from rnnvae_jax.data.sources import base, sentence_polarity


class SentencePolarityTest(absltest.TestCase):
  def test_labels_are_the_files_and_splits_the_texts(self):
    neg = self.create_tempfile('neg', 'dull .\nno \n').full_path
    pos = self.create_tempfile('pos', 'fun .\nyes \n').full_path
    got = list(sentence_polarity.records(neg, pos))
    want = [('dull .', 'neg'), ('fun .', 'pos'), ('no', 'neg'), ('yes', 'pos')]
    self.assertEqual([(r['text'], r['label']) for _, r in got], want)
    for split, record in got:
      self.assertEqual(split, base.split_of(record['text']))

  @pytest.mark.corpus
  def test_has_its_published_size_and_documented_splits(self):
    corpus = corpora.build('sentence_polarity', fields=['label'])
    self.assertEqual(corpus.labels, ('neg', 'pos'))
    self.assertEqual(corpus.protocol, 'mikolov')
    sizes = {name: len(split) for name, split in corpus.splits.items()}
    self.assertEqual(sizes, {'train': 9_552, 'valid': 550, 'test': 560})
    positive = {
      s: int(x.fields['label'].sum()) for s, x in corpus.splits.items()
    }
    self.assertEqual(positive, {'train': 4_779, 'valid': 284, 'test': 268})
    self.assertEqual(sum(sizes.values()), 2 * 5_331)


if __name__ == '__main__':
  absltest.main()
