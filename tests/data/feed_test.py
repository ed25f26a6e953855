"""A streamed corpus gives the batches that the resident one gives."""

from absl.testing import absltest, parameterized
import jax
import numpy as np

from rnnvae_jax.data import batches, corpora, feed

PER_CALL, BATCH = 3, 4


def make_split(lengths, seed=0):
  lengths = np.asarray(lengths, np.int32)
  rng = np.random.default_rng(seed)
  return corpora.Split(
    tokens=rng.integers(4, 99, lengths.sum()).astype(np.int32),
    offsets=(np.cumsum(lengths) - lengths).astype(np.int32),
    lengths=lengths,
    num_truncated=0,
    num_empty=0,
    labels={},
    fields={
      'label': rng.integers(1, 9, len(lengths)).astype(np.int32),
      'tags': rng.integers(1, 9, lengths.sum()).astype(np.int32),
    },
  )


def batches_of(calls, buckets, gather=batches.gather):
  """The gathered batches of all calls."""
  gather = jax.jit(gather, static_argnums=2)
  return [
    jax.device_get(gather(corpus, rows, buckets[int(bucket)]))
    for corpus, all_rows, all_buckets in calls
    for rows, bucket in zip(all_rows, all_buckets, strict=True)
  ]


class FeedTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # 30 sentences by 4: the last batch of an epoch has two blank rows.
    lengths = np.random.default_rng(1).integers(1, 12, size=30)
    self.split = make_split(lengths)
    padded = batches.round_up(self.split.lengths, 2)
    self.buckets = tuple(map(batches.Bucket, padded))
    self.schedule = batches.Schedule(
      self.split.lengths, self.buckets, BATCH, seed=7
    )

  def calls(self, first, num_steps, share):
    return feed.make(
      self.split, self.schedule, PER_CALL, first, num_steps, share
    )

  @parameterized.parameters(0, 6)
  def test_streamed_batches_are_the_resident_ones(self, first):
    resident = batches_of(self.calls(first, 21, share=1.0), self.buckets)
    streamed = batches_of(self.calls(first, 21, share=0.0), self.buckets)
    self.assertLen(streamed, 21 - first)
    for ours, theirs in zip(streamed, resident, strict=True):
      self.assertCountEqual(ours, theirs)
      self.assertContainsSubset(('label', 'tags'), ours)
      for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], name)

  def test_a_stream_holds_no_more_than_its_calls_sentences(self):
    shapes = {
      tuple(array.shape for array in jax.tree.leaves(corpus))
      for corpus, _, _ in self.calls(0, 21, share=0.0)
    }
    rows = PER_CALL * BATCH
    longest = int(self.split.lengths.max())
    # One shape, hence one program.
    self.assertEqual(
      shapes,
      {
        (
          (rows * longest,),
          *[(rows,)] * 3,
          (),
          # The fields: labels, then tags.
          (rows,),
          (rows * longest,),
        )
      },
    )

  def test_a_small_corpus_stays_on_the_device(self):
    corpora = [corpus for corpus, _, _ in self.calls(0, 6, share=0.5)]
    self.assertLen(corpora, 2)
    self.assertIs(corpora[0], corpora[1])
    self.assertLen(corpora[0].lengths, 30)


class StreamTest(parameterized.TestCase):
  """Windows of a stream are the same from the device and from the host."""

  @parameterized.product(
    num_tokens=(BATCH, 41, 203), first=(0, 6), weights=((), (0.4, 0.6))
  )
  def test_windows_are_the_resident_ones(self, num_tokens, first, weights):
    split = make_split([num_tokens])
    buckets = (batches.Bucket(4), batches.Bucket(7))
    schedule = batches.StreamSchedule(num_tokens, buckets, BATCH, 3, weights)
    make = lambda share, columns: feed.make(
      split, schedule, PER_CALL, first, 60, share, columns=columns
    )
    resident = batches_of(
      make(1.0, (slice(None),)), buckets, batches.gather_windows
    )
    self.assertGreater(sum(batch['begins'].all() for batch in resident), 1)
    for columns in (slice(None),), (slice(1, 3),):
      streamed = batches_of(make(0.0, columns), buckets, batches.gather_windows)
      self.assertLen(streamed, 60 - first)
      for ours, theirs in zip(streamed, resident, strict=True):
        self.assertCountEqual(ours, theirs)
        for name in set(theirs) - {'token_counts'}:
          wanted = theirs[name][columns[0]]
          np.testing.assert_array_equal(ours[name], wanted, name)

  def test_a_call_holds_its_windows_alone(self):
    split = make_split([500])
    schedule = batches.StreamSchedule(500, (batches.Bucket(5),), BATCH, 3)
    corpora = [c for c, *_ in feed.make(split, schedule, PER_CALL, 0, 90, 0.0)]
    for corpus in corpora:
      self.assertLen(corpus.tokens, PER_CALL * BATCH * (5 + 1))
    np.testing.assert_array_equal(corpora[1].tokens[:6], split.tokens[14:20])


if __name__ == '__main__':
  absltest.main()
