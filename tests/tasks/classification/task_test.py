"""The classifier as a task: its loss, its runs, its figures."""

import functools
import json
import os
import pathlib
import runpy
import tempfile

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import argument, build
from rnnvae_jax.data import batches, corpora, labels
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import evaluate, export, loading
from rnnvae_jax.tasks import classification
from rnnvae_jax.training import (
  checkpoints,
  hyperparameters,
  loop,
  optimizers,
  population,
  preparation,
)
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

import helpers
import tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

CONFIG = (
  pathlib.Path(__file__).parents[3] / 'configs' / 'averaging_classifier.py'
)
LABELS = 'cold', 'mild', 'warm'
WORDS = {
  'cold': ['snow', 'ice', 'frost', 'winter'],
  'mild': ['rain', 'cloud', 'spring', 'breeze'],
  'warm': ['sun', 'beach', 'summer', 'sand'],
}
# Extras of a classifier before its first validation.
PLAIN = {'temperature': jnp.float32(1.0)}
NAMES = (('embedding', 'embedding'), ('output', 'kernel'))
COMMON = ['the', 'a', 'in', 'and', 'of', 'day']


def write_folder(folder, absent='', seed=0):
  """Labelled lines of three classes, one of which the test split may lack."""
  rng = np.random.default_rng(seed)
  for split, count in (('train', 46), ('valid', 13), ('test', 17)):
    with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
      for _ in range(count):
        label = LABELS[rng.choice(3, p=(0.5, 0.2, 0.3))]
        if split == 'test' and label == absent:
          label = LABELS[0]
        words = rng.choice(COMMON, size=rng.integers(1, 7)).tolist()
        words.insert(rng.integers(len(words)), rng.choice(WORDS[label]))
        file.write(f'{label}\t{" ".join(words)}\n')


@functools.cache
def text():
  folder = tempfile.mkdtemp()
  write_folder(folder, absent='mild')
  return folder


def make_config(**overrides):
  config = build.default('classification')
  argument.apply(config, argument.parse(f'tiny,{text()}', tiny=False))
  config.update_from_flattened_dict(
    {
      'corpus.labelled': True,
      'corpus.protocol': 'mikolov',
      'train.num_steps': 24,
      'train.eval_every': 6,
      'train.num_buckets': 1,
      'evaluate.num_buckets': 1,
      'optimizer.learning_rate': 0.03,
      'dropout.word': 0.2,
      'dropout.output': 0.1,
      **overrides,
    }
  )
  build.validate(config, {*overrides} - {'model.hidden_size'})
  return config


def make_task(config, corpus):
  return classification.TASK.build(config, corpus.vocab, corpus.labels)


def trained(config, workdir):
  """The corpus, and the state of the latest checkpoint after training."""
  corpus = loop.train(config, workdir)
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), corpus.vocab.content_hash
  )
  task = make_task(config, corpus)
  abstract = state_lib.abstract(task, optimizers.build(config))
  state, _ = saved.restore(abstract)
  return corpus, state


class LossTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.3)
  def test_loss_and_gradients_match_torch(self, smoothing):
    torch = pytest.importorskip('torch')
    config = make_config(
      **{
        'objective.label_smoothing': smoothing,
        'dropout.word': 0.0,
        'dropout.output': 0.0,
        'model.head_layers': 0,
      }
    )
    corpus = preparation.build_corpus(config)
    split, task = corpus.splits['train'], make_task(config, corpus)
    params = jax.tree.map(
      lambda x: 5 * x, jax.jit(task.init)(jax.random.key(0))
    )
    rows = np.int32([3, 11, batches.BLANK, 7, 0])
    real = rows[rows != batches.BLANK]
    batch = helpers.gather(
      batches.put(split),
      jnp.asarray(rows),
      batches.Bucket(int(split.lengths.max()) + 2),
    )
    scalars = hyperparameters.build(build.keys_of(config), config)

    def ours(params):
      loss = jax.value_and_grad(task.loss, has_aux=True)
      (value, (sums, _)), grads = loss(
        params, batch, scalars, jax.random.key(1), {}
      )
      return (value, sums['nll']), grads

    tensors = jax.tree.map(
      lambda x: torch.tensor(np.float64(x), requires_grad=True), params
    )
    inner = tensors['params']
    means = torch.stack(
      [
        inner['embedding']['embedding'][split.sentence(i)[:-1]].mean(0)
        for i in real
      ]
    )
    logits = means @ inner['output']['kernel'] + inner['output']['bias']
    labels = torch.tensor(split.fields['label'][real]).long()
    entropy = torch.nn.functional.cross_entropy
    value = entropy(logits, labels, label_smoothing=smoothing)
    nll = entropy(logits, labels, reduction='sum')
    value.backward()
    theirs = (
      (value.item(), nll.item()),
      jax.tree.map(lambda x: x.grad.numpy(), tensors),
    )
    terms = int(split.lengths.max()) + 10 + len(rows) + len(LABELS)
    got = jax.jit(ours)
    allowed = tolerances.spread(got, params, terms)
    tolerances.assert_close(got(params), theirs, allowed)

  def test_counts_of_right_ones_leave_out_blank_rows(self):
    config = make_config(**{'dropout.word': 0.0, 'dropout.output': 0.0})
    corpus = preparation.build_corpus(config)
    split, task = corpus.splits['train'], make_task(config, corpus)
    params = jax.jit(task.init)(jax.random.key(0))
    rows = jnp.int32([3, batches.BLANK, 7, batches.BLANK])
    batch = helpers.gather(batches.put(split), rows, batches.Bucket(9))
    scalars = hyperparameters.build(build.keys_of(config), config)
    _, (sums, _) = task.loss(params, batch, scalars, jax.random.key(1), {})
    predicted = np.argmax(task.predict(params, batch, PLAIN), axis=1)
    labels = split.fields['label']
    right = (predicted[0] == labels[3]) + (predicted[2] == labels[7])
    self.assertEqual(sums['right'], right)
    self.assertEqual(sums['sentences'], 2)
    self.assertEqual(sums['tokens'], split.lengths[3] + split.lengths[7])

  def test_predictions_are_log_probabilities(self):
    config = make_config()
    corpus = preparation.build_corpus(config)
    task = make_task(config, corpus)
    lines = corpora.encode_lines(
      ['the snow', 'sun and sun and sun', 'nothing known'],
      corpus.protocol,
      corpus.vocab,
    )
    batch = helpers.gather(batches.put(lines), jnp.arange(3), batches.Bucket(6))
    log_probs = task.predict(
      jax.jit(task.init)(jax.random.key(0)), batch, PLAIN
    )
    self.assertEqual(log_probs.shape, (3, 3))
    np.testing.assert_allclose(
      np.sum(np.exp(np.float64(log_probs)), axis=1),
      1.0,
      # Of three sums, each of a logit, its exponential and a logarithm.
      rtol=3 * tolerances.chain(3, 14),
    )

  def test_other_ids_of_the_labels_give_the_same_nats(self):
    config = make_config()
    order = [2, 0, 1]  # The new id of each old one.
    names = tuple(LABELS[order.index(i)] for i in range(3))
    corpus = preparation.build_corpus(config)
    other = preparation.build_corpus(config, labels=names)
    task, permuted = make_task(config, corpus), make_task(config, other)
    params = jax.jit(task.init)(jax.random.key(0))
    moved = {'params': dict(params['params'])}
    moved['params']['output'] = jax.tree.map(
      lambda x: x[..., np.argsort(order)], params['params']['output']
    )
    figures = []
    for chosen, weights, of in (
      (task, params, corpus),
      (permuted, moved, other),
    ):
      split = of.splits['valid']
      batch = helpers.gather(
        batches.put(split), jnp.arange(len(split)), batches.Bucket(12)
      )
      values = chosen.evaluate(weights, batch, jax.random.key(0), {})
      values = {k: np.float64(v) for k, v in values.items()}
      figures.append(chosen.summarise(values, split, config))
    ours, theirs = figures
    self.assertEqual(list(ours['classes']), list(LABELS))
    self.assertEqual(list(theirs['classes']), list(names))
    self.assertEqual(ours['classes'], theirs['classes'])
    self.assertAlmostEqual(
      ours['nll_per_sentence'],
      theirs['nll_per_sentence'],
      delta=tolerances.chain(3, 14) * ours['nll_per_sentence'],
    )


