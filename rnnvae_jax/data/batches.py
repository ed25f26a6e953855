"""Schedules of batches, and the gathering of batches on the device.

The order of batches is a pure function of (seed, epoch), so a resumed run needs
only the step. Sentences of similar length are batched together, and a batch is
padded to the length of its bucket, one of a few static shapes. The batches of a
stream are windows that move along B rows together.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import corpora, labels, parallel, vocab
from rnnvae_jax.data import spellings as spellings_lib

_WASTE = 0.05  # Share of work on padding that is accepted for fewer shapes.
# The most lengths that are chosen on an accelerator. Each is a branch of the
# training program, and takes seconds to compile.
_MOST_LENGTHS = 5
# Accelerators pad the operands of products to multiples of so many rows.
_ALIGNMENT = 8
BLANK = -1  # Index of a row without a sentence; its mask is False throughout.


class Bucket(NamedTuple):
  """A static shape of batches.

  Attributes:
    length: T, the length that sentences are padded to.
    token_counts: numbers of real tokens in a batch, rounded up to a few values,
      each of which is a branch of the output layer. No batch has more tokens
      than the last value. (): unknown; the output layer then computes B T
      tokens.
    source_length: S, the length that sources are padded to; 0 without sources.
  """

  length: int
  token_counts: tuple[int, ...] = ()
  source_length: int = 0


class Plan(NamedTuple):
  """The batches of an epoch, or of some consecutive steps."""

  # int32[N, B], sentence indices, with BLANK in rows without a sentence; for a
  # stream, the start of each row's window in the row's part of the text.
  rows: np.ndarray
  bucket: np.ndarray  # int32[N], index into the buckets.


class DeviceSplit(NamedTuple):
  """A split as arrays on the device; see `corpora.Split`."""

  tokens: jax.Array  # int32[total]
  offsets: jax.Array  # int32[sentences]
  lengths: jax.Array  # int32[sentences]
  numbers: jax.Array  # int32[sentences], indices in the whole split.
  bos: jax.Array  # int32[], the input before the first token.
  # By name, int32[sentences], or int32[total] if `labels.PER_TOKEN` has it.
  fields: dict[str, jax.Array] = {}  # noqa: RUF012
  source: parallel.Sources | None = None
  spellings: spellings_lib.Spellings | None = None


def put(split: corpora.Split) -> DeviceSplit:
  """Copies a split to the device."""
  return DeviceSplit(
    jnp.asarray(split.tokens),
    jnp.asarray(split.offsets),
    jnp.asarray(split.lengths),
    jnp.arange(len(split), dtype=jnp.int32),
    jnp.int32(split.bos),
    {name: jnp.asarray(array) for name, array in split.fields.items()},
    jax.tree.map(jnp.asarray, split.source),
    jax.tree.map(jnp.asarray, split.spellings),
  )


def pad_rows(rows: Any, size: int) -> Any:
  """Cuts rows into batches of one size; fills up the last with BLANK.

  Args:
    rows: int[N], a NumPy or JAX array, which may be traced.
    size: B, rows of a batch.

  Returns:
    int32[ceil(N / B), B], an array of the same library.
  """
  xp = jnp if isinstance(rows, jax.Array) else np
  blanks = xp.full(-len(rows) % size, BLANK, xp.int32)
  return xp.concatenate([rows.astype(xp.int32), blanks]).reshape(-1, size)


def round_up(
  sizes: np.ndarray, number: int, waste: float = 0.0
) -> tuple[int, ...]:
  """Chooses the static sizes to which sizes are rounded up with least waste.

  The result is optimal, by dynamic programming over the distinct sizes.

  Args:
    sizes: int[N].
    number: largest number of static sizes, each of which is a compiled branch.
    waste: fewer static sizes are returned if rounding up adds at most this
      share of the sizes' sum.

  Returns:
    Increasing sizes; the last is the largest of `sizes`.
  """
  values, counts = np.unique(sizes, return_counts=True)
  below = np.concatenate([[0], np.cumsum(counts)])
  # cost[j]: sum of the j smallest values after rounding up; cuts[k][j]: the
  # first value that is rounded up to static size k in the best solution.
  cost = np.where(np.arange(len(values) + 1) == 0, 0.0, np.inf)
  cuts = []
  for _ in range(min(number, len(values))):
    # [i, j]: earlier static sizes cover the i smallest values, and the next
    # static size covers those up to j.
    area = (below[None, 1:] - below[:-1, None]) * values[None, :]
    total = np.where(area > 0, cost[:-1, None] + area, np.inf)
    cuts.append(np.argmin(total, axis=0))
    cost = np.concatenate([[np.inf], np.min(total, axis=0)])
    if cost[-1] <= (1.0 + waste) * np.sum(sizes):
      break
  ends, end = [], len(values)
  for cut in reversed(cuts):
    ends.append(int(values[end - 1]))
    end = int(cut[end - 1])
  return tuple(reversed(ends))


def buckets_for(
  lengths: np.ndarray,
  batch_size: int,
  num_buckets: int,
  platform: str,
  parts: int = 1,
) -> tuple[Bucket, ...]:
  """Chooses the buckets of a split.

  On a CPU, loops over time stop at a batch's longest sentence, so a single
  length wastes little and compiles fast. On other platforms the length of a
  loop is static, and there are as many lengths as keep padding below 5%, but at
  most five. The output layer computes only real tokens; their number is
  rounded up by less than 5% if eight branches are enough for that. Where
  several lengths were chosen here, it is rounded up to the largest number that
  a batch of the length has.

  Args:
    lengths: int[N], lengths of all sentences, eos counted; or int[N, 2], of
      sentences and their sources.
    batch_size: B, sentences of a batch.
    num_buckets: number of lengths; 0: chosen for the platform.
    platform: JAX's name of the platform.
    parts: devices among which the rows of a batch are divided; the numbers of
      tokens are those of a part.

  Returns:
    Buckets for every batch of `evaluation_plan` and of `epoch_plan`, for any
    seed and epoch.
  """
  branches = 8
  own = _own(lengths)
  if num_buckets:
    padded = round_up(own, num_buckets)
  elif platform == 'cpu':
    padded = round_up(own, 1)
  else:
    padded = round_up(own, _MOST_LENGTHS, _WASTE)
    branches = 1
  # Batches are cut from sorted sentences. Which sentences a batch has is
  # random, but their lengths are not, nor those of their sources.
  order = _by_length(lengths)

  def in_batches(values):
    blanks = np.zeros(-len(values) % batch_size, int)
    return np.concatenate([values, blanks]).reshape(-1, batch_size)

  sizes = in_batches(own[order])
  bucket_of = np.searchsorted(padded, sizes.max(axis=1))
  tokens = sizes.reshape(len(sizes), parts, -1).sum(axis=2)
  rows = batch_size // parts
  if lengths.ndim == 2:
    sources = in_batches(lengths[order, 1]).max(axis=1)
  else:
    sources = np.zeros(len(sizes), int)

  def make(number, length):
    # Rounded to a grain first, because the time of the search is quadratic.
    grain = -(-rows * length // 256)
    if platform != 'cpu':
      grain = -(-grain // _ALIGNMENT) * _ALIGNMENT
    counts = -(-tokens[bucket_of == number].ravel() // grain) * grain
    counts = np.minimum(counts[counts > 0], rows * length)
    # A bucket without batches has no token counts.
    if not len(counts):
      return Bucket(length, (), int(sources.max()))
    longest = int(sources[bucket_of == number].max())
    return Bucket(length, round_up(counts, branches, _WASTE), longest)

  return tuple(make(*pair) for pair in enumerate(padded))


def epoch_plan(
  lengths: np.ndarray,
  buckets: Sequence[Bucket],
  batch_size: int,
  seed: int,
  epoch: int,
) -> Plan:
  """All batches of an epoch, a pure function of the arguments.

  Sentences are shuffled, stably sorted by length, those of one length by the
  lengths of their sources, and cut into batches. Nearly
  all rows of a batch have the same length; the remainder of a length joins the
  next length, so that only one batch of the epoch has blank rows. Then the
  batches are shuffled in the same way for all seeds and epochs, so that all
  runs have the same shapes at the same position of an epoch, and many can be
  trained as one program.
  """
  rng = np.random.default_rng([seed, epoch])
  order = rng.permutation(len(lengths))
  order = order[_by_length(lengths[order])]
  plan = _cut(order, _bucket_of(lengths, buckets), batch_size)
  number = len(plan.rows)
  shuffle = np.random.default_rng(number).permutation(number)
  return Plan(plan.rows[shuffle], plan.bucket[shuffle])


def evaluation_plan(
  lengths: np.ndarray, buckets: Sequence[Bucket], batch_size: int
) -> Plan:
  """Every sentence once, in batches of similar length."""
  order = _by_length(lengths)
  return _cut(order, _bucket_of(lengths, buckets), batch_size)


def _own(lengths):
  """The sentences' own lengths: int[N] or int[N, 2] -> int[N]."""
  return lengths if lengths.ndim == 1 else lengths[:, 0]


