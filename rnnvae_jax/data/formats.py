"""Text from a folder or a file, as records per split.

A folder holds `train.txt`, `valid.txt` and `test.txt`, each optionally `.gz`
and with a name before (`yahoo.train.txt`), in UTF-8. A line is a sentence;
under the protocol `plain` it may be a whole paragraph, which is then split into
sentences. In a labelled folder a label and a tab come first. A single text file
is cut into splits: its first part trains. What is not text is refused with the
path and, where there is one, the line.
"""

import codecs
import gzip
import os
import sys
import zlib

SPLITS = ('train', 'valid', 'test')


def read(
  path: str,
  labelled: bool = False,
  valid_share: float = 0.1,
  test_share: float = 0.0,
) -> dict[str, list[dict[str, str]]]:
  """The records of each split.

  Args:
    path: of a folder or a file.
    labelled: lines of a folder begin with a label and a tab.
    valid_share: of a file's characters, that validate.
    test_share: of its characters, the last ones, that test; 0: there is no
      such split.

  Returns:
    By split, records with the key 'text' and their labels, if any.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is not the expected text.
  """
  if os.path.isfile(path):
    if labelled:
      raise ValueError(
        f'labelled = True is for folders, {path!r} is a file. Legal: False.'
      )
    text = '\n'.join(read_lines(path)) + '\n'
    parts = cut(text, valid_share, test_share)
    return {
      split: [{'text': line} for line in part.split('\n')]
      for split, part in parts.items()
    }
  as_record = _labelled if labelled else lambda line, where: {'text': line}
  return {
    split: [
      as_record(line, f'{file}, line {number}')
      for number, line in enumerate(read_lines(file), 1)
    ]
    for split, file in _split_paths(path).items()
  }


def cut(text: str, valid_share: float, test_share: float) -> dict[str, str]:
  """A text's splits: the first part trains, then these shares of it follow.

  Raises:
    ValueError: nothing is left to train on, or a share is of no character.
  """
  valid = int(len(text) * (1 - valid_share - test_share))
  test = int(len(text) * (1 - test_share)) if test_share else len(text)
  parts = {'train': text[:valid], 'valid': text[valid:test]}
  if test_share:
    parts['test'] = text[test:]
  for split, part in parts.items():
    if not part.strip():
      raise ValueError(
        f'valid_share = {valid_share} and test_share = '
        f'{test_share} of {len(text)} characters leave none for {split}.'
      )
  return parts


def _labelled(line: str, where: str) -> dict[str, str]:
  label, tab, text = line.partition('\t')
  if line.strip() and not tab:
    raise ValueError(
      f'{where} has no tab after a label. Lines without labels want '
      'labelled = False.'
    )
  return {'text': text, 'label': label}


def _split_paths(folder: str) -> dict[str, str]:
  """The file of each split; an uncompressed one comes before its `.gz`."""
  paths = {}
  for split in SPLITS:
    plain = os.path.join(folder, f'{split}.txt')
    found = [p for p in (plain, f'{plain}.gz') if os.path.isfile(p)]
    if not found:
      named = (f'.{split}.txt', f'.{split}.txt.gz')
      found = [
        os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if name.endswith(named)
      ]
      if len(found) > 1:
        names = ', '.join(map(os.path.basename, found))
        raise ValueError(
          f'{folder} holds more than one {split} split: {names}.'
        )
    if not found:
      there = ', '.join(sorted(os.listdir(folder))[:10]) or 'nothing'
      raise FileNotFoundError(
        f'{plain} is missing, and so is {split}.txt.gz: a corpus folder holds '
        f'train.txt, valid.txt and test.txt. This one holds {there}.'
      )
    paths[split] = found[0]
  return paths


def read_lines(path: str) -> list[str]:
  """The lines of a UTF-8 text file, '-' being standard input.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is empty, binary, not UTF-8 or a damaged `.gz`.
  """
  if path == '-':
    return _decode(sys.stdin.buffer.read(), 'standard input')
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path} is no file.')
  try:
    with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as f:
      data = f.read()
  except (gzip.BadGzipFile, EOFError, zlib.error) as error:
    raise ValueError(f'{path} is no intact gzip file: {error}.') from error
  return _decode(data, path)


def _decode(data: bytes, source: str) -> list[str]:
  data = data.removeprefix(codecs.BOM_UTF8)  # Some editors put it first.
  if not data.strip():
    raise ValueError(f'{source} is empty.')
  if b'\0' in data:
    line = data.count(b'\n', 0, data.index(b'\0')) + 1
    raise ValueError(
      f'{source} is binary: there is a NUL byte in line {line}. Text is wanted '
      'in UTF-8; UTF-16 has to be converted.'
    )
  try:
    text = data.decode()
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + 1
    raise ValueError(
      f'{source}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. '
      'Convert the file first, as with `iconv -f latin1 -t utf-8`.'
    ) from error
  # Not splitlines(), to which form feeds and the like end lines as well.
  return text.removesuffix('\n').split('\n')
