"""Estimates of a run's time are those of its counts and of what was timed."""

from unittest import mock

from absl.testing import absltest, parameterized
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.tasks import base
from rnnvae_jax.training import estimate

import helpers


def config(**keys):
  return helpers.make_config(
    'sentence_vae',
    **{
      'train.steps_per_call': 1,
      'train.num_steps': 70,
      'train.eval_every': 30,
      'evaluate.iw_samples': 5,
      'evaluate.split': 'test',
      **keys,
    },
  )


def splits():
  return {
    name: mock.Mock(spec=corpora.Split, tokens=np.zeros(count, np.int32))
    for name, count in (('train', 1000), ('valid', 110), ('test', 130))
  }


def task(count, shuffled):
  made = mock.Mock(spec=base.Trained)
  made.samples.return_value = base.Samples(count, 1, shuffled)
  return made


class WorkTest(parameterized.TestCase):
  # Validations come at 30, 60 and 70.
  @parameterized.parameters((0, 70, 3), (29, 41, 3), (30, 40, 2), (60, 10, 1))
  def test_counts_updates_and_validations_that_are_left(
    self, first, updates, validations
  ):
    got = estimate.work(config(), task(1, False), splits(), 7.5, first)
    self.assertEqual(got, (3 * 7.5 * updates, validations * 110, 130))

  def test_a_last_update_that_is_validated_anyway_counts_once(self):
    settings = config(**{'train.num_steps': 60})
    got = estimate.work(settings, task(1, False), splits(), 7.5)
    self.assertEqual(got.validation, 2 * 110)

  # Each sample is a pass; a partner is encoded, and its latents are decoded.
  @parameterized.parameters(
    ('test', 5, False, 5 * 130),
    ('test', 5, True, 7 * 130),
    ('all', 1, False, 1240),
    ('none', 5, True, 0),
  )
  def test_counts_passes_of_the_evaluation(self, split, count, shuffled, want):
    settings = config(**{'evaluate.split': split})
    got = estimate.work(settings, task(count, shuffled), splits(), 1.0)
    self.assertEqual(got.evaluation, want)


class BeforeTest(parameterized.TestCase):
  @parameterized.parameters((False, 40), (True, 100))
  def test_the_range_is_that_of_operations_and_speed(self, is_tied, used):
    params = {
      'embedding': jnp.zeros((12, 5)),
      'kernel': jnp.zeros((5, 8)),
    }
    work = estimate.Work(3000.0, 500.0, 200.0)
    with mock.patch.object(estimate, '_product_speed', return_value=1e4):
      low, high = estimate.before(work, params, 'float32', is_tied)
    token = 2 * used / 1e4  # Seconds, at full speed.
    self.assertAlmostEqual(low.training, 3500 * token / 0.7 + 5 + 2.5)
    self.assertAlmostEqual(high.training, 3500 * token / 0.15 + 30 + 15)
    self.assertAlmostEqual(low.evaluation, 200 * token / 0.7 + 2.5)
    self.assertAlmostEqual(high.evaluation, 200 * token / 0.15 + 15)

  def test_nothing_to_evaluate_takes_no_time(self):
    work = estimate.Work(3000.0, 500.0, 0.0)
    _, high = estimate.before(work, {'kernel': jnp.zeros(3)}, 'float32', False)
    self.assertEqual(high.evaluation, 0.0)


class MeasuredTest(parameterized.TestCase):
  @parameterized.parameters((0.5, 6), (4.0, 1), (0.01, 10))
  def test_the_time_left_of_a_machine_of_constant_speed(self, seconds, calls):
    # A call trains on 90 tokens; each costs three forward passes.
    forward, compiling = seconds / 270, 8.0
    work = estimate.Work(270.0 * 400, 5500.0, 700.0)
    measured = estimate.Measured(work)
    self.assertIsNone(measured.add(compiling + seconds, 90))
    for _ in range(calls - 1):
      self.assertIsNone(measured.add(seconds, 90))
    left = measured.add(seconds, 90)
    self.assertIsNotNone(left)
    self.assertAlmostEqual(measured.compiling, compiling)
    # Half a compilation for the program of validations, half for evaluation's.
    training = (400 - 1 - calls) * seconds + 5500 * forward + 4.0
    self.assertAlmostEqual(left.training, training)
    self.assertAlmostEqual(left.evaluation, 700 * forward + 4.0)
    self.assertIsNone(measured.add(seconds, 90))  # Once is enough.


class SpeltTest(parameterized.TestCase):
  @parameterized.parameters(
    (3, '10 seconds'),
    (84, '80 seconds'),
    (100, '2 minutes'),
    (9000, '2.5 hours'),
  )
  def test_durations(self, seconds, want):
    self.assertEqual(estimate.spelt(seconds), want)


if __name__ == '__main__':
  absltest.main()
