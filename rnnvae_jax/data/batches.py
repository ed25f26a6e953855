"""Which sentences form the batch of a step, and their gathering on the device.

The order is a pure function of (seed, epoch), so a restart needs only the
step. Sentences of one length bucket are batched together; a batch is padded to
its bucket's length, one of a few static shapes. Of a stream the batches are
windows of B rows that move on together.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import corpora, labels, vocab

_WASTE = 0.05  # Of work on padding that more static shapes would save.
BLANK = -1  # A row that holds no sentence: the mask is False throughout.


class Bucket(NamedTuple):
  """A static shape of batches.

  Attributes:
    length: T, that its sentences are padded to.
    token_counts: how many real tokens its batches hold, rounded up to a few
      numbers, each of them a branch of the output layer; the last is never
      exceeded. () if that is not known: then B T.
  """

  length: int
  token_counts: tuple[int, ...] = ()


class Plan(NamedTuple):
  """The batches of an epoch, or of some consecutive steps."""

  # int32[N, B], sentence indices, where BLANK fills the last batch; of a
  # stream, where in its part of the text each row's window begins.
  rows: np.ndarray
  bucket: np.ndarray  # int32[N], index into the buckets.


class DeviceSplit(NamedTuple):
  """A split as arrays on the device; see `corpora.Split`."""

  tokens: jax.Array  # int32[total]
  offsets: jax.Array  # int32[sentences]
  lengths: jax.Array  # int32[sentences]
  numbers: jax.Array  # int32[sentences], as the whole split counts them.
  bos: jax.Array  # int32[], the input before the first token.
  # By name, int32[sentences], or int32[total] if `labels.PER_TOKEN` has it.
  fields: dict[str, jax.Array] = {}  # noqa: RUF012


def put(split: corpora.Split) -> DeviceSplit:
  """Copies a split to the device."""
  return DeviceSplit(
    jnp.asarray(split.tokens),
    jnp.asarray(split.offsets),
    jnp.asarray(split.lengths),
    jnp.arange(len(split), dtype=jnp.int32),
    jnp.int32(split.bos),
    {name: jnp.asarray(array) for name, array in split.fields.items()},
  )


def pad_rows(rows: Any, size: int) -> Any:
  """Rows in batches of one size, the last filled up with BLANK.

  Args:
    rows: int[N], of NumPy or of JAX, traced or not.
    size: B, of a batch.

  Returns:
    int32[ceil(N / B), B], of the same library.
  """
  xp = jnp if isinstance(rows, jax.Array) else np
  blanks = xp.full(-len(rows) % size, BLANK, xp.int32)
  return xp.concatenate([rows.astype(xp.int32), blanks]).reshape(-1, size)


def round_up(
  sizes: np.ndarray, number: int, waste: float = 0.0
) -> tuple[int, ...]:
  """The static sizes that waste the least if each size is rounded up to one.

  Exact, by dynamic programming over the distinct sizes.

  Args:
    sizes: int[N].
    number: how many static ones, hence compiled branches, are allowed.
    waste: fewer are taken where what they add is at most this share of the
      sizes' sum.

  Returns:
    Increasing sizes; the last is the largest.
  """
  values, counts = np.unique(sizes, return_counts=True)
  below = np.concatenate([[0], np.cumsum(counts)])
  # cost[j]: the j smallest values rounded up, summed; cuts[k][j]: where static
  # size k of the best such split begins.
  cost = np.where(np.arange(len(values) + 1) == 0, 0.0, np.inf)
  cuts = []
  for _ in range(min(number, len(values))):
    # [i, j]: those so far hold the i smallest values, one more goes up to j.
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
  lengths: np.ndarray, batch_size: int, num_buckets: int, platform: str
) -> tuple[Bucket, ...]:
  """The buckets of a config: so many lengths, or at 0 the platform's own.

  On a CPU the loops over time stop at a batch's longest sentence, so one shape
  wastes little and compiles fast. Elsewhere a loop's length is a shape: as many
  as keep padding below 5%. The output layer works on real tokens everywhere,
  rounded up by less than 5% as well if eight branches suffice.

  Args:
    lengths: int[N], of all sentences, eos counted.
    batch_size: B, sentences a batch.
    num_buckets: how many lengths; 0: the platform's own.
    platform: as JAX calls it.

  Returns:
    Buckets for every batch of `epoch_plan`, whatever the seed and the epoch,
    and of `evaluation_plan`.
  """
  if num_buckets:
    padded = round_up(lengths, num_buckets)
  elif platform == 'cpu':
    padded = round_up(lengths, 1)
  else:
    padded = round_up(lengths, len(lengths), _WASTE)
  # Batches of sorted sentences: which ones is left to chance, their lengths
  # are not.
  sizes = np.sort(lengths)
  sizes = np.concatenate([sizes, np.zeros(-len(sizes) % batch_size, int)])
  sizes = sizes.reshape(-1, batch_size)
  bucket_of, tokens = np.searchsorted(padded, sizes.max(axis=1)), sizes.sum(1)

  def make(number, length):
    # Not finer than needed: the search is quadratic.
    grain = -(-batch_size * length // 256)
    counts = -(-tokens[bucket_of == number] // grain) * grain
    counts = np.minimum(counts, batch_size * length)
    # Without a batch of its own a bucket has no use, but a shape.
    return Bucket(length, round_up(counts, 8, _WASTE) if len(counts) else ())

  return tuple(make(*pair) for pair in enumerate(padded))


def epoch_plan(
  lengths: np.ndarray,
  buckets: Sequence[Bucket],
  batch_size: int,
  seed: int,
  epoch: int,
) -> Plan:
  """All batches of an epoch, a pure function of the arguments.

  Sentences are shuffled, stably sorted by length and cut into batches: nearly
  all rows of a batch are equally long, a length's remainder moves up into the
  next one, and only one batch of the epoch has blank rows. Then the batches
  are shuffled, for all seeds and epochs alike: runs meet the same shapes at
  the same place of an epoch, so that many can be trained as one program.
  """
  rng = np.random.default_rng([seed, epoch])
  order = rng.permutation(len(lengths))
  order = order[np.argsort(lengths[order], kind='stable')]
  plan = _cut(order, _bucket_of(lengths, buckets), batch_size)
  number = len(plan.rows)
  shuffle = np.random.default_rng(number).permutation(number)
  return Plan(plan.rows[shuffle], plan.bucket[shuffle])


def evaluation_plan(
  lengths: np.ndarray, buckets: Sequence[Bucket], batch_size: int
) -> Plan:
  """Every sentence once, in batches of similar length."""
  order = np.argsort(lengths, kind='stable')
  return _cut(order, _bucket_of(lengths, buckets), batch_size)


def _bucket_of(lengths, buckets):
  """The number of the first bucket that is long enough for each sentence."""
  return np.searchsorted([bucket.length for bucket in buckets], lengths)


def _cut(order, bucket_of, batch_size) -> Plan:
  rows = pad_rows(order, batch_size)
  bucket = np.where(rows == BLANK, 0, bucket_of[rows]).max(axis=1)
  return Plan(rows, bucket.astype(np.int32))


class Schedule:
  """The batches of any run of steps, for ever: epoch after epoch."""

  may_stream = True  # A call needs its own sentences only.

  def __init__(self, lengths, buckets, batch_size: int, seed: int):
    self.steps_per_epoch = -(-len(lengths) // batch_size)
    self.longest = buckets[-1].length
    # Only the epoch in use and its neighbour are kept.
    self._epoch = functools.lru_cache(maxsize=2)(
      lambda epoch: epoch_plan(lengths, buckets, batch_size, seed, epoch)
    )

  def steps(self, first: int, count: int) -> Plan:
    """The batches of steps first .. first + count - 1."""
    epoch, start = divmod(first, self.steps_per_epoch)
    return _run_of(self._epoch, epoch, start, count)

  def put(self, split: corpora.Split) -> DeviceSplit:
    """What `gather` reads."""
    return put(split)


def _run_of(plan_of: Callable, epoch: int, start: int, count: int) -> Plan:
  """`count` batches from the one with number `start` of an epoch on."""
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
  """The windows of a stream, and how probable each is.

  Args:
    length: of all of them; with a spread the most probable one.
    spread: standard deviation of normally distributed lengths (Merity et al.,
      arXiv:1708.02182, section 5), rounded to its multiples so that they are
      few, 2 of them off at most; one in 20 is half as long. 0: none.

  Raises:
    ValueError: the shortest one is of no token.
  """
  if not spread:
    return (Bucket(length),), (1.0,)
  # Of a standard normal: beyond 1.5, from 0.5 to 1.5, up to 0.5.
  shares = 0.0668, 0.2417, 0.3830, 0.2417, 0.0668
  weights = {length // 2: 0.05}
  for steps, share in zip(range(-2, 3), shares, strict=True):
    at = length + steps * spread
    weights[at] = weights.get(at, 0.0) + 0.95 * share
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

  The text is cut into B equal parts, one a row. A window begins where the one
  before has ended, the first of an epoch at the parts' beginnings; the last is
  as long as what is left. Windows are of the longest bucket's length, or each
  of one drawn from all of them.
  """

  may_stream = False  # The whole text is on the device.

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
      num_tokens: of the text.
      buckets: the windows' lengths, increasing.
      batch_size: B.
      seed: of the lengths.
      weights: by bucket, the probability of its length; (): the last always.

    Raises:
      ValueError: there is less text than rows.
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

    @functools.lru_cache(maxsize=2)
    def epoch_plan(epoch):
      count = -(-self._part // lengths[0])
      chosen = np.full(count, len(lengths) - 1)
      if len(weights):
        rng = np.random.default_rng([seed, epoch])
        chosen = rng.choice(len(lengths), count, p=weights)
      ends = np.cumsum(lengths[chosen])
      # As many as reach the end.
      chosen = chosen[: np.searchsorted(ends, self._part) + 1]
      starts = ends[: len(chosen)] - lengths[chosen]
      rows = np.broadcast_to(starts[:, None], (len(chosen), batch_size))
      return Plan(rows.astype(np.int32), chosen.astype(np.int32))

    @functools.cache
    def steps_before(epoch):
      if not epoch:
        return 0
      return steps_before(epoch - 1) + len(epoch_plan(epoch - 1).rows)

    self._epoch, self._steps_before = epoch_plan, steps_before
    self.steps_per_epoch = len(epoch_plan(0).rows)  # Of the first.

  def steps(self, first: int, count: int) -> Plan:
    """The windows of steps first .. first + count - 1."""
    epoch = 0
    while self._steps_before(epoch + 1) <= first:
      epoch += 1
    return _run_of(self._epoch, epoch, first - self._steps_before(epoch), count)

  def put(self, split: corpora.Split) -> DeviceSplit:
    """What `gather_windows` reads: the text, a part of it for each row."""
    offsets = np.arange(self._batch_size) * self._part
    lengths = np.clip(len(split.tokens) - offsets, 0, self._part)
    return DeviceSplit(
      jnp.asarray(split.tokens),
      jnp.asarray(offsets, jnp.int32),
      jnp.asarray(lengths, jnp.int32),
      jnp.arange(self._batch_size, dtype=jnp.int32),
      jnp.int32(split.bos),
    )


def gather(
  split: DeviceSplit, rows: jax.Array, bucket: Bucket
) -> dict[str, Any]:
  """The batch of the given sentences.

  Args:
    split: the corpus on the device.
    rows: int32[B], sentence indices, BLANK for none.
    bucket: one that holds them.

  Returns:
    inputs int32[B, T] (bos, words), targets int32[B, T] (words, eos), mask
    bool[B, T], index int32[B] (the sentences' numbers in the whole split) and
    weights float[B] (1 for a sentence, 0 for a blank row); the split's fields,
    label int32[B] or tags int32[B, T] (of the targets), 0 where there is no
    sentence or token; token_counts, the bucket's, which are no array.
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
  return fields | {
    'inputs': jnp.where(mask, inputs, vocab.PAD),
    'targets': targets,
    'mask': mask,
    'index': jnp.where(rows == BLANK, BLANK, split.numbers[rows]),
    'weights': (rows != BLANK).astype(jnp.float32),
    'token_counts': bucket.token_counts,
  }


def gather_windows(
  text: DeviceSplit, starts: jax.Array, bucket: Bucket
) -> dict[str, Any]:
  """The windows of a stream's rows.

  Args:
    text: from `StreamSchedule.put`.
    starts: int32[B], where in its part of the text each row's window begins.
    bucket: its length.

  Returns:
    What `gather` does, with `begins` bool[B] besides: the row has read nothing
    yet. Inputs are the tokens before the targets, in this window or not.
  """
  time = starts[:, None] + jnp.arange(bucket.length)[None, :]
  mask = time < text.lengths[:, None]
  positions = text.offsets[:, None] + time
  pick = lambda positions: jnp.where(
    mask, text.tokens[jnp.clip(positions, 0, len(text.tokens) - 1)], vocab.PAD
  )
  inputs = jnp.where(mask & (positions == 0), text.bos, pick(positions - 1))
  return {
    'inputs': inputs,
    'targets': pick(positions),
    'mask': mask,
    'index': text.numbers,
    'weights': jnp.ones(len(starts)),
    'token_counts': bucket.token_counts,
    'begins': starts == 0,
  }
