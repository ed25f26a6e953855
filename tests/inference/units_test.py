"""The mode `units`: its measures on planted units, and its files."""

import contextlib
import io
import json
import os
import tempfile

from absl.testing import absltest
import numpy as np
import pytest

from rnnvae_jax.analysis import intervals
from rnnvae_jax.config import files
from rnnvae_jax.inference import loading, units
from rnnvae_jax.training import loop

pytestmark = [
  pytest.mark.usefixtures('compile_once'),
  # From ml_collections, which loads the config file.
  pytest.mark.filterwarnings(
    r'ignore:the load_module\(\) method is deprecated:DeprecationWarning'
  ),
]


class MeasureTest(absltest.TestCase):
  def test_a_planted_unit_is_found(self):
    rng = np.random.default_rng(0)
    features, positive = {}, {}
    for split, count in (('train', 300), ('valid', 100), ('test', 200)):
      positive[split] = rng.random(count) < 0.5
      features[split] = rng.normal(size=(count, 6)).astype(np.float32)
      # Right but for every tenth text.
      flipped = positive[split] ^ (np.arange(count) % 10 == 0)
      features[split][:, 4] = np.where(flipped, -1.0, 1.0)
    found = units.measure(features, positive, shown=3)
    one = found['one_unit']
    self.assertEqual((one['unit'], one['sign']), (4, -1))
    self.assertEqual(one['threshold'], 0)
    share = intervals.wilson(180, 200)
    self.assertAlmostEqual(one['test_accuracy'], 0.9, places=12)
    self.assertEqual((one['low'], one['high']), (share.low, share.high))
    self.assertGreaterEqual(found['all_units']['test_accuracy'], 0.87)
    self.assertGreaterEqual(found['all_units']['weights_not_0'], 1)
    self.assertLen(found['ranking'], 3)
    accuracies = [unit['train_accuracy'] for unit in found['ranking']]
    self.assertEqual(accuracies, sorted(accuracies, reverse=True))
    # Five of six units know nothing.
    random = found['random_unit']
    self.assertAlmostEqual(
      random['test_accuracy'], (0.9 + 5 * 0.5) / 6, delta=0.06
    )
    self.assertLess(random['low'], random['test_accuracy'])


class ReadTest(absltest.TestCase):
  def folder(self, labels):
    root = tempfile.mkdtemp()
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(root, f'{split}.txt'), 'w') as file:
        for number, label in enumerate(labels):
          file.write(f'{label}\ttext {split} {number}\n\n')
    return root

  def config(self, folder, **changes):
    config = files.load(f'sentiment_unit:tiny,corpus={folder}')
    config.units.corpus = folder
    config.units.texts = 0
    config.units.update(changes)
    return config

  def test_two_labels_are_told_apart(self):
    folder = self.folder(['b', 'a', 'b', 'b'])
    corpus = units.read(self.config(folder))
    self.assertEqual(corpus.labels, ('a', 'b'))
    self.assertEqual(
      list(corpus.splits['test'].positive), [True, False, True, True]
    )
    self.assertEqual(corpus.splits['valid'].texts[1], 'text valid 1')
    turned = units.read(self.config(folder, positive='a'))
    self.assertEqual(turned.labels, ('b', 'a'))
    self.assertEqual(sum(turned.splits['train'].positive), 1)
    few = units.read(self.config(folder, texts=2))
    self.assertLen(few.splits['train'].texts, 2)

  def test_other_numbers_of_labels_are_refused(self):
    folder = self.folder(['a', 'b', 'c'])
    with self.assertRaisesRegex(ValueError, '3 different values'):
      units.read(self.config(folder))
    folder = self.folder(['a', 'b'])
    with self.assertRaisesRegex(ValueError, "'x' is no label"):
      units.read(self.config(folder, positive='x'))


class UnitsTest(absltest.TestCase):
  @pytest.mark.slow
  def test_a_run_is_measured_and_steered(self):
    root = tempfile.mkdtemp()
    folder = os.path.join(root, 'texts')
    os.makedirs(folder)
    for split in ('train', 'valid', 'test'):
      with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
        for number in range(40):
          file.write(f'neg\ta bad film {number}\npos\ta good film {number}\n')

    def train(config, name):
      workdir = os.path.join(root, name)
      with contextlib.redirect_stdout(io.StringIO()):
        loop.train(config, workdir)
      return workdir

    config = files.load(f'sentiment_unit:tiny,corpus={folder}')
    config.corpus.labelled = True
    config.train.batch_size = 2
    workdir = train(config, 'model')
    judge = files.load(f'averaging_classifier:tiny,corpus={folder}')
    judge.corpus.labelled = True
    config.units.classifier = train(judge, 'judge')
    config.units.corpus = folder
    config.units.texts = 30
    with contextlib.redirect_stdout(io.StringIO()) as out:
      result = units.units(config, workdir)
    self.assertIn('one unit', out.getvalue())
    with open(os.path.join(workdir, 'units.json')) as file:
      saved = json.load(file)[folder]
    self.assertEqual(saved['steering'], result['steering'])
    self.assertEqual(saved['texts'], {'train': 30, 'valid': 30, 'test': 30})
    hidden = config.model.hidden_size
    for model in ('trained', 'untrained'):
      self.assertEqual(saved[model]['units'], hidden)
      for kind in ('all_units', 'one_unit', 'random_unit'):
        shares = saved[model][kind]
        self.assertLessEqual(shares['low'], shares['test_accuracy'])
        self.assertLessEqual(shares['test_accuracy'], shares['high'])
    steered = saved['steering']
    conditions = steered['conditions']
    self.assertEqual(set(conditions), {'free', 'negative', 'mean', 'positive'})
    best = saved['trained']['one_unit']
    step = conditions['positive']['value'] - conditions['mean']['value']
    self.assertEqual(np.sign(step), best['sign'])
    for ending in ('png', 'npz', 'html'):
      path = os.path.join(workdir, f'units-texts.{ending}')
      self.assertTrue(os.path.exists(path), path)
    with np.load(os.path.join(workdir, 'units-texts.npz')) as arrays:
      self.assertEqual(arrays['trained_test'].shape, (30, hidden))
      deviation = arrays['trained_train'][:, best['unit']].std()
      self.assertAlmostEqual(
        abs(step), config.units.strength * deviation, places=5
      )
    with open(os.path.join(workdir, 'units-texts.html')) as file:
      self.assertIn('film', file.read())
    # The features that were kept are read again.
    with contextlib.redirect_stdout(io.StringIO()):
      again = units.units(config, workdir)
    self.assertEqual(again['trained'], result['trained'])
    self.assertEqual(again['untrained'], result['untrained'])
    opened = loading.open_run(config, workdir)
    self.assertEqual(opened.checkpoint, result['checkpoint'])


if __name__ == '__main__':
  absltest.main()