class PerturbationTest(parameterized.TestCase):
  """Losses at perturbed word vectors, of a batch with and without labels."""

  def value(self, drop_label=(), **overrides):
    """The loss and its gradient on one batch, rows `drop_label` unlabelled."""
    overrides = {f'objective.{k}': v for k, v in overrides.items()}
    config = make_config(
      **{'dropout.word': 0.0, 'dropout.output': 0.0, **overrides}
    )
    corpus = preparation.build_corpus(config)
    task, split = make_task(config, corpus), corpus.splits['train']
    rows = np.int32([3, 11, batches.BLANK, 7, 0])
    batch = helpers.gather(
      batches.put(split),
      jnp.asarray(rows),
      batches.Bucket(int(split.lengths.max()) + 2),
    )
    for row in drop_label:
      batch['label'] = batch['label'].at[row].set(labels.NONE)
    scalars = hyperparameters.build(build.keys_of(config), config)
    params = jax.tree.map(
      lambda x: 3 * x, jax.jit(task.init)(jax.random.key(0))
    )
    key = jax.random.key(1)
    loss = jax.value_and_grad(task.loss, has_aux=True)
    (value, (sums, _)), grads = jax.jit(
      lambda params: loss(params, batch, scalars, key, {})
    )(params)
    return float(value), sums, grads

  def test_a_perturbation_of_norm_0_repeats_the_loss(self):
    plain, _, plain_grads = self.value()
    value, _, grads = self.value(adversarial_weight=1.0, perturbation_norm=0.0)
    np.testing.assert_allclose(value, 2 * plain, rtol=4 * tolerances.EPS)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(
        a, 2 * b, rtol=0, atol=1e3 * tolerances.EPS * np.max(np.abs(b))
      ),
      grads,
      plain_grads,
    )
    value, _, grads = self.value(virtual_weight=1.0, perturbation_norm=0.0)
    np.testing.assert_allclose(value, plain, rtol=4 * tolerances.EPS)

  def test_the_worst_direction_costs_more_than_a_random_one(self):
    norm = {'perturbation_norm': 0.05}
    plain, *_ = self.value()
    for weight in ('adversarial_weight', 'virtual_weight'):
      worst, *_ = self.value(**{weight: 1.0}, **norm)
      other, *_ = self.value(**{weight: 1.0}, random_perturbation=True, **norm)
      self.assertGreater(worst, other)
      self.assertGreater(other, plain if weight == 'virtual_weight' else 0)

  def test_texts_without_a_label_have_a_divergence_alone(self):
    both, sums, _ = self.value(drop_label=(0, 3))
    self.assertEqual(float(sums['sentences']), 2)
    only, *_ = self.value(drop_label=(0, 3), adversarial_weight=0.0)
    self.assertEqual(both, only)
    nothing, sums, grads = self.value(drop_label=(0, 1, 3, 4))
    self.assertEqual(nothing, 0.0)
    for leaf in jax.tree.leaves(grads):
      np.testing.assert_array_equal(leaf, 0)
    virtual, _, grads = self.value(
      drop_label=(0, 1, 3, 4), virtual_weight=1.0, perturbation_norm=1.0
    )
    self.assertGreater(virtual, 0.0)
    self.assertTrue(np.any(grads['params']['output']['kernel']))


