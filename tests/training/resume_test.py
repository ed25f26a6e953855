"""A run goes on, trains longer, or lends its weights to another."""

import json
import os
import shutil
import signal
import tempfile
from unittest import mock

from absl import logging
from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import export, loading
from rnnvae_jax.training import (
  checkpoints,
  exported,
  loop,
  nonfinite,
  optimizers,
  preparation,
  stopping,
  writers,
)
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

import helpers

pytestmark = pytest.mark.usefixtures('compile_once')

WORDS = [f'w{i}' for i in range(9)]


def write_folder(folder, words=WORDS, seed=0):
  """Ragged sentences, three splits."""
  os.makedirs(folder, exist_ok=True)
  rng = np.random.default_rng(seed)
  for split, count in (('train', 30), ('valid', 7), ('test', 5)):
    with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
      for _ in range(count):
        line = rng.choice(words, size=rng.integers(2, 6))
        file.write(' '.join(line) + '\n')


def make_config(kind, folder, **overrides):
  sizes = {'model.latent_size': 3} if kind == 'sentence_vae' else {}
  return helpers.make_config(
    kind,
    **{
      'corpus.name': folder,
      'corpus.protocol': 'mikolov',
      'model.embedding_size': 5,
      'model.hidden_size': 6,
      'train.batch_size': 4,
      'train.num_buckets': 1,
      'evaluate.num_buckets': 1,
      'train.num_steps': 12,
      'train.eval_every': 6,
      'train.steps_per_call': 3,
      'optimizer.learning_rate': 0.05,
      **sizes,
      **overrides,
    },
  )


def saved_in(workdir):
  vocab = vocab_lib.Vocabulary.load(os.path.join(workdir, 'vocab.json'))
  directory = workdir_lib.checkpoint_dir(workdir)
  return checkpoints.Checkpoints(directory, vocab.content_hash), len(vocab)


def latest(config, workdir):
  """The state of the latest checkpoint, and its step."""
  saved, size = saved_in(workdir)
  task = helpers.make_task(config, size)
  return saved.restore(state_lib.abstract(task, optimizers.build(config)))


def as_bytes(tree):
  is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return [
    np.asarray(jax.random.key_data(x) if is_key(x) else x).tobytes()
    for x in jax.tree.leaves(tree)
  ]


def metrics(workdir):
  with open(os.path.join(workdir, 'metrics.jsonl')) as file:
    lines = [json.loads(line) for line in file]
  return [{k: v for k, v in line.items() if k != 'time'} for line in lines]


class RunTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    self.folder = os.path.join(self.root, 'corpus')
    write_folder(self.folder)

  def path(self, *names):
    return os.path.join(self.root, *names)

  def config(self, kind='language_model', **overrides):
    return make_config(kind, self.folder, **overrides)

  def assert_same_run(self, config, one, two):
    (state, step), (other, other_step) = (
      latest(config, one),
      latest(config, two),
    )
    self.assertEqual(step, other_step)
    self.assertEqual(as_bytes(state), as_bytes(other))
    self.assertEqual(metrics(one), metrics(two))


