r"""Tweets with the polarity of the emoticon that they had: Sentiment140.

100,000 tweets, the first 50,000 of each label ('neg', 'pos') of the 1.6 million
of Go, Bhayani & Huang 2009, 'Twitter sentiment classification using distant
supervision'. The authors removed the emoticons that they took labels from;
others (';)', ':/', '<3') remain and are removed here, since they would tell the
label. Of tweets that differ only in case, punctuation or links one is kept, and
none of those that occur with both labels, without any letter or digit, or in
the manual test. HTML entities are decoded.

Each tweet goes to a split by the SHA-256 of its letters and digits
(`base.split_of`): 88,807 train, 5,049 validate, 4,919 test. The split `manual`
has the 359 positive and negative tweets that the authors labelled by hand,
which is another task: they were chosen by subject, not by emoticon. Its 139
neutral tweets are left out.

The files are downloaded from copies on GitHub unless they are below the data
folder, as `negative.txt` and `positive.txt` with a tweet in each line or as a
table with the labels 0 and 4.
"""

from collections.abc import Iterable, Iterator
import csv
import html
import re

from rnnvae_jax.data import file_source
from rnnvae_jax.data.sources import base

LABELS = ('neg', 'pos')
_LABELS = {'0': 'neg', '4': 'pos'}  # 2 is neutral.
_GITHUB = 'https://raw.githubusercontent.com'
_TWEETS = (
  f'{_GITHUB}/geraldzakwan/iykra-sentiment-analysis/'
  '0f8dae787c1e4d239f8b03a04dccfd6ddb77a6cc/data/tweets_100k'
)
_MANUAL = (
  f'{_GITHUB}/ece324-2019/SentiNel/77d49b6d5ac39d44f4977bbb0c904133842179cf/'
  'Sentiment%20Detection/data/sentiment140Original'
)

_EMOTICON = re.compile(
  r"""
  (?<!\w)[<>]?[:;=8]['o^-]?[)(\[\]{}|\\/*@$3]+(?!\w)   # :) ;-( =/ :3
  | (?<!\w)[:;=]['o^-]?[dpox]+(?!\w)                   # :D ;P :o
  | (?<!\w)[)(\[\]][o-]?[:;=8](?!\w)                   # (: ]=
  | (?<!\w)x[dp]+(?!\w) | (?<!\w)d:(?!\w)              # xD
  | [:;=]['^-]?[)(]+                                   # great:)
  | <[/\\]?3+ | >[._]< | \^[_.-]*\^ | (?<!\w)-[_.]+-(?!\w)  # <3 ^^ -_-
  """,
  re.VERBOSE | re.IGNORECASE,
)


def without_emoticons(text: str) -> str:
  """The text without emoticons, its entities decoded, white space squeezed."""
  return ' '.join(_EMOTICON.sub(' ', html.unescape(text)).split())


def normal_form(text: str) -> str:
  """Letters and digits of a tweet without links; copies have the same."""
  text = re.sub(r'https?://\S*|www\.\S*', ' ', text.lower())
  return ''.join(c for c in text if c.isalnum())


def splits(
  labelled: Iterable[tuple[str, str]], manual: str
) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every tweet that is kept.

  Args:
    labelled: (label, tweet), labelled by emoticons.
    manual: path of the table of those that were labelled by hand.
  """
  by_hand = set()
  with open(manual, encoding='latin-1', newline='') as f:
    for value, *_, tweet in csv.reader(f):
      if value in _LABELS:
        text = without_emoticons(tweet)
        by_hand.add(normal_form(text))
        yield 'manual', {'text': text, 'label': _LABELS[value]}
  first: dict[str, base.Record] = {}
  ambiguous = set()
  for label, tweet in labelled:
    text = without_emoticons(tweet)
    key = normal_form(text)
    kept = first.setdefault(key, {'text': text, 'label': label})
    if kept['label'] != label:
      ambiguous.add(key)
  for key, record in first.items():
    if key and key not in ambiguous and key not in by_hand:
      yield base.split_of(key), record


def _lines(path: str) -> list[str]:
  with open(path, encoding='utf-8', newline='\n') as f:
    return [line.rstrip('\n') for line in f]


def _of_table(tweets: str, manual: str) -> Iterator[tuple[str, base.Record]]:
  rows = [line.split('\t') for line in _lines(tweets)]
  yield from splits(((_LABELS[value], text) for value, text in rows), manual)


def _of_texts(
  negative: str, positive: str, manual: str
) -> Iterator[tuple[str, base.Record]]:
  labelled = [('neg', line) for line in _lines(negative)]
  labelled += [('pos', line) for line in _lines(positive)]
  yield from splits(labelled, manual)


_MANUAL_NAME = 'testdata.manual.2009.06.14.csv'
_BY_HAND = base.RawFile(
  (f'sentiment140/{_MANUAL_NAME}', _MANUAL_NAME),
  'c77669cc86ae85d3807d65fc13fed0c395266db518d4eaa0ff1f19bf6efbbdd3',
  74_326,
  f'{_MANUAL}/{_MANUAL_NAME}',
)


def _texts(label: str, sha256: str, size: int) -> base.RawFile:
  name = f'{label}.txt'
  return base.RawFile(
    (f'sentiment140/{name}',), sha256, size, f'{_TWEETS}/{name}'
  )


def _source(records, raw, **options) -> file_source.FileSource:
  return file_source.FileSource(
    name='sentiment140',
    summary='tweets labelled by their emoticons, from public copies',
    protocol='tweet',
    splits=(*base.SPLITS, 'manual'),
    labels=('label',),
    records=records,
    raw=raw,
    **options,
  )


SOURCE = _source(
  _of_table,
  (
    base.RawFile(
      ('sentiment140/sentiment140_100k.tsv',),
      '7a0b16bb288af04f5a2a6f2bc6f4060008a37bb7b55539bf2114053bbbd8d567',
      7_571_119,
    ),
    _BY_HAND,
  ),
  otherwise=_source(
    _of_texts,
    (
      _texts(
        'negative',
        '91305124952116f2a29e1b1024eb74f74f6bfdf566189ffed2f0bfa9b181a3b7',
        3_730_170,
      ),
      _texts(
        'positive',
        '9974fca006a8ba35d363f2444712b16479948ba2fc9613a2d42cdd143251769d',
        3_761_148,
      ),
      _BY_HAND,
    ),
  ),
)
