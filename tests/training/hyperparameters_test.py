"""The scalars of a step: a pytree of what the schema marks as traced."""

import copy
import pickle

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.training import hyperparameters as hyperparameters_lib

import helpers

KINDS = 'language_model', 'sentence_vae'


def by_name(tree):
  """{dotted name: scalar} of those that are there."""
  return {
    '.'.join(part.name for part in path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


class BuildTest(parameterized.TestCase):
  @parameterized.parameters(*KINDS)
  def test_has_the_traced_keys_that_the_config_reads_and_no_other(self, kind):
    config = helpers.make_config(kind)
    keys, flat = config_build.keys_of(config), config_build.flatten(config)
    got = by_name(helpers.make_hyperparameters(config))
    for name, key in keys.keys.items():
      is_read = key.traced and not keys.unused(flat, name)
      is_off = key.off is not None and flat[name] == key.off
      self.assertEqual(name in got, is_read and not is_off, name)
      if name in got:
        self.assertEqual(got[name].dtype, jnp.float32, name)
        self.assertEqual(got[name].shape, (), name)
        self.assertEqual(got[name], np.float32(flat[name]), name)

  def test_what_has_no_weight_is_left_out(self):
    config = helpers.make_config('sentence_vae')
    scalars = helpers.make_hyperparameters(config)
    self.assertIsNone(scalars.objective.mmd_weight)
    self.assertIsNone(scalars.objective.label_smoothing)
    self.assertIsNone(scalars.objective.target_rate)
    self.assertIsNone(scalars.dropout.recurrent)
    config.objective.mmd_weight = 2.0
    config.dropout.weight = 0.5
    scalars = helpers.make_hyperparameters(config)
    self.assertEqual(float(scalars.objective.mmd_weight), 2.0)
    self.assertEqual(float(scalars.dropout.weight), 0.5)

  def test_a_part_that_other_configs_switch_on_is_there_at_0(self):
    plain = helpers.make_config('sentence_vae')
    other = helpers.make_config('sentence_vae', **{'dropout.word': 0.3})
    keys = config_build.keys_of(plain)
    enabled = hyperparameters_lib.switched_on(keys, [plain, other])
    self.assertIn('dropout.word', enabled)
    self.assertNotIn('dropout.weight', enabled)
    trees = [
      hyperparameters_lib.build(keys, config, enabled)
      for config in (plain, other)
    ]
    self.assertEqual(*map(jax.tree.structure, trees))
    self.assertEqual(float(trees[0].dropout.word), 0.0)
    self.assertIsNone(trees[0].dropout.weight)
    alone = hyperparameters_lib.build(keys, plain)
    self.assertIsNone(alone.dropout.word)
    self.assertNotEqual(jax.tree.structure(alone), jax.tree.structure(trees[0]))


class TreeTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.scalars = helpers.make_hyperparameters(
      helpers.make_config(
        'sentence_vae',
        **{'objective.kl_weight': 0.25, 'optimizer.learning_rate': 0.5},
      )
    )

  def test_is_flattened_and_made_again(self):
    leaves, tree = jax.tree.flatten(self.scalars)
    again = jax.tree.unflatten(tree, leaves)
    self.assertEqual(jax.tree.structure(again), tree)
    self.assertEqual(by_name(again), by_name(self.scalars))
    self.assertIsNone(again.objective.mmd_weight)
    # JAX puts other things than arrays into trees.
    odd = jax.tree.unflatten(tree, [object()] * len(leaves))
    self.assertLen(jax.tree.leaves(odd), len(leaves))
    for copied in (
      copy.copy(self.scalars),
      copy.deepcopy(self.scalars),
      pickle.loads(pickle.dumps(jax.device_get(self.scalars))),
    ):
      self.assertEqual(by_name(copied), by_name(self.scalars))

  def test_is_an_argument_of_a_compiled_function(self):
    traces = []

    @jax.jit
    def product(scalars):
      traces.append(scalars)
      return scalars.objective.kl_weight * scalars.optimizer.learning_rate

    self.assertEqual(product(self.scalars), 0.125)
    half = {'optimizer.learning_rate': jnp.float32(0.25)}
    self.assertEqual(product(self.scalars.replace(half)), 0.0625)
    self.assertLen(traces, 1)

  def test_is_mapped_over(self):
    weights = jnp.float32([0.5, 1.0, 2.0])
    stacked = jax.tree.map(
      lambda *leaves: jnp.stack(leaves),
      *(
        self.scalars.replace({'objective.kl_weight': weight})
        for weight in weights
      ),
    )
    got = jax.vmap(lambda s: s.objective.kl_weight * s.optimizer.clip_norm)(
      stacked
    )
    np.testing.assert_array_equal(got, 5.0 * weights)

  def test_a_replaced_copy_leaves_the_first_as_it_was(self):
    changed = self.scalars.replace(
      {
        'objective.kl_weight': jnp.float32(3.0),
        'objective.mmd_weight': jnp.float32(1.0),
        'optimizer.clip_norm': None,
      }
    )
    before, after = by_name(self.scalars), by_name(changed)
    self.assertEqual(
      {
        name
        for name in {*before, *after}
        if before.get(name) != after.get(name)
      },
      {'objective.kl_weight', 'objective.mmd_weight', 'optimizer.clip_norm'},
    )
    self.assertEqual(self.scalars.objective.kl_weight, 0.25)
    self.assertIsNone(self.scalars.objective.mmd_weight)

  def test_an_unknown_name_is_an_error(self):
    for name in ('objective.kl_wieght', 'objectives.kl_weight', 'kl_weight'):
      with self.assertRaises(KeyError):
        self.scalars.replace({name: jnp.float32(1.0)})
    with self.assertRaises(AttributeError):
      _ = self.scalars.objective.kl_wieght
    # A key of another task is none of this one's.
    with self.assertRaises(AttributeError):
      _ = self.scalars.objective.augmentation


if __name__ == '__main__':
  absltest.main()
