"""A run's folder says whose it is, and what it may go on with."""

from concurrent import futures
import json
import os
import time
from unittest import mock

from absl.testing import absltest, parameterized

from rnnvae_jax.config import build as config_build
from rnnvae_jax.training import workdir as workdir_lib
from rnnvae_jax.training import writers

import helpers


class WorkdirTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path
    self.config = helpers.make_config(
      'sentence_vae', **{'corpus.name': 'grammar', 'corpus.protocol': 'mikolov'}
    )

  def path(self, name):
    return os.path.join(self.workdir, name)

  def save(self, config=None, trained=True):
    workdir_lib.save_config(config or self.config, self.workdir)
    if trained:
      folder = workdir_lib.checkpoint_dir(self.workdir)
      os.makedirs(os.path.join(folder, 'latest', '6'))

  def edit(self, **changes):
    with open(self.path('config.json')) as file:
      flat = json.load(file)
    for key, value in changes.items():
      flat[key] = value
      if value is None:
        del flat[key]
    with open(self.path('config.json'), 'w') as file:
      json.dump(flat, file)


class PlaceTest(WorkdirTest):
  @parameterized.parameters(
    ('runs/lr=[1e-3]', r'\[ in its name'),
    ('runs/what?', r'\? in its name'),
    ('gs://bucket/run', 'not to gs://'),
    (os.fsdecode(b'runs/na\xefve'), 'is no UTF-8'),
  )
  def test_is_refused_where_a_run_could_not_be_kept(self, place, message):
    with self.assertRaisesRegex(ValueError, message):
      workdir_lib.check(self.config, place)
    self.assertFalse(os.path.exists(place))

  @parameterized.parameters('runs/lr=1e-3', 'runs/naïve ~ {1}', 'a:b/c')
  def test_other_names_are_legal(self, place):
    self.assertTrue(workdir_lib.check(self.config, place))

  def test_folders_without_a_checkpoint_are_no_trained_run(self):
    self.save(trained=False)
    folder = workdir_lib.checkpoint_dir(self.workdir)
    for name in ('latest', 'best', 'staging/6'):  # Left by a kill.
      os.makedirs(os.path.join(folder, name))
    self.config.seed = 3
    self.assertFalse(workdir_lib.check(self.config, self.workdir))
    os.makedirs(os.path.join(folder, 'latest', '6'))
    with self.assertRaisesRegex(ValueError, r'config\.seed'):
      workdir_lib.check(self.config, self.workdir)


class LoadConfigTest(WorkdirTest):
  def test_is_what_was_saved(self):
    self.save()
    loaded = workdir_lib.load_config(self.workdir)
    self.assertEqual(
      config_build.flatten(loaded), config_build.flatten(self.config)
    )

  def test_says_where_there_is_no_run(self):
    with self.assertRaisesRegex(FileNotFoundError, 'No run in .*Train one'):
      workdir_lib.load_config(self.workdir)

  @parameterized.parameters(
    *('', '{"seed": 0', '\0\0\0', '[]', 'null', 5_000 * '[')
  )
  def test_names_a_damaged_file(self, text):
    self.save()
    with open(self.path('config.json'), 'w') as file:
      file.write(text)
    for read in (
      lambda: workdir_lib.load_config(self.workdir),
      lambda: workdir_lib.check(self.config, self.workdir),
    ):
      with self.assertRaisesRegex(ValueError, r'config\.json is damaged'):
        read()

  def test_names_keys_of_another_version(self):
    self.save()
    self.edit(**{'model.heads': 8})
    with self.assertRaisesRegex(ValueError, r'model\.heads is unknown'):
      workdir_lib.load_config(self.workdir)

  def test_a_key_that_a_later_version_added_has_its_default(self):
    self.config.seed = 3
    self.save()
    self.edit(seed=None)
    self.assertEqual(workdir_lib.load_config(self.workdir).seed, 0)
    # So it is another run than that of the seed 3.
    with self.assertRaisesRegex(ValueError, r'config\.seed: 0 there, 3 here'):
      workdir_lib.check(self.config, self.workdir)

  def test_refuses_a_value_of_another_type(self):
    self.save()
    self.edit(**{'model.hidden_size': 'many'})
    with self.assertRaisesRegex(ValueError, r'hidden_size'):
      workdir_lib.load_config(self.workdir)


