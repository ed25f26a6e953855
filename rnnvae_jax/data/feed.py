"""The input of the fused training step: a corpus on the device, or parts of it.

A small corpus is copied to the device as a whole. For a large corpus, each call
of K steps gets only the sentences of its K batches, which are copied while the
previous call runs. Batches and noise are the same both ways; only memory
differs.
"""

from collections.abc import Callable, Iterator
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
    "Share of the device's memory that a corpus of sentences may take; a "
    'larger one is read from the host, with the same results. What is read as '
    'one stream is always on the device.',
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
  """
  if fits(split, share) or not schedule.may_stream:
    return _resident(split, schedule, per_call, first, num_steps, place)
  return _streamed(split, schedule, per_call, first, num_steps, place)


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


def _streamed(split, schedule, per_call, first, num_steps, place):
  import grain.python as grain  # A second to import.

  source = _Calls(split, schedule, per_call, first, num_steps)
  options = grain.ReadOptions(num_threads=_WORKERS, prefetch_buffer_size=_AHEAD)
  calls = grain.MapDataset.source(source).to_iter_dataset(options)
  for arrays, plan in calls:
    # Copies to the device are asynchronous, so this one overlaps the last call.
    yield place(
      (
        batches.DeviceSplit(*jax.tree.map(jnp.asarray, arrays)),
        *map(jnp.asarray, plan),
      )
    )


class _Calls:
  """Random access to the calls: the sentences and the plan of each call."""

  def __init__(self, split, schedule, per_call, first, num_steps):
    self._split, self._schedule = split, schedule
    self._per_call, self._first = per_call, first
    self._length = -(-(num_steps - first) // per_call)

  def __len__(self):
    return self._length

  def __getitem__(self, call):
    split = self._split
    step = self._first + call * self._per_call
    plan = self._schedule.steps(step, self._per_call)
    rows = plan.rows.ravel()
    real = rows != batches.BLANK
    offsets, lengths, select_tokens = _selection(
      split, rows, real, self._schedule.longest
    )
    source = split.source
    if source is not None:
      starts, sizes, select = _selection(
        source, rows, real, self._schedule.longest_source
      )
      source = parallel.Sources(select(source.tokens), starts, sizes)
    fields = {
      name: select_tokens(array) if name in labels.PER_TOKEN else array[rows]
      for name, array in split.fields.items()
    }
    local = np.where(real, np.arange(len(rows)), batches.BLANK)
    arrays = (
      select_tokens(split.tokens),
      offsets,
      lengths,
      rows,
      np.int32(split.bos),
      fields,
      source,
      split.spellings,
    )
    return arrays, batches.Plan(
      local.reshape(plan.rows.shape).astype(np.int32), plan.bucket
    )


def _selection(sequences, rows, real, longest):
  """Where the tokens of some rows will lie once they are selected.

  Args:
    sequences: a split, or its sources.
    rows: int[N], of the sentences, or BLANK.
    real: bool[N], which rows are sentences.
    longest: most tokens of a row.

  Returns:
    int32[N] offsets and lengths, and the function that selects the rows' parts
    of an array of all tokens.
  """
  lengths = np.where(real, sequences.lengths[rows], 0).astype(np.int32)
  ends = np.cumsum(lengths, dtype=np.int32)
  offsets = ends - lengths
  within = np.arange(ends[-1]) - np.repeat(offsets, lengths)
  positions = np.repeat(sequences.offsets[rows], lengths) + within

  def select(array):
    # Padded to one size for all calls, so that they share one program.
    selected = np.zeros(len(rows) * longest, np.int32)
    selected[: ends[-1]] = array[positions]
    return selected

  return offsets, lengths, select
