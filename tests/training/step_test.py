"""The fused step: arithmetic, fusion, donation, randomness."""

import functools
import itertools

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnvae_jax.data import batches, corpora, vocab
from rnnvae_jax.tasks import _metrics as metrics
from rnnvae_jax.tasks import base
from rnnvae_jax.training import optimizers
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import step as step_lib

import helpers
import tolerances

EPS = np.finfo(np.float32).eps
VOCAB = 19
# Of the tiny corpus, and the batches of some steps.
LENGTHS = np.int32([5, 2, 7, 3, 6, 4, 7, 2, 3, 5])
BUCKETS = batches.Bucket(3), batches.Bucket(7)


@functools.cache
def make_corpus():
  ends = np.cumsum(LENGTHS)
  tokens = np.random.default_rng(0).integers(4, VOCAB, ends[-1]).astype('i4')
  tokens[ends - 1] = vocab.EOS
  offsets = (ends - LENGTHS).astype('i4')
  return batches.put(corpora.Split(tokens, offsets, LENGTHS, 0, 0, {}))


def plan(first, count, batch_size=4, buckets=BUCKETS):
  schedule = batches.Schedule(LENGTHS, buckets, batch_size, seed=0)
  return tuple(map(jnp.asarray, schedule.steps(first, count)))


def make_config(**overrides):
  return helpers.make_config(
    'sentence_vae',
    **{
      'model.embedding_size': 5,
      'model.hidden_size': 8,
      'model.latent_size': 3,
      'model.encoder_hidden_size': 6,
      'dropout.embedding': 0.1,
      'dropout.output': 0.3,
      'dropout.word': 0.4,
      'objective.kl_schedule': 'linear',
      'objective.kl_anneal_steps': 5,
      'objective.free_bits': 0.01,
      # Not legal beside the former, but then all scalars play a part.
      'objective.rate_control': 'lagrangian',
      'objective.target_rate': 50.0,
      'objective.label_smoothing': 0.1,
      'optimizer.learning_rate': 0.01,
      **overrides,
    },
  )


class VaeRun:
  """A sentence VAE and its compiled step, shared: they take seconds."""

  buckets = (batches.Bucket(7),)  # Each is compiled on its own.

  def __init__(self):
    config = make_config()
    self.task = helpers.make_task(config, VOCAB)
    tx = optimizers.build(config)
    self.train_step = step_lib.make_train_step(
      self.task,
      tx,
      self.buckets,
      config.optimizer.schedule,
    )
    # Never donated: debug_nans switches that off.
    self.state = state_lib.create(self.task, tx, seed=0)
    self.hyperparameters = helpers.make_hyperparameters(config)
    self.value_and_grad = jax.jit(
      jax.value_and_grad(self.task.loss, has_aux=True)
    )

  def steps(self, state, first, count, hyperparameters=None):
    hyperparameters = hyperparameters or self.hyperparameters
    batches = plan(first, count, buckets=self.buckets)
    return self.train_step(state, make_corpus(), *batches, hyperparameters)


vae_run = functools.cache(VaeRun)


def as_arrays(tree):
  is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return [
    np.asarray(jax.random.key_data(x) if is_key(x) else x)
    for x in jax.tree.leaves(tree)
  ]


class VaeStepTest(parameterized.TestCase):
  def test_one_call_of_six_steps_is_two_calls_of_three_bit_for_bit(self):
    run = vae_run()
    state, of_six, losses = run.steps(run.state, 0, 6)
    other, first, first_losses = run.steps(run.state, 0, 3)
    other, second, second_losses = run.steps(other, 3, 3)
    self.assertEqual(int(state.step), 6)
    for one, two in zip(as_arrays(state), as_arrays(other), strict=True):
      np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(
      losses, np.concatenate([first_losses, second_losses])
    )
    # Sums of six numbers in another order.
    chex.assert_trees_all_close(of_six, first.merge(second), rtol=6 * EPS)

  @pytest.mark.slow
  def test_hyperparameters_change_without_a_compilation(self):
    run = vae_run()
    *_, before = run.steps(run.state, 0, 6)
    compiled = run.train_step._cache_size()
    unread = (
      'optimizer.clip_norm',  # More than these gradients have.
      'train.num_steps',  # Of a constant schedule.
    )
    leaves, tree = jax.tree.flatten_with_path(run.hyperparameters)
    for number, (path, leaf) in enumerate(leaves):
      name = '.'.join(part.name for part in path)
      values = [value for _, value in leaves]
      values[number] = 0.5 * leaf + 0.25
      changed = jax.tree.unflatten(tree, values)
      *_, after = run.steps(run.state, 0, 6, changed)
      if name not in unread:
        self.assertFalse(np.array_equal(before, after), name)
    self.assertEqual(run.train_step._cache_size(), compiled)

  def test_loss_falls(self):
    run = vae_run()
    hyperparameters = run.hyperparameters.replace(
      {
        name: jnp.float32(0)
        for name in (
          'dropout.embedding',
          'dropout.output',
          'dropout.word',
          'objective.target_rate',
          'objective.label_smoothing',
        )
      }
    )
    state, losses = run.state, []
    for first in range(0, 240, 6):
      state, _, some = run.steps(state, first, 6, hyperparameters)
      losses.extend(some)
    # Ten random sentences can be learned by heart.
    self.assertLess(np.mean(losses[-6:]), 0.6 * np.mean(losses[:6]))