class GoingOnTest(RunTest):
  @parameterized.parameters(*stopping.SIGNALS)
  @pytest.mark.slow
  def test_asked_to_stop_it_saves_and_the_same_call_goes_on(self, number):
    config = self.config(**{'dropout.output': 0.3})
    whole, stopped = self.path('whole'), self.path('stopped')
    loop.train(config, whole)
    check, calls = nonfinite.Guard.check, []

    def check_and_interrupt(guard, losses, first):
      calls.append(first)
      if len(calls) == 3:
        os.kill(os.getpid(), number)
      return check(guard, losses, first)

    handlers = [*map(signal.getsignal, stopping.SIGNALS)]
    with mock.patch.object(nonfinite.Guard, 'check', check_and_interrupt):
      with self.assertRaises(KeyboardInterrupt):
        loop.train(config, stopped)
      # Between validations, and behind the update that was under way.
      _, step = latest(config, stopped)
      self.assertEqual(step, 9)
      loop.train(config, stopped)
    self.assertEqual(calls, [0, 3, 6, 9])
    self.assertEqual([*map(signal.getsignal, stopping.SIGNALS)], handlers)
    self.assert_same_run(config, whole, stopped)

  @pytest.mark.slow
  def test_a_deadline_saves_and_the_same_call_goes_on(self):
    config = self.config()
    whole, late = self.path('whole'), self.path('late')
    self.assertIsNotNone(loop.train(config, whole))
    self.assertIsNone(loop.train(config, late, deadline=0.0))
    self.assertEqual(latest(config, late)[1], 0)
    self.assertIsNotNone(loop.train(config, late))
    self.assert_same_run(config, whole, late)

  def test_other_cores_than_it_was_begun_with_are_logged(self):
    config, workdir = self.config(), self.path('run')
    loop.train(config, workdir, deadline=0.0)
    path = os.path.join(workdir, 'environment.json')
    before = workdir_lib.read_json(path)
    with self.assertNoLogs(level='WARNING'):
      loop.train(config, workdir, deadline=0.0)
    writers.write_json(path, before | {'cores': before['cores'] + 1})
    with self.assertLogs(level='WARNING') as logs:
      loop.train(config, workdir, deadline=0.0)
    self.assertLen(logs.output, 1)
    self.assertIn(
      f'cores: {before["cores"] + 1} before, {before["cores"]} now',
      logs.output[0],
    )
    # The next one compares with this one.
    self.assertEqual(workdir_lib.read_json(path)['cores'], before['cores'])

  @parameterized.parameters('train', 'valid', 'test')
  def test_a_changed_split_is_refused_by_its_name(self, split):
    config, workdir = self.config(), self.path('run')
    loop.train(config, workdir, deadline=0.0)
    path = self.path('corpus', f'{split}.txt')
    with open(path) as file:
      lines = file.read().splitlines()
    # The same words, so that the vocabulary stays.
    lines[0] = ' '.join(reversed(lines[0].split()))
    lines[1], lines[2] = lines[2], lines[1]
    with open(path, 'w') as file:
      file.write('\n'.join(lines) + '\n')
    with self.assertRaisesRegex(
      ValueError, f'The {split} split of .* has changed since .*--workdir'
    ):
      loop.train(config, workdir)
    self.assertEqual(latest(config, workdir)[1], 0)


class LongerTest(RunTest):
  @pytest.mark.slow
  def test_with_a_constant_rate_it_is_the_longer_run_bit_for_bit(self):
    # Nothing that a step reads depends on the number of steps then, and both
    # runs are validated after the same steps.
    longer = self.config(**{'dropout.output': 0.3})
    whole, extended = self.path('whole'), self.path('extended')
    loop.train(longer, whole)
    shorter = longer.copy_and_resolve_references()
    shorter.train.num_steps = 6
    loop.train(shorter, extended)
    self.assertEqual(latest(shorter, extended)[1], 6)
    loop.train(longer, extended)
    self.assert_same_run(longer, whole, extended)
    self.assertEqual(workdir_lib.load_config(extended).train.num_steps, 12)

  @pytest.mark.slow
  def test_a_schedule_goes_on_as_that_of_all_steps(self):
    # The first part has come to the schedule's end, so it is another run than
    # one of all steps: only the rate from here on is the same.
    longer = self.config(**{'optimizer.schedule': 'linear'})
    whole, extended = self.path('whole'), self.path('extended')
    loop.train(longer, whole)
    shorter = longer.copy_and_resolve_references()
    shorter.train.num_steps = 6
    loop.train(shorter, extended)
    loop.train(longer, extended)
    rates = [
      {
        line['step']: line['train/learning_rate']
        for line in metrics(folder)
        if 'train/learning_rate' in line
      }
      for folder in (whole, extended)
    ]
    self.assertEqual(list(rates[0]), [3, 6, 9, 12])
    self.assertEqual(list(rates[1]), [3, 6, 9, 12])
    self.assertNotEqual(rates[1][6], rates[0][6])
    for step in (9, 12):
      self.assertEqual(rates[1][step], rates[0][step])

  @pytest.mark.slow
  def test_fewer_steps_or_another_rate_as_well_are_refused(self):
    config, workdir = self.config(), self.path('run')
    loop.train(config, workdir)
    for changes, key in (
      ({'train.num_steps': 6}, 'num_steps: 12 there, 6 here'),
      (
        {'train.num_steps': 24, 'optimizer.learning_rate': 0.1},
        'learning_rate: 0.05 there, 0.1 here',
      ),
    ):
      with self.assertRaisesRegex(ValueError, key):
        loop.train(self.config(**changes), workdir)
    self.assertEqual(workdir_lib.load_config(workdir).train.num_steps, 12)


