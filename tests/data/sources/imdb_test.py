"""Film reviews: splits, labels, copies."""

import io
import tarfile
from unittest import mock

from absl.testing import absltest
import pytest

from rnnvae_jax.data import corpora
from rnnvae_jax.data.sources import base, imdb, imdb_unlabelled

# Label, rating and text of reviews of the published splits.
TRAIN = (
  ('neg', '1', 'Dull.<br /><br />Very  dull.'),
  ('neg', '4', 'No.'),
  ('pos', '10', 'Fun!'),
  ('pos', '7', 'Yes,\tyes.'),
)
TEST = (
  ('neg', '2', 'Bad.'),
  ('neg', '3', 'Awful film.'),
  ('pos', '8', 'Good.'),
  ('pos', '9', 'Great, really.'),
)
UNLABELLED = ('better.<br />So it was', 'Great,<br /> really!', 'fine')


class ImdbTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(mock.patch.object(imdb, '_SIZE', 4))

  def tables(self):
    paths = []
    for name, rows in (('train.tsv', TRAIN), ('test.tsv', TEST)):
      lines = (
        f'{imdb.LABELS.index(label)}\t{rating}\t{label}_{number}\t'
        + text.replace('\t', ' ')
        for number, (label, rating, text) in enumerate(rows)
      )
      content = ''.join(f'{line}\n' for line in lines)
      paths.append(self.create_tempfile(name, content).full_path)
    return paths

  def archive(self):
    path = self.create_tempfile('archive.tar.gz').full_path
    members = [
      (f'{split}/{label}/{number}_{rating}', text)
      for split, rows in (('test', TEST), ('train', TRAIN))
      for number, (label, rating, text) in enumerate(rows)
    ]
    members += [
      (f'train/unsup/{number}_0', text)
      for number, text in enumerate(UNLABELLED)
    ]
    with tarfile.open(path, 'w:gz') as files:
      for name, text in (('README', ''), *members):
        member = tarfile.TarInfo(f'aclImdb/{name}.txt')
        data = text.encode()
        member.size = len(data)
        files.addfile(member, io.BytesIO(data))
    return path

  def test_tables_and_archive_hold_the_same_corpus(self):
    got = list(imdb.SOURCE.records(*self.tables()))
    self.assertEqual(got, list(imdb.SOURCE.otherwise.records(self.archive())))
    self.assertIn(
      ('Dull. Very dull.', 'neg', '1'),
      [(r['text'], r['label'], r['rating']) for _, r in got],
    )
    for split, record in got:
      is_kept = base.split_of(record['text']) == 'train'
      is_test = record['text'] in [text for *_, text in TEST]
      want = 'test' if is_test else 'train' if is_kept else 'valid'
      self.assertEqual(split, want)

  def test_a_published_split_of_another_size_is_refused(self):
    tables = self.tables()
    with (
      mock.patch.object(imdb, '_SIZE', 6),
      self.assertRaisesRegex(ValueError, r'train: 3 .* expected, got'),
    ):
      list(imdb.SOURCE.records(*tables))

  def test_copies_of_evaluated_reviews_are_no_training_text(self):
    # With a comma and a mark of its own, the second one is a test review.
    texts = ['\t'.join(('0', t.replace('<br />', ''))) for t in UNLABELLED]
    path = self.create_tempfile('texts', '\n'.join(texts)).full_path
    with mock.patch('gzip.open', open):
      got = list(imdb_unlabelled.SOURCE.records(*self.tables(), path))
    archived = imdb_unlabelled.SOURCE.otherwise.records(self.archive())
    self.assertEqual(got, list(archived))
    self.assertEqual({key for _, r in got for key in r}, {'text'})
    self.assertEqual(
      [entry for entry in got if entry[0] == 'train'][-2:],
      [
        ('train', {'text': 'better.So it was'}),
        ('train', {'text': 'fine'}),
      ],
    )
    self.assertLen(got, len(TRAIN) + len(TEST) + 2)

  @pytest.mark.corpus
  def test_has_its_published_size_and_documented_splits(self):
    with mock.patch.object(imdb, '_SIZE', 25_000):
      records = base.get('imdb').read()
    sizes = {split: len(found) for split, found in records.items()}
    self.assertEqual(sizes, {'train': 22_514, 'valid': 2_486, 'test': 25_000})
    positive = {
      split: sum(r['label'] == 'pos' for r in found)
      for split, found in records.items()
    }
    want = {'train': 11_239, 'valid': 1_261, 'test': 12_500}
    self.assertEqual(positive, want)

  @pytest.mark.slow
  @pytest.mark.corpus
  def test_unlabelled_reviews_are_as_many_as_documented(self):
    with mock.patch.object(imdb, '_SIZE', 25_000):
      records = base.get('imdb_unlabelled').read()
    sizes = {split: len(found) for split, found in records.items()}
    self.assertEqual(sizes, {'train': 72_209, 'valid': 2_486, 'test': 25_000})


class LabelsTest(absltest.TestCase):
  @pytest.mark.slow
  @pytest.mark.corpus
  def test_a_review_is_one_sentence_with_a_label(self):
    corpus = corpora.build('imdb', fields=['label'])
    self.assertEqual(corpus.labels, ('neg', 'pos'))
    self.assertLen(corpus.splits['test'], 25_000)
    self.assertEqual(int(corpus.splits['test'].fields['label'].sum()), 12_500)


if __name__ == '__main__':
  absltest.main()