class VaeBatchTest(absltest.TestCase):
  """What a batch looks like does not matter; which sentences it holds does."""

  def loss(self, rows, length=7, seed=0, params=None):
    """The loss of the sentences, its sums and gradients."""
    run = vae_run()
    batch = batches.gather(
      make_corpus(), jnp.int32(rows), batches.Bucket(length)
    )
    params = self.params() if params is None else params
    (loss, (sums, _)), grads = run.value_and_grad(
      params,
      batch,
      run.hyperparameters,
      jax.random.key(seed),
      run.state.extras,
    )
    return {'loss': loss, 'sums': sums, 'grads': grads}

  def params(self):
    return jax.tree.map(lambda x: 2 * x, vae_run().state.params)

  def assert_equal_but_rounded(self, rows, other, length=7):
    # Sums over at most 28 tokens and 19 words in another order.
    allowed = tolerances.spread(
      lambda params: self.loss(rows, params=params), self.params(), terms=28
    )
    tolerances.assert_close(
      self.loss(other, length=length), self.loss(rows), allowed
    )

  def test_the_order_of_rows_changes_nothing_though_noise_is_drawn(self):
    one = self.loss([2, 0, 5, 3])
    self.assert_equal_but_rounded([2, 0, 5, 3], [3, 5, 2, 0])
    other = self.loss([2, 0, 5, 3], seed=1)
    self.assertGreater(abs(one['loss'] - other['loss']), 1e-3 * one['loss'])

  @pytest.mark.slow
  def test_blank_rows_and_padding_change_nothing(self):
    self.assert_equal_but_rounded([2, 0, 5, 3], [-1, 2, 0, -1, 5, 3], length=9)

  def test_a_batch_of_blanks_has_no_gradient(self):
    blank = self.loss([-1, -1, -1, -1])
    for grad in as_arrays(blank['grads']):
      np.testing.assert_array_equal(grad, 0)
    self.assertEqual(blank['sums']['tokens'], 0)

  def test_the_loss_is_the_mean_over_sentences(self):
    alone = [self.loss([row, -1, -1, -1])['loss'] for row in (2, 0, 5)]
    together = self.loss([2, 0, 5, -1])['loss']
    # Both are sums over tokens of sums over words, of products and of steps.
    rtol = tolerances.chain(21, VOCAB, 8 + 5, 7 * (8 + 5), 7 * (6 + 5))
    np.testing.assert_allclose(together, np.mean(alone), rtol=rtol)


# A task whose gradients can be written down: its loss is the mean number of
# tokens times slope . a, plus |b - 1|^2 / 2.
SLOPE = np.float32([3.0, -4.0, 0.0])


def toy_loss(params, batch, hyperparameters, key, extras):
  del hyperparameters, key
  sentences = jnp.sum(batch['weights'])
  tokens = jnp.sum(batch['mask'], dtype=jnp.float32)
  loss = tokens / sentences * jnp.dot(SLOPE, params['a'])
  loss += 0.5 * jnp.sum(jnp.square(params['b'] - 1.0))
  sums = {'reconstruction': tokens, 'tokens': tokens, 'sentences': sentences}
  return loss, (sums, {'calls': extras['calls'] + 1})


def toy_gradient(params, rows):
  tokens = np.mean(LENGTHS[np.asarray(rows)])
  return {'a': np.float64(SLOPE) * tokens, 'b': params['b'] - 1.0}


class Toy(base.Trained):
  """A task of these functions, and nothing that evaluates it."""

  metrics = metrics.LanguageModelMetrics
  inner_parts = ('encoder',)

  def __init__(self, init, loss, inner_steps=0):
    self._init, self._loss = init, loss
    self.inner_steps = inner_steps

  @classmethod
  def build(cls, config, vocab, labels=()):
    raise NotImplementedError

  def init(self, key):
    return self._init(key)

  def initial_extras(self):
    return {'calls': jnp.int32(0)}

  def loss(self, *args):
    return self._loss(*args)

  def evaluate(self, params, batch, key, extras, samples=base.ONE_SAMPLE):
    return {'tokens': jnp.sum(batch['mask'], axis=1)}

  def summarise(self, values, split, config, final=False):
    raise NotImplementedError

  def selection_value(self, figures, config):
    raise NotImplementedError

  def report(self, figures):
    raise NotImplementedError


