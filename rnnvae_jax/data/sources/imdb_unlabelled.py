"""Film reviews for language models: those of `imdb` and 50,000 without a label.

The training split is that of `imdb` and the unlabelled reviews of the same
archive; the other splits are those of `imdb`, all without labels. So a language
model of it can be the beginning of a classifier of `imdb`.

Of the unlabelled reviews, 109 are test reviews as published, letter by letter,
and 159 more are but for white space and punctuation. All of these are left out,
and so are 37 copies of validation reviews: what a model is evaluated on it has
not read. 49,695 unlabelled reviews remain, 72,209 in all to train on.
The unlabelled reviews had line breaks, which were removed without a space in
their place ('better.So').
"""

from collections.abc import Iterable, Iterator
import gzip

from rnnvae_jax.data import file_source
from rnnvae_jax.data.sources import base, imdb

_UNLABELLED = base.RawFile(
  ('imdb/unlabelled.tsv.gz',),
  'b43bee43dba87fe5f63349771385c6547abcd7ba9d39aa92ee7be5c68d88dee2',
  25_555_848,
)


def without_copies(
  labelled: Iterable[tuple[str, base.Record]], unlabelled: Iterable[str]
) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of labelled texts, then of the others.

  Args:
    labelled: (split, record).
    unlabelled: texts, of which copies of those to be evaluated are left out.
  """
  evaluated = set()
  for split, record in labelled:
    if split != 'train':
      evaluated.add(imdb.normal_form(record['text']))
    yield split, {'text': record['text']}
  for text in unlabelled:
    if imdb.normal_form(text) not in evaluated:
      yield 'train', {'text': text}


def _of_tables(
  train: str, test: str, unlabelled: str
) -> Iterator[tuple[str, base.Record]]:
  tables = [*imdb.table('train', train), *imdb.table('test', test)]
  with gzip.open(unlabelled, 'rt', encoding='utf-8', newline='\n') as f:
    texts = [imdb.squeezed(line.split('\t')[1]) for line in f]
  yield from without_copies(imdb.splits(tables), sorted(texts))


def _of_archive(path: str) -> Iterator[tuple[str, base.Record]]:
  labelled, texts = [], []
  for split, record in imdb.archive(path):
    if split == 'unlabelled':
      texts.append(record['text'])
    else:
      labelled.append((split, record))
  yield from without_copies(imdb.splits(labelled), sorted(texts))


def _source(records, raw, **options) -> file_source.FileSource:
  return file_source.FileSource(
    name='imdb_unlabelled',
    summary='film reviews for language models, from a public archive',
    protocol='plain',
    records=records,
    raw=raw,
    **options,
  )


SOURCE = _source(
  _of_tables,
  (*imdb.TABLES, _UNLABELLED),
  otherwise=_source(_of_archive, (imdb.ARCHIVE,)),
)
