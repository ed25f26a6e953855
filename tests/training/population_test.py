"""Every trial of a population is the run that its config stands for."""

import json
import os
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax.config import argument
from rnnvae_jax.config import build as config_build
from rnnvae_jax.training import loop, population, preparation, validation

import helpers

EPS = np.finfo(np.float32).eps


def write_folder(folder, sentences=30, seed=0):
  """Ragged sentences over a small alphabet, three splits."""
  rng = np.random.default_rng(seed)
  words = [f'w{i}' for i in range(17)]
  for split, count in (('train', sentences), ('valid', 11), ('test', 5)):
    with open(os.path.join(folder, f'{split}.txt'), 'w') as file:
      for _ in range(count):
        line = rng.choice(words, size=rng.integers(2, 11))
        file.write(' '.join(line) + '\n')


def make_config(folder, **overrides):
  config = config_build.default('sentence_vae')
  argument.apply(config, argument.parse('tiny', tiny=False))
  config.corpus.name = folder
  config.corpus.protocol = 'mikolov'
  config.corpus.min_count = 1
  config.train.num_steps = 18
  config.train.eval_every = 3
  config.optimizer.learning_rate = 0.02
  config.update_from_flattened_dict(overrides)
  return config


class RefusedTest(absltest.TestCase):
  def test_another_shape_is_another_program(self):
    folder = self.create_tempdir().full_path
    write_folder(folder)
    config = make_config(folder)
    other = make_config(folder, **{'model.hidden_size': 5})
    corpus = preparation.build_corpus(config)
    with self.assertRaisesRegex(ValueError, r'config\.model\.hidden_size'):
      population.train([config, other], corpus)


@pytest.mark.slow
class PopulationTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.mkdtemp()
    write_folder(cls.folder)
    # 30 sentences by 8: an epoch of 4 steps, no multiple of a call's 3, so
    # that a slot filled at an epoch's end is not in step with the others.
    cls.configs = [
      make_config(cls.folder, seed=1),
      make_config(cls.folder, **{'train.num_steps': 6, 'dropout.word': 0.3}),
      make_config(
        cls.folder,
        **{'seed': 2, 'objective.kl_weight': 0.1, 'objective.free_bits': 0.5},
      ),
      make_config(
        cls.folder,
        **{
          'optimizer.learning_rate': 0.3,
          'train.patience': 1,
          'optimizer.plateau_patience': 1,
        },
      ),
    ]
    cls.corpus = preparation.build_corpus(cls.configs[0])
    cls.reported = []
    cls.results = population.train(
      cls.configs,
      cls.corpus,
      size=2,
      report=lambda number, _: cls.reported.append(number),
    )

  def test_a_trial_is_the_run_of_its_config(self):
    self.check_trial(3)  # Which decays and stops early.

  @parameterized.parameters(0, 1, 2)
  def test_so_is_every_other(self, number):
    self.check_trial(number)

  def check_trial(self, number):
    workdir = self.create_tempdir().full_path
    loop.train(self.configs[number], workdir)
    with open(os.path.join(workdir, 'metrics.jsonl')) as file:
      lines = [json.loads(line) for line in file]
    valid = [
      (line['valid/nll_per_sentence'], line['step'])
      for line in lines
      if 'valid/nll_per_sentence' in line
    ]
    result = self.results[number]
    self.assertEqual(result.steps, lines[-1]['step'])
    # Batched and single products round differently, at every step anew.
    np.testing.assert_allclose(
      result.best['nll_per_sentence'],
      min(valid)[0],
      rtol=100 * EPS * result.steps,
    )

  def test_a_result_holds_what_its_validation_evaluated(self):
    result = self.results[1]
    config = result.config
    task = helpers.make_task(config, self.corpus.vocab)
    validator = validation.make_validator(
      config, task, self.corpus.splits['valid']
    )
    values = validator(
      result.params, result.extras, jax.random.key(config.seed)
    )
    nats = np.mean(values['reconstruction']) + np.mean(values['kl'])
    self.assertAlmostEqual(nats, result.best['nll_per_sentence'], places=4)

  def test_slots_are_refilled_until_all_trials_have_ended(self):
    self.assertCountEqual(self.reported, range(4))
    self.assertEqual(self.reported[0], 1)  # The shortest.
    self.assertFalse(any(result.failed for result in self.results))

  def test_the_early_stopped_one_did_fewer_steps(self):
    self.assertLess(self.results[3].steps, self.configs[3].train.num_steps)

  def test_the_number_of_slots_is_found_from_the_memory(self):
    (result,) = population.train([self.configs[1]], self.corpus)
    np.testing.assert_allclose(
      result.best['nll_per_sentence'],
      self.results[1].best['nll_per_sentence'],
      rtol=100 * EPS * result.steps,
    )

  def test_a_trial_whose_validation_is_no_number_ends(self):
    no_number = {self.configs[1].train.select_by: float('nan')}
    with mock.patch.object(
      validation, 'make_validation', lambda *_: lambda *_: no_number
    ):
      (result,) = population.train([self.configs[1]], self.corpus, size=1)
    self.assertTrue(result.failed)
    self.assertEqual(result.steps, self.configs[1].train.eval_every)

  def test_a_trial_that_diverges_ends_alone(self):
    wild = make_config(
      self.folder,
      **{'optimizer.learning_rate': 1e30, 'optimizer.clip_norm': 0.0},
    )
    with jax.debug_nans(False):
      results = population.train([wild, self.configs[1]], self.corpus, size=2)
    self.assertTrue(results[0].failed)
    self.assertFalse(results[1].failed)
    np.testing.assert_allclose(
      results[1].best['nll_per_sentence'],
      self.results[1].best['nll_per_sentence'],
      rtol=100 * EPS * results[1].steps,
    )

  def test_trials_begin_with_another_run_s_weights(self):
    source = self.create_tempdir().full_path
    loop.train(self.configs[1], source)
    config = make_config(
      self.folder,
      **{
        'train.init_from': source,
        'train.num_steps': 3,
        'optimizer.learning_rate': 0.0,
      },
    )
    corpus = preparation.build_corpus(config)
    (result,) = population.train([config], corpus, size=1)
    workdir = self.create_tempdir().full_path
    loop.train(config, workdir)
    with open(os.path.join(workdir, 'metrics.jsonl')) as file:
      lines = [json.loads(line) for line in file]
    (wanted,) = (
      line['valid/nll_per_sentence']
      for line in lines
      if 'valid/nll_per_sentence' in line
    )
    np.testing.assert_allclose(
      result.best['nll_per_sentence'], wanted, rtol=100 * EPS
    )

  def test_needs_a_trial(self):
    with self.assertRaisesRegex(ValueError, 'at least one'):
      population.train([], self.corpus)