def toy_init(key):
  del key
  return {
    'a': jnp.float32([0.25, 0.5, -1.0]),
    'b': jnp.float32([2.0, -2.0]),
  }


@functools.cache
def toy_task():
  return Toy(toy_init, toy_loss)


@functools.cache
def toy_step(optimizer, schedule):
  """Transformation and compiled step, shared by all tests but donation's."""
  tx = optimizers.build(make_config(**{'optimizer.name': optimizer}))
  return tx, step_lib.make_train_step(toy_task(), tx, BUCKETS, schedule)


def run_toy(count=4, scale=1.0, **overrides):
  """States before and after each of `count` calls of one step, and metrics."""
  config = make_config(
    **{'optimizer.clip_norm': 0.0, 'train.num_steps': 8, **overrides}
  )
  tx, train_step = toy_step(config.optimizer.name, config.optimizer.schedule)
  state = state_lib.create(toy_task(), tx, 0)
  selection = state.selection.replace(learning_rate_scale=jnp.float32(scale))
  state = state.replace(selection=selection)
  states, reports = [jax.device_get(state.replace(key=None))], []
  for first in range(count):
    state, report, _ = train_step(
      state,
      make_corpus(),
      *plan(first, 1, batch_size=2),
      helpers.make_hyperparameters(config),
    )
    states.append(jax.device_get(state.replace(key=None)))
    reports.append(jax.device_get(report.compute()))
  return states, reports


def toy_rows(step):
  return plan(step, 1, batch_size=2)[0][0]


def as_doubles(tree):
  return jax.tree.map(np.float64, tree)


class CallTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.tx, self.train_step = toy_step.__wrapped__('adam', 'constant')
    self.state = state_lib.create(toy_task(), self.tx, 0)
    hyperparameters = helpers.make_hyperparameters(make_config())
    self.arguments = make_corpus(), *plan(0, 3), hyperparameters

  def test_the_old_state_is_donated(self):
    # Which debug_nans would switch off.
    with jax.debug_nans(False):
      new, *_ = self.train_step(self.state, *self.arguments)
    for old in jax.tree.leaves((self.state.params, self.state.opt_state)):
      self.assertTrue(old.is_deleted())
    for leaf in jax.tree.leaves(new):
      self.assertFalse(leaf.is_deleted())

  def test_transfers_nothing_between_host_and_device(self):
    self.train_step(self.state, *self.arguments)
    on_host = jax.tree.map(np.asarray, self.arguments)
    with jax.transfer_guard('disallow'):
      self.train_step(self.state, *self.arguments)
      # The guard sees what it should.
      with self.assertRaisesRegex(Exception, 'Disallowed host-to-device'):
        self.train_step(self.state, *on_host)

  def test_all_steps_of_all_epochs_are_one_program(self):
    state, seen = self.state, set()
    corpus, *_, hyperparameters = self.arguments
    for first in range(0, 30, 3):
      rows, bucket = plan(first, 3)
      seen |= set(np.asarray(bucket).tolist())
      state, *_ = self.train_step(state, corpus, rows, bucket, hyperparameters)
    self.assertEqual(seen, {0, 1})
    self.assertEqual(int(state.step), 30)
    self.assertEqual(self.train_step._cache_size(), 1)


class PlatformTest(absltest.TestCase):
  def test_a_gpu_adds_up_the_same_metrics_without_a_loop(self):
    tx, on_cpu = toy_step('adam', 'constant')
    with helpers.on_platform('gpu'):
      _, on_gpu = toy_step.__wrapped__('adam', 'constant')
    arguments = (
      state_lib.create(toy_task(), tx, 0),
      make_corpus(),
      *plan(0, 6, batch_size=2),
      helpers.make_hyperparameters(make_config()),
    )
    loops = lambda step: (
      step.lower(*arguments).as_text().count('stablehlo.while')
    )
    self.assertEqual(loops(on_gpu), 1)  # That over the updates.
    self.assertGreater(loops(on_cpu), 1)
    # debug_nans keeps the state that is donated otherwise.
    (state, of_gpu, losses), (want, of_cpu, want_losses) = (
      step(*arguments) for step in (on_gpu, on_cpu)
    )
    np.testing.assert_array_equal(losses, want_losses)
    for one, two in zip(as_arrays(state), as_arrays(want), strict=True):
      np.testing.assert_array_equal(one, two)
    # Sums of six numbers in another order.
    chex.assert_trees_all_close(of_gpu, of_cpu, rtol=6 * EPS)


