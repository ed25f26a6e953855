"""Figures of latents without text, pooled over pairs, and their tables."""

from absl.testing import absltest

from benchmarks import latent_tables, latents
from rnnvae_jax.analysis import intervals


def entry(label, amount, sentences, flipped, kept):
  return {
    'label': label,
    'amount': amount,
    'sentences': sentences,
    'flipped': flipped,
    'content_kept': kept,
  }


class CollectTest(absltest.TestCase):
  def test_no_sentence_is_left(self):
    found = latents.without_text(
      {
        'kl': [1.0],
        'attributes': [{'label': 'x', 'examples': [{'before': 'a secret'}]}],
        'traversals': [
          {'latent': 0, 'words': [], 'sentences': ['a secret']},
        ],
        'neighbours': [{'text': 'a secret'}],
        'homotopies': [{'from': 'a secret'}],
      }
    )
    self.assertNotIn('secret', str(found))
    self.assertEqual(found['traversals'], [{'latent': 0, 'words': []}])
    self.assertEqual(found['kl'], [1.0])

  def test_pairs_are_pooled_by_their_sentences(self):
    found = latents.pooled(
      [
        entry('x', 1.0, 10, 0.5, 0.4),
        entry('x', 1.0, 30, 0.1, 0.8),
        entry('x', 2.0, 10, 1.0, None),
        entry('y', 1.0, 4, 0.25, 0.5),
      ],
      ('flipped', 'content_kept'),
    )
    first = found[0]
    self.assertEqual((first['pairs'], first['sentences']), (2, 40))
    self.assertAlmostEqual(first['flipped'], 8 / 40)
    self.assertAlmostEqual(first['content_kept'], (4 + 24) / 40)
    share = intervals.wilson(8, 40)
    self.assertEqual((first['low'], first['high']), (share.low, share.high))
    self.assertIsNone(found[1]['content_kept'])
    self.assertEqual([f['label'] for f in found], ['x', 'x', 'y'])


class TablesTest(absltest.TestCase):
  def test_a_probe_has_a_row_for_each_label_and_representation(self):
    probe = {
      'label': 'party',
      'features': 'latent means',
      'accuracy': 0.75,
      'low': 0.7,
      'high': 0.8,
      'chance': 0.5,
      'classes': 2,
    }
    kinds = ('linear', 'nearest neighbours')
    probes = [{**probe, 'probe': kind} for kind in kinds]
    table = latent_tables.probes({'latents': {'probes': probes}})
    self.assertEqual(
      table.splitlines()[2],
      '| party | 2 | 50.0 | latent means | 75.0 (70.0 to 80.0) | 75.0 (70.0 to '
      '80.0) |',
    )

  def test_information_has_a_column_for_each_estimator(self):
    of = [
      {'label': 'party', 'nats': 0.25, 'entropy': 0.69, 'estimator': name}
      for name in ('one', 'two')
    ]
    table = latent_tables.information({'latents': {'mutual_information': of}})
    self.assertEqual(
      table.splitlines(),
      [
        '| label | entropy | one | two |',
        '| --- | --- | --- | --- |',
        '| party | 0.69 | 0.25 | 0.25 |',
      ],
    )


if __name__ == '__main__':
  absltest.main()
