"""Checkpoints: bit-exact, atomic, and never silently wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
import typing
from unittest import mock

from absl.testing import absltest, parameterized
import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from orbax.checkpoint import v1 as ocp

from rnnvae_jax.training import checkpoints
from rnnvae_jax.training import state as state_lib

HASH = 'a1' * 32


class Pair(typing.NamedTuple):
  first: jax.Array
  second: tuple


class State(flax.struct.PyTreeNode):
  step: jax.Array
  params: dict
  opt_state: optax.OptState
  extras: dict
  key: jax.Array


def make_state(step: int, features: int = 5) -> State:
  keys = jax.random.split(jax.random.key(step), 3)
  params = {
    'decoder': {'kernel': jax.random.normal(keys[0], (70, features))},
    'encoder': {'bias': jax.random.normal(keys[1], (7,), jnp.bfloat16)},
  }
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
  return State(
    step=jnp.int32(step),
    params=params,
    opt_state=tx.init(params),
    extras={
      'pair': Pair(jnp.float32(-0.0), (jnp.bool_(True), None, ())),
      'odd': jnp.float32([np.inf, 1e-45, -0.0]),
      'no_rows': jnp.zeros((0, 3), jnp.int32),
      'nothing': {},
    },
    key=keys[2],
  )


def key_to_data(leaf):
  is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def bits(tree):
  """Leaves as bytes: NaN equals NaN, and -0 differs from 0."""
  leaves = [key_to_data(leaf) for leaf in jax.tree.leaves(tree)]
  return [(x.dtype, x.shape, x.tobytes()) for x in leaves]


def files_below(path):
  return sorted(
    os.path.join(folder, name)
    for folder, _, names in os.walk(path)
    for name in names
  )


def truncate_biggest(path):
  biggest = max(files_below(path), key=os.path.getsize)
  os.truncate(biggest, os.path.getsize(biggest) // 2)


def flip_a_byte_of_an_array(path):
  """The middle of the biggest file: array data, of which Orbax has no sum."""
  biggest = max(files_below(os.path.join(path, 'state')), key=os.path.getsize)
  flip(biggest)


def flip(file_path):
  with open(file_path, 'r+b') as file:
    content = bytearray(file.read())
    content[len(content) // 2] ^= 0x10
    file.seek(0)
    file.write(content)


def delete_metadata(path):
  os.remove(os.path.join(path, '_CHECKPOINT_METADATA'))


def delete_checksums(path):
  os.remove(os.path.join(path, checkpoints.CHECKSUMS))


def write_checksums(path, text):
  with open(os.path.join(path, checkpoints.CHECKSUMS), 'w') as file:
    file.write(text)


def nest_the_checksums(path):
  write_checksums(path, 5_000 * '[')


def make_a_checksum_a_list(path):
  with open(os.path.join(path, checkpoints.CHECKSUMS)) as file:
    write_checksums(path, json.dumps({name: [] for name in json.load(file)}))


def empty_the_folder(path):
  shutil.rmtree(path)
  os.makedirs(path)


DAMAGES = (
  truncate_biggest,
  flip_a_byte_of_an_array,
  delete_metadata,
  delete_checksums,
  nest_the_checksums,
  make_a_checksum_a_list,
  empty_the_folder,
)


class CheckpointsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = os.path.join(self.create_tempdir(), 'checkpoints')
    self.saved = checkpoints.Checkpoints(self.directory, HASH)
    self.abstract = jax.eval_shape(lambda: make_state(0))

  def path(self, step, kind='latest'):
    return os.path.join(self.directory, kind, str(step))

  def assert_restores(self, step, kind='latest'):
    state, restored_step = self.saved.restore(self.abstract, kind)
    self.assertEqual(restored_step, step)
    self.assertEqual(bits(state), bits(make_state(step)))
    return state

  def test_every_leaf_comes_back_bit_for_bit(self):
    state = make_state(3)
    self.saved.save(state, 3)
    restored = self.assert_restores(3)
    self.assertEqual(jax.tree.structure(restored), jax.tree.structure(state))
    self.assertEqual(restored.key.dtype, state.key.dtype)
    chex.assert_trees_all_equal(
      jax.random.normal(restored.key, (3,)), jax.random.normal(state.key, (3,))
    )

  def test_what_is_not_a_number_comes_back(self):
    # What a diverged run leaves to be looked at; two NaNs of other payloads.
    odd = np.uint32([0x7FC00001, 0xFFC00000, 0x00000001]).view(np.float32)
    self.saved.save({'odd': odd}, 1)
    restored, _ = self.saved.restore({'odd': odd})
    self.assertEqual(bits(restored), bits({'odd': odd}))

  def test_a_key_of_another_implementation_comes_back(self):
    key = jax.random.key(7, impl='rbg')
    self.saved.save({'key': key}, 1)
    restored, _ = self.saved.restore({'key': key})
    self.assertEqual(restored['key'].dtype, key.dtype)
    self.assertEqual(bits(restored), bits(key))

  def test_restored_arrays_can_be_donated(self):
    self.saved.save(make_state(3), 3)
    with jax.debug_nans(False):  # It switches donation off.
      restored = self.assert_restores(3)
      params = restored.params
      double = lambda tree: jax.tree.map(lambda x: x + x, tree)
      jax.jit(double, donate_argnums=0)(params)
      self.assertTrue(params['decoder']['kernel'].is_deleted())

  def test_saving_leaves_the_state_as_it_was(self):
    state = make_state(3)
    before = bits(state)
    self.saved.save(state, 3)
    self.assertEqual(bits(state), before)

  def test_no_checkpoint_restores_to_none(self):
    self.assertIsNone(self.saved.restore(self.abstract))
    self.assertEqual(self.saved.steps(), [])

  def test_the_newest_two_of_each_kind_are_kept(self):
    for step in (10, 20, 30):
      self.saved.save(make_state(step), step)
    self.saved.save(make_state(20), 20, 'best')
    self.assertEqual(self.saved.steps(), [20, 30])
    self.assertEqual(self.saved.steps('best'), [20])
    self.assert_restores(30)
    self.assert_restores(20, 'best')
    self.assertCountEqual(os.listdir(self.directory), ['latest', 'best'])

  def test_an_unknown_kind_is_refused(self):
    with self.assertRaisesRegex(ValueError, "'newest' .* latest, best"):
      self.saved.save(make_state(1), 1, 'newest')

  def test_saving_a_step_again_replaces_it(self):
    self.saved.save(make_state(1), 5)
    self.saved.save(make_state(5), 5)
    self.assertEqual(self.saved.steps(), [5])
    self.assert_restores(5)

  def test_saving_drops_the_later_steps_of_an_abandoned_run(self):
    for step in (10, 20):
      self.saved.save(make_state(step), step)
    self.saved.save(make_state(15), 15)
    self.assertEqual(self.saved.steps(), [10, 15])

  @parameterized.parameters(*DAMAGES)
  def test_a_damaged_newest_one_gives_way_to_its_predecessor(self, damage):
    for step in (10, 20):
      self.saved.save(make_state(step), step)
    damage(self.path(20))
    with self.assertLogs(level='WARNING') as log:
      self.assert_restores(10)
    self.assertLen(log.output, 1)
    self.assertIn(self.path(20), log.output[0])
    self.saved.save(make_state(20), 20)
    self.assert_restores(20)

  def test_a_flipped_byte_is_found_in_any_file(self):
    self.saved.save(make_state(10), 10)
    intact = self.path(10)
    copy = self.path(20)
    files = [f for f in files_below(intact) if os.path.getsize(f)]
    self.assertGreater(len(files), 5)
    for file_path in files:
      shutil.copytree(intact, copy)
      flip(file_path.replace(intact, copy))
      with self.assertLogs(level='WARNING'):
        self.assert_restores(10)
      shutil.rmtree(copy)

  def test_all_damaged_is_an_error_that_names_each(self):
    for step in (10, 20):
      self.saved.save(make_state(step), step)
    truncate_biggest(self.path(10))
    delete_metadata(self.path(20))
    with self.assertRaisesRegex(
      checkpoints.CheckpointError,
      'latest/20 is damaged: _CHECKPOINT_METADATA is missing; '
      '.*latest/10 is damaged: .* is not what was saved',
    ):
      self.saved.restore(self.abstract)

  def test_another_vocabulary_is_refused(self):
    self.saved.save(make_state(10), 10)
    other = checkpoints.Checkpoints(self.directory, 'b2' * 32)
    with self.assertRaisesRegex(
      checkpoints.CheckpointError, 'vocabulary .* b2b2b2b2b2b2, .* a1a1a1a1a1a1'
    ):
      other.restore(self.abstract)

  @parameterized.parameters(
    (
      lambda s: jax.eval_shape(lambda: make_state(0, features=6)),
      r'params/decoder/kernel is float32\[70, 6\] in the model and '
      r'float32\[70, 5\] in the checkpoint',
    ),
    (
      lambda s: s.replace(params={'decoder': s.params['decoder']}),
      r'params/encoder/bias is absent in the model and bfloat16\[7\] in the',
    ),
    (
      lambda s: s.replace(
        key=jax.eval_shape(lambda: jax.random.key(0, impl='rbg'))
      ),
      r'key is key<rbg>\[\] in the model and key<fry>\[\] in the',
    ),
    (
      lambda s: s.replace(extras=s.extras | {'threshold': jnp.float32(0)}),
      r'extras/threshold is float32\[\] in the model and absent in the',
    ),
  )
  def test_another_model_is_refused_by_the_first_leaf(self, change, message):
    for step in (10, 20):
      self.saved.save(make_state(step), step)
    with (
      self.assertNoLogs(level='WARNING'),
      self.assertRaisesRegex(checkpoints.CheckpointError, message),
    ):
      self.saved.restore(change(self.abstract))

  def test_a_kill_in_the_middle_leaves_the_older_ones(self):
    self.saved.save(make_state(10), 10)
    with (
      mock.patch.object(
        checkpoints, '_checksums', side_effect=KeyboardInterrupt
      ),
      self.assertRaises(KeyboardInterrupt),
    ):
      self.saved.save(make_state(20), 20)
    self.assertIn('staging', os.listdir(self.directory))
    self.assertEqual(self.saved.steps(), [10])
    self.assert_restores(10)
    self.saved.save(make_state(20), 20)
    self.assertNotIn('staging', os.listdir(self.directory))
    self.assert_restores(20)

  @parameterized.parameters(
    OSError(28, 'No space left on device'),
    ValueError('RESOURCE_EXHAUSTED: No space left on device [os_error_code=28'),
  )
  def test_a_full_disk_is_said_plainly(self, error):
    self.saved.save(make_state(10), 10)
    with (
      mock.patch.object(ocp, 'save', side_effect=error),
      self.assertRaisesRegex(
        checkpoints.CheckpointError,
        r'no space left on device while saving step 20 to .*latest: [\d,]+ '
        r'bytes are needed, [\d,]+ bytes are free; the last good checkpoint is '
        'step 10; free some space and run the same command again',
      ),
    ):
      self.saved.save(make_state(20), 20)
    self.assertEqual(os.listdir(self.directory), ['latest'])
    self.assert_restores(10)

  def test_a_really_full_disk_leaves_the_older_ones(self):
    mounted = self.create_tempdir().full_path
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mounted]
    if (
      shutil.which('mount') is None
      or subprocess.run(mount, capture_output=True).returncode
    ):
      self.skipTest('needs the right to mount')
    self.addCleanup(subprocess.run, ['umount', mounted], check=True)
    saved = checkpoints.Checkpoints(mounted, HASH)
    state = {'kernel': jnp.arange(1000.0)}
    saved.save(state, 1)
    with self.assertRaisesRegex(
      checkpoints.CheckpointError,
      # A million numbers of four bytes on a disk of 2 ** 20 bytes.
      r'no space left .*: 4,000,000 bytes are needed, [\d,]+ bytes are '
      'free; the last good checkpoint is step 1;',
    ) as raised:
      saved.save({'kernel': jnp.arange(1e6)}, 2)
    free = re.findall(r'needed, ([\d,]+)', str(raised.exception))[0]
    self.assertLessEqual(int(free.replace(',', '')), 2**20)
    restored, step = saved.restore(state)
    self.assertEqual(step, 1)
    self.assertEqual(bits(restored), bits(state))

  def test_other_errors_of_saving_are_passed_on(self):
    with (
      mock.patch.object(ocp, 'save', side_effect=PermissionError('read only')),
      self.assertRaisesRegex(PermissionError, 'read only'),
    ):
      self.saved.save(make_state(1), 1)

  def test_nothing_is_printed_even_at_verbose_logging(self):
    program = (
      'from absl import logging; import jax.numpy as jnp\n'
      'from rnnvae_jax.training import checkpoints\n'
      'logging.set_verbosity(logging.INFO)\n'
      f'saved = checkpoints.Checkpoints({self.directory!r}, "hash")\n'
      'saved.save({"x": jnp.ones(3)}, 1)\n'
      'assert saved.restore({"x": jnp.ones(3)})[1] == 1\n'
      'assert logging.get_verbosity() == logging.INFO\n'
    )
    done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True,
      text=True,
      check=True,
    )
    self.assertEqual(done.stdout + done.stderr, '')


def make_weights(step: int, features: int = 5) -> state_lib.Weights:
  state = make_state(step, features)
  return state_lib.Weights(state.step, state.params, state.extras)


class WeightsTest(parameterized.TestCase):
  """Weights alone are written without Orbax, with the same guarantees."""

  def setUp(self):
    super().setUp()
    self.directory = os.path.join(self.create_tempdir(), 'checkpoints')
    self.saved = checkpoints.Checkpoints(self.directory, HASH)
    for step in (10, 20):
      self.saved.save(make_weights(step), step, 'best')
    self.path = os.path.join(self.directory, 'best', '20')

  def test_they_come_back_bit_for_bit(self):
    wanted = jax.eval_shape(lambda: make_weights(0))
    restored, step = self.saved.restore(wanted, 'best')
    self.assertEqual(step, 20)
    self.assertEqual(bits(restored), bits(make_weights(20)))
    self.assertEqual(jax.tree.structure(restored), jax.tree.structure(wanted))
    self.assertFalse(self.saved.holds_all('best'))
    self.assertCountEqual(
      os.listdir(self.path), [checkpoints.WEIGHTS, checkpoints.CHECKSUMS]
    )

  def test_their_parameters_are_found_by_name(self):
    named, step = self.saved.weights()
    self.assertEqual(step, 20)
    self.assertCountEqual(named, ['decoder/kernel', 'encoder/bias'])
    np.testing.assert_array_equal(
      named['decoder/kernel'], make_weights(20).params['decoder']['kernel']
    )

  @parameterized.parameters(
    (truncate_biggest,), (delete_checksums,), (empty_the_folder,), (flip,)
  )
  def test_a_damaged_one_gives_way_to_its_predecessor(self, damage):
    is_of_file = damage is flip
    damage(
      os.path.join(self.path, checkpoints.WEIGHTS) if is_of_file else self.path
    )
    with self.assertLogs(level='WARNING'):
      _, step = self.saved.restore(make_weights(0), 'best')
    self.assertEqual(step, 10)

  def test_those_of_another_model_or_vocabulary_are_refused(self):
    with self.assertRaisesRegex(
      checkpoints.CheckpointError, r'params/decoder/kernel is float32\[70, 6\]'
    ):
      self.saved.restore(make_weights(0, features=6), 'best')
    other = checkpoints.Checkpoints(self.directory, 'b2' * 32)
    with self.assertRaisesRegex(checkpoints.CheckpointError, 'vocabulary'):
      other.restore(make_weights(0), 'best')


if __name__ == '__main__':
  absltest.main()
