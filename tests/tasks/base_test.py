"""What every task of the registry fulfils, whichever it is."""

import inspect

from absl.testing import absltest, parameterized

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import labels, parallel, spellings
from rnnvae_jax.tasks import base

import helpers

TASKS = tuple(config_build.TASKS)


class ContractTest(parameterized.TestCase):
  @parameterized.parameters(*TASKS)
  def test_nothing_of_the_contract_is_missing(self, name):
    task = config_build.task(name)
    self.assertTrue(issubclass(task, base.Task))
    self.assertFalse(inspect.isabstract(task), task)
    # It learns, or it is fitted.
    kinds = [issubclass(task, kind) for kind in (base.Trained, base.Fitted)]
    self.assertEqual(sum(kinds), 1)
    known = (*labels.FIELDS, parallel.FIELD, spellings.FIELD)
    self.assertContainsSubset(task.FIELDS, known)
    names = [figure.name for figure in task.FIGURES]
    self.assertLen(set(names), len(names))
    for figure in task.FIGURES:
      self.assertIsInstance(figure, base.Figure)

  @parameterized.parameters(*TASKS)
  def test_its_defaults_and_its_tiny_config_are_valid(self, name):
    config = helpers.make_config(name)
    self.assertEqual(config.model.kind, name)
    config_build.validate(config)
    config_build.keys_of(config).shrink(config)
    config_build.task(name).shrink(config)
    config_build.validate(config)

  @parameterized.parameters(*TASKS)
  def test_its_keys_are_in_the_config_and_those_of_no_other(self, name):
    own = config_build.schema_for(name).keys
    flat = config_build.flatten(config_build.default(name))
    self.assertEqual(set(own), set(flat))
    self.assertContainsSubset(set(own), set(config_build.all_keys()))

  def test_a_task_s_keys_follow_from_what_it_can_do(self):
    has = lambda name, key: key in config_build.schema_for(name).keys
    for name in TASKS:
      task = config_build.task(name)
      for capability, key in (
        (base.Trained, 'train.num_steps'),
        (base.Trained, 'optimizer.learning_rate'),
        (base.CarriesState, 'train.unroll'),
        (base.Generates, 'generate.temperature'),
        (base.HasLatents, 'generate.interpolation_steps'),
        (base.Task, 'evaluate.batch_size'),
      ):
        self.assertEqual(has(name, key), issubclass(task, capability), key)

  def test_an_unknown_task_is_an_error_that_lists_them(self):
    with self.assertRaisesRegex(
      ValueError, "'sentence_vea'.*sentence_vae"
    ) as raised:
      config_build.task('sentence_vea')
    for name in TASKS:
      self.assertIn(name, str(raised.exception))
    with self.assertRaises(ValueError):
      config_build.default('base')  # The contract is no task.

  def test_the_capabilities_of_those_that_are_there(self):
    can = lambda name, *wanted: [
      issubclass(config_build.task(name), capability) for capability in wanted
    ]
    all_of = base.CarriesState, base.Scores, base.Generates, base.HasLatents
    self.assertEqual(can('language_model', *all_of), [True, True, True, False])
    self.assertEqual(can('sentence_vae', *all_of), [False, True, True, True])
    self.assertEqual(can('ngrams', *all_of), [False, True, True, False])
    self.assertEqual(can('ngrams', base.Trained, base.Fitted), [False, True])


if __name__ == '__main__':
  absltest.main()
