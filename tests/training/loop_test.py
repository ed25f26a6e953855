"""The loop over rows whose state is more than parameters: resumed, resident."""

import functools
import json
import os
import runpy
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax.config import build
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import evaluate
from rnnvae_jax.training import (
  checkpoints,
  loop,
  nonfinite,
  optimizers,
  validation,
)
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib

pytestmark = pytest.mark.usefixtures('compile_once')


def row_config(row):
  path = os.path.join('configs', 'ptb_vae.py')
  config = runpy.run_path(path)['get_config'](f'row={row},tiny')
  config.train.num_buckets = config.evaluate.num_buckets = 1
  build.validate(config)
  return config


def vocabulary():
  return vocab_lib.Vocabulary.build('word', [['a', 'b']], 1)


def final_state(config, workdir):
  """All arrays of the latest checkpoint, as bytes."""
  vocab = vocab_lib.Vocabulary.load(os.path.join(workdir, 'vocab.json'))
  task = build.task(config.model.kind).build(config, vocab)
  abstract = state_lib.abstract(task, optimizers.build(config))
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), vocab.content_hash
  )
  state, step = saved.restore(abstract, 'latest')
  assert step == config.train.num_steps
  is_key = lambda x: jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
  return [
    np.asarray(jax.random.key_data(x) if is_key(x) else x).tobytes()
    for x in jax.tree.leaves(state)
  ]


def metrics(workdir):
  with open(os.path.join(workdir, 'metrics.jsonl')) as file:
    lines = [json.loads(line) for line in file]
  return [{k: v for k, v in line.items() if k != 'time'} for line in lines]


class Killed(Exception):
  pass


def train_until(config, workdir, validations):
  """Is killed at that validation; returns the state that it was given."""
  record, states = validation.record_validation, []

  def killing(config, task, tx, state, *rest):
    states.append(state)
    if len(states) == validations:
      raise Killed
    return record(config, task, tx, state, *rest)

  with (
    mock.patch.object(validation, 'record_validation', killing),
    pytest.raises(Killed),
  ):
    loop.train(config, workdir)
  return states[-1]


class RecordTest(parameterized.TestCase):
  @parameterized.parameters(
    (0.05, 4, True),
    (3.0, 0, True),
    (3.0, 4, False),
  )
  def test_says_where_the_posterior_has_collapsed(self, kl, units, collapsed):
    config = row_config('monotonic')
    summary = {
      'nll_per_sentence': 100.0,
      'perplexity': 90.0,
      'perplexity_without_eos': 110.0,
      'reconstruction': 100.0 - kl,
      'kl': kl,
      'active_units': units,
      'latents': 9,
    }
    state = mock.Mock(step=np.int32(6))
    state.selection.best_step = np.int32(6)
    said = []
    task = build.task(config.model.kind).build(config, vocabulary())
    loop.record(task, state, summary, mock.Mock(), mock.Mock(), said.append)
    warnings = [line for line in said if 'posterior has collapsed' in line]
    self.assertLen(warnings, int(collapsed))
    self.assertIn(f'active units {units} of 9', said[0])