class EvaluationStepTest(absltest.TestCase):
  def test_is_one_program_for_each_bucket(self):
    buckets = tuple(map(batches.Bucket, batches.round_up(LENGTHS, 3)))
    run = step_lib.make_evaluation_step(toy_task(), buckets, base.ONE_SAMPLE)
    order = batches.evaluation_plan(LENGTHS, buckets, 2)
    for _ in range(2):
      for rows, bucket in zip(*order, strict=True):
        values = run(
          {},
          make_corpus(),
          jnp.asarray(rows),
          int(bucket),
          jax.random.key(0),
          {},
        )
        np.testing.assert_array_equal(values['tokens'], LENGTHS[rows])
    self.assertLen(set(order.bucket.tolist()), 3)
    self.assertLen(order.bucket, 5)
    self.assertEqual(run._cache_size(), 3)


class ArithmeticTest(parameterized.TestCase):
  def test_one_call_of_six_steps_is_six_calls_of_one(self):
    # But for rounding: XLA compiles a loop of one step as none.
    overrides = {'optimizer.learning_rate': 0.125}
    states, reports = run_toy(count=6, **overrides)
    tx, train_step = toy_step('adam', 'constant')
    config = make_config(**overrides, **{'optimizer.clip_norm': 0.0})
    state, report, losses = train_step(
      state_lib.create(toy_task(), tx, 0),
      make_corpus(),
      *plan(0, 6, batch_size=2),
      helpers.make_hyperparameters(config),
    )
    chex.assert_trees_all_close(
      jax.device_get(state.replace(key=None)), states[-1], rtol=16 * EPS
    )
    of_one = [report['loss'] for report in reports]
    np.testing.assert_allclose(losses, of_one, rtol=16 * EPS, atol=16 * EPS)
    np.testing.assert_allclose(
      report.compute()['loss'], np.mean(of_one), rtol=16 * EPS, atol=16 * EPS
    )

  def test_sgd_goes_down_the_gradient_by_the_rate(self):
    states, _ = run_toy(
      **{'optimizer.name': 'sgd', 'optimizer.learning_rate': 0.125}
    )
    for step, (old, new) in enumerate(itertools.pairwise(states)):
      before = as_doubles(old.params)
      grads = toy_gradient(before, toy_rows(step))
      want = {name: before[name] - 0.125 * grads[name] for name in before}
      chex.assert_trees_all_close(as_doubles(new.params), want, rtol=4 * EPS)

  def test_adam_is_that_of_kingma_and_ba(self):
    states, _ = run_toy(
      **{'optimizer.name': 'adam', 'optimizer.learning_rate': 0.125}
    )
    # arXiv:1412.6980, algorithm 1, in float64.
    params = as_doubles(states[0].params)
    first = jax.tree.map(np.zeros_like, params)
    second = jax.tree.map(np.zeros_like, params)
    for step, state in enumerate(states[1:]):
      for name, grad in toy_gradient(params, toy_rows(step)).items():
        first[name] = 0.9 * first[name] + 0.1 * grad
        second[name] = 0.999 * second[name] + 0.001 * grad**2
        mean = first[name] / (1 - 0.9 ** (step + 1))
        variance = second[name] / (1 - 0.999 ** (step + 1))
        params[name] = params[name] - 0.125 * mean / (np.sqrt(variance) + 1e-8)
      # The relative error of 1 - 0.999 in float32 is up to EPS / 0.001.
      chex.assert_trees_all_close(
        as_doubles(state.params),
        params,
        rtol=0,
        atol=(step + 1) * 0.125 * EPS / 0.001,
      )

  @parameterized.parameters(0.5, 7.0, 1e9, 0.0)
  def test_clips_the_norm_and_keeps_the_direction(self, clip_norm):
    states, reports = run_toy(
      count=1,
      **{
        'optimizer.name': 'sgd',
        'optimizer.learning_rate': 1.0,
        'optimizer.clip_norm': clip_norm,
      },
    )
    before, after = as_doubles(states[0].params), as_doubles(states[1].params)
    grads = toy_gradient(before, toy_rows(0))
    flat = lambda tree: np.concatenate([tree['a'], tree['b']])
    norm = np.linalg.norm(flat(grads))
    self.assertBetween(norm, 7.1, 1e8)
    shrink = min(1.0, clip_norm / norm) if clip_norm else 1.0
    step = flat(before) - flat(after)
    np.testing.assert_allclose(
      step, shrink * flat(grads), rtol=32 * EPS, atol=8 * EPS
    )
    if clip_norm:
      self.assertLessEqual(np.linalg.norm(step), clip_norm * (1 + 8 * EPS))
    # What is reported is the norm before.
    np.testing.assert_allclose(reports[0]['grad_norm'], norm, rtol=8 * EPS)

  def test_decay_of_weights_is_added_behind_the_clipping(self):
    # As by PyTorch's clip_grad_norm_ and SGD(weight_decay=...).
    states, _ = run_toy(
      count=1,
      **{
        'optimizer.name': 'sgd',
        'optimizer.learning_rate': 1.0,
        'optimizer.clip_norm': 0.5,
        'optimizer.weight_decay': 0.25,
      },
    )
    before, after = as_doubles(states[0].params), as_doubles(states[1].params)
    grads = toy_gradient(before, toy_rows(0))
    norm = np.linalg.norm(np.concatenate([grads['a'], grads['b']]))
    self.assertGreater(norm, 7.0)
    for name, start in before.items():
      want = start - 0.5 / norm * grads[name] - 0.25 * start
      np.testing.assert_allclose(
        after[name], want, rtol=32 * EPS, atol=32 * EPS
      )

  def test_clips_a_gradient_of_zero_to_zero(self):
    still = lambda params, *rest: (
      0.0 * jnp.sum(params['a']),
      toy_loss(params, *rest)[1],
    )
    task, tx = Toy(toy_init, still), optax.identity()
    train_step = step_lib.make_train_step(task, tx, BUCKETS, 'constant')
    for clip_norm in (0.0, 1.0):
      config = make_config(**{'optimizer.clip_norm': clip_norm})
      state = state_lib.create(task, tx, 0)
      before = jax.device_get(state.params)
      state, *_ = train_step(
        state,
        make_corpus(),
        *plan(0, 2),
        helpers.make_hyperparameters(config),
      )
      chex.assert_trees_all_equal(jax.device_get(state.params), before)

  @parameterized.parameters(
    ('constant', 0.0, lambda x: 1.0),
    ('linear', 0.25, lambda x: 1 - x),
    ('cosine', 0.25, lambda x: 0.5 + 0.5 * np.cos(np.pi * x)),
  )
  def test_the_rate_follows_its_schedule_over_all_steps(
    self, schedule, final, part
  ):
    states, reports = run_toy(
      count=8,
      **{
        'optimizer.name': 'sgd',
        'optimizer.learning_rate': 1.0,
        'optimizer.final_learning_rate': final,
        'optimizer.schedule': schedule,
      },
    )
    for step, report in enumerate(reports):
      want = final + (1.0 - final) * part(step / 8)
      np.testing.assert_allclose(report['learning_rate'], want, rtol=8 * EPS)
      # And is what the parameters move by.
      before, after = states[step].params['b'], states[step + 1].params['b']
      np.testing.assert_allclose(
        np.float64(before) - after, want * (before - 1.0), atol=16 * EPS
      )

  def test_a_plateau_scales_the_rate(self):
    _, (report,) = run_toy(
      count=1, scale=0.125, **{'optimizer.learning_rate': 0.5}
    )
    self.assertEqual(report['learning_rate'], 0.0625)

  def test_hands_on_what_the_objective_adapts(self):
    states, _ = run_toy(count=3)
    self.assertEqual([int(s.extras['calls']) for s in states], [0, 1, 2, 3])

  def test_reports_sums_divided_last(self):
    tx, train_step = toy_step('adam', 'constant')
    # Batches of 4, 4 and 2 sentences: a mean of means would differ.
    rows, bucket = plan(0, 3)
    _, report, _ = train_step(
      state_lib.create(toy_task(), tx, 0),
      make_corpus(),
      rows,
      bucket,
      helpers.make_hyperparameters(make_config()),
    )
    values = report.compute()
    self.assertEqual(int(np.sum(np.asarray(rows) == batches.BLANK)), 2)
    np.testing.assert_allclose(
      values['nll_per_sentence'], LENGTHS.mean(), rtol=4 * EPS
    )
    self.assertEqual(values['nll_per_token'], 1.0)


