"""What word vectors know: distances, neighbours, analogies, similarity.

Scores of many words against all vectors are products of blocks of float32
matrices, so memory is bounded whatever the numbers of words.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MEASURES = ('cosine', 'euclidean')
RULES = ('add', 'multiply')

_BLOCK = 2**24  # Scores that are in memory at a time: 64 MB in float32.
# Candidates beyond those wanted whose distances are computed exactly.
_SPARE = 16
_SMALL = 1e-6  # Keeps the denominator of the multiplicative rule positive.


class Nearest(NamedTuple):
  """The words nearest to each of N vectors, the nearest first.

  Attributes:
    rows: int64[N, K], rows of the table.
    distances: float64[N, K].
  """

  rows: np.ndarray
  distances: np.ndarray


class Answers(NamedTuple):
  """The best answers to each of N analogies, the best first.

  Attributes:
    rows: int64[N, K], rows of the table.
    scores: float32[N, K], what the rule maximises.
  """

  rows: np.ndarray
  scores: np.ndarray


class Correlation(NamedTuple):
  """How cosine similarities go with people's ratings."""

  spearman: float
  pearson: float


def unit(vectors: np.ndarray) -> np.ndarray:
  """Vectors of length 1, float32[..., E]; vectors of zeros stay zeros."""
  vectors = np.asarray(vectors, np.float32)
  lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / np.where(lengths > 0, lengths, 1)


def distances(
  first: np.ndarray, second: np.ndarray, measure: str = 'cosine'
) -> np.ndarray:
  """Distances of vectors that face each other.

  Args:
    first: float[..., E].
    second: float[..., E].
    measure: 'cosine', 1 - cos in [0, 2], which does not depend on the lengths;
      or 'euclidean'.

  Returns:
    float64[...].
  """
  first, second = np.asarray(first, float), np.asarray(second, float)
  if measure == 'euclidean':
    return np.linalg.norm(first - second, axis=-1)
  lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
  products = np.sum(first * second, axis=-1)
  return 1 - products / np.where(lengths > 0, lengths, 1)


def neighbours(
  vectors: np.ndarray,
  queries: np.ndarray,
  count: int,
  measure: str = 'cosine',
  excluded: list[np.ndarray] | None = None,
) -> Nearest:
  """The vectors nearest to each query.

  Args:
    vectors: float32[V, E], the table.
    queries: float[N, E].
    count: K, how many are wanted; at most as many as there are.
    measure: see `distances`.
    excluded: int[...] for each query, rows that are no neighbours of it.
  """
  queries = np.asarray(queries, np.float32)
  none = [np.zeros(0, int)] * len(queries)
  excluded = none if excluded is None else excluded
  most = max((len(rows) for rows in excluded), default=0)
  count = max(min(count, len(vectors) - most), 0)
  if measure == 'cosine':
    keys, offsets = unit(vectors), np.zeros(len(vectors), np.float32)
    asked = unit(queries)
  else:
    # The nearest maximises q.v - |v|^2 / 2.
    keys = np.asarray(vectors, np.float32)
    offsets, asked = np.sum(np.square(keys), axis=1) / 2, queries
  rows = np.zeros((len(queries), count), int)
  exact = np.zeros((len(queries), count))
  for block in _blocks(len(queries), len(vectors)):
    scores = asked[block] @ keys.T - offsets[None]
    for row, out in zip(scores, excluded[block], strict=True):
      row[out] = -np.inf
    found = _largest(scores, min(count + _SPARE, len(vectors) - most))
    # The spare candidates make up for what the products' rounding confuses.
    near = distances(vectors[found], queries[block][:, None], measure)
    order = np.argsort(near, axis=1, kind='stable')[:, :count]
    rows[block] = np.take_along_axis(found, order, axis=1)
    exact[block] = np.take_along_axis(near, order, axis=1)
  return Nearest(rows, exact)


