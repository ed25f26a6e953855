"""Which devices a run uses; what they compute is in `eight_devices.py`."""

import os
import pathlib
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax.data import batches
from rnnvae_jax.training import devices

import helpers


def config_of(count, batch_size):
  return helpers.make_config(
    'language_model', **{'devices': count, 'train.batch_size': batch_size}
  )


class ChoiceTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    four = [*jax.devices(), *(mock.Mock(platform='cpu') for _ in range(3))]
    self.enterContext(mock.patch.object(jax, 'devices', lambda: four))
    # A mesh wants real devices; here it is the list of them.
    self.enterContext(
      mock.patch.object(
        jax.sharding, 'Mesh', lambda array, axes: mock.Mock(size=len(array))
      )
    )

  @parameterized.parameters(
    (0, 32, 4),
    (0, 33, 3),
    (0, 7, 1),
    (1, 32, 1),
    (2, 32, 2),
    (3, 33, 3),
  )
  def test_uses_as_many_as_divide_the_batch(self, count, batch_size, want):
    mesh = devices.for_rows(config_of(count, batch_size))
    self.assertEqual(devices.count(mesh), want)

  def test_evaluation_uses_all(self):
    mesh = devices.for_evaluation(config_of(0, 7))
    self.assertEqual(devices.count(mesh), 4)

  @parameterized.parameters((2, 2), (9, 4))
  def test_no_device_is_without_a_trial(self, trials, want):
    mesh = devices.for_trials(config_of(0, 7), trials)
    self.assertEqual(devices.count(mesh), want)

  def test_names_the_nearest_legal_value(self):
    with self.assertRaisesRegex(
      ValueError, 'devices = 5: JAX finds 4 .*legal value: 4'
    ):
      devices.for_rows(config_of(5, 25))
    with self.assertRaisesRegex(
      ValueError, r'devices = 3: .*value: 2; or .*batch_size = 30\.'
    ):
      devices.for_rows(config_of(3, 32))

  def test_says_what_each_has(self):
    mesh = devices.for_rows(config_of(2, 32))
    self.assertEqual(
      devices.describe(mesh, 'rows of a batch', 32),
      '2 of 4 devices, 16 of 32 rows of a batch on each; 2 unused.',
    )


class BucketsTest(parameterized.TestCase):
  @parameterized.product(parts=(2, 4), platform=('cpu', 'gpu'))
  def test_no_part_of_a_batch_has_more_tokens_than_its_bucket_says(
    self, parts, platform
  ):
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 30, 203)
    buckets = batches.buckets_for(lengths, 16, 3, platform, parts)
    for seed in range(3):
      plan = batches.epoch_plan(lengths, buckets, 16, seed, seed)
      sizes = np.where(plan.rows == batches.BLANK, 0, lengths[plan.rows])
      tokens = sizes.reshape(len(sizes), parts, -1).sum(axis=2)
      most = np.array([bucket.token_counts[-1] for bucket in buckets])
      self.assertTrue(np.all(tokens <= most[plan.bucket][:, None]))
      self.assertTrue(
        all(
          0 < c <= 16 // parts * b.length
          for b in buckets
          for c in b.token_counts
        )
      )


def run_on_eight_devices(selection):
  """Runs the tests of `eight_devices.py` in a process with so many."""
  path = pathlib.Path(__file__).parent / 'eight_devices.py'
  flags = os.environ.get('XLA_FLAGS', '')
  return subprocess.run(
    [sys.executable, '-m', 'pytest', '-q', '-n0', '-m', selection, str(path)],
    env=os.environ
    | {'XLA_FLAGS': f'{flags} --xla_force_host_platform_device_count=8'},
    cwd=path.parents[2],
    capture_output=True,
    text=True,
    check=False,
  )


class EightDevicesTest(absltest.TestCase):
  def check(self, selection):
    done = run_on_eight_devices(selection)
    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    self.assertIn(' passed', done.stdout)
    self.assertNotIn(' skipped', done.stdout)

  def test_rows_are_divided(self):
    self.check('not slow')

  @pytest.mark.slow
  def test_training_does_not_depend_on_them(self):
    self.check('slow')


if __name__ == '__main__':
  absltest.main()
