"""Reads an index, so that a run trains on more text than memory holds.

The lengths of all sentences are mapped from their file; the sentences of a
batch are read from disk, through Grain, when the batch is due. Their order is
a pure function of (seed, epoch), as in memory: a run that is resumed needs
nothing but its step.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import itertools
import math
import os
from typing import Any, NoReturn

import numpy as np

from rnnvae_jax.data import batches, corpora, indexing
from rnnvae_jax.data import vocab as vocab_lib

# Batches that are shuffled at a time: within as many, they are cut from
# sentences that are sorted by length.
_POOL = 1_024
# Records whose place in the text is found by adding up their lengths.
_GROUP = 4_096
# Sentences that stand for all of them where shapes are chosen.
_SAMPLE = 2**16


class OnDisk:
  """Stands for the tokens of an indexed split, which cannot be had at once."""

  nbytes = math.inf

  def __init__(self, name: str, size: int):
    self._name, self._size = name, size

  def __len__(self) -> int:
    return self._size

  def __str__(self) -> str:
    return f'The index in {self._name}'

  def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
    raise ValueError(
      f'{self._name} is indexed: its training text is read from disk batch by '
      'batch, and what is asked needs all of it in memory. Name the text '
      'itself in corpus.name.'
    )

  # So does what an array of the tokens would be asked.
  __getitem__ = __ge__ = __array__

  def __eq__(self, other: object) -> NoReturn:
    self.__array__()


@dataclasses.dataclass(frozen=True)
class Split(corpora.Split):
  """A split whose sentences are read from disk.

  Attributes:
    records: the ids of each sentence, or of each line of a stream of characters
      or bytes, as bytes of `type`.
    sizes_of_records: int32[R], ids of each record, which may be mapped from a
      file.
    type: NumPy's name of their type.
    has_line_ends: whether records end with line ends instead of EOS.
    described: what the index says of the split.
  """

  records: Any = ()
  sizes_of_records: Any = ()
  type: str = ''
  has_line_ends: bool = False
  described: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def ends(self) -> bool:
    return not self.has_line_ends

  @property
  def unknown_share(self) -> float:
    return self.described['unknown'] / self.described['tokens']

  @property
  def content_hash(self) -> str:
    return self.described['hash']

  def sentence(self, i: int) -> np.ndarray:
    return self.tokens_of(np.array([i]))

  def spans(self, bounds: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    # All records are read at once, which takes several threads.
    records: list[range] = []
    places: list[tuple[int, int]] = []
    for begin, end in bounds:
      end = min(end, len(self.tokens))
      if begin >= end:
        records.append(range(0))
        places.append((0, 0))
        continue
      first, start = self._record_at(begin)
      last, _ = self._record_at(end - 1)
      records.append(range(first, last + 1))
      places.append((begin - start, end - begin))
    rows = np.array([*itertools.chain.from_iterable(records)], np.int64)
    read, at, found = self._read(rows), 0, []
    for some, (start, size) in zip(records, places, strict=True):
      found.append(read[at + start :][:size])
      at += int(np.sum(self.sizes_of_records[some.start : some.stop]))
    return found

  @functools.cached_property
  def _starts(self) -> np.ndarray:
    """int64[G], where in the text each group of records begins."""
    sizes = self.sizes_of_records
    totals = [
      int(np.sum(sizes[i : i + _GROUP], dtype=np.int64))
      for i in range(0, len(sizes), _GROUP)
    ]
    return np.cumsum([0, *totals[:-1]])

  def _record_at(self, position: int) -> tuple[int, int]:
    """The record that has a position of the text, and where it begins."""
    group = int(np.searchsorted(self._starts, position, side='right')) - 1
    sizes = self.sizes_of_records[group * _GROUP : (group + 1) * _GROUP]
    ends = self._starts[group] + np.cumsum(sizes, dtype=np.int64)
    within = int(np.searchsorted(ends, position, side='right'))
    return group * _GROUP + within, int(ends[within] - sizes[within])

  def tokens_of(self, rows: np.ndarray) -> np.ndarray:
    if self.has_line_ends:  # All of it is one sentence.
      self.tokens.__array__()
    return self._read(rows)

  def _read(self, rows: np.ndarray) -> np.ndarray:
    """The ids of some records, one after the other."""
    try:
      found = self.records.__getitems__(rows.tolist()) if len(rows) else []
    except Exception as error:  # Records have checksums.
      raise ValueError(f'{self.tokens} is damaged: {error}') from error
    return np.frombuffer(b''.join(found), self.type).astype(np.int32)


class Schedule(batches.Schedule):
  """The batches of an indexed split, which needs memory for a few pools alone.

  All sentences of an epoch are shuffled by a permutation that is computed
  index by index. Pools of consecutive sentences of that order are sorted by
  length and cut into batches, whose order is shuffled.
  """

  def __init__(
    self,
    lengths: np.ndarray,
    buckets: Sequence[batches.Bucket],
    batch_size: int,
    seed: int,
    pool: int = _POOL,
  ):
    """Creates the schedule.

    Args:
      lengths: int32[N], which may be mapped from a file.
      buckets: see `buckets_for`.
      batch_size: B, sentences of a batch.
      seed: seed of the order.
      pool: batches of a pool.
    """
    super().__init__(lengths, buckets, batch_size, seed)
    self._per_pool = pool
    self._pools = -(-self.steps_per_epoch // pool)

    @functools.lru_cache(maxsize=2)
    def plan_of(number: int) -> batches.Plan:
      epoch, place = divmod(number, self._pools)
      begin = place * pool * batch_size
      end = min(begin + pool * batch_size, len(lengths))
      chosen = _shuffled(len(lengths), seed, epoch, begin, end)
      plan = batches.evaluation_plan(lengths[chosen], buckets, batch_size)
      rows = np.where(
        plan.rows == batches.BLANK, batches.BLANK, chosen[plan.rows]
      )
      order = np.random.default_rng([seed, number]).permutation(len(rows))
      return batches.Plan(rows[order].astype(np.int32), plan.bucket[order])

    self._plan_of = plan_of

  def steps(self, first: int, count: int) -> batches.Plan:
    epoch, within = divmod(first, self.steps_per_epoch)
    pool, start = divmod(within, self._per_pool)
    return batches.run_of(
      self._plan_of, epoch * self._pools + pool, start, count
    )


def _shuffled(
  size: int, seed: int, epoch: int, begin: int, end: int
) -> np.ndarray:
  """Numbers begin .. end - 1 of a permutation of `size` indices: int[N]."""
  import grain  # A second to import.

  order = grain.MapDataset.range(size).shuffle(
    seed=int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
  )
  return np.fromiter((order[i] for i in range(begin, end)), np.int64)


def buckets_for(
  described: Mapping[str, Any],
  batch_size: int,
  num_buckets: int,
  platform: str,
  parts: int = 1,
) -> tuple[batches.Bucket, ...]:
  """Chooses the shapes of an indexed split's batches.

  They are those of a sample with the same shares of lengths. Since a pool may
  have more long sentences than its share, each shape has room for a batch of
  nothing but longest sentences, too.

  Args:
    described: what the index says of the split.
    batch_size: see `batches.buckets_for`, like the others.
    num_buckets: number of lengths; 0: chosen for the platform.
    platform: JAX's name of the platform.
    parts: devices among which the rows of a batch are divided.
  """
  values, counts = np.array(described['lengths']).T
  share = min(1.0, _SAMPLE / counts.sum())
  times = np.maximum(np.round(counts * share), 1).astype(int)
  chosen = batches.buckets_for(
    np.repeat(values, times), batch_size, num_buckets, platform, parts
  )
  rows = batch_size // parts
  return tuple(
    bucket._replace(
      token_counts=tuple(sorted({*bucket.token_counts, rows * bucket.length}))
    )
    for bucket in chosen
  )


def is_index(name: str) -> bool:
  """Whether a corpus is the folder of an index, complete or not."""
  return any(
    os.path.exists(os.path.join(name, file))
    for file in (indexing.INDEX, indexing.BEGUN)
  )


def build(
  name: str,
  *,
  vocab: vocab_lib.Vocabulary | None = None,
  fields: Sequence[str] = (),
  **settings: Any,
) -> corpora.Corpus:
  """Opens an index as a corpus.

  Its splits valid and test are read into memory.

  Args:
    name: the folder of the index.
    vocab: the vocabulary that the ids must be of; None: that of the index.
    fields: see `corpora.build`; an index has none.
    **settings: the other arguments of `corpora.build`; those that an index
      depends on must be the ones that it was made with.

  Raises:
    ValueError: the index is not complete or damaged, it was made with other
      settings or for another vocabulary, or it lacks what is asked of it.
  """
  described = indexing.read(name)
  if described is None:
    raise ValueError(
      f'The index in {name} is not complete: run the command that writes it, '
      '--mode=index, again.'
    )
  made = described['settings']
  _check(name, made, fields, settings)
  own = vocab_lib.Vocabulary.load(os.path.join(name, indexing.VOCABULARY))
  if own.content_hash != described['vocabulary_hash']:
    raise ValueError(
      f'{name}: {indexing.VOCABULARY} is not the vocabulary that the text was '
      'indexed with. Index the text again, in another folder.'
    )
  if vocab is not None and vocab.content_hash != own.content_hash:
    raise ValueError(
      f'The index in {name} has another vocabulary ({len(own):,} entries) than '
      f'the run ({len(vocab):,}). Index the text with that run as '
      'config.train.init_from.'
    )
  is_stream = made.get('stream', False)
  by_line = is_stream and own.kind != 'word'
  bos = corpora.begin_mark(own, is_stream)
  splits = {}
  for split in described['splits']:
    opened = _open(name, split, described, bos, by_line)
    splits[split] = opened if split == 'train' else _in_memory(opened)
  return corpora.Corpus(
    name,
    made['protocol'],
    own,
    splits,
    (),
    made['blank_lines'],
    tuple(described['remarks']),
  )


def _check(
  name: str,
  made: Mapping[str, Any],
  fields: Sequence[str],
  settings: Mapping[str, Any],
) -> None:
  """Raises ValueError for what an index cannot be read as."""
  if fields:
    raise ValueError(
      f'{name} is an index of text alone, without {" and ".join(fields)}: '
      'name the text itself in corpus.name.'
    )
  # Indexes of version 1 may lack the key.
  made = {'stream': False, **made}
  settings = {**settings}
  if made['stream'] and settings['stream']:
    settings['max_length'] = made['max_length']  # Nothing of a stream is cut.
  keys = 'stream', 'max_length', 'vocab_size', 'min_count', 'blank_lines'
  for key in keys:
    if settings[key] != made[key]:
      raise ValueError(
        f'corpus.{key} = {settings[key]!r}: the index in {name} was made with '
        f'{made[key]!r}. Legal: {made[key]!r}; or index the text again.'
      )
  for key in ('protocol', 'unknown_token'):
    if settings[key] not in ('', made[key]):
      raise ValueError(
        f'corpus.{key} = {settings[key]!r}: the index in {name} was made with '
        f"{made[key]!r}. Legal: '', {made[key]!r}; or index the text again."
      )


def _open(
  folder: str, split: str, described: Mapping[str, Any], bos: int, by_line: bool
) -> Split:
  import grain.python as grain  # A second to import.

  found = described['splits'][split]
  paths = [
    os.path.join(folder, f'{split}-{number:05d}.array_record')
    for number, sentences in enumerate(found['blocks'])
    if sentences
  ]
  try:
    lengths = np.load(
      os.path.join(folder, f'{split}.lengths.npy'),
      mmap_mode='r',
      allow_pickle=False,
    )
    records = grain.ArrayRecordDataSource(paths)
    complete = len(lengths) == len(records) == found['sentences']
  except Exception as error:  # The readers of records have errors of their own.
    raise ValueError(f'The index in {folder} is damaged: {error}') from error
  if not complete:
    raise ValueError(
      f'The index in {folder} is damaged: {split} has {len(records):,} records '
      f'and {len(lengths):,} lengths, not {found["sentences"]:,}.'
    )
  if by_line:  # The last line end of a file is no token.
    is_unknown = bos == vocab_lib.EOS  # Then it does not begin the text.
    found = {
      **found,
      'tokens': found['tokens'] - 1,
      'unknown': found['unknown'] - is_unknown,
    }
  size = found['tokens']
  tokens: Any = OnDisk(folder, size)
  return Split(
    tokens=tokens,
    offsets=tokens,
    lengths=np.array([size]) if by_line else lengths,
    num_truncated=found['truncated'],
    num_empty=found['empty'],
    labels={},
    bos=bos,
    truncated_tokens=found['truncated_tokens'],
    records=records,
    sizes_of_records=lengths,
    type=described['type'],
    has_line_ends=by_line,
    described=found,
  )


def _in_memory(split: Split) -> corpora.Split:
  """Reads all sentences of a split."""
  lengths = np.array(split.lengths, np.int32)
  (tokens,) = split.spans([(0, len(split.tokens))])
  if len(tokens) != lengths.sum():
    raise ValueError('The records of an index do not have their lengths.')
  return corpora.Split(
    tokens,
    np.cumsum(lengths, dtype=np.int32) - lengths,
    lengths,
    split.num_truncated,
    split.num_empty,
    {},
    bos=split.bos,
    truncated_tokens=split.truncated_tokens,
  )