def _by_length(lengths):
  """The stable order of the sentences by length, then by source's length."""
  if lengths.ndim == 1:
    return np.argsort(lengths, kind='stable')
  return np.lexsort((lengths[:, 1], lengths[:, 0]))


def _bucket_of(lengths, buckets):
  """The index of the first bucket that is long enough for each sentence."""
  return np.searchsorted([bucket.length for bucket in buckets], _own(lengths))


def _cut(order, bucket_of, batch_size) -> Plan:
  rows = pad_rows(order, batch_size)
  bucket = np.where(rows == BLANK, 0, bucket_of[rows]).max(axis=1)
  return Plan(rows, bucket.astype(np.int32))


class Schedule:
  """The batches of sentences for any steps, epoch after epoch."""

  def __init__(self, lengths, buckets, batch_size: int, seed: int):
    self.steps_per_epoch = -(-len(lengths) // batch_size)
    self.longest = buckets[-1].length
    self.longest_source = max(bucket.source_length for bucket in buckets)
    # A call may need two epochs; their plans are cached.
    self._epoch = functools.lru_cache(maxsize=2)(
      lambda epoch: epoch_plan(lengths, buckets, batch_size, seed, epoch)
    )

  def steps(self, first: int, count: int) -> Plan:
    """The batches of steps first .. first + count - 1."""
    epoch, start = divmod(first, self.steps_per_epoch)
    return run_of(self._epoch, epoch, start, count)

  def read(self, split: corpora.Split, step: int) -> dict[int, np.ndarray]:
    """The tokens of a step's sentences, int32[length] each, by their index."""
    (rows,) = self.steps(step, 1).rows
    return {int(row): split.sentence(row) for row in rows[rows != BLANK]}

  def put(self, split: corpora.Split) -> DeviceSplit:
    """Copies the split to the device, for `gather`."""
    return put(split)


def run_of(plan_of: Callable, epoch: int, start: int, count: int) -> Plan:
  """`count` batches, starting with batch `start` of an epoch."""
  parts = []
  while count:
    plan = plan_of(epoch)
    stop = min(start + count, len(plan.rows))
    parts.append(Plan(plan.rows[start:stop], plan.bucket[start:stop]))
    count -= stop - start
    epoch, start = epoch + 1, 0
  return Plan(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def windows(
  length: int, spread: int = 0
) -> tuple[tuple[Bucket, ...], tuple[float, ...]]:
  """The lengths of a stream's windows, and their probabilities.

  Args:
    length: tokens of a window; with a spread, of the most probable one.
    spread: standard deviation of normally distributed lengths (Merity et al.,
      arXiv:1708.02182, section 5). To keep their number small, lengths differ
      from `length` by 0, 1 or 2 times the spread; one window in 20 has half the
      length. 0: all windows have the same length.

  Raises:
    ValueError: the shortest window has no token.
  """
  if not spread:
    return (Bucket(length),), (1.0,)
  # Probabilities of a standard normal variable to be below -1.5, from there to
  # -0.5, to 0.5, to 1.5, and above.
  shares = 0.0668, 0.2417, 0.3830, 0.2417, 0.0668
  weights = {length // 2: 0.05}
  for steps, share in zip(range(-2, 3), shares, strict=True):
    spread_length = length + steps * spread
    weights[spread_length] = weights.get(spread_length, 0.0) + 0.95 * share
  lengths = sorted(weights)
  if lengths[0] < 1:
    raise ValueError(
      f'unroll_spread = {spread} is too much for unroll = {length}. Legal: '
      f'up to {(length - 1) // 2}.'
    )
  return (
    tuple(Bucket(length) for length in lengths),
    tuple(weights[length] for length in lengths),
  )


class StreamSchedule:
  """Windows of a text that B rows read side by side, epoch after epoch.

  The text is cut into B equal parts, one for each row. A window begins where
  the previous one ended; the first window of an epoch begins with the parts,
  and the last one ends with them. Windows have the length of the longest
  bucket, or of a bucket that is drawn at random.
  """

  def __init__(
    self,
    num_tokens: int,
    buckets: Sequence[Bucket],
    batch_size: int,
    seed: int,
    weights: Sequence[float] = (),
  ):
    """Creates the schedule.

    Args:
      num_tokens: tokens of the text.
      buckets: the windows' lengths, increasing.
      batch_size: B, the number of rows.
      seed: seed of the random lengths.
      weights: the probability of each bucket; (): always the last.

    Raises:
      ValueError: there are fewer tokens than rows.
    """
    if num_tokens < batch_size:
      raise ValueError(
        f'A stream of {num_tokens} tokens cannot be read by {batch_size} rows. '
        'Nearest legal value of the batch size: '
        f'{max(num_tokens, 1)}.'
      )
    self.longest = buckets[-1].length
    self._batch_size = batch_size
    self._part = -(-num_tokens // batch_size)
    lengths = np.array([bucket.length for bucket in buckets])
    self._lengths = lengths

    @functools.lru_cache(maxsize=2)
    def epoch_plan(epoch):
      count = -(-self._part // lengths[0])
      chosen = np.full(count, len(lengths) - 1)
      if len(weights):
        rng = np.random.default_rng([seed, epoch])
        chosen = rng.choice(len(lengths), count, p=weights)
      ends = np.cumsum(lengths[chosen])
      # The windows up to the end of a part.
      chosen = chosen[: np.searchsorted(ends, self._part) + 1]
      starts = ends[: len(chosen)] - lengths[chosen]
      # One number a window, however many rows: a text may have many windows.
      starts = starts.astype(np.int32)[:, None]
      rows = np.broadcast_to(starts, (len(chosen), batch_size))
      return Plan(rows, chosen.astype(np.int32))

    @functools.cache
    def steps_before(epoch):
      if not epoch:
        return 0
      return steps_before(epoch - 1) + len(epoch_plan(epoch - 1).rows)

    self._epoch, self._steps_before = epoch_plan, steps_before
    self.steps_per_epoch = len(epoch_plan(0).rows)  # In the first epoch.

  def steps(self, first: int, count: int) -> Plan:
    """The windows of steps first .. first + count - 1."""
    epoch = 0
    while self._steps_before(epoch + 1) <= first:
      epoch += 1
    return run_of(self._epoch, epoch, first - self._steps_before(epoch), count)

  def read(self, split: corpora.Split, step: int) -> dict[int, np.ndarray]:
    """The tokens of a step's windows, int32[length] each, by their position."""
    plan = self.steps(step, 1)
    length = self._lengths[plan.bucket[0]]
    found = {}
    parts = self._parts(split)
    for start, (begin, end) in zip(plan.rows[0], parts.tolist(), strict=True):
      begin += int(start)
      (found[begin],) = split.spans([(begin, min(begin + length, end))])
    return found

  def cut(
    self, split: corpora.Split, plan: Plan, rows: Sequence[int]
  ) -> DeviceSplit:
    """The windows of some steps, for `gather_windows`, as NumPy arrays.

    Args:
      split: the text.
      plan: of K steps.
      rows: R numbers of rows.

    Returns:
      A split whose sentences are the K R windows, those of a step side by side,
      each after the token before it; with the field 'begins' bool[K R], whether
      a window is the first of its part.
    """
    wanted = self._lengths[plan.bucket]
    shape = len(plan.rows), len(rows)
    room = self.longest + 1
    tokens = np.zeros((*shape, room), np.int32)
    # Windows follow one another, until the next epoch begins.
    within = plan.rows[:, 0].astype(np.int64)
    cuts = np.flatnonzero(within[1:] != within[:-1] + wanted[:-1]) + 1
    runs = np.split(np.arange(len(within)), cuts)
    begins, ends = self._parts(split)[np.asarray(rows)].T
    starts = within[:, None] + begins
    stops = np.minimum(starts + wanted[:, None], ends)
    lengths = np.maximum(stops - starts, 0).astype(np.int32)
    # Each run, with the token before it.
    firsts = [np.maximum(starts[run[0]] - 1, 0) for run in runs]
    bounds = [
      (int(first), int(stop))
      for run, begin in zip(runs, firsts, strict=True)
      for first, stop in zip(begin, stops[run[-1]], strict=True)
    ]
    texts = iter(split.spans(bounds))
    for run, begin in zip(runs, firsts, strict=True):
      for column, first in enumerate(begin):
        text = next(texts)
        for step in run:
          before = starts[step, column] - 1 - first
          window = text[max(before, 0) : max(stops[step, column] - first, 0)]
          at = 1 if before < 0 else 0  # Nothing precedes the text but its mark.
          tokens[step, column, 0] = split.bos
          tokens[step, column, at : at + len(window)] = window
    arrays: Any = (
      tokens.ravel(),
      np.arange(lengths.size, dtype=np.int32) * room + 1,
      lengths.ravel(),
      np.tile(np.asarray(rows, np.int32), len(plan.rows)),
      np.int32(split.bos),
      {'begins': np.repeat(plan.rows[:, 0] == 0, len(rows))},
    )
    return DeviceSplit(*arrays)

  def put(self, split: corpora.Split) -> DeviceSplit:
    """Copies the text to the device, with a part for each row."""
    begins, ends = self._parts(split).T
    return DeviceSplit(
      jnp.asarray(split.tokens),
      jnp.asarray(begins, jnp.int32),
      jnp.asarray(ends - begins, jnp.int32),
      jnp.arange(self._batch_size, dtype=jnp.int32),
      jnp.int32(split.bos),
    )

  def _parts(self, split: corpora.Split) -> np.ndarray:
    """int64[B, 2], where in the text each row's part begins and ends."""
    begins = np.arange(self._batch_size) * self._part
    ends = np.clip(len(split.tokens), begins, begins + self._part)
    return np.stack([begins, ends], axis=1)


def gather(
  split: DeviceSplit, rows: jax.Array, bucket: Bucket
) -> dict[str, Any]:
  """Gathers a batch of sentences.

  Args:
    split: the corpus on the device.
    rows: int32[B], sentence indices, or BLANK.
    bucket: a bucket that is long enough.

  Returns:
    inputs int32[B, T] (bos, words), targets int32[B, T] (words, eos), mask
    bool[B, T], index int32[B] (indices in the whole split) and weights float[B]
    (1 for a sentence, 0 for a blank row); the split's fields, label int32[B] or
    tags int32[B, T] (of the targets), 0 where there is no sentence or token;
    of a split with spellings, chars int32[B, T, W] (of the targets) and
    chars_mask bool[B, T, W];
    of a split with sources, source int32[B, S] (words, eos) and source_mask
    bool[B, S]; token_counts, the static tuple of the bucket.
  """
  time = jnp.arange(bucket.length)[None, :]
  lengths = jnp.where(rows == BLANK, 0, split.lengths[rows])
  mask = time < lengths[:, None]
  positions = jnp.where(mask, split.offsets[rows][:, None] + time, 0)
  targets = jnp.where(mask, split.tokens[positions], vocab.PAD)
  bos = jnp.full((len(rows), 1), split.bos)
  inputs = jnp.concatenate([bos, targets[:, :-1]], axis=1)
  fields = {
    name: jnp.where(mask, array[positions], 0)
    if name in labels.PER_TOKEN
    else jnp.where(rows == BLANK, 0, array[rows])
    for name, array in split.fields.items()
  }
  if split.source is not None:
    fields |= _gather_sources(split.source, rows, bucket.source_length)
  if split.spellings is not None:
    spelt = fields.pop(spellings_lib.INDEX)
    chars = split.spellings.chars[spelt]
    places = jnp.arange(chars.shape[2])[None, None]
    counts = split.spellings.lengths[spelt]
    fields |= {'chars': chars, 'chars_mask': places < counts[:, :, None]}
  return fields | {
    'inputs': jnp.where(mask, inputs, vocab.PAD),
    'targets': targets,
    'mask': mask,
    'index': jnp.where(rows == BLANK, BLANK, split.numbers[rows]),
    'weights': (rows != BLANK).astype(jnp.float32),
    'token_counts': bucket.token_counts,
  }


def _gather_sources(sources, rows, length) -> dict[str, jax.Array]:
  """The sources of a batch, padded, and their mask."""
  time = jnp.arange(length)[None, :]
  lengths = jnp.where(rows == BLANK, 0, sources.lengths[rows])
  mask = time < lengths[:, None]
  positions = jnp.where(mask, sources.offsets[rows][:, None] + time, 0)
  tokens = jnp.where(mask, sources.tokens[positions], vocab.PAD)
  return {'source': tokens, 'source_mask': mask}


def gather_windows(
  text: DeviceSplit, starts: jax.Array, bucket: Bucket
) -> dict[str, Any]:
  """Gathers a window of each row of a stream.

  Args:
    text: the result of `StreamSchedule.put` or of `cut`.
    starts: int32[B], the start of each row's window in the row's part; of what
      is cut already, the windows' numbers.
    bucket: the window's length.

  Returns:
    The arrays that `gather` returns, and `begins` bool[B], whether the window
    is the first of its part. Inputs are the tokens before the targets, even if
    they belong to the previous window.
  """
  begins, numbers = starts == 0, text.numbers
  offsets, lengths = text.offsets, text.lengths
  if 'begins' in text.fields:
    begins, numbers = text.fields['begins'][starts], numbers[starts]
    offsets, lengths = offsets[starts], lengths[starts]
    starts = jnp.zeros_like(starts)
  time = starts[:, None] + jnp.arange(bucket.length)[None, :]
  mask = time < lengths[:, None]
  positions = offsets[:, None] + time
  tokens_at = lambda positions: jnp.where(
    mask, text.tokens[jnp.clip(positions, 0, len(text.tokens) - 1)], vocab.PAD
  )
  inputs = jnp.where(
    mask & (positions == 0), text.bos, tokens_at(positions - 1)
  )
  return {
    'inputs': inputs,
    'targets': tokens_at(positions),
    'mask': mask,
    'index': numbers,
    'weights': jnp.ones(len(starts)),
    'token_counts': bucket.token_counts,
    'begins': begins,
  }
