"""A language model given labels: against one without, and Bayes' rule."""

import functools
import json
import os
import tempfile

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import argument, build
from rnnvae_jax.data import batches
from rnnvae_jax.inference import judge, loading
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import labelled_language_model, language_model
from rnnvae_jax.training import loop, preparation

import helpers
import tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

WORDS = {'cold': ['snow', 'ice'], 'mild': ['rain', 'fog'], 'warm': ['sun']}
RTOL = tolerances.chain(12, 32, 14 + 10 + 4, 64)


@functools.cache
def text():
  folder = tempfile.mkdtemp()
  rng = np.random.default_rng(0)
  for split, count in (('train', 90), ('valid', 15), ('test', 18)):
    with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
      for i in range(count):
        label = list(WORDS)[i % 3]
        words = rng.choice(['a', 'the'], size=rng.integers(1, 4)).tolist()
        file.write(f'{label}\t{" ".join(words)} {rng.choice(WORDS[label])}\n')
  return folder


def make_config(kind='labelled_language_model', **overrides):
  config = build.default(kind)
  argument.apply(config, argument.parse(f'tiny,{text()}', tiny=False))
  config.update_from_flattened_dict(
    {
      'corpus.labelled': True,
      'corpus.protocol': 'mikolov',
      'train.num_steps': 60,
      'train.steps_per_call': 30,
      'train.eval_every': 30,
      'train.num_buckets': 1,
      'evaluate.num_buckets': 1,
      'optimizer.learning_rate': 0.03,
      **overrides,
    }
  )
  build.validate(config, overrides)
  return config


@functools.cache
def trained():
  workdir = tempfile.mkdtemp()
  loop.train(make_config(), workdir)
  return workdir, loading.load(workdir)


class OneLabelTest(parameterized.TestCase):
  def test_a_vector_of_zeros_is_the_model_without_labels(self):
    config = make_config()
    corpus = preparation.build_corpus(config)
    task = labelled_language_model.TASK.build(config, corpus.vocab, ['one'])
    plain = language_model.TASK.build(
      make_config('language_model'), corpus.vocab
    )
    params = jax.tree.map(
      lambda x: 2 * x, jax.jit(task.init)(jax.random.key(0))
    )
    tree = params['params']
    size = config.model.embedding_size
    decoder = jax.tree.map(jnp.asarray, tree['decoder'])
    layer = dict(decoder['recurrent']['layer_0'])
    layer['kernel'] = layer['kernel'][:size]  # Without the label's rows.
    of_plain = {'params': {**decoder, 'recurrent': {'layer_0': layer}}}
    of_zeros = {
      'params': tree | {'label': jax.tree.map(jnp.zeros_like, tree['label'])}
    }
    batch = helpers.gather(
      batches.put(corpus.splits['train']),
      jnp.array([3, 8, batches.BLANK, 0]),
      batches.Bucket(6),
    )
    batch['label'] = jnp.zeros(4, jnp.int32)
    want = jax.jit(plain.evaluate)(of_plain, batch, jax.random.key(0), {})[
      'nll'
    ]
    evaluate = jax.jit(task.evaluate)
    for given, same in ((of_zeros, True), (params, False)):
      got = evaluate(given, batch | {'token_counts': ()}, jax.random.key(0), {})
      close = np.isclose(got['nll'], want, rtol=RTOL, atol=0)[[0, 1, 3]]
      self.assertEqual(bool(close.all()), same)
      np.testing.assert_allclose(got['mixture_nll'], got['nll'], rtol=RTOL)

  def test_a_text_without_labels_is_refused(self):
    config = make_config()
    with self.assertRaisesRegex(ValueError, 'have no labels'):
      labelled_language_model.TASK.build(config, range(9))
    config.generate.label = 'warn'
    with self.assertRaisesRegex(ValueError, "Did you mean 'warm'"):
      labelled_language_model.TASK.build(config, range(9), tuple(WORDS))


@pytest.mark.slow
class BayesTest(parameterized.TestCase):
  def test_labels_texts_and_next_words_are_those_of_bayes_rule(self):
    workdir, run = trained()
    texts = ['a the snow', 'sun', 'the rain', 'fog a']
    given = np.array(
      [
        [
          score.nats
          for score in loading.load(workdir, **{'generate.label': label}).score(
            texts
          )
        ]
        for label in run.labels
      ]
    )
    self.assertEqual(run.labels, tuple(WORDS))
    joint = np.exp(-given) / len(WORDS)
    mixture = -np.log(joint.sum(axis=0))
    scores = run.score(texts, per_token=True)
    np.testing.assert_allclose([s.nats for s in scores], mixture, rtol=RTOL)
    want = np.log(joint / joint.sum(axis=0)).T
    # Differences of nats.
    atol = RTOL * np.max(given)
    np.testing.assert_allclose(run.predict(texts), want, rtol=0, atol=atol)
    # Token by token the mixture gives the same.
    for score, whole in zip(scores, mixture, strict=True):
      total = sum(nats for _, nats in score.by_token)
      np.testing.assert_allclose(total, whole, rtol=RTOL)

  def test_the_next_words_of_a_mixture_sum_to_one(self):
    _, run = trained()
    total = sum(np.exp(n) for _, n in run.next_token_log_probs('the', 0))
    # <pad> and <s>, which are not listed, are left out of the sum.
    self.assertBetween(total, 0.8, 1 + RTOL)

  def test_samples_are_of_the_label_that_is_asked_for(self):
    workdir, _ = trained()
    for label, words in WORDS.items():
      writer = loading.load(workdir, **{'generate.label': label})
      texts = writer.sample(60, seed=1)
      others = {
        w for other in WORDS.values() for w in other if other is not words
      }
      right = sum(bool({*words} & {*text.split()}) for text in texts)
      wrong = sum(bool(others & {*text.split()}) for text in texts)
      self.assertGreater(right, 2 * wrong, label)

  def test_a_label_is_a_table_of_its_own(self):
    _, run = trained()
    self.assertEqual(
      jax.tree.map(jnp.shape, run.params['params']['label']),
      {'embedding': (3, run.config.model.label_size)},
    )


class JudgeTest(parameterized.TestCase):
  @pytest.mark.slow
  def test_a_classifier_recognises_the_labels(self):
    workdir, run = trained()
    # By Bayes' rule of another model, of another seed.
    other = self.create_tempdir().full_path
    loop.train(make_config(seed=5), other)
    config = run.config.copy_and_resolve_references()
    config.judge.classifier = other
    config.judge.num_samples = 40
    judge.judge(config, workdir)
    with open(os.path.join(workdir, 'judged.json')) as file:
      judged = json.load(file)
    labels = judged['labels']
    self.assertEqual(set(labels), {*WORDS, 'all'})
    self.assertEqual(labels['all']['samples'], 120)
    np.testing.assert_allclose(
      labels['all']['share'], np.mean([labels[x]['share'] for x in WORDS])
    )
    self.assertEqual(judged['recognised'], labels['all']['share'])
    self.assertGreater(judged['recognised'], 0.5)
    self.assertBetween(
      judged['recognised'], labels['all']['low'], labels['all']['high']
    )

  def test_who_writes_no_labels_is_not_judged_by_them(self):
    workdir, run = trained()
    plain = run_lib.Run(
      make_config('language_model'),
      run.vocab,
      (),
      language_model.TASK.build(make_config('language_model'), run.vocab),
      {},
      {},
      '',
    )
    with self.assertRaisesRegex(ValueError, 'have no labels'):
      judge.recognised(plain, workdir, 3)


if __name__ == '__main__':
  absltest.main()