def analogies(
  vectors: np.ndarray,
  questions: np.ndarray,
  rule: str = 'add',
  count: int = 1,
  same: np.ndarray | None = None,
) -> Answers:
  """Answers "a is to b as c is to ?"; none of the three words is an answer.

  'add' (3CosAdd, Mikolov et al. 2013) maximises cos(x, b - a + c) over unit
  vectors. 'multiply' (3CosMul, Levy & Goldberg 2014, equation 4) maximises
  s(x, b) s(x, c) / (s(x, a) + 1e-6), where s = (1 + cos) / 2.

  Args:
    vectors: float32[V, E], of any lengths.
    questions: int[N, 3], rows of a, b and c.
    rule: one of `RULES`.
    count: K, at most as many as there are words that may answer.
    same: int[V], equal for spellings of the same word: if one of them is in a
      question, none is an answer to it; None: all words differ.
  """
  questions = np.asarray(questions).reshape(-1, 3)
  table = unit(vectors)
  spellings = _Groups(np.arange(len(table)) if same is None else same)
  outs = [
    np.unique(np.concatenate([spellings.of(row) for row in question]))
    for question in questions
  ]
  most = max((len(out) for out in outs), default=0)
  count = max(min(count, len(table) - most), 0)
  rows = np.zeros((len(questions), count), int)
  best = np.zeros((len(questions), count), np.float32)
  for block in _blocks(len(questions), len(table)):
    scores = _scores(table, questions[block], rule)
    for row, out in zip(scores, outs[block], strict=True):
      row[out] = -np.inf
    rows[block] = _largest(scores, count)
    best[block] = np.take_along_axis(scores, rows[block], axis=1)
  return Answers(rows, best)


def similarity(
  vectors: np.ndarray, pairs: np.ndarray, ratings: np.ndarray
) -> Correlation:
  """Correlations of the pairs' cosines with ratings of their similarity.

  Args:
    vectors: float[V, E].
    pairs: int[N, 2], rows.
    ratings: float[N].
  """
  from scipy import stats

  cosines = 1 - distances(vectors[pairs[:, 0]], vectors[pairs[:, 1]])
  return Correlation(
    float(stats.spearmanr(cosines, ratings).statistic),
    float(stats.pearsonr(cosines, ratings).statistic),
  )


class _Groups:
  """Finds the words that are in the same group as a word."""

  def __init__(self, group: np.ndarray):
    self._group = np.asarray(group)
    self._order = np.argsort(self._group, kind='stable')
    self._sorted = self._group[self._order]

  def of(self, row: int) -> np.ndarray:
    """All rows of the word's group."""
    wanted = self._group[row]
    ends = np.searchsorted(self._sorted, wanted, side='right')
    return self._order[np.searchsorted(self._sorted, wanted) : ends]


def _blocks(rows: int, columns: int) -> Iterator[slice]:
  """Slices of the rows whose scores are in memory at a time."""
  size = max(1, _BLOCK // max(columns, 1))
  for first in range(0, rows, size):
    yield slice(first, first + size)


def _scores(table: np.ndarray, questions: np.ndarray, rule: str) -> np.ndarray:
  """What a rule maximises: float32[B, V]."""
  a, b, c = questions.T
  if rule == 'add':
    return unit(table[b] - table[a] + table[c]) @ table.T
  likeness = lambda rows: (1 + table[rows] @ table.T) / 2
  scores = likeness(b)
  scores *= likeness(c)
  scores /= likeness(a) + np.float32(_SMALL)
  return scores


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
  """Columns of each row's largest scores, in falling order: int64[B, K]."""
  if count <= 1:
    return np.argmax(scores, axis=1)[:, None][:, :count]
  columns = np.argpartition(-scores, count - 1, axis=1)[:, :count]
  found = np.take_along_axis(scores, columns, axis=1)
  order = np.argsort(-found, axis=1, kind='stable')
  return np.take_along_axis(columns, order, axis=1)