class NonFiniteTest(absltest.TestCase):
  """Of four updates the third has a finite loss, but no finite gradient."""

  def setUp(self):
    super().setUp()
    self.enterContext(jax.debug_nans(False))
    config = make_config(
      **{'optimizer.name': 'sgd', 'optimizer.learning_rate': 0.125}
    )
    self.tx = optimizers.build(config)
    self.scalars = helpers.make_hyperparameters(config)
    tokens = [int(np.sum(LENGTHS[np.asarray(toy_rows(n))])) for n in range(4)]
    self.assertEqual(tokens.count(tokens[2]), 1)

    def loss(params, batch, *rest):
      value, rest = toy_loss(params, batch, *rest)
      # Its square, in the norm, is infinite.
      slope = jnp.where(jnp.sum(batch['mask']) == tokens[2], 1e30, 0.0)
      a = params['a']
      return value + slope * jnp.sum(a - jax.lax.stop_gradient(a)), rest

    self.task = Toy(toy_init, loss)

  def run_steps(self, first, count, state=None, **kwargs):
    state = state or state_lib.create(self.task, self.tx, 0)
    train_step = step_lib.make_train_step(
      self.task, self.tx, BUCKETS, 'constant', **kwargs
    )
    return train_step(
      state, make_corpus(), *plan(first, count, batch_size=2), self.scalars
    )

  def test_the_loss_tells_which_update_it_was(self):
    _, _, losses = self.run_steps(0, 3)
    np.testing.assert_array_equal(np.isfinite(losses), [True, True, False])

  def test_left_out_it_changes_nothing_but_the_step(self):
    state, report, losses = self.run_steps(0, 4, skips=True)
    finite = [True, True, False, True]
    np.testing.assert_array_equal(np.isfinite(losses), finite)
    want, *_ = self.run_steps(0, 2)
    want, *_ = self.run_steps(3, 1, want.replace(step=jnp.int32(3)))
    chex.assert_trees_all_close(
      jax.device_get(state.replace(key=None)),
      jax.device_get(want.replace(key=None)),
      rtol=16 * EPS,
    )
    self.assertEqual(int(state.extras['calls']), 3)
    np.testing.assert_allclose(
      report.compute()['loss'], np.mean(losses[np.array(finite)]), rtol=8 * EPS
    )