class JointTrainingTest(absltest.TestCase):
  def test_the_nats_are_those_of_a_language_model_with_the_same_weights(self):
    config = make_config(
      **{
        'model.encoder': 'recurrent',
        'model.hidden_size': 14,
        'model.unknown_words': 'counted',
        'objective.next_word_weight': 0.7,
        'dropout.word': 0.0,
        'dropout.output': 0.0,
      }
    )
    corpus = preparation.build_corpus(config)
    split, task = corpus.splits['train'], make_task(config, corpus)
    rows = [3, 11, 0]
    batch = helpers.gather(
      batches.put(split),
      jnp.array([*rows, batches.BLANK]),
      batches.Bucket(int(split.lengths.max())),
    )
    params = jax.tree.map(
      lambda x: 3 * x, jax.jit(task.init)(jax.random.key(0))
    )
    key = jax.random.key(1)
    scalars = hyperparameters.build(build.keys_of(config), config)
    value, (sums, _) = task.loss(params, batch, scalars, key, {})

    config.objective.next_word_weight = 0.0
    alone = make_task(config, corpus)
    scalars = hyperparameters.build(build.keys_of(config), config)
    expected, (only, _) = alone.loss(params, batch, scalars, key, {})
    np.testing.assert_array_equal(sums['nll'], only['nll'])

    lm = build.default('language_model')
    lm.model.embedding_size = config.model.embedding_size
    lm.model.hidden_size = 14
    lm.model.tied_embeddings = True
    reader = build.task('language_model').build(lm, corpus.vocab)
    parts = params['params']
    weights = {
      'embedding': parts['embedding'],
      'recurrent': parts['encoder'],
      'projection': parts['projection'],
      'output_bias': parts['output_bias'],
    }
    values = reader.evaluate(
      {'params': weights}, batch, jax.random.key(0), PLAIN
    )
    nats = float(np.sum(values['nll'][: len(rows)]))
    rtol = 100 * int(sums['tokens']) * tolerances.EPS
    np.testing.assert_allclose(sums['next_word_nll'], nats, rtol=rtol)
    expected = float(expected) + 0.7 * nats / float(sums['tokens'])
    np.testing.assert_allclose(value, expected, rtol=rtol)


class LinearGainTest(absltest.TestCase):
  def test_weights_grow_with_the_words_that_are_read(self):
    config = make_config(
      **{
        'model.encoder': 'recurrent',
        'model.hidden_size': 14,
        'objective.linear_gain': True,
        'dropout.word': 0.0,
        'dropout.output': 0.0,
      }
    )
    corpus = preparation.build_corpus(config)
    split, task = corpus.splits['train'], make_task(config, corpus)
    rows = [3, 11, 0]
    longest = int(split.lengths.max())
    batch = helpers.gather(
      batches.put(split),
      jnp.array([*rows, batches.BLANK]),
      batches.Bucket(longest),
    )
    params = jax.tree.map(
      lambda x: 3 * x, jax.jit(task.init)(jax.random.key(0))
    )
    scalars = hyperparameters.build(build.keys_of(config), config)
    value, (sums, _) = jax.jit(
      lambda params: task.loss(params, batch, scalars, jax.random.key(1), {})
    )(params)
    expected, last = [], []
    for row in rows:
      # A text of its first words, for each number of words.
      ids = split.sentence(row)[:-1]
      nats = []
      for count in range(len(ids) + 1):
        begun = corpora.split_of([ids[:count]])
        begun.fields['label'] = split.fields['label'][row : row + 1]
        prefix = helpers.gather(
          batches.put(begun), jnp.array([0]), batches.Bucket(longest)
        )
        values = task.evaluate(params, prefix, jax.random.key(0), PLAIN)
        nats.append(float(values['nll'][0]))
      weights = np.arange(1, len(nats) + 1)
      expected.append(np.average(nats, weights=weights))
      last.append(nats[-1])
    rtol = 100 * longest * tolerances.EPS
    np.testing.assert_allclose(value, np.mean(expected), rtol=rtol)
    np.testing.assert_allclose(sums['nll'], np.sum(last), rtol=rtol)


class ScalingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    config = make_config(**{'model.standardised_embeddings': True})
    corpus = preparation.build_corpus(config)
    self.task, self.split = make_task(config, corpus), corpus.splits['train']
    self.state, _ = preparation.first_state(
      config, self.task, optimizers.build(config), corpus
    )
    self.batch = helpers.gather(
      batches.put(self.split),
      jnp.arange(7),
      batches.Bucket(int(self.split.lengths.max())),
    )

  def test_at_first_it_changes_nothing(self):
    plain = self.task.predict(self.state.params, self.batch, PLAIN)
    scaled = self.task.predict(self.state.params, self.batch, self.state.extras)
    allowed = tolerances.spread(
      lambda params: self.task.predict(params, self.batch, PLAIN),
      self.state.params,
      300,
    )
    tolerances.assert_close(scaled, plain, allowed)

  def test_vectors_cannot_grow(self):
    params, extras = self.state.params, self.state.extras
    table = params['params']['embedding']['embedding']
    grown = {
      'params': params['params'] | {'embedding': {'embedding': 3 * table + 1}}
    }
    got = self.task.predict(grown, self.batch, extras)
    want = self.task.predict(params, self.batch, extras)
    # 1e-6 is added to variances of about .1, which is divided by 9 here.
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)
    plain = self.task.predict(grown, self.batch, PLAIN)
    self.assertGreater(np.max(np.abs(plain - want)), 0.01)

  def test_moments_are_those_of_the_words_of_the_text(self):
    scaling = self.state.extras['scaling']
    words = self.split.tokens[self.split.tokens != vocab_lib.EOS]
    table = self.state.params['params']['embedding']['embedding']
    vectors = np.float64(table)[words]
    np.testing.assert_allclose(
      scaling.mean, vectors.mean(axis=0), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(
      scaling.deviation, vectors.std(axis=0), rtol=1e-4
    )


class UnlabelledTest(absltest.TestCase):
  def test_text_of_another_corpus_is_added_to_the_training_split(self):
    extra = self.create_tempfile(
      'extra.txt', 'the moon shines\nfrost and moon\n\nsun in a day\n' * 20
    ).full_path
    config = make_config(**{'corpus.unlabelled': extra})
    plain, both = (preparation.build_corpus(c) for c in (make_config(), config))
    self.assertEqual(both.labels, plain.labels)
    train, before = both.splits['train'], plain.splits['train']
    # A tenth of the file's lines would be its validation split.
    self.assertLen(train, len(before) + 54)
    ids = train.fields['label']
    np.testing.assert_array_equal(ids[: len(before)], before.fields['label'])
    np.testing.assert_array_equal(ids[len(before) :], labels.NONE)
    self.assertIn('moon', both.vocab.tokens)
    self.assertNotIn('moon', plain.vocab.tokens)
    self.assertEqual(
      both.vocab.decode(train.sentence(len(before))), ['the', 'moon', 'shines']
    )
    for name in ('valid', 'test'):
      self.assertLen(both.splits[name], len(plain.splits[name]))

  @pytest.mark.slow
  def test_a_run_learns_from_both(self):
    extra = self.create_tempfile(
      'extra.txt', 'the sun in winter\nfrost and ice\n' * 20
    ).full_path
    config = make_config(
      **{
        'corpus.unlabelled': extra,
        'objective.virtual_weight': 1.0,
        'objective.perturbation_norm': 0.5,
        'model.standardised_embeddings': True,
      }
    )
    workdir = self.create_tempdir().full_path
    corpus, state = trained(config, workdir)
    self.assertEqual(state.step, 24)
    figures = evaluate.evaluate(config, workdir, corpus)['test']
    self.assertEqual(figures['sentences'], len(corpus.splits['test']))
    run = loading.load(workdir)
    texts = ['the sun in winter', 'frost']
    folder = os.path.join(workdir, 'export')
    export.write(run, workdir, folder)
    np.testing.assert_array_equal(
      loading.load(folder).predict(texts), run.predict(texts)
    )


class RunTest(parameterized.TestCase):
  @pytest.mark.slow
  def test_learns_and_reports_what_it_predicts(self):
    config = make_config(
      **{'train.num_steps': 120, 'train.eval_every': 60, 'dropout.word': 0.0}
    )
    workdir = self.create_tempdir().full_path
    corpus, _ = trained(config, workdir)
    results = evaluate.evaluate(config, workdir, corpus)
    with open(os.path.join(workdir, 'results.json')) as file:
      self.assertEqual(json.load(file), results)
    figures, split = results['test'], corpus.splits['test']
    # One word of a sentence tells its class.
    self.assertEqual(figures['accuracy'], 1.0)
    self.assertEqual(figures['macro_f1'], 1.0)
    self.assertEqual(figures['classes']['mild']['count'], 0)
    self.assertIsNone(figures['classes']['mild']['recall'])
    counts = [split.labels['label'].count(name) for name in LABELS]
    np.testing.assert_array_equal(figures['confusion'], np.diag(counts))
    run = loading.open_run(config, workdir)
    self.assertEqual(run.labels, LABELS)
    self.assertEqual(run.task.labels, LABELS)
    # What the state keeps of the best validation corrects probabilities.
    with open(os.path.join(workdir, 'metrics.jsonl')) as file:
      lines = [json.loads(line) for line in file]
    valid = [line for line in lines if 'valid/accuracy' in line]
    best = max(valid, key=lambda line: line['valid/accuracy'])
    np.testing.assert_allclose(
      run.extras['temperature'], best['valid/temperature'], rtol=1e-6
    )
    texts = [run.text(split.sentence(i)) for i in range(len(split))]
    nats = -np.take_along_axis(
      run.predict(texts), split.fields['label'][:, None], axis=1
    )
    np.testing.assert_allclose(
      np.mean(nats), figures['calibrated_nll_per_sentence'], rtol=1e-4
    )
    for name in ('reliability_test.png', 'mistakes_test.tsv'):
      self.assertTrue(os.path.exists(os.path.join(workdir, name)))
    shown = evaluate.table(results, run.task.FIGURES)
    labels = [str(cell) for cell in shown.columns[0].cells]
    self.assertContainsSubset(['sentences', 'nll', 'accuracy'], labels)

  def test_evaluation_does_not_depend_on_batches(self):
    workdir = self.create_tempdir().full_path
    config = make_config()
    trained(config, workdir)
    figures = []
    for size in (1, 5, 64):
      config.evaluate.batch_size = size
      result = evaluate.evaluate(config, workdir)['test']
      figures.append(
        (result['confusion'], result['unknown_share'], result['sentences'])
      )
    self.assertEqual(figures[0], figures[1])
    self.assertEqual(figures[0], figures[2])

  @pytest.mark.slow
  def test_resumes_bit_for_bit(self):
    whole = self.create_tempdir().full_path
    parts = self.create_tempdir().full_path
    config = make_config()
    _, expected = trained(config, whole)
    loop.train(make_config(**{'train.num_steps': 12}), parts)
    _, got = trained(config, parts)
    self.assertEqual(got.step, 24)
    for ours, theirs in zip(
      jax.tree.leaves(got.replace(key=None)),
      jax.tree.leaves(expected.replace(key=None)),
      strict=True,
    ):
      np.testing.assert_array_equal(ours, theirs)

  @pytest.mark.slow
  def test_a_population_of_two_is_two_runs(self):
    configs = [make_config(seed=1), make_config(**{'dropout.word': 0.4})]
    corpus = preparation.build_corpus(configs[0])
    results = population.train(configs, corpus, size=2)
    for config, result in zip(configs, results, strict=True):
      workdir = self.create_tempdir().full_path
      loop.train(config, workdir)
      with open(os.path.join(workdir, 'metrics.jsonl')) as file:
        lines = [json.loads(line) for line in file]
      valid = [line for line in lines if 'valid/accuracy' in line]
      best = max(valid, key=lambda line: line['valid/accuracy'])
      self.assertEqual(result.best['accuracy'], best['valid/accuracy'])
      # Batched and single products round differently, at every step anew.
      np.testing.assert_allclose(
        result.best['nll_per_sentence'],
        best['valid/nll_per_sentence'],
        rtol=100 * tolerances.EPS * result.steps,
      )

  @pytest.mark.slow
  def test_frozen_vectors_stay_and_others_do_not(self):
    vectors = self.create_tempfile(
      'vectors.txt', 'sun ' + ' '.join('1' * 10) + '\n'
    ).full_path
    for frozen in (True, False):
      config = make_config(
        **{
          'model.frozen_embeddings': frozen,
          'model.pretrained_embeddings': vectors,
          'optimizer.weight_decay': 0.01,
        }
      )
      corpus, after = trained(config, self.create_tempdir().full_path)
      task = make_task(config, corpus)
      first = state_lib.create(task, optimizers.build(config), config.seed)
      before = preparation.with_word_vectors(config, first, corpus)
      (table, kernel), (last_table, last_kernel) = (
        [np.asarray(state.params['params'][name][leaf]) for name, leaf in NAMES]
        for state in (before, after)
      )
      row = corpus.vocab.encode(['sun'])[0]
      np.testing.assert_array_equal(table[row], np.ones(10))
      self.assertEqual(np.all(last_table == table), frozen)
      self.assertFalse(np.any(last_kernel == kernel))

  @parameterized.parameters(
    ('accuracy', 0), ('macro_f1', 1), ('nll_per_sentence', 2)
  )
  def test_the_best_validation_is_chosen_by(self, name, best):
    config = make_config(**{'train.select_by': name})
    task = make_task(config, preparation.build_corpus(config))
    figures = [
      {'accuracy': 0.8, 'macro_f1': 0.5, 'nll_per_sentence': 0.7},
      {'accuracy': 0.7, 'macro_f1': 0.6, 'nll_per_sentence': 0.6},
      {'accuracy': 0.6, 'macro_f1': 0.4, 'nll_per_sentence': 0.5},
    ]
    values = [task.selection_value(f, config) for f in figures]
    self.assertEqual(int(np.argmin(values)), best)

  def test_fewer_than_two_classes_are_refused(self):
    vocab = vocab_lib.Vocabulary.build('word', [['a']])
    with self.assertRaisesRegex(ValueError, 'at least 2 classes'):
      classification.TASK.build(make_config(), vocab, ('cold',))

  @parameterized.parameters(
    ({'corpus.stream': True}, 'no sentences to be labelled. Legal: False'),
    (
      {'model.head_layers': 0, 'model.activation': 'tanh'},
      'model.head_layers is set',
    ),
    ({'dropout.hidden': 0.1}, 'dropout.hidden = 0.1 would have no effect'),
    ({'model.pooling': 'max'}, "model.encoder = 'recurrent'"),
    ({'model.frozen_encoder': True}, "'convolution' or 'recurrent'"),
    ({'objective.linear_gain': True}, "model.encoder = 'recurrent'"),
    ({'objective.next_word_weight': 1.0}, "model.encoder = 'recurrent'"),
    (
      {'model.encoder': 'convolution', 'model.convolution.widths': (3, 3)},
      'Legal: different numbers of words',
    ),
    (
      {
        'model.encoder': 'recurrent',
        'model.gradient_steps': 5,
        'model.bidirectional_encoder': True,
      },
      'gradient_steps = 5',
    ),
  )
  def test_illegal_settings_are_refused(self, overrides, message):
    with self.assertRaisesRegex(ValueError, message):
      make_config(**overrides)


class EncoderTest(parameterized.TestCase):
  @parameterized.parameters('convolution', 'recurrent')
  @pytest.mark.slow
  def test_encoders_learn_the_classes(self, encoder):
    config = make_config(
      **{
        'model.encoder': encoder,
        'model.hidden_size': 14,
        'train.num_steps': 240,
        'train.eval_every': 60,
        'dropout.word': 0.0,
        'dropout.output': 0.0,
      }
    )
    workdir = self.create_tempdir().full_path
    corpus, _ = trained(config, workdir)
    figures = evaluate.evaluate(config, workdir, corpus)['test']
    # A class has 4 words of its own, each seen about 4 times.
    self.assertGreater(figures['accuracy'], 0.9)

  @parameterized.parameters('language_model', 'seq2seq')
  @pytest.mark.slow
  def test_begins_with_the_weights_of_a_pretrained_model(self, kind):
    other = build.default(kind)
    if kind == 'seq2seq':  # A sequence autoencoder.
      other.corpus.autoencoder = other.corpus.whole_lines = True
      other.model.attention, other.model.bridge = 'none', 'copy'
      other.model.shared_weights = 'all'
    argument.apply(other, argument.parse(f'tiny,{text()}', tiny=False))
    other.corpus.labelled, other.corpus.protocol = True, 'mikolov'
    other.train.num_steps, other.train.eval_every = 6, 6
    other.train.num_buckets, other.evaluate.split = 1, 'none'
    source = self.create_tempdir().full_path
    loop.train(other, source)
    config = make_config(
      **{
        'model.encoder': 'recurrent',
        'model.cell': other.model.cell,
        'model.hidden_size': 14,
        'model.frozen_embeddings': True,
        'model.frozen_encoder': True,
        'train.init_from': source,
      }
    )
    corpus, state = trained(config, self.create_tempdir().full_path)
    saved = checkpoints.Checkpoints(
      workdir_lib.checkpoint_dir(source), corpus.vocab.content_hash
    )
    weights, _ = saved.weights()
    params = state.params['params']
    for path in ('kernel', 'bias', 'cell/recurrent_kernel'):
      leaf = params['encoder']['layer_0']
      for part in path.split('/'):
        leaf = leaf[part]
      np.testing.assert_array_equal(
        leaf, weights[f'params/recurrent/layer_0/{path}']
      )
    np.testing.assert_array_equal(
      params['embedding']['embedding'], weights['params/embedding/embedding']
    )


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters('', 'tiny', 'grammar', 'tiny,politicians', 'FOLDER')
  def test_is_valid_with_every_argument(self, tail):
    get_config = runpy.run_path(str(CONFIG))['get_config']
    config = get_config(tail.replace('FOLDER', text()))
    build.validate(config)
    self.assertEqual(config.corpus.labelled, tail == 'FOLDER')

  def test_the_smallest_run_needs_no_download(self):
    config = runpy.run_path(str(CONFIG))['get_config']('tiny')
    corpus = preparation.build_corpus(config)
    self.assertEqual(corpus.labels, ('garden', 'kitchen', 'school', 'sea'))

  def test_another_label_of_a_corpus_may_be_chosen(self):
    config = runpy.run_path(str(CONFIG))['get_config']('tiny')
    config.corpus.label_column = 'number'
    self.assertEqual(
      preparation.build_corpus(config).labels, ('plural', 'singular')
    )

  @pytest.mark.corpus
  def test_the_default_corpus_has_two_labels_half_each(self):
    config = runpy.run_path(str(CONFIG))['get_config']()
    corpus = preparation.build_corpus(config)
    self.assertEqual(corpus.labels, ('neg', 'pos'))
    counts = {
      name: np.bincount(split.fields['label']).tolist()
      for name, split in corpus.splits.items()
    }
    self.assertEqual(np.sum(list(counts.values()), axis=0).tolist(), [5331] * 2)
    self.assertEqual(sum(counts['test']), 560)


if __name__ == '__main__':
  absltest.main()
