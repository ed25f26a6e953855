"""Checkpoints in the background: as complete and ordered as in the front."""

import threading
from unittest import mock

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.training import checkpoints, saving


class Slow(checkpoints.Checkpoints):
  """Waits before it writes."""

  def __init__(self, directory):
    super().__init__(directory, 'hash')
    self.go_on = threading.Event()
    self.begun = threading.Event()

  def save(self, state, step, kind='latest'):
    self.begun.set()
    self.go_on.wait(60)
    super().save(state, step, kind)


class BackgroundTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = self.create_tempdir().full_path

  def test_updates_during_a_save_do_not_reach_it(self):
    saved = Slow(self.directory)
    update = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    state = update(jnp.zeros(100_000))
    with saving.Background(saved) as background:
      background.save({'x': state}, 1)
      self.assertTrue(saved.begun.wait(60))
      for _ in range(10):  # Into the memory of the state that is being saved.
        state = update(state)
      self.assertEqual(saved.steps(), [])
      background.check()
      saved.go_on.set()
    restored, step = saved.restore({'x': state})
    self.assertEqual(step, 1)
    np.testing.assert_array_equal(restored['x'], np.ones(100_000))
    np.testing.assert_array_equal(state, np.full(100_000, 11.0))

  def test_saves_are_complete_and_in_order_at_the_end(self):
    saved = checkpoints.Checkpoints(self.directory, 'hash')
    with saving.Background(saved) as background:
      for step in range(1, 6):
        background.save({'x': jnp.float32(step)}, step, 'best')
        background.save({'x': jnp.float32(-step)}, step, 'latest')
    for kind, sign in (('best', 1), ('latest', -1)):
      self.assertEqual(saved.steps(kind), [4, 5])
      restored, step = saved.restore({'x': jnp.float32(0)}, kind)
      self.assertEqual((float(restored['x']), step), (5.0 * sign, 5))

  def test_after_a_failure_no_later_state_is_saved(self):
    saved = checkpoints.Checkpoints(self.directory, 'hash')
    full = checkpoints.CheckpointError('no space left')
    save = mock.patch.object(saved, 'save', side_effect=[full, None])
    with (
      self.assertRaisesRegex(checkpoints.CheckpointError, 'no space left'),
      save as calls,
      saving.Background(saved) as background,
    ):
      background.save({'x': jnp.ones(3)}, 1, 'best')
      background.save({'x': jnp.ones(3)}, 1, 'latest')
    self.assertEqual(calls.call_count, 1)
    self.assertEqual(saved.steps('latest'), [])

  def test_training_hears_of_a_failure_at_the_next_step(self):
    saved = checkpoints.Checkpoints(self.directory, 'hash')
    full = checkpoints.CheckpointError('no space left')
    ended = threading.Event()

    def fail(*args):
      del args
      ended.set()
      raise full

    with (
      self.assertLogs(level='ERROR') as logs,
      self.assertRaisesRegex(ValueError, 'another error'),
      mock.patch.object(saved, 'save', fail),
      saving.Background(saved) as background,
    ):
      background.save({'x': jnp.ones(3)}, 1)
      background.save({'x': jnp.ones(3)}, 2)
      self.assertTrue(ended.wait(60))
      with self.assertRaisesRegex(checkpoints.CheckpointError, 'no space'):
        while True:  # Until the thread has handed over its error.
          background.check()
      raise ValueError('another error')  # This one ends training.
    self.assertIn('A checkpoint was not saved: no space left', logs.output[0])


if __name__ == '__main__':
  absltest.main()
