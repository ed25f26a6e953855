"""The n-grams of sentences as sparse vectors.

Features are the n-grams of a training text themselves, none is hashed: first
the shortest ones, those of one length in the order of their tokens' ids.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any

import numpy as np

from rnnvae_jax.data import vocab

WEIGHTINGS = ('presence', 'counts', 'tf_idf')


@dataclasses.dataclass(frozen=True)
class NGramFeatures:
  """The n-grams that are features.

  An n-gram is numbered by its first n - 1 tokens and its last one, so that
  array operations find those of a whole text at once. It lies within a sentence
  and has no unknown word.

  Attributes:
    keys: for each length from 1 on, int64[N], sorted: the number of the n-gram
      without its last token, times V, plus the last token.
    shortest: length of the shortest n-grams that are features.
    vocab_size: V.
  """

  keys: tuple[np.ndarray, ...]
  shortest: int
  vocab_size: int

  @classmethod
  def fit(
    cls,
    tokens: np.ndarray,
    vocab_size: int,
    shortest: int,
    longest: int,
    min_count: int = 1,
  ) -> 'NGramFeatures':
    """Finds the n-grams of a text.

    Args:
      tokens: int[T], sentences one after the other, each ended by eos.
      vocab_size: V.
      shortest: length of the shortest n-grams.
      longest: length of the longest ones.
      min_count: n-grams seen less often are no features.

    Raises:
      ValueError: there is none.
    """
    all_keys: list[np.ndarray] = []
    for places, wanted in _candidates(tokens, vocab_size, all_keys, longest):
      del places
      keys, counts = np.unique(wanted, return_counts=True)
      all_keys.append(keys[counts >= min_count])
    if not sum(map(len, all_keys[shortest - 1 :])):
      raise ValueError(
        f'No n-gram of {shortest} to {longest} tokens occurs {min_count} times '
        'in the training text.'
      )
    return cls(tuple(all_keys), shortest, vocab_size)

  def __len__(self) -> int:
    return sum(len(keys) for keys in self.keys[self.shortest - 1 :])

  def matrix(self, tokens: np.ndarray, lengths: np.ndarray) -> Any:
    """How often each sentence has each feature.

    Args:
      tokens: int[T], sentences one after the other, each ended by eos.
      lengths: int[N], their numbers of tokens, eos counted.

    Returns:
      scipy.sparse.csr_matrix float64[N, F].
    """
    from scipy import sparse

    sentence = np.repeat(np.arange(len(lengths)), lengths)
    rows, columns = [], []
    offset = 0
    found = _numbers(tokens, self.vocab_size, self.keys)
    for length, (places, numbers) in enumerate(found, 1):
      if length >= self.shortest:
        rows.append(sentence[places])
        columns.append(numbers + offset)
        offset += len(self.keys[length - 1])
    row, column = np.concatenate(rows), np.concatenate(columns)
    counts = sparse.csr_matrix(
      (np.ones(len(row)), (row, column)), (len(lengths), len(self))
    )
    counts.sum_duplicates()
    return counts

  def tokens_of(self, feature: int) -> list[int]:
    """The token ids of a feature."""
    length = self.shortest
    while feature >= len(self.keys[length - 1]):
      feature -= len(self.keys[length - 1])
      length += 1
    ids: list[int] = []
    for keys in self.keys[length - 1 :: -1]:
      feature, token = divmod(int(keys[feature]), self.vocab_size)
      ids.insert(0, token)
    return ids


def _candidates(
  tokens: np.ndarray,
  vocab_size: int,
  all_keys: Sequence[np.ndarray],
  longest: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """For each length the places where such an n-gram may end, and its key.

  Args:
    tokens: int[T].
    vocab_size: V.
    all_keys: known keys by length; when the next length is asked for, those of
      the last one must be there.
    longest: the last length.

  Yields:
    int[P], indices into the tokens; int64[P], keys.
  """
  is_word = (tokens != vocab.EOS) & (tokens != vocab.UNK)
  places = np.flatnonzero(is_word)
  number = np.zeros(len(places), np.int64)
  for length in range(1, longest + 1):
    wanted = number * vocab_size + tokens[places]
    yield places, wanted
    if length == longest:
      return
    # An n-gram continues where it is known and a word follows.
    number, known = find(all_keys[length - 1], wanted)
    known &= places + 1 < len(tokens)
    places, number = places[known] + 1, number[known]
    follows = is_word[places]
    places, number = places[follows], number[follows]


def _numbers(
  tokens: np.ndarray, vocab_size: int, all_keys: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """For each length the places where known n-grams end, and their numbers."""
  candidates = _candidates(tokens, vocab_size, all_keys, len(all_keys))
  for keys, (places, wanted) in zip(all_keys, candidates, strict=True):
    number, known = find(keys, wanted)
    yield places[known], number[known]


def find(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Where wanted keys stand in sorted ones, and which of them are there."""
  if not len(keys):
    return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
  place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
  return place, keys[place] == wanted


def inverse_frequency(counts: Any) -> np.ndarray:
  """log((1 + N) / (1 + n)) + 1 of features in n of N sentences: float64[F]."""
  sentences = np.bincount(counts.indices, minlength=counts.shape[1])
  return np.log((1 + counts.shape[0]) / (1 + sentences)) + 1


def weighted(
  counts: Any, weighting: str, frequency: np.ndarray | None = None
) -> Any:
  """The vectors that a classifier reads.

  Args:
    counts: see `NGramFeatures.count`.
    weighting: 'presence', 1 for each feature that is there; 'counts'; or
      'tf_idf', counts times `frequency`, each vector with the length 1.
    frequency: float[F], see `inverse_frequency`.
  """
  x = counts.copy()
  if weighting == 'presence':
    x.data[:] = 1.0
  elif weighting == 'tf_idf':
    assert frequency is not None
    x.data *= frequency[x.indices]
    squares = np.asarray(x.multiply(x).sum(axis=1)).ravel()
    norms = np.sqrt(np.where(squares > 0, squares, 1.0))
    x.data /= np.repeat(norms, np.diff(x.indptr))
  return x
