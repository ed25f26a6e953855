"""Nats of sentences are kept with a hash of the sentences."""

import os

from absl.testing import absltest
import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.training import sentence_nats


def split_of(*sentences):
  return corpora.split_of([np.array(s, np.int32) for s in sentences])


class SentenceNatsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path

  def test_what_is_written_is_read(self):
    split = split_of([4, 5, 2], [6, 2])
    nll = np.array([1.0 / 3.0, np.inf])
    sentence_nats.write(self.workdir, 'test', np.zeros(2), split)
    sentence_nats.write(self.workdir, 'test', nll, split)
    self.assertEqual(os.listdir(self.workdir), ['nats_test.npz'])
    kept = sentence_nats.read(self.workdir, 'test')
    np.testing.assert_array_equal(kept.nll, nll)
    self.assertEqual(kept.nll.dtype, np.float64)
    self.assertEqual(kept.content_hash, split.content_hash)

  def test_nothing_is_read_where_nothing_was_kept(self):
    self.assertIsNone(sentence_nats.read(self.workdir, 'valid'))


if __name__ == '__main__':
  absltest.main()