@pytest.mark.slow
class InitFromTest(RunTest):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    root = cls.enterClassContext(tempfile.TemporaryDirectory())
    folder, cls.source = os.path.join(root, 'text'), os.path.join(root, 'run')
    write_folder(folder)
    loop.train(make_config('language_model', folder), cls.source)
    cls.weights, _ = saved_in(cls.source)[0].weights()

  def setUp(self):
    super().setUp()
    # Another text, whose own vocabulary would be another one.
    self.folder = self.path('other')
    write_folder(self.folder, words=[*WORDS[::-2], 'new'], seed=1)

  def first_state(self, config):
    """The state that training would begin with, and what is said of it."""
    corpus = preparation.build_corpus(config)
    task = helpers.make_task(config, corpus.vocab)
    state = state_lib.create(task, optimizers.build(config), config.seed)
    after, lines = preparation.with_weights(config, state)
    return state, after, lines

  def test_a_language_model_has_all_of_another_s_weights(self):
    config = self.config(**{'train.init_from': self.source, 'seed': 7})
    state, after, lines = self.first_state(config)
    named = jax.tree_util.tree_leaves_with_path(after.params)
    self.assertLen(named, len(self.weights))
    for path, leaf in named:
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      np.testing.assert_array_equal(leaf, self.weights[name])
      self.assertIn(name, lines[0])
    self.assertStartsWith(lines[0], f'Weights copied from {self.source}, step ')
    self.assertEqual(lines[1], 'Weights initialised at random: none.')
    self.assertEqual(lines[2], f'Weights of {self.source} not used: none.')
    # The rest of the state is that of a new run.
    same = state.replace(params=None), after.replace(params=None)
    self.assertEqual(*map(as_bytes, same))

  def test_an_export_s_weights_are_those_of_its_run(self):
    folder = self.path('export')
    run = loading.load(self.source)
    export.write(run, self.source, folder)
    config = self.config(**{'train.init_from': folder})
    self.assertNotIn('checkpoints', os.listdir(folder))
    _, after, lines = self.first_state(config)
    named = jax.tree_util.tree_leaves_with_path(after.params)
    self.assertLen(named, len(self.weights))
    for path, leaf in named:
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      np.testing.assert_array_equal(leaf, self.weights[name])
    copied = f'Weights copied from {folder}, {run.checkpoint}: '
    self.assertStartsWith(lines[0], copied)
    self.assertEqual(lines[1], 'Weights initialised at random: none.')
    self.assertEqual(lines[2], f'Weights of {folder} not used: none.')

  def test_a_damaged_export_is_an_error(self):
    folder = self.path('export')
    export.write(loading.load(self.source), self.source, folder)
    with open(os.path.join(folder, exported.WEIGHTS), 'r+b') as file:
      file.truncate(100)
    config = self.config(**{'train.init_from': folder})
    with self.assertRaisesRegex(ValueError, 'is damaged'):
      self.first_state(config)

  def test_the_vocabulary_is_that_of_the_source(self):
    config = self.config(**{'train.init_from': self.source})
    corpus = preparation.build_corpus(config)
    source = vocab_lib.Vocabulary.load(os.path.join(self.source, 'vocab.json'))
    self.assertEqual(corpus.vocab, source)
    self.assertNotIn('new', corpus.vocab.tokens)
    own = preparation.build_corpus(self.config())
    self.assertNotEqual(own.vocab, source)
    self.assertIn(vocab_lib.UNK, corpus.splits['train'].tokens)

  def test_it_trains_and_goes_on_without_its_source(self):
    source, workdir = self.path('source'), self.path('tuned')
    shutil.copytree(self.source, source)
    config = self.config(**{'train.init_from': source})
    self.addCleanup(logging.set_verbosity, logging.get_verbosity())
    logging.set_verbosity(logging.INFO)
    with self.assertLogs('absl', level='INFO') as logs:
      loop.train(config, workdir, deadline=0.0)
    said = '\n'.join(logs.output)
    for line in ('copied from', 'initialised at random', 'not used: none'):
      self.assertIn(line, said)
    state, _ = latest(config, workdir)
    kernel = state.params['params']['output_kernel']
    np.testing.assert_array_equal(kernel, self.weights['params/output_kernel'])
    shutil.rmtree(source)
    loop.train(config, workdir)
    self.assertEqual(latest(config, workdir)[1], 12)

  def test_a_vae_s_decoder_is_a_language_model(self):
    config = self.config('sentence_vae', **{'train.init_from': self.source})
    state, after, lines = self.first_state(config)
    before, now = state.params['params'], after.params['params']
    name = lambda *parts: '/'.join(('params', *parts))
    for parts in (('embedding', 'embedding'), ('output_kernel',)):
      got = now['decoder']
      for part in parts:
        got = got[part]
      np.testing.assert_array_equal(got, self.weights[name(*parts)])
      self.assertIn(name('decoder', *parts), lines[0])
    kernels = jax.tree_util.tree_leaves_with_path(now['decoder']['recurrent'])
    self.assertNotEmpty(kernels)
    for path, leaf in kernels:
      part = jax.tree_util.keystr(path, simple=True, separator='/')
      np.testing.assert_array_equal(leaf, self.weights[name('recurrent', part)])
    # What a language model does not have is as it was drawn.
    for part in (now['posterior'], now['decoder']['initial']):
      self.assertNotEmpty(jax.tree.leaves(part))
    self.assertEqual(as_bytes(now['posterior']), as_bytes(before['posterior']))
    self.assertEqual(
      as_bytes(now['decoder']['initial']),
      as_bytes(before['decoder']['initial']),
    )
    self.assertIn('params/posterior', lines[1])
    self.assertIn('params/decoder/initial', lines[1])

  def test_what_has_another_shape_begins_anew_and_is_listed(self):
    config = self.config(
      **{'train.init_from': self.source, 'model.hidden_size': 8}
    )
    _, after, lines = self.first_state(config)
    table = after.params['params']['embedding']['embedding']
    np.testing.assert_array_equal(
      table, self.weights['params/embedding/embedding']
    )
    self.assertIn('params/output_kernel', lines[1])
    self.assertIn('params/output_kernel', lines[2])
    self.assertNotIn('params/output_kernel', lines[0])

  def test_nothing_that_fits_is_an_error(self):
    config = self.config(
      **{
        'train.init_from': self.source,
        'model.hidden_size': 8,
        'model.embedding_size': 7,
        'model.output_bias': False,
      }
    )
    with self.assertRaisesRegex(ValueError, 'none of its weights'):
      self.first_state(config)

  def test_a_folder_without_a_run_or_a_checkpoint_is_named(self):
    empty = self.path('empty')
    config = self.config(**{'train.init_from': empty})
    with self.assertRaisesRegex(
      FileNotFoundError, 'is not the folder of a run'
    ):
      loop.train(config, self.path('run'))
    self.assertFalse(os.path.exists(self.path('run')))
    preparation.prepare(self.config(), empty)
    with self.assertRaisesRegex(FileNotFoundError, 'has no checkpoint'):
      loop.train(config, self.path('run'))


