"""Film reviews with their polarity: the Large Movie Review Dataset.

25,000 reviews to train on and 25,000 to test, half of each positive (label
'pos', a rating of 7 or more) and half negative ('neg', of 4 or less), with the
rating as a second label. Maas et al. 2011, 'Learning word vectors for sentiment
analysis'; free for research. `imdb_unlabelled` adds 50,000 reviews without a
label for language models.

The archive of the authors is downloaded from

  http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz

unless it, or the tables `train.tsv` and `test.tsv` with a label, rating, id and
text in each line, are below the data folder. Line breaks (`<br />`) become
spaces.

There is no published validation split. About a tenth of the training reviews is
one, chosen by the SHA-256 of the text (`base.split_of`), so that copies of a
review are on the same side: 22,514 train, 2,486 validate. Published figures
come from models of all 25,000. As published, 123 test reviews are also training
reviews, but for punctuation; they are left in. Reviews are in the order of the
SHA-256 of their text.
"""

from collections.abc import Iterable, Iterator
import hashlib
import re
import tarfile

from rnnvae_jax.data import file_source
from rnnvae_jax.data.sources import base

LABELS = ('neg', 'pos')
_SIZE = 25_000  # Reviews of the published splits.
_LINE_BREAK = '<br />'
_MEMBER = re.compile(r'aclImdb/(train|test)/(neg|pos|unsup)/\d+_(\d+)\.txt')

ARCHIVE = base.RawFile(
  ('imdb/aclImdb_v1.tar.gz', 'aclImdb_v1.tar.gz'),
  'c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe',
  84_125_825,
  'http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz',
)
TABLES = (
  base.RawFile(
    ('imdb/train.tsv',),
    'c3399defaf699375a4234dcd622fc37661528ecc0bff6641bdbf9a01124ad8d0',
    33_490_335,
  ),
  base.RawFile(
    ('imdb/test.tsv',),
    'c98d0b31f4bf1da5579dce32394acf3e78661f5a194d73a9dbb7b0f0c09b6476',
    32_708_464,
  ),
)


def table(split: str, path: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of each line of a table, in its order."""
  with open(path, encoding='utf-8', newline='\n') as f:
    for line in f:
      label, rating, _, text = line.rstrip('\n').split('\t')
      yield split, _record(text, LABELS[int(label)], rating)


def archive(path: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of each file of the archive, in its order.

  Reviews without a label have the split 'unlabelled'. The line breaks of these
  are removed without a space, as in the tables.
  """
  with tarfile.open(path) as files:
    for member in files:
      match = _MEMBER.fullmatch(member.name)
      if not match:
        continue
      split, label, rating = match.groups()
      file = files.extractfile(member)
      assert file is not None
      text = file.read().decode()
      if label == 'unsup':
        yield 'unlabelled', {'text': squeezed(text.replace(_LINE_BREAK, ''))}
      else:
        yield split, _record(text, label, rating)


def splits(
  records: Iterable[tuple[str, base.Record]],
) -> Iterator[tuple[str, base.Record]]:
  """Yields the records in their order, those of the validation split named.

  Args:
    records: (published split, record).

  Raises:
    ValueError: a published split has not its known size, half of it positive.
  """
  records = list(records)
  for split in ('train', 'test'):
    labels = [r['label'] for name, r in records if name == split]
    counts = {label: labels.count(label) for label in LABELS}
    if set(counts.values()) != {_SIZE // 2}:
      raise ValueError(
        f'imdb, {split}: {_SIZE // 2:,} reviews of each label were expected, '
        f'got {counts}.'
      )
  for split, record in sorted(records, key=_order):
    if split == 'train' and base.split_of(record['text']) != 'train':
      split = 'valid'
    yield split, record


def squeezed(text: str) -> str:
  """The text with one space wherever it has white space."""
  return ' '.join(text.split())


def normal_form(text: str) -> str:
  """Letters and digits of a review, by which copies are recognised."""
  return ''.join(c for c in text.lower() if c.isalnum())


def _record(text: str, label: str, rating: str) -> base.Record:
  text = squeezed(text.replace(_LINE_BREAK, ' '))
  return {'text': text, 'label': label, 'rating': rating}


def _order(entry: tuple[str, base.Record]) -> tuple[bytes, str]:
  record = entry[1]
  digest = hashlib.sha256(record['text'].encode()).digest()
  return digest, record.get('rating', '')


def _of_tables(train: str, test: str) -> Iterator[tuple[str, base.Record]]:
  yield from splits([*table('train', train), *table('test', test)])


def _of_archive(path: str) -> Iterator[tuple[str, base.Record]]:
  labelled = (entry for entry in archive(path) if entry[0] != 'unlabelled')
  yield from splits(labelled)


def _source(records, raw, **options) -> file_source.FileSource:
  return file_source.FileSource(
    name='imdb',
    summary='film reviews, positive or negative, from a public archive',
    protocol='plain',
    labels=('label', 'rating'),
    records=records,
    raw=raw,
    **options,
  )


SOURCE = _source(_of_tables, TABLES, otherwise=_source(_of_archive, (ARCHIVE,)))
