"""The likelihood ratio of class models, by hand and against the models."""

import os

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import evaluate, loading
from rnnvae_jax.tasks import _calibration
from rnnvae_jax.tasks.generative_classification import task as task_lib
from rnnvae_jax.tasks.ngrams import counts
from rnnvae_jax.training import loop, preparation

import helpers

LINES = {
  'train': ('x\ta b a', 'y\tb c', 'x\ta a', 'y\tc c b', 'y\tc', 'x\tb a'),
  'valid': ('x\ta b', 'y\tc b', 'y\tb b c', 'x\tc a a', 'y\ta b'),
  'test': ('x\ta', 'y\td c'),
}


class _Unigrams:
  """A model with given probabilities of words, by id."""

  orders = ()

  def __init__(self, probabilities):
    self._nats = np.log(probabilities)

  def log_probs(self, ids):
    return self._nats[ids]


class ScoresTest(absltest.TestCase):
  def test_the_ratio_by_hand(self):
    # Ids 4 and 5 are words; the end mark has the rest.
    models = [
      _Unigrams([1, 1, 0.25, 1, 0.5, 0.25]),
      _Unigrams([1, 1, 0.5, 1, 0.2, 0.3]),
    ]
    tokens = np.array([4, 5, 2, 2], np.int32)
    lengths = np.array([3, 1])
    make = lambda per_token: task_lib.GenerativeClassification(
      models,
      np.log([0.25, 0.75]),
      per_token,
      _calibration.none(2),
      ('x', 'y'),
    )
    joint = [
      [0.25 * 0.5 * 0.25 * 0.25, 0.75 * 0.2 * 0.3 * 0.5],
      [0.25 * 0.25, 0.75 * 0.5],
    ]
    got = make(False).scores(tokens, lengths)
    np.testing.assert_allclose(got, np.log(joint), rtol=1e-14)
    posterior = np.exp(_calibration.none(2).log_probs(got))
    want = np.array(joint) / np.sum(joint, axis=1, keepdims=True)
    np.testing.assert_allclose(posterior, want, rtol=1e-14)
    got = make(True).scores(tokens, lengths)
    cube_root = np.log([0.25, 0.75]) + np.log([1 / 32, 0.03]) / 3
    np.testing.assert_allclose(got[0], cube_root, rtol=1e-14)


class TaskTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    root = self.create_tempdir().full_path
    self.workdir = os.path.join(root, 'run')
    self.folder = os.path.join(root, 'text')

  def config(self, lines=None, **changes):
    os.makedirs(self.folder, exist_ok=True)
    for split, split_lines in (LINES | (lines or {})).items():
      path = os.path.join(self.folder, f'{split}.txt')
      with open(path, 'w', encoding='utf-8') as file:
        file.write(''.join(f'{line}\n' for line in split_lines))
    config = helpers.make_config(
      'generative_classification',
      **{
        'corpus.name': self.folder,
        'corpus.labelled': True,
        'corpus.protocol': 'mikolov',
        'model.generative.order': 2,
        **changes,
      },
    )
    config_build.validate(config)
    return config

  @parameterized.product(per_token=(False, True), threshold=(False, True))
  def test_predicts_by_models_of_the_classes(self, per_token, threshold):
    config = self.config(
      **{
        'model.generative.per_token': per_token,
        'model.generative.threshold': threshold,
      }
    )
    corpus = loop.train(config, self.workdir)
    run = loading.open_run(config, self.workdir)
    texts = ['a b', 'c', 'd b c a']
    train = corpus.splits['train']
    models = [
      counts.NGrams.fit(
        np.concatenate(
          [
            train.sentence(i)
            for i, label in enumerate(train.labels['label'])
            if label == name
          ]
        ),
        len(corpus.vocab),
        2,
      )
      for name in ('x', 'y')
    ]

    def scores(ids):
      nats = np.array([model.log_probs(ids).sum() for model in models])
      return nats / (len(ids) if per_token else 1) + np.log(0.5)

    encode = lambda text: np.append(
      corpus.vocab.encode(text.split()), vocab_lib.EOS
    )
    valid = corpus.splits['valid']
    calibration = _calibration.fit(
      np.array([scores(valid.sentence(i)) for i in range(len(valid))]),
      valid.fields['label'],
      threshold,
    )
    want = calibration.log_probs(
      np.array([scores(encode(text)) for text in texts])
    )
    got = run.predict(texts)
    # In float32, and summed in another order.
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

  def test_is_evaluated_like_all_others(self):
    config = self.config()
    loop.train(config, self.workdir)
    found = evaluate.evaluate(config, self.workdir)['test']
    self.assertEqual(found['accuracy'], 1.0)
    self.assertEqual(found['confusion'], [[1, 0], [0, 1]])

  def test_nothing_to_load_and_damage_are_named(self):
    config = self.config()
    os.makedirs(self.workdir)
    kind = config_build.task('generative_classification')
    corpus = preparation.build_corpus(config)
    load = lambda: kind.load(config, corpus.vocab, corpus.labels, self.workdir)
    with self.assertRaisesRegex(FileNotFoundError, 'no models of its classes'):
      load()
    kind.fit(config, corpus).save(self.workdir)
    self.assertTrue(kind.is_fitted(self.workdir))
    with open(os.path.join(self.workdir, 'classes.json'), 'w') as file:
      file.write('{')
    with self.assertRaisesRegex(ValueError, r'classes\.json is damaged'):
      load()

  def test_one_class_is_refused(self):
    config = self.config(dict.fromkeys(LINES, ('x\ta', 'x\tb')))
    with self.assertRaisesRegex(ValueError, r'at least 2 classes'):
      loop.train(config, self.workdir)


if __name__ == '__main__':
  absltest.main()
