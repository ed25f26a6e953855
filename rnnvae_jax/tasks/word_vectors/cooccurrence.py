"""Counts of words that occur near each other, in bounded memory.

The text is read in chunks. A chunk's pairs are sorted and counted; where there
is more than one chunk, sorted counts are spilled to files, which are merged at
the end. Beside the text and the result there are never more than about
`memory` pairs in memory, of 8 bytes and a few copies each.
"""

from collections.abc import Iterator, Sequence
import os
import tempfile
from typing import NamedTuple

import numpy as np

MEMORY = 2**24  # Pairs of a chunk: about half a gigabyte with its copies.


class Counts(NamedTuple):
  """The entries of the matrix of co-occurrences that are not 0.

  It is symmetric, and has both halves: (i, j) as well as (j, i).

  Attributes:
    rows: int32[N].
    columns: int32[N].
    values: float32[N], each pair of words in a sentence counted 1 / distance;
      a pair of equal words is counted in both directions, so twice.
  """

  rows: np.ndarray
  columns: np.ndarray
  values: np.ndarray


class _Run(NamedTuple):
  """Counts of unordered pairs of words.

  Attributes:
    keys: int64[N], smaller id * V + larger id, ascending, all different.
    values: float64[N].
  """

  keys: np.ndarray
  values: np.ndarray


def count(
  words: np.ndarray,
  sentences: np.ndarray,
  size: int,
  window: int,
  memory: int = MEMORY,
  folder: str | None = None,
) -> Counts:
  """Counts the pairs of words at a distance of at most `window`.

  Args:
    words: int[N], ids in [0, size), one sentence after the other.
    sentences: int[N], the sentence of each word; pairs are within a sentence.
    size: V, the number of words.
    window: largest distance; neighbours have the distance 1.
    memory: pairs that are in memory at a time.
    folder: where counts are spilled; None: the system's for temporary files.
  """
  step = max(memory // window, 1)
  starts = range(0, len(words), step)
  chunks = (
    _counted(_keys(words, sentences, size, window, s, s + step), window)
    for s in starts
  )
  if len(starts) <= 1:
    return _both_halves(next(chunks, _EMPTY), size)
  with tempfile.TemporaryDirectory(dir=folder) as spilled:
    runs = [
      _spill(run, os.path.join(spilled, str(number)))
      for number, run in enumerate(chunks)
    ]
    parts = list(_merged(runs, memory))
    del runs  # Closes the files.
  whole = _Run(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
  return _both_halves(whole, size)


_EMPTY = _Run(np.zeros(0, np.int64), np.zeros(0))


def _keys(
  words: np.ndarray,
  sentences: np.ndarray,
  size: int,
  window: int,
  start: int,
  stop: int,
) -> np.ndarray:
  """Pairs whose second word is one of [start, stop): int64[n].

  A number is (key of the pair) * window + distance - 1, so that one sort of
  plain numbers brings equal pairs together, whatever their distances.
  """
  found = []
  for distance in range(1, window + 1):
    first = max(start, distance)
    end = min(stop, len(words))
    rights = slice(first, max(end, first))
    lefts = slice(first - distance, rights.stop - distance)
    near = sentences[rights] == sentences[lefts]
    left = words[lefts][near].astype(np.int64)
    right = words[rights][near].astype(np.int64)
    keys = np.minimum(left, right) * size + np.maximum(left, right)
    found.append(keys * window + (distance - 1))
  return np.concatenate(found)


def _counted(keys: np.ndarray, window: int) -> _Run:
  """The counts of what `_keys` returns."""
  keys.sort()
  pairs, distances = np.divmod(keys, window)
  return _summed(pairs, 1 / (distances + 1))


def _summed(keys: np.ndarray, values: np.ndarray) -> _Run:
  """Adds up the values of equal keys, which are in ascending order."""
  if not len(keys):
    return _EMPTY
  is_new = np.concatenate([[True], keys[1:] != keys[:-1]])
  starts = np.flatnonzero(is_new)
  return _Run(keys[starts], np.add.reduceat(values, starts))


def _spill(run: _Run, path: str) -> _Run:
  """Writes a run to files; the arrays returned are read from there."""
  arrays = []
  for name, array in zip(_Run._fields, run, strict=True):
    np.save(f'{path}.{name}.npy', array)
    arrays.append(np.load(f'{path}.{name}.npy', mmap_mode='r'))
  return _Run(*arrays)


def _merged(runs: Sequence[_Run], memory: int) -> Iterator[_Run]:
  """Merges runs, by ranges of keys that fit into memory."""
  places = [0] * len(runs)
  step = max(memory // len(runs), 1)
  while True:
    left = [
      (run.keys, p)
      for run, p in zip(runs, places, strict=True)
      if p < len(run.keys)
    ]
    if not left:
      return
    # Up to this key no run has more than `step` keys.
    last = min(keys[min(p + step, len(keys)) - 1] for keys, p in left)
    keys, values = [], []
    for number, run in enumerate(runs):
      place = places[number]
      some = run.keys[place : place + step]
      places[number] = end = place + int(np.searchsorted(some, last, 'right'))
      keys.append(run.keys[place:end])
      values.append(run.values[place:end])
    all_keys = np.concatenate(keys)
    order = np.argsort(all_keys, kind='stable')
    yield _summed(all_keys[order], np.concatenate(values)[order])


def _both_halves(run: _Run, size: int) -> Counts:
  rows, columns = np.divmod(run.keys, size)
  rows, columns = rows.astype(np.int32), columns.astype(np.int32)
  values = np.where(rows == columns, 2 * run.values, run.values)
  values = values.astype(np.float32)
  other = rows != columns
  return Counts(
    np.concatenate([rows, columns[other]]),
    np.concatenate([columns, rows[other]]),
    np.concatenate([values, values[other]]),
  )
