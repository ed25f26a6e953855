"""News that come with gensim."""

from absl.testing import absltest

from rnnvae_jax.data.sources import lee


class LeeTest(absltest.TestCase):
  def test_has_its_sentences(self):
    splits = lee.SOURCE.read()
    sizes = {split: len(records) for split, records in splits.items()}
    self.assertEqual(sizes, {'train': 2_471, 'valid': 140, 'test': 135})
    texts = [r['text'] for records in splits.values() for r in records]
    self.assertLen(set(texts), len(texts))


if __name__ == '__main__':
  absltest.main()