@pytest.mark.slow
class RowsTest(parameterized.TestCase):
  @parameterized.parameters(
    'aggressive',
    'ae_free_bits',  # Its decoder is reset at the first validation.
    'batch_norm',
    'lagrangian',
  )
  def test_killed_and_resumed_it_is_the_same_bit_for_bit(self, row):
    config = row_config(row)
    whole, killed = (self.create_tempdir().full_path for _ in range(2))
    loop.train(config, whole)
    train_until(config, killed, 2)
    loop.train(config, killed)
    self.assertEqual(final_state(config, killed), final_state(config, whole))
    self.assertEqual(metrics(killed), metrics(whole))

  def test_a_stream_goes_on_with_its_state_and_its_averaged_weights(self):
    config = build.default('language_model')
    config.update_from_flattened_dict(
      {
        'corpus.name': 'grammar',
        'corpus.stream': True,
        'corpus.vocab_size': 200,
        'model.embedding_size': 6,
        'model.hidden_size': 7,
        'optimizer.name': 'sgd',
        'optimizer.learning_rate': 40.0,  # That validation goes up and down.
        'optimizer.average_patience': 1,
        'train.batch_size': 4,
        'train.unroll': 5,
        'train.num_steps': 54,
        'train.eval_every': 9,
        'train.steps_per_call': 3,
      }
    )
    build.validate(config)
    whole, killed = (self.create_tempdir().full_path for _ in range(2))
    loop.train(config, whole)
    state = train_until(config, killed, 6)
    # Averaging had begun, so that there was something to lose.
    self.assertGreater(int(state.opt_state.count), 0)
    loop.train(config, killed)
    self.assertEqual(final_state(config, killed), final_state(config, whole))
    self.assertEqual(metrics(killed), metrics(whole))

  def test_killed_between_validations_it_goes_on_from_the_last_minutes(self):
    config = row_config('monotonic')
    whole, killed = (self.create_tempdir().full_path for _ in range(2))
    loop.train(config, whole)
    check, begun = nonfinite.Guard.check, []

    def killing(guard, losses, first):
      begun.append(first)
      if len(begun) == 4:
        raise Killed
      return check(guard, losses, first)

    with mock.patch.object(nonfinite.Guard, 'check', killing):
      with (
        mock.patch.object(loop, '_KEEP_EVERY', 0.0),
        self.assertRaises(Killed),
      ):
        loop.train(config, killed)
      loop.train(config, killed)
    # Not a step was lost, though the last one was none of a validation.
    self.assertNotEqual(begun[3] % config.train.eval_every, 0)
    self.assertEqual(begun[4], begun[3])
    self.assertEqual(final_state(config, killed), final_state(config, whole))
    self.assertEqual(metrics(killed), metrics(whole))

  def test_documents_with_labels_train_and_are_evaluated(self):
    folder = self.create_tempdir().full_path
    for split in ('train', 'valid', 'test'):
      path = os.path.join(folder, f'yahoo.{split}.txt')
      with open(path, 'w') as file:
        file.write('0\ta b c .\n7\tb c a d .\n' * 8)
    path = os.path.join('configs', 'documents_vae.py')
    tail = f'row=yahoo_ae_free_bits,tiny,labelled,{folder}'
    config = runpy.run_path(path)['get_config'](tail)
    build.validate(config)
    workdir = self.create_tempdir().full_path
    corpus = loop.train(config, workdir)
    # The label is none of the words.
    self.assertNotIn('7', corpus.vocab.tokens)
    config.evaluate.split = 'test'
    figures = evaluate.evaluate(config, workdir)['test']
    self.assertEqual(figures['sentences'], 16)
    self.assertEqual(figures['tokens'], 8 * (5 + 6))
    self.assertEqual(figures['iwae_samples'], config.evaluate.iw_samples)

  def test_a_validation_that_is_no_number_is_not_kept(self):
    config = row_config('monotonic')
    workdir = self.create_tempdir().full_path
    summary = {config.train.select_by: float('nan')}
    with (
      mock.patch.object(
        validation, 'make_validation', lambda *_: lambda *_: summary
      ),
      self.assertRaisesRegex(FloatingPointError, 'validation is no number'),
    ):
      loop.train(config, workdir)
    self.assertFalse(os.path.exists(workdir_lib.checkpoint_dir(workdir)))

  def test_more_updates_than_may_be_left_out_stop_it_at_the_next(self):
    config = row_config('monotonic')
    # No second update has a finite loss: the first one's weights are too large.
    config.optimizer.learning_rate = 1e38
    config.optimizer.clip_norm = 0.0
    config.train.skip_nonfinite = 3
    workdir = self.create_tempdir().full_path
    with (
      jax.debug_nans(False),
      self.assertRaisesRegex(
        FloatingPointError,
        r'Step 5: the loss or its gradient is nan, .*step_5\.json',
      ),
    ):
      loop.train(config, workdir)
    kept = os.listdir(os.path.join(workdir, nonfinite.FOLDER))
    self.assertCountEqual(kept, [f'step_{n}.json' for n in (2, 3, 4, 5)])
    self.assertFalse(os.path.exists(workdir_lib.checkpoint_dir(workdir)))

  def test_inner_loops_read_all_sentences_however_small_the_device(self):
    folders = [self.create_tempdir().full_path for _ in range(2)]
    for folder, share in zip(folders, (1.0, 0.0), strict=True):
      config = row_config('aggressive')
      config.data.device_share = share
      loop.train(config, folder)
    first, second = map(functools.partial(final_state, config), folders)
    self.assertEqual(first, second)
    self.assertEqual(*map(metrics, folders))


if __name__ == '__main__':
  absltest.main()