class CheckTest(WorkdirTest):
  def test_there_is_no_run_or_the_same(self):
    self.assertTrue(workdir_lib.check(self.config, self.workdir))
    self.save()
    self.assertTrue(workdir_lib.check(self.config, self.workdir))

  def test_one_without_a_checkpoint_makes_way(self):
    self.save(trained=False)
    self.assertFalse(workdir_lib.is_trained(self.workdir))
    self.config.seed = 3
    self.assertFalse(workdir_lib.check(self.config, self.workdir))

  def test_what_to_do_is_said_where_a_config_differs(self):
    self.save()
    self.assertTrue(workdir_lib.is_trained(self.workdir))
    self.config.seed = 3
    with self.assertRaisesRegex(
      ValueError,
      r'(?s)seed: 0 there, 3 here.*raise config\.train\.num_steps.*'
      rf'--config\.train\.init_from={self.workdir}',
    ):
      workdir_lib.check(self.config, self.workdir)

  def test_more_steps_are_the_same_run_and_fewer_are_not(self):
    self.save()
    before = self.config.train.num_steps
    self.assertFalse(workdir_lib.replaces_config(self.config, self.workdir))
    self.config.train.num_steps = 2 * before
    self.assertTrue(workdir_lib.check(self.config, self.workdir))
    self.assertTrue(workdir_lib.replaces_config(self.config, self.workdir))
    self.config.train.num_steps = before // 2
    self.assertFalse(workdir_lib.replaces_config(self.config, self.workdir))
    with self.assertRaisesRegex(ValueError, 'num_steps'):
      workdir_lib.check(self.config, self.workdir)
    self.config.train.num_steps, self.config.seed = 2 * before, 3
    with self.assertRaisesRegex(ValueError, 'seed'):
      workdir_lib.check(self.config, self.workdir)

  def test_steps_of_a_damaged_config_differ(self):
    self.save()
    self.edit(**{'train.num_steps': 'many'})
    with self.assertRaisesRegex(ValueError, "num_steps: 'many' there"):
      workdir_lib.check(self.config, self.workdir)

  def test_another_task_is_another_run(self):
    self.save()
    other = helpers.make_config(
      'language_model',
      **{'corpus.name': 'grammar', 'corpus.protocol': 'mikolov'},
    )
    with self.assertRaisesRegex(
      ValueError,
      r"model\.kind: 'sentence_vae' there, 'language_model' here",
    ):
      workdir_lib.check(other, self.workdir)

  def test_a_config_of_something_else_is_left_alone(self):
    with open(self.path('config.json'), 'w') as file:
      file.write('{"model_type": "gpt2"}')
    with self.assertRaisesRegex(ValueError, 'is not the config of a run'):
      workdir_lib.check(self.config, self.workdir)


class LockedTest(WorkdirTest):
  def test_one_process_trains_at_a_time(self):
    with (
      workdir_lib.locked(self.workdir),
      self.assertRaisesRegex(ValueError, 'Another process is training'),
      workdir_lib.locked(self.workdir),
    ):
      pass
    with workdir_lib.locked(self.workdir):  # It was released.
      pass


class IsTrainedTest(WorkdirTest):
  def test_a_count_model_is_once_it_is_fitted(self):
    config = helpers.make_config('ngrams', **{'corpus.name': 'grammar'})
    self.save(config, trained=False)
    self.assertFalse(workdir_lib.is_trained(self.workdir))
    with open(self.path('ngrams.npz'), 'wb'):
      pass
    self.assertTrue(workdir_lib.is_trained(self.workdir))


class ResultsTest(WorkdirTest):
  def figures(self, split):
    return {'corpus': 'grammar', 'protocol': 'mikolov', 'split': split}

  def test_those_that_another_process_adds_at_the_same_time_stay(self):
    self.save()
    write = writers.write_json

    def write_slowly(path, value):
      time.sleep(0.05)
      write(path, value)

    names = [f'split_{number}' for number in range(5)]
    with (
      mock.patch.object(writers, 'write_json', write_slowly),
      futures.ThreadPoolExecutor(5) as pool,
    ):
      add = lambda name: workdir_lib.add_results(
        self.workdir, name, self.figures(name)
      )
      [*pool.map(add, names)]
    want = {name: self.figures(name) for name in names}
    self.assertEqual(workdir_lib.read_results(self.workdir), want)

  @parameterized.parameters('{"loss": 2.5}', '{"test": {"loss": 2.5}}', '[]')
  def test_of_another_program_are_refused(self, text):
    with open(self.path('results.json'), 'w') as file:
      file.write(text)
    with self.assertRaisesRegex(ValueError, r'results\.json'):
      workdir_lib.read_results(self.workdir)


if __name__ == '__main__':
  absltest.main()
