"""Sentences of film reviews with their polarity (Pang & Lee 2005), version 1.0.

5,331 positive sentences (label 'pos') and 5,331 negative ones ('neg'), in lower
case and tokenised. The labels are those of the reviews. CC BY 4.0.

The files are those of NLTK's data, in UTF-8 with line feeds; the files in the
authors' archive differ and are rejected. To get and use the files:

  python -m nltk.downloader -d FOLDER sentence_polarity
  python -m rnnvae_jax.main ... --config.data.dir=FOLDER

There are no published splits; papers report ten-fold cross-validation. Here
each sentence goes to a split by the SHA-256 of its text (`base.split_of`):
9,552 train, 550 validate and 560 test, about half of each positive. No text
occurs twice.
"""

from collections.abc import Iterator

from rnnvae_jax.data import file_source
from rnnvae_jax.data.sources import base

LABELS = ('neg', 'pos')


def _file(label: str, sha256: str, size: int) -> base.RawFile:
  name = f'rt-polarity.{label}'
  places = (
    f'sentence_polarity/{name}',
    f'corpora/sentence_polarity/{name}',  # Where NLTK's downloader puts it.
    name,
  )
  return base.RawFile(places, sha256, size)


def records(*paths: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every sentence, alternating between labels."""
  lines = []
  for path in paths:
    with open(path, encoding='utf-8') as f:
      lines.append([line.strip() for line in f])
  for pair in zip(*lines, strict=True):
    for label, text in zip(LABELS, pair, strict=True):
      yield base.split_of(text), {'text': text, 'label': label}


SOURCE = file_source.FileSource(
  name='sentence_polarity',
  summary='sentences of film reviews, positive or negative, from NLTK data',
  protocol='mikolov',
  labels=('label',),
  obtain='`python -m nltk.downloader -d FOLDER sentence_polarity` gets them.',
  records=records,
  raw=(
    _file(
      'neg',
      '614274f81185a850e5a88d533d4679f916d6f62e9af6f0b4ec71fb94bf466ea5',
      612_441,
    ),
    _file(
      'pos',
      'c2dc6b2f55bcf725725372916287cc3f8f9b19402edaa9167de5287cb3ade421',
      626_334,
    ),
  ),
)
