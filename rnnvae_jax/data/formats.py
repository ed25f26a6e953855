"""Reads text from a folder or a file into records for each split.

A folder has a file for each of train, valid and test: `train.txt`,
`train.tokens` or `train.raw`, optionally with `.gz` and with a prefix
(`yahoo.train.txt`, `wiki.train.tokens`), in UTF-8. A line is a sentence; under
the protocol `plain` it may be a whole paragraph, which is then split into
sentences. In a labelled folder each line begins with a label and a tab.

In a text of columns (`train.txt` or `train.conll`) each line has a token and,
in the last column, its tag, unless other columns are named; blank lines
separate sentences, as in CoNLL's shared tasks. A `.csv` file is a table: its
column `text` is the text, the other columns are labels. A single file is cut
into splits, of which train comes first. It is cut at line ends, unless it is
read as a stream of characters.

Lines end with a line feed, which may follow a carriage return; in a file
without line feeds they end with a carriage return. A file may be a pipe, which
can be read only once. A byte order mark is dropped. For files that are not text
the error names the path and, if possible, the line.
"""

import codecs
from collections.abc import Sequence
import csv
import gzip
import io
import os
import re
import sys
from typing import NamedTuple
import zlib

import numpy as np

from rnnvae_jax.data import encodings, schemes

SPLITS = ('train', 'valid', 'test')
# File name endings; if a folder has several, the first in this list is read.
_ENDINGS = ('.txt', '.tokens', '.raw', '.csv', '.conll')
# Typical column names: a first line with two of them is the header of a table.
_COLUMNS = frozenset(
  (
    *('author', 'category', 'class', 'comment', 'content', 'created_at'),
    *('date', 'id', 'index', 'label', 'language', 'rating', 'review', 'score'),
    *('sentence', 'sentiment', 'source', 'tag', 'target', 'text', 'timestamp'),
    *('title', 'topic', 'tweet', 'url', 'user'),
  )
)

# How many times its size a gzip file may unpack to. Usual text is packed to a
# tenth, repetitive text to a fiftieth; what is made to fill the memory, to a
# thousandth.
_LARGEST_RATIO = 200
_SMALL_BYTES = 2**28  # As much is always legal.

# What the library raises on a file that is no intact gzip file.
PACKING_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)

Record = dict[str, str]


class Layout(NamedTuple):
  """Where in a text in columns tokens and tags are, counted from 1."""

  word: int = 1
  tag: int = -1  # The last.
  scheme: str = 'none'  # See `schemes`.


FIRST_AND_LAST = Layout()


def read(
  path: str,
  labelled: bool = False,
  valid_share: float = 0.1,
  test_share: float = 0.0,
  *,
  columns: bool = False,
  as_given: bool = False,
  word_column: int = 1,
  tag_column: int = -1,
  tag_scheme: str = 'none',
) -> dict[str, list[Record]]:
  """Reads the records of each split.

  Args:
    path: path of a folder or a file.
    labelled: whether lines of a folder begin with a label and a tab.
    valid_share: share of a file's characters in the split valid.
    test_share: share of a file's characters, the last ones, in the split test;
      0: no test split.
    columns: whether each line has a token and its tag, in columns.
    as_given: whether the text is a stream of characters: carriage returns are
      kept, and a file may be cut within lines.
    word_column: which column has the tokens; 1 is the first, -1 the last.
    tag_column: which column has the tags.
    tag_scheme: how tags mark spans; see `schemes`.

  Returns:
    By split, records with the key 'text' and their labels, if any; for columns
    with 'tags', one tag for each word of the text.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file does not have the expected format.
  """
  layout = Layout(word_column, tag_column, tag_scheme) if columns else None
  if os.path.isdir(path):
    return {
      split: _read_file(file, labelled, layout, as_given)
      for split, file in split_paths(path).items()
    }
  if labelled:
    raise ValueError(
      f'labelled = True is for folders, {path!r} is a file. Legal: False.'
    )
  records = _read_file(path, columns=layout, as_given=as_given)
  if not as_given:
    return _cut_records(path, records, valid_share, test_share)
  text = ''.join(record['text'] + '\n' for record in records)
  return {
    split: [{'text': line} for line in part.split('\n')]
    for split, part in cut(text, valid_share, test_share, path).items()
  }


