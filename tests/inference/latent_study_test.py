"""The mode `latents` from the command line to its files."""

import contextlib
import io
import json
import os
import tempfile
from unittest import mock

from absl.testing import absltest
import numpy as np
import pytest

from rnnvae_jax.config import files
from rnnvae_jax.data import word_vectors
from rnnvae_jax.inference import latent_sample, latent_study, moves
from rnnvae_jax.training import loop

pytestmark = [
  pytest.mark.usefixtures('compile_once'),
  # From ml_collections, which loads the config file.
  pytest.mark.filterwarnings(
    r'ignore:the load_module\(\) method is deprecated:DeprecationWarning'
  ),
]


class SampleTest(absltest.TestCase):
  def test_labels_of_few_or_many_values_are_not_asked_about(self):
    count = 120
    numbers = np.arange(count)
    values = {
      'parity': np.where(numbers % 3 == 0, 'threes', 'others'),
      'name': np.array([f'n{i % 60}' for i in numbers]),
      'constant': np.array(['x'] * count),
      'gaps': np.array(['', 'a', 'b', 'c'] * 30),
      'rare': np.array(['rare'] + ['a', 'b'] * 59 + ['a']),
    }
    empty = np.zeros((count, 2))
    sample = latent_sample.Sample([], [], values, numbers, empty, empty, empty)
    found = latent_sample.labelled(sample, 2)
    self.assertEqual(set(found), {'parity', 'gaps', 'rare'})
    parity = found['parity']
    self.assertEqual(parity.names, ['others', 'threes'])
    for row, number in zip(parity.rows, parity.classes, strict=True):
      self.assertEqual(parity.names[number], values['parity'][row])
    self.assertLen(found['gaps'].rows, 90)
    self.assertEqual(found['rare'].names, ['a', 'b'])

  def test_sentences_are_drawn_by_the_seed(self):
    np.testing.assert_array_equal(latent_sample.drawn(5, 0, 0), np.arange(5))
    np.testing.assert_array_equal(latent_sample.drawn(5, 9, 0), np.arange(5))
    first = latent_sample.drawn(100, 10, 1)
    self.assertLen(set(first.tolist()), 10)
    self.assertEqual(sorted(first), first.tolist())
    np.testing.assert_array_equal(first, latent_sample.drawn(100, 10, 1))
    self.assertNotEqual(
      first.tolist(), latent_sample.drawn(100, 10, 2).tolist()
    )


class StudyTest(absltest.TestCase):
  @pytest.mark.slow
  def test_a_run_is_measured_again_with_the_same_result(self):
    workdir = os.path.join(tempfile.mkdtemp(), 'run')
    config = files.load('gru_vae:tiny,corpus=grammar')
    config.evaluate.split = 'none'
    with contextlib.redirect_stdout(io.StringIO()):
      loop.train(config, workdir)
    vectors = word_vectors.Vectors(
      np.arange(4, 14), np.ones((10, 3), np.float32), 10, 0, 0, 1.0
    )
    reads = mock.patch.object(word_vectors, 'read', return_value=vectors)
    with contextlib.redirect_stdout(io.StringIO()) as out, reads:
      latent_study.study(config, workdir)
    for title in ('Labels read off', 'Mutual information', 'shifted from'):
      self.assertIn(title, ' '.join(out.getvalue().split()))
    folder = os.path.join(workdir, 'latents')
    path = os.path.join(folder, 'latents.json')
    with open(path) as file:
      saved = json.load(file)
    settings = config.latents
    size = config.model.latent_size
    self.assertEqual(saved['split'], 'valid')
    self.assertEqual(saved['sentences'], settings.sentences)
    self.assertLen(saved['kl'], size)
    factors = {'topic', 'number', 'tense', 'polarity'}
    features = ('latent means', 'bag of words', 'mean GloVe')
    self.assertEqual(
      {(p['label'], p['features'], p['probe']) for p in saved['probes']},
      {
        (label, name, kind)
        for label in factors
        for name in (*features, 'untrained encoder')
        for kind in ('linear', 'nearest neighbours')
      },
    )
    for probe in saved['probes']:
      self.assertEqual(
        set(probe),
        {
          *('label', 'features', 'probe', 'accuracy', 'low', 'high'),
          *('chance', 'classes'),
        },
      )
      self.assertLessEqual(probe['low'], probe['accuracy'])
      self.assertLessEqual(probe['accuracy'], probe['high'])
    # The words of a sentence tell its number, the same vector for all nothing.
    number = {
      p['features']: p
      for p in saved['probes']
      if (p['label'], p['probe']) == ('number', 'linear')
    }
    self.assertGreater(number['bag of words']['accuracy'], 0.6)
    self.assertEqual({p['label'] for p in saved['mutual_information']}, factors)
    for entry in saved['mutual_information']:
      self.assertEqual(set(entry), {'label', 'nats', 'entropy', 'estimator'})
    self.assertEqual({j['label'] for j in saved['judges']}, factors)
    shifts = saved['attributes']
    self.assertEqual({s['label'] for s in shifts}, factors)
    self.assertEqual(
      {s['amount'] for s in shifts}, set(map(float, settings.amounts))
    )
    for shift in shifts:
      self.assertContainsSubset(
        {
          *('label', 'value_from', 'value_to', 'amount', 'flipped', 'low'),
          *('high', 'content_kept', 'control_flipped', 'examples'),
        },
        shift,
      )
      if shift['amount'] == 0:
        self.assertEqual(shift['flipped'], shift['control_flipped'])
        self.assertIn(shift['content_kept'], (1.0, None))
        for example in shift['examples']:
          self.assertEqual(example['before'], example['after'])
    order = np.argsort(-np.array(saved['kl']), kind='stable')
    self.assertEqual(
      [t['latent'] for t in saved['traversals']],
      order[: settings.traversals].tolist(),
    )
    for traversal in saved['traversals']:
      self.assertLen(traversal['words'], settings.words)
      self.assertLen(traversal['sentences'], len(traversal['values']))
    for found in saved['neighbours']:
      apart = [near['distance'] for near in found['nearest']]
      self.assertEqual(apart, sorted(apart))
      self.assertNotIn(found['text'], [n['text'] for n in found['nearest']])
    self.assertLen(saved['homotopies'], settings.examples)
    atlas = moves.Atlas.load(folder)
    self.assertLen(atlas.texts, settings.sentences)
    self.assertEqual(set(atlas.labels), factors)
    self.assertContainsSubset({'pca', 'tsne'}, set(atlas.places))
    self.assertEqual(atlas.points.shape, (settings.sentences, size))
    for label in factors:
      self.assertTrue(os.path.exists(os.path.join(folder, f'map-{label}.png')))
    with contextlib.redirect_stdout(io.StringIO()), reads:
      latent_study.study(config, workdir)
    with open(path) as file:
      self.assertEqual(json.load(file), saved)


if __name__ == '__main__':
  absltest.main()
