"""Batches: which sentences, in what order, and how they are laid out."""

import collections
import dataclasses
import itertools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches, corpora, vocab


def make_lengths(count, seed=0, longest=17):
  return np.random.default_rng(seed).integers(1, longest, count).astype('i4')


def make_split(lengths, seed=0):
  """Random words, each sentence closed by EOS."""
  ends = np.cumsum(lengths)
  tokens = np.random.default_rng(seed).integers(4, 90, ends[-1]).astype('i4')
  tokens[ends - 1] = vocab.EOS
  offsets = (ends - lengths).astype('i4')
  return corpora.Split(tokens, offsets, lengths, 0, 0, {})


def realistic_lengths(count=5_000):
  """Spread as those of news sentences: mean 21, one in a thousand over 70."""
  lengths = np.random.default_rng(0).gamma(4.0, 5.0, count)
  return 1 + np.round(lengths).astype('i4')


def make_buckets(lengths, number):
  return tuple(map(batches.Bucket, batches.round_up(lengths, number)))


def padded_tokens(lengths, buckets):
  return sum(min(b for b in buckets if b >= n) for n in lengths)


class RoundUpTest(parameterized.TestCase):
  @parameterized.product(num_buckets=(1, 2, 3, 4, 20), seed=(0, 1, 2))
  def test_waste_the_fewest_tokens_of_all_cuts(self, num_buckets, seed):
    lengths = make_lengths(40, seed, longest=12)
    buckets = batches.round_up(lengths, num_buckets)
    *shorter, longest = np.unique(lengths).tolist()
    cuts = (
      (*cut, longest)
      for size in range(min(num_buckets, len(shorter) + 1))
      for cut in itertools.combinations(shorter, size)
    )
    self.assertEqual(
      padded_tokens(lengths, buckets),
      min(padded_tokens(lengths, cut) for cut in cuts),
    )

  @parameterized.parameters(1, 2, 5, 100)
  def test_increase_up_to_the_longest_and_are_not_too_many(self, num_buckets):
    lengths = make_lengths(200)
    buckets = batches.round_up(lengths, num_buckets)
    self.assertLessEqual(len(buckets), num_buckets)
    self.assertEqual(list(buckets), sorted(set(buckets)))
    self.assertEqual(buckets[-1], lengths.max())

  def test_of_one_length_are_one(self):
    self.assertEqual(batches.round_up(np.full(9, 7), 4), (7,))

  @parameterized.parameters(0.0, 0.02, 0.05, 0.3, 9.0)
  def test_are_as_few_as_the_waste_allows(self, waste):
    lengths = realistic_lengths()
    allowed = (1 + waste) * lengths.sum()
    buckets = batches.round_up(lengths, len(lengths), waste)
    self.assertLessEqual(padded_tokens(lengths, buckets), allowed)
    if len(buckets) > 1:
      fewer = batches.round_up(lengths, len(buckets) - 1)
      self.assertGreater(padded_tokens(lengths, fewer), allowed)
    # What is wasted anyway is as little as so many can.
    same = batches.round_up(lengths, len(buckets))
    self.assertEqual(buckets, same)

  def test_are_not_more_than_allowed_whatever_the_waste(self):
    self.assertLen(batches.round_up(realistic_lengths(), 3, 0.01), 3)