def cut(
  text: str, valid_share: float, test_share: float, where: str = 'a text'
) -> dict[str, str]:
  """Cuts a text into splits: train first, then valid and test.

  Raises:
    ValueError: a split would be empty; the message begins with `where`.
  """
  valid = int(len(text) * (1 - valid_share - test_share))
  test = int(len(text) * (1 - test_share)) if test_share else len(text)
  parts = {'train': text[:valid], 'valid': text[valid:test]}
  if test_share:
    parts['test'] = text[test:]
  for split, part in parts.items():
    if not part.strip():
      raise _none_left(where, split, len(text), valid_share, test_share)
  return parts


def _cut_records(
  path: str,
  records: list[Record],
  valid_share: float,
  test_share: float,
) -> dict[str, list[Record]]:
  """Cuts records by the shares of `cut`, at the nearest line ends.

  Raises:
    ValueError: there are too few lines, or all lines of a split are blank.
  """
  sizes = np.array([len(record['text']) + 1 for record in records])
  starts, total = np.cumsum(sizes) - sizes, int(sizes.sum())
  if not valid_share:
    raise _none_left(path, 'valid', total, valid_share, test_share)
  shares = [valid_share + test_share, *[test_share][: test_share > 0]]
  bounds = [0]
  for number, share in enumerate(shares):
    last = len(records) - len(shares) + number
    if last <= bounds[-1]:
      raise ValueError(
        f'{path} has too few lines to be cut into {len(shares) + 1} splits at '
        f'line ends: {len(records)}. Make a folder of one file each, or read '
        'it as a stream of characters: stream = True and protocol = '
        "'characters' or 'bytes'."
      )
    nearest = int(np.argmin(np.abs(starts - total * (1 - share))))
    bounds.append(min(max(nearest, bounds[-1] + 1), last))
  bounds.append(len(records))
  parts = {
    split: records[begin:end]
    for split, begin, end in zip(SPLITS, bounds, bounds[1:], strict=False)
  }
  for split, part in parts.items():
    if not any(record['text'].strip() for record in part):
      raise _none_left(path, split, total, valid_share, test_share)
  return parts


def _none_left(where, split, total, valid_share, test_share) -> ValueError:
  return ValueError(
    f'{where}: valid_share = {valid_share} and test_share = {test_share} of '
    f'{total} characters leave none for {split}.'
  )


def prefixes(records: Sequence[Record]) -> int:
  """Counts the likely labels in lines that are read without labels.

  Returns:
    The number of different texts before a tab, if each line that is not blank
    has one tab and few different texts precede it; else 0.
  """
  lines = [r['text'] for r in records if r['text'].strip()]
  if not lines or any(line.count('\t') != 1 for line in lines):
    return 0
  found = len({line.partition('\t')[0] for line in lines})
  return found if 2 * found <= len(lines) and found <= 100 else 0


def _read_file(
  path: str,
  labelled: bool = False,
  columns: Layout | None = None,
  as_given: bool = False,
) -> list[Record]:
  """Reads the records of a file."""
  if path.removesuffix('.gz').endswith('.csv'):
    if labelled or columns:
      raise ValueError(
        f'{path} is a table, whose columns are its labels. Legal: labelled = '
        'False and columns = False.'
      )
    return _read_table(path)
  lines = read_lines(path, as_given)
  if columns:
    return read_columns(path, lines, columns)
  check_no_table(path, lines)
  if labelled:
    return [
      _labelled(line, f'{path}, line {number}')
      for number, line in enumerate(lines, 1)
    ]
  return [{'text': line} for line in lines]


def _labelled(line: str, where: str) -> Record:
  label, tab, text = line.partition('\t')
  if line.strip() and not tab:
    raise ValueError(
      f'{where} has no tab after a label. Lines without labels want '
      'labelled = False.'
    )
  return {'text': text, 'label': label}


