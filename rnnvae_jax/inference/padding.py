"""Rows and lengths padded to a few static sizes, and back.

So that a function is traced once for each of them, whatever texts it is given.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches

# Numbers of rows that programs are compiled for.
ROWS = (1, 2, 4, 8, 16, 24, 32, 64, 128, 256)
# Lengths differ less among fewer texts, so less is padding. Therefore a batch
# with more rows than keep the machine busy has at most so many tokens.
_BUSY_ROWS = 32
_TOKENS = 2**14


def static_rows(count: int) -> int:
  """The smallest compiled number of rows that holds `count`, or the largest."""
  return next((size for size in ROWS if size >= count), ROWS[-1])


def static_length(length: int) -> int:
  """The smallest of 0, 8, 12, 16, 24, 32, 48, ... that is not below `length`.

  So at most half of a padded length is padding, and mostly a quarter.
  """
  if not length:
    return 0
  size = 8
  while size < length:
    if size * 3 // 2 >= length:
      return size * 3 // 2
    size *= 2
  return size


def batch_ends(lengths: np.ndarray, most_rows: int) -> list[int]:
  """Cuts texts into batches.

  Args:
    lengths: int[N], of the texts, the shortest first.
    most_rows: of a batch, at most.

  Returns:
    Where each batch ends; it begins where the one before ends.
  """
  ends, start = [], 0
  while start < len(lengths):
    rows = most_rows
    while rows > _BUSY_ROWS:
      longest = lengths[min(start + rows, len(lengths)) - 1]
      if rows * static_length(int(longest)) <= _TOKENS:
        break
      rows = max(rows // 2, _BUSY_ROWS)
    start = min(start + rows, len(lengths))
    ends.append(start)
  return ends


def choose(valid, new, old):
  """Each row's new value where it is valid, else its old one."""

  def pick(new, old):
    shape = len(valid), *[1] * (new.ndim - 1)
    return jnp.where(valid.reshape(shape), new, old)

  return jax.tree.map(pick, new, old)


def chunks(count: int) -> Iterator[tuple[np.ndarray, int]]:
  """Row numbers in static sizes, and how many of each chunk are real.

  Padding repeats the last row: it ends when that one does.
  """
  size = ROWS[-1]
  for start in range(0, count, size):
    rows = np.arange(start, min(start + size, count))
    padded = batches.pad_rows(rows, static_rows(len(rows)))[0]
    yield np.where(padded == batches.BLANK, rows[-1], padded), len(rows)


def padded(
  sequences: Sequence[np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
  """int32[B, length] and which of them are real, bool[B, length]."""
  tokens = np.zeros((len(sequences), length), np.int32)
  mask = np.zeros(tokens.shape, bool)
  for row, ids in enumerate(sequences):
    tokens[row, : len(ids)] = ids
    mask[row, : len(ids)] = True
  return tokens, mask


def device_split(
  sentences: Sequence[np.ndarray], numbers: np.ndarray, size: int, bos: int
) -> batches.DeviceSplit:
  """Sentences in the layout that batches are gathered from, `size` rows."""
  lengths = np.zeros(size, np.int32)
  lengths[: len(sentences)] = [len(ids) for ids in sentences]
  ends = np.cumsum(lengths, dtype=np.int32)
  padded: Any = np.zeros(size, np.int32)
  padded[: len(numbers)] = numbers
  tokens: Any = np.concatenate(sentences).astype(np.int32)
  offsets: Any = ends - lengths
  kept: Any = lengths
  begin: Any = np.int32(bos)
  return batches.DeviceSplit(tokens, offsets, kept, padded, begin, {})


def picked(array: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
  """Chosen rows of an array, float32, or None where there is none."""
  return None if array is None else np.asarray(array, np.float32)[rows]


def joined(parts: Iterable[np.ndarray]) -> np.ndarray:
  """The rows of all parts, one part after the other."""
  return np.concatenate(list(parts))
