"""Corpora of tags: how their files are read, and their published sizes."""

import collections

from absl.testing import absltest
import pytest

from rnnvae_jax.data import corpora, schemes, spellings
from rnnvae_jax.data.sources import (
  conll2003,
  grammar,
  nltk_treebank_pos,
  ud_english_ewt,
)


class TagsTest(absltest.TestCase):
  def test_names_are_in_the_last_column(self):
    text = '-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\n. . O O\n\nA N I-NP O\n'
    path = self.create_tempfile(content=text).full_path
    got = list(conll2003.records(path, path, path))
    self.assertEqual(
      [split for split, _ in got][::2], ['train', 'valid', 'test']
    )
    self.assertEqual(got[0][1], {'text': 'EU .', 'tags': 'I-ORG O'})

  def test_words_of_universal_dependencies_have_whole_numbers(self):
    text = (
      "# text = I don't\n1\tI\tI\tPRON\n2-3\tdon't\t_\t_\n2\tdo\tdo\tAUX\n"
      "3\tn't\tnot\tPART\n3.1\tgo\tgo\tVERB\n\n"
    )
    path = self.create_tempfile(content=text).full_path
    got = list(ud_english_ewt.records(path, path, path))
    want = {'text': "I do n't", 'tags': 'PRON AUX PART'}
    self.assertEqual(got[0], ('train', want))

  def test_of_ten_sentences_one_validates_and_one_tests(self):
    path = self.create_tempfile(content='a\tX\n\n' * 20).full_path
    counts = collections.Counter(
      split for split, _ in nltk_treebank_pos.records(path)
    )
    self.assertEqual(counts, {'train': 16, 'valid': 2, 'test': 2})

  def test_those_of_the_grammar_are_legal_and_of_each_word(self):
    for record in grammar.sample(200, seed=0):
      tags = record['tags'].split()
      self.assertLen(tags, len(record['text'].split()))
      self.assertIsNone(schemes.fault(tags, 'bio'))
      self.assertEqual(tags[0], 'B-subject')
      self.assertEqual(tags[-1], 'O')

  @pytest.mark.corpus
  def test_have_their_published_sizes(self):
    # Sentences and words are checked as they are read.
    found = corpora.build(
      'conll2003', fields=('tags', spellings.FIELD), tag_scheme='iob1'
    )
    names = {}
    for name, split in found.splits.items():
      tags = [(*found.labels, *split.unseen)[i] for i in split.fields['tags']]
      is_word = split.tokens != 2
      kept = [t if real else 'O' for t, real in zip(tags, is_word, strict=True)]
      names[name] = len(schemes.spans(kept))
    self.assertEqual(names, {'train': 23_499, 'valid': 5_942, 'test': 5_648})
    ewt = corpora.build('ud_english_ewt', fields=('tags',))
    self.assertLen(ewt.labels, 17)
    wsj = corpora.build('nltk_treebank_pos', fields=('tags',))
    self.assertLen(wsj.labels, 45)
    self.assertEqual(sum(map(len, wsj.splits.values())), 3_914)


if __name__ == '__main__':
  absltest.main()