class BucketsForTest(parameterized.TestCase):
  def lengths_of(self, *args):
    return tuple(bucket.length for bucket in batches.buckets_for(*args))

  @parameterized.product(num_buckets=(1, 5), platform=('cpu', 'gpu', 'tpu'))
  def test_a_number_is_that_on_every_platform(self, num_buckets, platform):
    lengths = realistic_lengths()
    got = self.lengths_of(lengths, 32, num_buckets, platform)
    self.assertEqual(got, batches.round_up(lengths, num_buckets))

  def test_a_cpu_has_one(self):
    lengths = realistic_lengths()
    self.assertEqual(self.lengths_of(lengths, 32, 0, 'cpu'), (lengths.max(),))

  @parameterized.parameters('gpu', 'tpu')
  def test_others_have_as_many_as_keep_padding_below_five_percent(
    self, platform
  ):
    lengths = np.repeat([9, 10, 20, 21, 40], 99)
    self.assertEqual(self.lengths_of(lengths, 32, 0, platform), (10, 21, 40))

  @parameterized.parameters('gpu', 'tpu')
  def test_others_have_five_at_most_with_one_token_count(self, platform):
    # Each is compiled, so their number decides how long that takes.
    lengths = realistic_lengths()
    buckets = batches.buckets_for(lengths, 32, 0, platform)
    got = tuple(bucket.length for bucket in buckets)
    self.assertEqual(got, batches.round_up(lengths, 5))
    for bucket in buckets:
      self.assertLen(bucket.token_counts, 1)
      tokens = bucket.token_counts[0]
      self.assertTrue(tokens % 8 == 0 or tokens == 32 * bucket.length)

  @parameterized.product(
    batch_size=(1, 7, 32, 9_999), num_buckets=(0, 1, 3), platform=('cpu', 'gpu')
  )
  def test_token_counts_hold_every_batch(
    self, batch_size, num_buckets, platform
  ):
    lengths = realistic_lengths(1_000)
    buckets = batches.buckets_for(lengths, batch_size, num_buckets, platform)
    plans = [
      batches.epoch_plan(lengths, buckets, batch_size, seed, epoch)
      for seed in range(2)
      for epoch in range(3)
    ]
    plans.append(batches.evaluation_plan(lengths, buckets, batch_size))
    tokens, rounded = [], []
    for plan in plans:
      for rows, bucket in zip(*plan, strict=True):
        shape = buckets[bucket]
        tokens.append(lengths[rows[rows != batches.BLANK]].sum())
        self.assertLessEqual(tokens[-1], shape.token_counts[-1])
        rounded.append(min(c for c in shape.token_counts if c >= tokens[-1]))
    for shape in buckets:
      counts = shape.token_counts
      self.assertEqual(list(counts), sorted(set(counts)))
      self.assertLessEqual(len(counts), 8)
      self.assertLessEqual(max(counts, default=0), batch_size * shape.length)
    if batch_size == 32:
      few = platform == 'gpu' and not num_buckets
      self.assertLess(sum(rounded), (1.3 if few else 1.1) * sum(tokens))


class EpochPlanTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.lengths = make_lengths(203)
    self.buckets = make_buckets(self.lengths, 4)

  def plan(self, seed=3, epoch=5, batch_size=16):
    return batches.epoch_plan(
      self.lengths, self.buckets, batch_size, seed, epoch
    )

  def fitting_bucket(self, rows):
    longest = self.lengths[rows[rows != batches.BLANK]].max()
    padded = [bucket.length for bucket in self.buckets]
    return int(np.searchsorted(padded, longest))

  @parameterized.parameters(1, 7, 16, 203, 500)
  def test_holds_every_sentence_once(self, batch_size):
    rows = self.plan(batch_size=batch_size).rows
    self.assertEqual(rows.shape, (-(-203 // batch_size), batch_size))
    real = rows[rows != batches.BLANK]
    np.testing.assert_array_equal(np.sort(real), np.arange(203))

  @parameterized.parameters(7, 16, 29)
  def test_pads_each_batch_to_the_shortest_bucket_that_fits(self, batch_size):
    for rows, bucket in zip(*self.plan(batch_size=batch_size), strict=True):
      self.assertEqual(bucket, self.fitting_bucket(rows))

  @parameterized.parameters(8, 16, 31, 500)
  def test_has_blanks_in_one_batch_only(self, batch_size):
    rows = self.plan(batch_size=batch_size).rows
    blanks = (rows == batches.BLANK).sum(axis=1)
    self.assertEqual(blanks.sum(), -203 % batch_size)
    self.assertEqual(np.count_nonzero(blanks), 1)

  def test_mixes_buckets_only_where_one_ends(self):
    padded = [bucket.length for bucket in self.buckets]
    own_bucket = np.searchsorted(padded, self.lengths)
    mixed = [
      len(set(own_bucket[rows[rows != batches.BLANK]])) > 1
      for rows in self.plan().rows
    ]
    self.assertLess(sum(mixed), len(self.buckets))

  def test_is_a_pure_function_of_seed_and_epoch(self):
    for first, second in zip(self.plan(), self.plan(), strict=True):
      np.testing.assert_array_equal(first, second)

  @parameterized.parameters({'epoch': 6}, {'seed': 4}, {'seed': 5, 'epoch': 3})
  def test_differs_between_epochs_and_seeds_in_what_batches_hold(self, **other):
    first, second = self.plan(), self.plan(**other)
    together = lambda plan: {frozenset(rows) for rows in plan.rows.tolist()}
    self.assertLess(len(together(first) & together(second)), 3)

  @parameterized.parameters({'epoch': 6}, {'seed': 4}, {'seed': 5, 'epoch': 3})
  def test_has_the_same_shapes_in_the_same_places_for_all(self, **other):
    first, second = self.plan(), self.plan(**other)
    np.testing.assert_array_equal(first.bucket, second.bucket)
    lengths = np.append(self.lengths, 0)  # The last is that of a blank.
    np.testing.assert_array_equal(
      np.sort(lengths[first.rows]), np.sort(lengths[second.rows])
    )

  def test_goes_neither_up_nor_down_in_length(self):
    self.lengths = realistic_lengths()
    self.buckets = make_buckets(self.lengths, 4)
    longest = self.lengths[self.plan(batch_size=32).rows].max(axis=1)
    count = len(longest)
    correlation = np.corrcoef(longest, np.arange(count))[0, 1]
    self.assertLess(abs(correlation), 4 / np.sqrt(count))

  @parameterized.parameters(16, 32)
  def test_batches_hold_sentences_of_nearly_one_length(self, batch_size):
    ranges = []
    for rows in self.plan(batch_size=batch_size).rows:
      lengths = self.lengths[rows[rows != batches.BLANK]]
      ranges.append((lengths.min(), lengths.max()))
    # They follow each other: a length is in several only at their ends.
    for (_, longest), (shortest, _) in itertools.pairwise(sorted(ranges)):
      self.assertLessEqual(longest, shortest)

  def test_pads_a_recurrence_that_stops_at_the_longest_by_below_5_percent(self):
    self.lengths = realistic_lengths()
    self.buckets = make_buckets(self.lengths, 2)
    rows = self.plan(batch_size=32).rows
    longest = np.where(rows == batches.BLANK, 0, self.lengths[rows]).max(axis=1)
    self.assertLess(32 * longest.sum() / self.lengths.sum() - 1, 0.05)

  def test_draws_all_orders_alike(self):
    # Of the 6 orders of 3 sentences in 3 batches each is expected 100 times
    # in 600 epochs, with a standard deviation of 9.1.
    lengths = np.array([5, 5, 5])
    buckets = batches.Bucket(2), batches.Bucket(5)
    seen = collections.Counter(
      tuple(batches.epoch_plan(lengths, buckets, 1, 0, epoch).rows[:, 0])
      for epoch in range(600)
    )
    self.assertLen(seen, 6)
    self.assertLess(max(abs(count - 100) for count in seen.values()), 5 * 9.1)


class EvaluationPlanTest(parameterized.TestCase):
  @parameterized.parameters(1, 8, 64)
  def test_holds_every_sentence_once_in_fitting_buckets(self, batch_size):
    lengths = make_lengths(53)
    buckets = make_buckets(lengths, 3)
    plan = batches.evaluation_plan(lengths, buckets, batch_size)
    real = plan.rows[plan.rows != batches.BLANK]
    np.testing.assert_array_equal(np.sort(real), np.arange(53))
    for rows, bucket in zip(*plan, strict=True):
      longest = lengths[rows[rows != batches.BLANK]].max()
      fitting = (b.length for b in buckets if b.length >= longest)
      self.assertEqual(buckets[bucket].length, min(fitting))


class ScheduleTest(parameterized.TestCase):
  def make(self):
    lengths = make_lengths(37)
    buckets = make_buckets(lengths, 3)
    return batches.Schedule(lengths, buckets, batch_size=8, seed=1)

  def test_goes_from_epoch_to_epoch(self):
    schedule = self.make()
    self.assertEqual(schedule.steps_per_epoch, 5)
    steps = schedule.steps(0, 15)
    lengths = make_lengths(37)
    buckets = make_buckets(lengths, 3)
    for epoch in range(3):
      want = batches.epoch_plan(lengths, buckets, 8, 1, epoch)
      now = slice(5 * epoch, 5 * epoch + 5)
      np.testing.assert_array_equal(steps.rows[now], want.rows)
      np.testing.assert_array_equal(steps.bucket[now], want.bucket)

  @parameterized.parameters(
    ((1,) * 23,), ((3, 3, 3, 3, 3, 3, 3, 2),), ((5, 5, 13),), ((22, 1),)
  )
  def test_is_the_same_however_it_is_cut(self, counts):
    whole = self.make().steps(0, 23)
    schedule, first, parts = self.make(), 0, []
    for count in counts:
      parts.append(schedule.steps(first, count))
      first += count
    rows, bucket = map(np.concatenate, zip(*parts, strict=True))
    np.testing.assert_array_equal(rows, whole.rows)
    np.testing.assert_array_equal(bucket, whole.bucket)

  def test_begins_anywhere_without_what_came_before(self):
    whole = self.make().steps(0, 23)
    rows, bucket = self.make().steps(9, 14)
    np.testing.assert_array_equal(rows, whole.rows[9:])
    np.testing.assert_array_equal(bucket, whole.bucket[9:])


class PadRowsTest(parameterized.TestCase):
  @parameterized.product(count=(0, 1, 4, 6), module=('numpy', 'jax', 'traced'))
  def test_fills_the_last_batch_with_blanks(self, count, module):
    rows = np.arange(count)
    pad = lambda rows: batches.pad_rows(rows, 4)
    if module == 'traced':
      pad = jax.jit(pad)
    got = pad(rows if module == 'numpy' else jnp.asarray(rows))
    want = [*range(count), *[batches.BLANK] * (-count % 4)]
    self.assertEqual(got.dtype, np.int32)
    self.assertIs(isinstance(got, np.ndarray), module == 'numpy')
    self.assertEqual(got.shape, (-(-count // 4), 4))
    np.testing.assert_array_equal(got.ravel(), want)


class GatherTest(parameterized.TestCase):
  @parameterized.product(jit=(False, True), extra=(0, 3))
  def test_matches_a_loop(self, jit, extra):
    split = make_split(make_lengths(19))
    rows = np.int32([4, batches.BLANK, 18, 0, 4])
    length = int(split.lengths[[4, 18, 0]].max()) + extra
    want = {
      'inputs': np.full((5, length), vocab.PAD),
      'targets': np.full((5, length), vocab.PAD),
      'mask': np.zeros((5, length), bool),
      'index': rows,
      'weights': np.float32([1, 0, 1, 1, 1]),
      'token_counts': (9, 20),
    }
    for b, row in enumerate(rows):
      if row != batches.BLANK:
        words = split.sentence(row).tolist()
        want['inputs'][b, : len(words)] = [vocab.BOS, *words[:-1]]
        want['targets'][b, : len(words)] = words
        want['mask'][b, : len(words)] = True
    gather = batches.gather
    if jit:
      gather = jax.jit(gather, static_argnums=2)
    bucket = batches.Bucket(length, (9, 20))
    got = gather(batches.put(split), jnp.asarray(rows), bucket)
    self.assertEqual(set(got), set(want))
    for name, value in want.items():
      np.testing.assert_array_equal(got[name], value, name)

  @parameterized.parameters(False, True)
  def test_fields_go_with_their_sentences_and_tokens(self, jit):
    split = make_split(make_lengths(19))
    rng = np.random.default_rng(3)
    label = rng.integers(1, 9, 19).astype('i4')
    tags = rng.integers(1, 9, len(split.tokens)).astype('i4')
    split = dataclasses.replace(split, fields={'label': label, 'tags': tags})
    rows = np.int32([4, batches.BLANK, 18, 0, 4])
    want_label, want_tags = np.zeros(5), np.zeros((5, 17))
    for b, row in enumerate(rows):
      if row != batches.BLANK:
        want_label[b] = label[row]
        for t in range(split.lengths[row]):
          want_tags[b, t] = tags[split.offsets[row] + t]
    gather = (
      jax.jit(batches.gather, static_argnums=2) if jit else batches.gather
    )
    got = gather(batches.put(split), jnp.asarray(rows), batches.Bucket(17))
    np.testing.assert_array_equal(got['label'], want_label)
    np.testing.assert_array_equal(got['tags'], want_tags)

  def test_closes_every_sentence_with_eos(self):
    lengths = make_lengths(19)
    corpus = batches.put(make_split(lengths))
    batch = batches.gather(corpus, jnp.arange(19), batches.Bucket(17))
    np.testing.assert_array_equal(batch['inputs'][:, 0], vocab.BOS)
    last = np.asarray(batch['targets'])[np.arange(19), lengths - 1]
    np.testing.assert_array_equal(last, vocab.EOS)
    self.assertNotIn(vocab.EOS, np.asarray(batch['inputs']))


if __name__ == '__main__':
  absltest.main()
