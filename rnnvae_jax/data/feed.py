"""The input of the fused training step: a corpus on the device, or parts of it.

A small corpus is copied to the device as a whole. For a large corpus, each call
of K steps gets only the sentences of its K batches, which are copied while the
previous call runs. Batches and noise are the same both ways; only memory
differs.
"""

from collections.abc import Callable, Iterator, Sequence
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import batches, corpora, labels, parallel

Call = tuple[batches.DeviceSplit, jax.Array, jax.Array]

_WORKERS = 2  # Threads; each call's sentences are gathered by NumPy.
_AHEAD = 4  # Calls prepared in advance.


@schema.fragment('data', free=schema.Free.ALWAYS)
class DataConfig:
  """The location of the text on disk, and its share of device memory."""

  dir: str = schema.field(
    '', 'Folder of the raw files of named corpora; empty: $RNNVAE_DATA_DIR.'
  )
  device_share: float = schema.field(
    0.2,
    "Share of the device's memory that a corpus may take; a larger one is read "
    'from the host, with the same results.',
    low=0,
    high=1,
  )


def make(
  split: corpora.Split,
  schedule: batches.Schedule | batches.StreamSchedule,
  per_call: int,
  first: int,
  num_steps: int,
  share: float,
  place: Callable[[Any], Any] = lambda tree: tree,
  columns: Sequence[slice] = (slice(None),),
  join: Callable[[Any], Any] = lambda parts: jax.tree.map(jnp.asarray, parts),
) -> Iterator[Call]:
  """Yields the corpus, rows int32[K, B] and buckets int32[K] of each call.

  Args:
    split: the sentences.
    schedule: the batches of each step.
    per_call: K, steps of a call.
    first: the first step, a multiple of K.
    num_steps: the last step + 1.
    share: share of the device's memory that the corpus may use. A larger corpus
      is copied in parts.
    place: copies arrays to the devices that read them.
    columns: the rows of a batch that each device of this process has.
    join: makes a call of what those devices are given of it, NumPy arrays with
      the parts of one after those of the other.
  """
  if fits(split, share):
    return _resident(split, schedule, per_call, first, num_steps, place)
  is_stream = isinstance(schedule, batches.StreamSchedule)
  kind = _Windows if is_stream else _Calls
  source = kind(split, schedule, per_call, first, num_steps, columns)
  return _streamed(source, join)


def fits(split: corpora.Split, share: float) -> bool:
  """Whether a corpus takes no more than a share of the device's memory."""
  size = split.tokens.nbytes + 3 * split.lengths.nbytes
  size += sum(array.nbytes for array in split.fields.values())
  if split.source is not None:
    size += split.source.tokens.nbytes + 2 * split.source.lengths.nbytes
  if split.spellings is not None:
    size += split.spellings.chars.nbytes
  return size <= share * device_memory()


def device_memory() -> int:
  """Bytes of the first device's memory; for a CPU, of the machine's."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit']
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _resident(split, schedule, per_call, first, num_steps, place):
  corpus = place(schedule.put(split))
  for step in range(first, num_steps, per_call):
    yield corpus, *place((*map(jnp.asarray, schedule.steps(step, per_call)),))


def _streamed(source, join):
  import grain.python as grain  # A second to import.

  options = grain.ReadOptions(num_threads=_WORKERS, prefetch_buffer_size=_AHEAD)
  calls = grain.MapDataset.source(source).to_iter_dataset(options)
  for arrays, plan in calls:
    # Copies to the device are asynchronous, so this one overlaps the last call.
    yield join((batches.DeviceSplit(*arrays), *plan))


class _Calls:
  """Random access to the calls: the sentences and the plan of each call.

  Each device of this process has the sentences of its own rows alone.
  """

  def __init__(self, split, schedule, per_call, first, num_steps, columns):
    self._split, self._schedule = split, schedule
    self._per_call, self._first = per_call, first
    self._columns = columns
    self._length = -(-(num_steps - first) // per_call)

  def __len__(self):
    return self._length

  def __getitem__(self, call):
    step = self._first + call * self._per_call
    plan = self._schedule.steps(step, self._per_call)
    shares = [plan.rows[:, columns] for columns in self._columns]
    parts = [self._part(rows.ravel()) for rows in shares]
    arrays = jax.tree.map(lambda *some: np.concatenate(some), *parts)
    local = [
      np.where(
        rows == batches.BLANK,
        batches.BLANK,
        np.arange(rows.size).reshape(rows.shape),
      )
      for rows in shares
    ]
    split = self._split
    tokens, offsets, lengths, numbers, fields, source = arrays
    arrays = (
      tokens,
      offsets,
      lengths,
      numbers,
      np.int32(split.bos),
      fields,
      source,
      split.spellings,
    )
    return arrays, batches.Plan(
      np.concatenate(local, axis=1).astype(np.int32), plan.bucket
    )

  def _part(self, rows):
    """The sentences of a device's rows int32[N], and what belongs to them."""
    split = self._split
    there = rows[rows != batches.BLANK]
    offsets, lengths = _places(split, rows)
    size = len(rows) * self._schedule.longest
    fields = {
      name: array[rows]
      for name, array in split.fields.items()
      if name not in labels.PER_TOKEN
    }
    for name in split.fields.keys() - fields.keys():
      at = corpora.positions(split.offsets[there], split.lengths[there])
      fields[name] = _padded(split.fields[name][at], size)
    source = split.source
    if source is not None:
      at = corpora.positions(source.offsets[there], source.lengths[there])
      chosen = _padded(
        source.tokens[at], len(rows) * self._schedule.longest_source
      )
      source = parallel.Sources(chosen, *_places(source, rows))
    tokens = _padded(split.tokens_of(there), size)
    return tokens, offsets, lengths, rows, fields, source


class _Windows(_Calls):
  """The same for a stream: the windows of each call, as sentences."""

  def __getitem__(self, call):
    step = self._first + call * self._per_call
    plan = self._schedule.steps(step, self._per_call)
    every = np.arange(plan.rows.shape[1])
    rows = [every[columns] for columns in self._columns]
    parts = [self._schedule.cut(self._split, plan, some) for some in rows]
    arrays = jax.tree.map(
      lambda *some: np.concatenate(some) if some[0].ndim else some[0], *parts
    )
    local = [
      np.arange(len(plan.rows) * len(some)).reshape(-1, len(some))
      for some in rows
    ]
    numbers = np.concatenate(local, axis=1).astype(np.int32)
    return arrays, batches.Plan(numbers, plan.bucket)


def _places(sequences, rows):
  """Where the tokens of some rows will lie once they are selected.

  Args:
    sequences: a split, or its sources.
    rows: int[N], of the sentences, or BLANK.

  Returns:
    int32[N] offsets and lengths.
  """
  lengths = np.where(rows == batches.BLANK, 0, sequences.lengths[rows])
  lengths = lengths.astype(np.int32)
  return np.cumsum(lengths, dtype=np.int32) - lengths, lengths


def _padded(tokens, size):
  """Pads to one size for all calls, so that they share one program."""
  padded = np.zeros(size, np.int32)
  padded[: len(tokens)] = tokens
  return padded