def read_columns(
  path: str, lines: Sequence[str], layout: Layout = FIRST_AND_LAST
) -> list[Record]:
  """Makes a record of each sentence: its tokens and tags, joined by spaces.

  Columns are separated by tabs, or by spaces in lines without a tab. Lines that
  begin with `-DOCSTART-` separate documents and are skipped.

  Raises:
    ValueError: a line lacks a column, or a tag breaks the scheme.
  """
  records: list[Record] = []
  sentence: list[tuple[str, str]] = []
  count, first = 0, 1  # Columns of the sentence, and its first line.
  for number, line in enumerate((*lines, ''), 1):
    check_line_end(f'{path}, line {number}', line)
    fields = cells(line)
    if not any(fields):
      if sentence:
        tokens, tags = zip(*sentence, strict=True)
        wrong = schemes.fault(tags, layout.scheme)
        if wrong:
          raise ValueError(f'{path}, line {first + wrong[0]}: {wrong[1]}.')
        records.append({'text': ' '.join(tokens), 'tags': ' '.join(tags)})
        sentence = []
      continue
    if fields[0] == '-DOCSTART-':
      continue
    if not sentence:
      count, first = len(fields), number
    token, tag = (column(fields, at) for at in layout[:2])
    if len(fields) < 2 or len(token.split()) != 1 or len(tag.split()) != 1:
      raise ValueError(
        f'{path}, line {number}: {line!r} is not a token and its tag, in '
        f'columns separated by tabs or spaces: word_column = {layout.word}, '
        f'tag_column = {layout.tag}.'
      )
    if len(fields) != count:
      raise ValueError(
        f'{path}, line {number}: {line!r} has {len(fields)} columns; line '
        f'{first}, where the sentence begins, has {count}.'
      )
    sentence.append((token, tag))
  if not records:
    raise ValueError(f'{path} holds no token.')
  return records


def check_line_end(where: str, line: str) -> None:
  """Raises ValueError for a carriage return that ends a line within a line.

  Words after it would be read as columns, and lost.
  """
  if '\r' in line.strip():
    raise ValueError(
      f'{where}: there is a carriage return within the line {line[:60]!r}: the '
      'file mixes line ends. End all lines with a line feed, as `dos2unix -c '
      'mac` or `tr "\\r" "\\n"` does.'
    )


def cells(line: str) -> list[str]:
  """The cells of a line, separated by tabs, or by spaces if it has no tab."""
  parts = line.split('\t') if '\t' in line else line.split()
  return [part.strip() for part in parts]


def column(fields: Sequence[str], at: int) -> str:
  """A column, counted from 1, or from the end; '' where there is none."""
  place = at - 1 if at > 0 else at
  return fields[place] if at and -len(fields) <= place < len(fields) else ''


def _read_table(path: str) -> list[Record]:
  """Makes a record of each row of a CSV table; the first line is the header."""
  text = _read_text(path)
  rows = csv.reader(io.StringIO(text, newline=''), strict=True)
  records = []
  try:
    names = [name.strip() for name in next(rows)]
    if 'text' not in names:
      raise ValueError(
        f'{path} is a table with the columns {", ".join(names)}: one of them '
        "must be named 'text'. A file of sentences alone is a .txt file."
      )
    for row in rows:
      if row and len(row) != len(names):
        raise ValueError(
          f'{path}, line {rows.line_num}: the row has {len(row)} columns, the '
          f'header {len(names)}.'
        )
      if row:
        records.append(dict(zip(names, row, strict=True)))
  except csv.Error as error:
    raise ValueError(
      f'{path}, line {rows.line_num}: no row of a table: {error}.'
    ) from error
  if not records:
    raise ValueError(f'{path} has no row below its header.')
  return records


def check_no_table(path: str, lines: Sequence[str]) -> None:
  """Raises ValueError if the first line looks like the header of a table."""
  names = [name.strip(' "\'').lower() for name in lines[0].split(',')]
  is_header = (
    len(lines) > 1
    and sum(name in _COLUMNS for name in names) >= 2
    and all(re.fullmatch(r'\w{0,30}', name) for name in names)
  )
  if is_header:
    raise ValueError(
      f'{path} is a table, and its header, commas and quotes would become '
      f'words: its first line is {lines[0]!r}. Name it .csv, and its column '
      "'text' is read; or leave nothing but sentences in it."
    )