class ScheduleTest(parameterized.TestCase):
  """The scalars and the learning rate of an update, from its number."""

  @parameterized.parameters(
    ('constant', [0.5, 0.5, 0.5, 0.5, 0.5]),
    ('linear', [0.125, 0.21875, 0.3125, 0.5, 0.5]),
    ('cosine', [0.125, 0.125 + 0.375 * (0.5 - 0.5**1.5), 0.3125, 0.5, 0.5]),
    # Two cycles, half of each a ramp.
    ('cyclical', [0.125, 0.5, 0.125, 0.5, 0.5]),
  )
  def test_the_kl_weight_is_on_its_way(self, schedule, want):
    config = make_config(
      **{
        'objective.kl_schedule': schedule,
        'objective.kl_weight': 0.5,
        'objective.kl_start': 0.125,
        'objective.kl_anneal_steps': 20,
        'objective.kl_cycles': 2,
      },
    )
    task = helpers.make_task(config, VOCAB)
    hyperparameters = helpers.make_hyperparameters(config)
    got = [
      task.schedule(hyperparameters, jnp.int32(step)).objective.kl_weight
      for step in (0, 5, 10, 20, 1000)
    ]
    np.testing.assert_allclose(got, want, rtol=4 * EPS)

  def test_schedules_begin_once_the_autoencoder_is_pretrained(self):
    config = make_config(
      **{
        'objective.kl_start': 0.25,
        'objective.kl_anneal_steps': 20,
        'objective.mmd_weight': 3.0,
        'train.pretrain_steps': 10,
        'train.num_steps': 50,
        'optimizer.schedule': 'linear',
        'optimizer.final_learning_rate': 0.001,
        'optimizer.decay_every': 15,
        'optimizer.decay_start': 25,
        'optimizer.decay_factor': 0.5,
      },
    )
    task = helpers.make_task(config, VOCAB)
    hyperparameters = helpers.make_hyperparameters(config)
    # As long as the part that follows pretraining.
    plain = hyperparameters.replace(
      {
        'train.pretrain_steps': jnp.float32(0),
        'train.num_steps': jnp.float32(40),
      }
    )
    rate = lambda scalars, step: step_lib.learning_rate(
      task, scalars, jnp.int32(step), 'linear'
    )
    objective = lambda scalars, step: (
      task.schedule(scalars, jnp.int32(step)).objective
    )
    for step in (0, 9):
      now = objective(hyperparameters, step)
      for name in ('kl_weight', 'target_rate', 'mmd_weight'):
        self.assertEqual(getattr(now, name), 0.0, name)
      self.assertEqual(rate(hyperparameters, step), rate(plain, 0))
    for step in (10, 20, 45):
      chex.assert_trees_all_equal(
        objective(hyperparameters, step), objective(plain, step - 10)
      )
      self.assertEqual(rate(hyperparameters, step), rate(plain, step - 10))
    first = objective(hyperparameters, 10)
    self.assertEqual(first.kl_weight, 0.25)
    self.assertEqual(first.target_rate, 50.0)
    self.assertEqual(first.mmd_weight, 3.0)

  def test_the_rate_falls_in_steps_once_its_first_epochs_are_over(self):
    # Zaremba et al., arXiv:1409.2329: in epoch e, counted from 1, by
    # factor^max(e - first, 0).
    config = make_config(
      **{
        'optimizer.learning_rate': 0.75,
        'optimizer.decay_every': 7,
        'optimizer.decay_start': 28,
        'optimizer.decay_factor': 0.5,
      },
    )
    hyperparameters = helpers.make_hyperparameters(config)
    for step in (0, 6, 27, 28, 34, 35, 69, 70):
      rate = step_lib.learning_rate(
        toy_task(), hyperparameters, jnp.int32(step), 'constant'
      )
      want = 0.75 * 0.5 ** max(step // 7 + 1 - 4, 0)
      np.testing.assert_allclose(rate, want, rtol=4 * EPS)

  def test_the_rate_comes_to_its_end_with_the_last_step(self):
    config = make_config(
      **{
        'optimizer.learning_rate': 0.75,
        'optimizer.final_learning_rate': 0.25,
        'optimizer.schedule': 'linear',
        'train.pretrain_steps': 10,
        'train.num_steps': 50,
      },
    )
    task = helpers.make_task(config, VOCAB)
    hyperparameters = helpers.make_hyperparameters(config)
    for step, want in ((10, 0.75), (30, 0.5), (50, 0.25)):
      rate = step_lib.learning_rate(
        task, hyperparameters, jnp.int32(step), 'linear'
      )
      np.testing.assert_allclose(rate, want, rtol=4 * EPS)

  def test_leaves_the_others_as_they_are(self):
    config = make_config()
    task = helpers.make_task(config, VOCAB)
    hyperparameters = helpers.make_hyperparameters(config)
    now = task.schedule(hyperparameters, jnp.int32(3))
    same = {'objective.kl_weight': 0.0}
    chex.assert_trees_all_equal(
      now.replace(same), hyperparameters.replace(same)
    )
    self.assertNotEqual(
      now.objective.kl_weight, hyperparameters.objective.kl_weight
    )


class InnerStepsTest(absltest.TestCase):
  """Updates of the encoder alone, against gradients by hand."""

  def setUp(self):
    super().setUp()
    self.config = make_config(
      **{
        'optimizer.name': 'sgd',
        'optimizer.learning_rate': 0.1,
        'dropout.word': 0.0,
        'dropout.output': 0.0,
        'dropout.embedding': 0.0,
        'objective.rate_control': 'none',
        'objective.label_smoothing': 0.0,
      }
    )
    self.task = helpers.make_task(self.config, VOCAB)
    self.tx = optimizers.build(self.config)
    self.state = state_lib.create(self.task, self.tx, 0)
    self.scalars = helpers.make_hyperparameters(self.config)
    self.batch = plan(0, 1, buckets=VaeRun.buckets)

  def step(self, inner_steps, explores):
    config = self.config.copy_and_resolve_references()
    config.train.inner_steps = inner_steps
    train_step = step_lib.make_train_step(
      helpers.make_task(config, VOCAB),
      self.tx,
      VaeRun.buckets,
      config.optimizer.schedule,
    )
    selection = self.state.selection.replace(explores=jnp.bool_(explores))
    state = self.state.replace(selection=selection)
    state, *_ = train_step(state, make_corpus(), *self.batch, self.scalars)
    return state.params['params']

  def by_hand(self, params, key, encoder):
    """Parameters after a clipped gradient step of one part."""
    rows, _ = self.batch
    sentences = batches.gather(make_corpus(), rows[0], VaeRun.buckets[0])
    now = self.task.schedule(self.scalars, jnp.int32(0))
    grads, _ = jax.grad(self.task.loss, has_aux=True)(
      {'params': params}, sentences, now, key, self.state.extras
    )
    norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
    shrink = min(1.0, 5.0 / norm)
    return {
      part: jax.tree.map(
        lambda p, g: p - 0.1 * shrink * g, params[part], grads['params'][part]
      )
      if (part in self.task.inner_parts) == encoder
      else params[part]
      for part in params
    }

  @pytest.mark.slow
  def test_one_of_the_encoder_then_one_of_the_decoder(self):
    got = self.step(1, explores=True)
    key = jax.random.fold_in(self.state.key, 0)
    params = self.state.params['params']
    params = self.by_hand(params, jax.random.fold_in(key, 1), encoder=True)
    want = self.by_hand(params, key, encoder=False)
    chex.assert_trees_all_close(got, want, rtol=2e-5, atol=1e-6)

  @pytest.mark.slow
  def test_none_once_the_encoder_has_caught_up(self):
    got = self.step(7, explores=False)
    # Another program, whose gradients are sums in another order.
    chex.assert_trees_all_close(got, self.step(0, True), rtol=2e-5, atol=1e-6)


def count_loss(params, batch, hyperparameters, key, extras):
  """A loss that writes down which sentences it was of.

  `seen` goes up by 1 for each of them at rate 1, `tokens` by theirs, `calls` by
  1; it falls until `calls` is `turn`, which is carried in the KL weight.
  """
  del key
  encoder = params['params']['encoder']
  real = batch['index'] >= 0
  tokens = jnp.sum(batch['mask'], dtype=jnp.float32)
  up = -jnp.sum(jnp.where(real, encoder['seen'][batch['index']], 0.0))
  up -= encoder['tokens'] * tokens + encoder['calls']
  value = (
    jnp.abs(encoder['calls'] - hyperparameters.objective.kl_weight) * tokens
  )
  value = jax.lax.stop_gradient(value / jnp.sum(batch['weights']))
  sums = {
    'reconstruction': tokens,
    'tokens': tokens,
    'sentences': jnp.sum(batch['weights']),
  }
  return up - jax.lax.stop_gradient(up) + value, (sums, extras)


class InnerBatchesTest(parameterized.TestCase):
  """Which batches the inner loop reads, and when it ends."""

  def params(self, inner_steps, turn, lengths=LENGTHS, batch_size=4):
    """`encoder`, after one update with at most so many inner ones."""
    task = Toy(
      lambda key: {
        'params': {
          'encoder': {
            'seen': jnp.zeros(len(lengths)),
            'tokens': jnp.float32(0),
            'calls': jnp.float32(0),
          }
        }
      },
      count_loss,
      inner_steps,
    )
    config = make_config(
      **{
        'optimizer.name': 'sgd',
        'optimizer.learning_rate': 1.0,
        'optimizer.clip_norm': 0.0,
        'objective.kl_weight': turn,
      }
    )
    tx = optimizers.build(config)
    buckets = batches.buckets_for(lengths, batch_size, 2, 'gpu')
    train_step = step_lib.make_train_step(task, tx, buckets, 'constant')
    ends = np.cumsum(lengths)
    split = corpora.Split(
      np.full(ends[-1], 5, 'i4'), (ends - lengths).astype('i4'), lengths, 0, 0,
      {},
    )  # fmt: skip
    schedule = batches.Schedule(lengths, buckets, batch_size, seed=0)
    self.own = schedule.steps(0, 1)
    state, *_ = train_step(
      state_lib.create(task, tx, 0),
      batches.put(split),
      *map(jnp.asarray, self.own),
      helpers.make_hyperparameters(config),
    )
    return jax.device_get(state.params['params']['encoder'])

  @parameterized.parameters(
    (7, 1e3, 7),  # As many as are allowed, while it falls.
    (60, 1e3, 60),
    (60, 0.0, 30),  # It rose between the first check and the second.
    (100, 25.0, 45),  # In the second it turned, in the third it rose.
  )
  def test_goes_on_while_the_loss_falls_at_every_fifteenth(
    self, inner_steps, turn, calls
  ):
    self.assertEqual(self.params(inner_steps, turn)['calls'], calls)

  def test_reads_its_own_batch_and_then_any_of_sentences_sorted_by_length(self):
    encoder = self.params(60, 1e3)
    own = np.isin(np.arange(len(LENGTHS)), self.own.rows)
    others = encoder['seen'] - own
    order = np.argsort(LENGTHS, kind='stable')
    groups = order[:4], order[4:8], order[8:]
    counts = [set(others[group].tolist()) for group in groups]
    for count in counts:
      self.assertLen(count, 1)  # All of a batch together.
      self.assertGreater(min(count), 0)
    self.assertEqual(sum(map(min, counts)), 59)
    # None is cut off by a bucket that is too short for it.
    self.assertEqual(encoder['tokens'], np.sum(encoder['seen'] * LENGTHS))

  def test_fewer_sentences_than_a_batch_has_rows_are_not_read_twice(self):
    encoder = self.params(7, 1e3, LENGTHS[:5], batch_size=8)
    np.testing.assert_array_equal(encoder['seen'], 7)


if __name__ == '__main__':
  absltest.main()
