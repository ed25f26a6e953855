"""An update that is not finite has a record of what it read."""

import json
import os

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import batches, corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import nonfinite

TEXT = ('a b', 'b', 'c a b', 'b c', 'a', 'c c c')
VOCAB = vocab_lib.Vocabulary.build('word', [text.split() for text in TEXT], 1)
NAN, INF = np.nan, np.inf


def make_split():
  ids = [[*VOCAB.encode(text.split()), vocab_lib.EOS] for text in TEXT]
  lengths = np.int32([*map(len, ids)])
  offsets = np.cumsum(lengths, dtype=np.int32) - lengths
  return corpora.Split(
    np.int32(np.concatenate(ids)), offsets, lengths, 0, 0, {}
  )


class GuardTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path
    self.split = make_split()
    self.schedule = batches.Schedule(
      self.split.lengths, [batches.Bucket(4)], 2, seed=0
    )

  def guard(self, first=0, limit=0):
    return nonfinite.Guard(
      self.workdir, first, limit, self.schedule, self.split, VOCAB
    )

  def records(self):
    folder = os.path.join(self.workdir, nonfinite.FOLDER)
    found = {}
    for name in os.listdir(folder):
      with open(os.path.join(folder, name)) as file:
        record = json.load(file)
      found[record['step']] = record
    return found

  def test_finite_losses_leave_nothing(self):
    self.assertEqual(self.guard().check(np.float32([1, -2]), 6), [])
    self.assertEqual(os.listdir(self.workdir), [])

  @parameterized.parameters(
    ([1, NAN, NAN], 'the loss or its gradient is nan'),
    ([1, INF, NAN], 'the loss is inf'),
  )
  def test_the_first_one_stops_and_is_named_with_its_sentences(
    self, losses, what
  ):
    with self.assertRaisesRegex(
      FloatingPointError, rf'Step 8: {what}, .*step_8\.json.*learning_rate'
    ):
      self.guard().check(np.float32(losses), 6)
    rows = self.schedule.steps(7, 1).rows[0]
    self.assertEqual(
      self.records()[8]['sentences'], {str(row): TEXT[row] for row in rows}
    )
    self.assertLen(self.records(), 1)

  def test_some_are_left_out_and_counted_over_restarts(self):
    lines = self.guard(limit=3).check(np.float32([NAN, 1, INF]), 0)
    self.assertLen(lines, 2)
    self.assertRegex(lines[1], 'Step 3: .*left out, number 2 of at most 3')
    # From step 2 on the run is repeated.
    guard = self.guard(first=2, limit=3)
    self.assertCountEqual(self.records(), [1])
    self.assertLen(guard.check(np.float32([INF, NAN]), 2), 2)
    with self.assertRaisesRegex(FloatingPointError, 'Step 5'):
      guard.check(np.float32([NAN]), 4)
    self.assertCountEqual(self.records(), [1, 3, 4, 5])

  def test_of_a_stream_the_windows_are_kept(self):
    tokens = VOCAB.encode([*'abcaabbccab'])
    split = corpora.Split(
      tokens, np.int32([0]), np.int32([len(tokens)]), 0, 0, {}
    )
    stream = batches.StreamSchedule(len(tokens), [batches.Bucket(4)], 2, seed=0)
    guard = nonfinite.Guard(self.workdir, 0, 1, stream, split, VOCAB)
    guard.check(np.float32([1, NAN]), 0)
    # Two parts of six tokens, of which the last one is cut; windows of four.
    self.assertEqual(self.records()[2]['sentences'], {'4': 'a b', '10': 'b'})


if __name__ == '__main__':
  absltest.main()
