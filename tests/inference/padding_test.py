"""How texts are cut into batches of static sizes."""

from absl.testing import absltest
import numpy as np

from rnnvae_jax.inference import padding


class BatchEndsTest(absltest.TestCase):
  def test_short_texts_have_as_many_rows_as_are_allowed(self):
    lengths = np.sort(np.arange(600) % 61)
    self.assertEqual(padding.batch_ends(lengths, 256), [256, 512, 600])
    self.assertEqual(padding.batch_ends(lengths[:3], 256), [3])
    self.assertEqual(padding.batch_ends(lengths[:0], 256), [])

  def test_long_texts_have_fewer_rows(self):
    rng = np.random.default_rng(0)
    lengths = np.sort(np.exp(rng.normal(5, 0.8, 700)).astype(int))
    ends = padding.batch_ends(lengths, 256)
    self.assertEqual(ends[-1], 700)
    sizes = np.diff([0, *ends])
    self.assertEqual(sorted(sizes, reverse=True), list(sizes))
    padded = 0
    for size, end in zip(sizes, ends, strict=True):
      tokens = size * padding.static_length(lengths[end - 1])
      self.assertTrue(size <= 32 or tokens <= 2**14, (size, tokens))
      padded += tokens
    # Among 256 rows the longest text decides for all of them.
    whole = sum(
      256 * padding.static_length(lengths[min(end, 700) - 1])
      for end in (256, 512, 768)
    )
    self.assertLess(padded, 0.6 * whole)

  def test_few_rows_stay_few(self):
    lengths = np.full(70, 5_000)
    self.assertEqual(padding.batch_ends(lengths, 24), [24, 48, 70])
    self.assertEqual(padding.batch_ends(lengths, 256), [32, 64, 70])


if __name__ == '__main__':
  absltest.main()