class BestCheckpointTest(RunTest):
  """The best checkpoint holds weights alone; an earlier version's, all."""

  @pytest.mark.slow
  def test_it_is_restored_without_an_optimiser_s_state(self):
    config = self.config('sentence_vae')
    workdir = self.path('run')
    loop.train(config, workdir)
    saved, _ = saved_in(workdir)
    self.assertFalse(saved.holds_all('best'))
    self.assertTrue(saved.holds_all('latest'))
    self.assertLen(saved.steps('latest'), 1)
    step = saved.steps('best')[-1]
    run = loading.open_run(config, workdir)
    self.assertEqual(run.checkpoint, f'best, step {step}')
    if step == config.train.num_steps:  # The latest is of the same step.
      state, _ = latest(config, workdir)
      self.assertEqual(as_bytes(run.params), as_bytes(state.params))
      self.assertEqual(as_bytes(run.extras), as_bytes(state.extras))
    weights, weights_step = saved.weights()
    self.assertEqual(weights_step, step)
    for path, leaf in jax.tree_util.tree_leaves_with_path(run.params):
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      np.testing.assert_array_equal(weights[name], leaf)

  @pytest.mark.slow
  def test_one_that_holds_all_is_read_as_well(self):
    config = self.config(**{'optimizer.average_patience': 1})
    corpus = preparation.prepare(config, self.path('run'))
    task, tx = helpers.make_task(config, corpus.vocab), optimizers.build(config)
    state = state_lib.create(task, tx, config.seed)
    average = jax.tree.map(lambda leaf: 3 * leaf, state.params)
    state = state.replace(
      opt_state=state.opt_state._replace(average=average, count=jnp.int32(2))
    )
    saved, _ = saved_in(self.path('run'))
    opened = []
    for step in (10, 20):
      state = state.replace(step=jnp.int32(step))
      kept = state if step == 10 else optimizers.weights(state)
      saved.save(kept, step, 'best')
      self.assertEqual(saved.holds_all('best'), step == 10)
      run = loading.open_run(config, self.path('run'))
      self.assertEqual(run.checkpoint, f'best, step {step}')
      opened.append(as_bytes((run.params, run.extras)))
    self.assertEqual(*opened)
    self.assertEqual(opened[0], as_bytes((average, state.extras)))


if __name__ == '__main__':
  absltest.main()