def split_paths(folder: str) -> dict[str, str]:
  """The file of each split; an uncompressed file is preferred to its `.gz`.

  Raises:
    FileNotFoundError: a split has none.
    ValueError: a split has several.
  """
  there = sorted(os.listdir(folder))
  paths = {}
  for split in SPLITS:
    names = [f'{split}{end}{gz}' for end in _ENDINGS for gz in ('', '.gz')]
    found = [name for name in names if name in there][:1]
    if not found:
      ends = tuple(f'.{name}' for name in names)
      found = [name for name in there if name.endswith(ends)]
    if len(found) > 1:
      raise ValueError(
        f'{folder} holds more than one {split} split: {", ".join(found)}.'
      )
    if not found:
      listed = ', '.join(there[:10]) or 'nothing'
      raise FileNotFoundError(
        f'{os.path.join(folder, split)}.txt is missing, and so is '
        f'{split}.txt.gz: a corpus folder holds train.txt, valid.txt and '
        f'test.txt. This one holds {listed}.'
      )
    paths[split] = os.path.join(folder, found[0])
  return paths


def read_lines(path: str, as_given: bool = False) -> list[str]:
  """Reads the lines of a UTF-8 text file.

  Args:
    path: path of a file or a named pipe, or '-' for standard input. gzip is
      recognised by the name or the content.
    as_given: whether only line feeds end lines, and carriage returns are text.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is empty, binary, not UTF-8, a damaged `.gz`, or one
      that unpacks to far more than text does.
  """
  text = _read_text(path)
  if not as_given:
    if '\n' in text:
      text = text.replace('\r\n', '\n')
    else:
      text = text.replace('\r', '\n')
  # Not splitlines(), which also splits at form feeds and other characters.
  return text.removesuffix('\n').split('\n')


def _read_text(path: str) -> str:
  if path == '-':
    return _whole(sys.stdin.buffer.read(), 'standard input')
  if not os.path.exists(path) or os.path.isdir(path):
    raise FileNotFoundError(f'{path} is no file.')
  with open(path, 'rb') as f:
    data = f.read()
  if path.endswith('.gz') or data.startswith(b'\x1f\x8b'):
    data = _unpacked(data, path)
  if not data and not os.path.isfile(path):
    raise ValueError(
      f'{path} is empty; a pipe can be read only once, by one process.'
    )
  return _whole(data, path)


def _whole(data: bytes, source: str) -> str:
  text = decode(data, source)
  if not text.strip():
    raise ValueError(f'{source} is empty.')
  return text


def _unpacked(data: bytes, path: str) -> bytes:
  limit = most_unpacked(len(data))
  try:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as f:
      unpacked = f.read(limit + 1)
  except PACKING_ERRORS as error:
    raise ValueError(f'{path} is no intact gzip file: {error}.') from error
  if len(unpacked) > limit:
    raise ValueError(bomb(path, len(data)))
  return unpacked


def most_unpacked(size: int) -> int:
  """The bytes that a gzip file of so many bytes may unpack to."""
  return max(_SMALL_BYTES, _LARGEST_RATIO * size)


def bomb(path: str, size: int) -> str:
  """The message about a gzip file that unpacks to more than it may."""
  return (
    f'{path} has {size:,} bytes and unpacks to more than '
    f'{most_unpacked(size):,}, as no usual text does. If it is meant, unpack '
    'it and name the result.'
  )


def decode(data: bytes, source: str, first: int = 1) -> str:
  """Decodes a text, or a part of one that begins with line `first`.

  Raises:
    ValueError: it is binary or not UTF-8; the message names the line.
  """
  if first == 1 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    raise ValueError(
      f'{source} is UTF-16. Text is wanted in UTF-8: convert it with '
      f'{encodings.conversion("UTF-16")}.'
    )
  if first == 1:
    data = data.removeprefix(codecs.BOM_UTF8)  # Some editors write it.
  if b'\0' in data:
    line = data.count(b'\n', 0, data.index(b'\0')) + first
    raise ValueError(
      f'{source} is binary: there is a NUL byte in line {line}. Text is wanted '
      'in UTF-8; UTF-16 has to be converted.'
    )
  try:
    return data.decode()
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + first
    raise ValueError(
      f'{source}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. '
      f'{encodings.advice(data, error.start)}'
    ) from error
