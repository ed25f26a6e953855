"""Linear classifiers as a task: fitted, saved, evaluated, asked for labels."""

import json
import os

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.inference import evaluate, loading
from rnnvae_jax.training import loop, preparation

import helpers

LINES = {
  'train': (
    'pos\ta good film',
    'pos\tgood',
    'pos\tnot bad',
    'neg\tbad film',
    'neg\tnot good film',
    'neg\tbad',
  ),
  'valid': ('pos\tgood film', 'neg\tbad film', 'neg\ta bad film'),
  'test': ('pos\tgood', 'neg\tnew'),
}


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
      'linear_classification',
      **{
        'corpus.name': self.folder,
        'corpus.labelled': True,
        'corpus.protocol': 'mikolov',
        **changes,
      },
    )
    config_build.validate(config)
    return config

  def fit(self, config):
    kind = config_build.task('linear_classification')
    return kind.fit(config, preparation.build_corpus(config))

  def test_naive_bayes_by_hand(self):
    config = self.config(
      **{
        'model.linear.estimator': 'naive_bayes',
        'model.linear.longest': 1,
        'model.linear.calibrated': False,
      }
    )
    loop.train(config, self.workdir)
    run = loading.open_run(config, self.workdir)
    # Each of the five words has a count of its own, and 1 added: of 'good' and
    # 'film' 3 and 2 of 6 + 5 for pos, 2 and 3 of 6 + 5 for neg.
    log_probs = run.predict(['good good film', 'film', 'unheard of'])
    want = np.log([[6 / 12, 6 / 12], [3 / 5, 2 / 5], [0.5, 0.5]])
    self.assertEqual(run.task.labels, ('neg', 'pos'))
    # In float32.
    np.testing.assert_allclose(log_probs, want, atol=1e-6)
    with self.assertRaisesRegex(ValueError, 'text 1 of 2 is blank'):
      run.predict(['good', ' '])

  @parameterized.product(
    estimator=('naive_bayes', 'logistic_regression', 'svm', 'nb_svm'),
    weighting=('presence', 'counts', 'tf_idf'),
  )
  def test_what_was_saved_predicts_the_same(self, estimator, weighting):
    config = self.config(
      **{
        'model.linear.estimator': estimator,
        'model.linear.weighting': weighting,
      }
    )
    corpus = preparation.build_corpus(config)
    fitted = self.fit(config)
    kind = type(fitted)
    os.makedirs(self.workdir)
    self.assertFalse(kind.is_fitted(self.workdir))
    with self.assertRaisesRegex(FileNotFoundError, 'no classifier yet'):
      kind.load(config, corpus.vocab, corpus.labels, self.workdir)
    fitted.save(self.workdir)
    self.assertTrue(kind.is_fitted(self.workdir))
    loaded = kind.load(config, corpus.vocab, corpus.labels, self.workdir)
    split = corpus.splits['train']
    ours, theirs = (
      task.log_probs(split.tokens, split.lengths) for task in (fitted, loaded)
    )
    # Weights are saved in float32, about as large as the scores.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.exp(ours).sum(axis=1), 1.0)
    with open(os.path.join(self.workdir, 'linear.npz'), 'wb') as file:
      file.write(b'PK damaged')
    with self.assertRaisesRegex(ValueError, r'linear\.npz is damaged'):
      kind.load(config, corpus.vocab, corpus.labels, self.workdir)

  def test_is_evaluated_like_all_others(self):
    config = self.config(
      **{'evaluate.split': 'all', 'model.linear.strength': 10.0}
    )
    loop.train(config, self.workdir)
    found = evaluate.evaluate(config, self.workdir)
    self.assertEqual(found['train']['accuracy'], 1.0)
    self.assertEqual(found['train']['confusion'], [[3, 0], [0, 3]])
    test = found['test']
    self.assertEqual(test['error_percent'], 100 * (1 - test['accuracy']))
    telling = found['test']['telling']
    self.assertEqual([*telling], ['neg', 'pos'])
    self.assertEqual(telling['pos'][0][0], 'good')
    self.assertEqual(telling['neg'][0][0], 'bad')
    run = loading.open_run(config, self.workdir)
    log_probs = run.predict(['good', 'new'])
    self.assertAlmostEqual(
      found['test']['nll_per_sentence'],
      -np.mean([log_probs[0, 1], log_probs[1, 0]]),
      places=6,
    )
    with open(os.path.join(self.workdir, 'results.json')) as file:
      self.assertEqual(json.load(file)['test'], found['test'])

  def test_three_classes_and_their_features(self):
    config = self.config(
      dict.fromkeys(
        ('train', 'valid', 'test'), ('x\ta a b', 'y\tc b', 'z\td d b', 'z\td')
      )
    )
    task = self.fit(config)
    corpus = preparation.build_corpus(config)
    split = corpus.splits['test']
    log_probs = task.log_probs(split.tokens, split.lengths)
    np.testing.assert_array_equal(np.argmax(log_probs, axis=1), [0, 1, 2, 2])
    begins = {label: found[0][0][0] for label, found in task.telling(1).items()}
    self.assertEqual(begins, {'x': 'a', 'y': 'c', 'z': 'd'})

  def test_the_strength_is_the_best_on_validation(self):
    chosen = self.fit(self.config())
    corpus = preparation.build_corpus(self.config())
    split = corpus.splits['valid']
    by_strength = {}
    for strength in (0.01, 0.1, 1.0, 10.0):
      task = self.fit(self.config(**{'model.linear.strength': strength}))
      predicted = task.log_probs(split.tokens, split.lengths).argmax(axis=1)
      by_strength[strength] = np.mean(predicted == split.fields['label'])
    best = max(by_strength, key=by_strength.get)  # The first of the best.
    self.assertIn(f'strength {best:g}', chosen.describe())

  def test_a_label_that_training_lacks_is_refused(self):
    config = self.config({'test': ('pos\tgood', 'odd\tfilm')})
    with self.assertRaisesRegex(
      ValueError, r"never occur.*'odd'.*Known: 'neg'"
    ):
      self.fit(config)

  def test_one_class_is_refused(self):
    config = self.config(dict.fromkeys(LINES, ('pos\tgood', 'pos\tfilm')))
    with self.assertRaisesRegex(ValueError, r'at least 2 classes.*\[.pos.\]'):
      self.fit(config)

  @parameterized.parameters(
    ({'corpus.stream': True}, 'no sentences to be labelled'),
    ({'corpus.unlabelled': 'lee'}, r"'lee': a linear.* alone\. Legal: ''"),
    ({'model.linear.shortest': 3}, 'shortest = 3 is more than .* value: 2'),
  )
  def test_a_config_that_cannot_run_is_refused(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      self.config(**changes)


if __name__ == '__main__':
  absltest.main()
