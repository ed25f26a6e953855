"""Named corpora are found by their files."""

import dataclasses
import subprocess
import sys

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import protocols
from rnnvae_jax.data.sources import base, grammar


class RegistryTest(parameterized.TestCase):
  def test_lists_the_corpora_of_the_folder(self):
    want = (
      'conll2003',
      'dates',
      'grammar',
      'imdb',
      'imdb_unlabelled',
      'lee',
      'nltk_treebank_pos',
      'politicians',
      'ptb',
      'reversal',
      'sentence_polarity',
      'sentiment140',
      'tiny_shakespeare',
      'ud_english_ewt',
      'wikipedia_sample',
    )
    self.assertEqual(base.names(), want)

  @parameterized.parameters(*base.names())
  def test_each_keeps_the_contract(self, name):
    source = base.get(name)
    self.assertIsInstance(source, base.Source)
    self.assertEqual(source.name, name)
    self.assertIn(source.protocol, protocols.PROTOCOLS)
    self.assertIn(source.evaluation_split, source.splits)
    self.assertContainsSubset(source.splits, base.splits())
    if 'test' in source.splits:
      self.assertEqual(source.splits[:3], base.SPLITS)
    self.assertEqual(base.default_protocol(name), source.protocol)

  def test_each_has_its_protocol_and_a_folder_is_plain(self):
    want = {
      'wikipedia_sample': 'plain',
      'conll2003': 'mikolov',
      'nltk_treebank_pos': 'mikolov',
      'ud_english_ewt': 'mikolov',
      'dates': 'characters',
      'lee': 'plain',
      'grammar': 'mikolov',
      'imdb': 'plain',
      'imdb_unlabelled': 'plain',
      'ptb': 'tweet',
      'reversal': 'mikolov',
      'politicians': 'tweet',
      'sentence_polarity': 'mikolov',
      'sentiment140': 'tweet',
      'tiny_shakespeare': 'characters',
    }
    got = {name: base.default_protocol(name) for name in base.names()}
    self.assertEqual(got, want)
    folder = self.create_tempdir().full_path
    self.assertEqual(base.default_protocol(folder), 'plain')

  def test_the_split_of_figures_is_one_that_is_there(self):
    self.assertEqual(base.evaluation_split('ptb'), 'test')
    self.assertEqual(base.evaluation_split('tiny_shakespeare'), 'valid')
    folder, file = self.create_tempdir(), self.create_tempfile()
    self.assertEqual(base.evaluation_split(folder.full_path), 'test')
    self.assertEqual(base.evaluation_split(file.full_path), 'valid')

  def test_listing_and_describing_imports_nothing_heavy(self):
    code = (
      'import sys; from rnnvae_jax.data.sources import base\n'
      '[base.get(name).summary for name in base.names()]\n'
      'heavy = {"tensorflow_datasets", "gensim", "nltk"} & set(sys.modules)\n'
      'sys.exit(str(heavy) if heavy else 0)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)

  def test_a_file_is_all_that_a_corpus_needs(self):
    source = """
from rnnvae_jax.data.sources import base


class _Toy(base.Source):
  def read(self, data_dir=None):
    records = [{'text': 'a b', 'kind': 'x'}, {'text': 'a', 'kind': 'y'}]
    return dict.fromkeys(self.splits, records)


SOURCE = _Toy(name='toy', summary='a toy', protocol='mikolov', labels=('kind',))
"""
    folder = self.create_tempdir()
    folder.create_file('toy.py', source)
    code = (
      'from rnnvae_jax.data import sources\n'
      f'sources.__path__.append({folder.full_path!r})\n'
      'from rnnvae_jax.data import corpora\n'
      'from rnnvae_jax.data.sources import base\n'
      'corpus = corpora.build("toy", fields=["label"], label_column="kind")\n'
      'assert "toy" in base.names() and corpus.protocol == "mikolov"\n'
      'assert corpus.labels == ("x", "y"), corpus.labels\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)

  def test_an_unknown_name_offers_the_nearest_and_a_folder(self):
    message = "'wikipedia_smaple' is unknown. Did you mean 'wikipedia_sample'?"
    with self.assertRaisesRegex(ValueError, message + '.*A folder with'):
      base.check_name('wikipedia_smaple')
    with self.assertRaisesRegex(ValueError, "is unknown.*'grammar'"):
      base.get('grammer')

  def test_a_missing_path_is_no_unknown_name(self):
    with self.assertRaisesRegex(ValueError, "no folder or file 'no/such/fold"):
      base.check_name('no/such/folder')
    with self.assertRaisesRegex(
      ValueError, 'No corpus is named.*grammar, imdb'
    ):
      base.check_name('')

  def test_names_and_paths_are_accepted(self):
    base.check_name('lee')
    base.check_name(self.create_tempdir().full_path)
    base.check_name('/dev/null')


class SplitTest(absltest.TestCase):
  def test_shares_are_90_5_and_5_per_cent(self):
    splits = [base.split_of(str(i)) for i in range(4_000)]
    # Three standard deviations of a binomial count.
    self.assertBetween(splits.count('train'), 3_600 - 57, 3_600 + 57)
    self.assertBetween(splits.count('valid'), 200 - 42, 200 + 42)

  def test_a_text_keeps_its_split_for_ever(self):
    self.assertEqual(
      [base.split_of(t) for t in ('4', '5', '20', 'a')],
      ['train', 'valid', 'test', 'train'],
    )


class CheckCountsTest(parameterized.TestCase):
  def check(self, lengths=(2, 4, 6), vocabulary=7, max_length=5):
    counts = {
      ('p', 0): base.Counts(7, {'train': (3, 12, 0)}),
      ('p', 5): base.Counts(7, {'train': (3, 11, 1)}),
    }
    source = dataclasses.replace(grammar.SOURCE, name='c', counts=counts)
    lengths = {'train': np.array(lengths)}
    base.check_counts(source, 'p', max_length, lengths, vocabulary)

  def test_accepts_the_known_counts(self):
    self.check()
    self.check(max_length=0)
    self.check(vocabulary=None)

  def test_knows_nothing_of_another_protocol(self):
    base.check_counts(grammar.SOURCE, 'p', 5, {'train': np.array([1])}, 1)

  @parameterized.parameters(
    ({'lengths': (2, 4, 7)}, r'train should have \(3, 12, 0\).*\(3, 13, 0\)'),
    ({'lengths': (5, 5, 2)}, r'cut at 5: .* \(3, 11, 1\).*\(3, 12, 0\)'),
    ({'lengths': (12,)}, r'\(3, 12, 0\).*got \(1, 12, 0\)'),
    ({'vocabulary': 8}, 'should have 7 entries, got 8'),
  )
  def test_a_mismatch_says_expected_and_got(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      self.check(**arguments)


if __name__ == '__main__':
  absltest.main()