def other_value(key, value):
  """A value of a key that is not this one; it need not be legal."""
  if isinstance(value, bool):
    return not value
  if isinstance(value, int | float):
    return value + 1 if isinstance(value, int) else value / 2 + 0.13
  if isinstance(value, tuple):
    return (*value, 0.5)
  return next((x for x in key.legal() or () if x != value), value + 'x')


class RefusalTest(parameterized.TestCase):
  """What trials may differ in follows from the schema."""

  # Configs in which every key that may vary is read.
  READ_ALL = {  # noqa: RUF012
    'language_model': {
      'model.cell': 'lstm',
      'model.num_layers': 2,
      'objective.augmentation': 0.5,
      'optimizer.schedule': 'linear',
      'optimizer.decay_every': 5,
      'optimizer.plateau_patience': 2,
    },
    'sentence_vae': {
      'model.cell': 'lstm',
      'model.num_layers': 2,
      'objective.rate_control': 'lagrangian',
      'objective.target_rate': 5.0,
      'objective.kl_schedule': 'cyclical',
      'objective.kl_anneal_steps': 20,
      'objective.kl_cycles': 2,
      'optimizer.schedule': 'linear',
      'optimizer.decay_every': 5,
      'optimizer.plateau_patience': 2,
    },
  }

  @parameterized.parameters('language_model', 'sentence_vae')
  def test_every_traced_key_may_differ_and_no_other(self, kind):
    first = helpers.make_config(kind, **self.READ_ALL[kind])
    keys = config_build.keys_of(first)
    flat, accepted = config_build.flatten(first), []
    for name, key in keys.keys.items():
      if name == config_build.KIND:
        continue
      value = other_value(key, flat[name])
      second = helpers.make_config(
        kind, **(self.READ_ALL[kind] | {name: value})
      )
      reason = population.refusal([first, second])
      if not reason:
        accepted.append(name)
      else:
        self.assertIn(f'Trial 1 differs from trial 0 in config.{name},', reason)
    self.assertContainsSubset(
      {'seed', 'train.num_steps', 'optimizer.weight_decay', 'dropout.weight'},
      accepted,
    )
    self.assertCountEqual(
      accepted,
      [name for name, key in keys.keys.items() if key.traced or key.varies],
    )

  def test_trials_that_read_other_keys_are_other_programs(self):
    first = helpers.make_config('language_model')
    # The temperature of the teacher is read by one of them alone.
    second = helpers.make_config(
      'language_model', **{'objective.augmentation': 0.5}
    )
    self.assertIn('reads other keys', population.refusal([first, second]))
    self.assertEqual(population.refusal([first, first]), '')
    # Weights of parts without keys of their own are no other program.
    third = helpers.make_config(
      'language_model', **{'objective.activation_penalty': 0.5}
    )
    self.assertEqual(population.refusal([first, third]), '')

  def test_a_count_model_is_not_trained(self):
    config = helpers.make_config('ngrams')
    self.assertIn('is fitted, one at a time', population.refusal([config]))

  @parameterized.parameters(({'train.inner_steps': 5}, 'inner_steps'))
  def test_a_task_names_what_it_cannot_do_many_times_at_once(self, keys, name):
    config = helpers.make_config('sentence_vae', **keys)
    self.assertIn(name, population.refusal([config]))


if __name__ == '__main__':
  absltest.main()
