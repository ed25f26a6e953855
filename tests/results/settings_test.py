"""The settings of a row stay comparable when defaults and keys change."""

import json
import pathlib
from unittest import mock

from absl.testing import absltest, parameterized

from rnnvae_jax.commands import base as commands
from rnnvae_jax.config import build
from rnnvae_jax.results import settings, tables

REPOSITORY = pathlib.Path(settings.__file__).parent.parent.parent
TABLES = REPOSITORY / 'benchmarks' / 'results' / 'tables'


def measured(config):
  described = settings.described(config)
  return {
    'settings': settings.digest(described),
    'non_default': settings.non_default(described),
  }


class SettingsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.config = build.default('sentence_vae')
    self.config.model.hidden_size = 99
    self.row = measured(self.config)

  def test_are_the_values_that_are_not_the_default(self):
    self.assertEqual(self.row['non_default'], {'model.hidden_size': 99})
    # hashlib.sha256(b'{"model.hidden_size": 99}').hexdigest()[:16]
    self.assertEqual(self.row['settings'], '8d20d9bde1ffe3ff')

  @parameterized.parameters(
    ('seed', 7),
    ('corpus.name', 'ptb'),
    ('data.dir', 'somewhere'),
    ('generate.temperature', 0.5),
  )
  def test_do_not_depend_on_what_changes_no_figure(self, key, value):
    self.config.update_from_flattened_dict({key: value})
    self.assertEqual(measured(self.config), self.row)
    self.assertEmpty(settings.changes(self.row, self.config))

  def test_do_not_depend_on_what_modes_read_of_a_trained_run(self):
    for mode, command in commands.REGISTRY.items():
      for _, fragment in getattr(command, 'SETTINGS', ()):
        name, _, _ = fragment.SCHEMA
        with self.subTest(mode):
          self.assertStartsWith(f'{name}.', settings._WITHOUT_EFFECT)

  def test_are_recognised_as_json_keeps_them(self):
    self.assertFalse(settings.are_kept(None, self.config))
    config = build.default('classification')
    config.model.encoder = 'convolution'
    config.model.convolution = {'widths': (3, 4)}
    described = settings.described(config)
    self.assertIsInstance(described['model.convolution.widths'], tuple)
    kept = json.loads(json.dumps(described))
    self.assertTrue(settings.are_kept(kept, config))
    # As an earlier version kept them.
    self.assertTrue(settings.are_kept(kept | {'units.texts': 3}, config))
    self.assertFalse(settings.are_kept(kept | {'seed': 3}, config))

  def test_that_changed_are_named(self):
    self.config.model.hidden_size = 100
    self.config.train.batch_size = 7
    self.assertEqual(
      settings.changes(self.row, self.config),
      [
        'model.hidden_size was 99, is 100',
        'train.batch_size was 32, is 7',
      ],
    )
    del self.row['non_default']
    self.assertEqual(
      settings.changes(self.row, self.config),
      ['their names were not recorded'],
    )

  def test_a_default_that_changes_is_a_change(self):
    today = build.flatten(self.config) | {'train.batch_size': 64}
    with mock.patch.object(build, 'flatten', return_value=today):
      self.assertEqual(
        settings.changes(self.row, self.config),
        ['train.batch_size was 32, is 64'],
      )

  def test_a_key_that_is_added_or_has_no_effect_any_more_is_no_change(self):
    self.config.evaluate.iw_samples = 500
    row = measured(self.config)
    today = build.flatten(self.config) | {'model.new_key': 3}
    del today['evaluate.iw_samples']
    defaults = build.flatten(build.default('sentence_vae')) | {
      'model.new_key': 3
    }
    with (
      mock.patch.object(build, 'flatten', return_value=today),
      mock.patch.object(settings, '_defaults_today', lambda: defaults),
    ):
      self.assertEmpty(settings.changes(row, self.config))

  def test_an_integer_in_place_of_a_float_is_the_same(self):
    values = {'objective.kl_weight': 1, 'optimizer.clip_norm': 3}
    floats = {'objective.kl_weight': 1.0, 'optimizer.clip_norm': 3.0}
    self.assertEqual(settings.digest(values), settings.digest(floats))

  def test_how_text_was_judged_is_a_setting_of_its_own(self):
    row = self.row | {
      'judged_by': settings.digest(settings.judging(self.config))
    }
    self.assertEmpty(settings.changes(row, self.config))
    self.config.judge.num_samples += 1
    self.assertEqual(
      settings.changes(row, self.config), ['how its text was judged']
    )


class CommittedRowsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    if not TABLES.is_dir():
      self.skipTest('not in the source tree')

  def test_the_digest_of_a_row_is_that_of_its_settings(self):
    checked = 0
    for path in TABLES.glob('*.json'):
      for name, row in json.loads(path.read_text())['rows'].items():
        if 'settings' in row:
          digest = settings.digest(row['non_default'])
          self.assertEqual(digest, row['settings'], f'{path.stem}, {name}')
          checked += 1
    self.assertGreater(checked, 40)

  def test_rows_are_outdated_only_where_their_file_says_so(self):
    checked = 0
    for path in TABLES.glob('*.json'):
      if path.stem not in tables.find():
        continue
      table = tables.load(path.stem)
      for name, row in json.loads(path.read_text())['rows'].items():
        changes = settings.changes(row, table.get_config(f'row={name}'))
        where = f'{path.stem}, {name}'
        self.assertEqual(bool(changes), 'outdated' in row, where)
        checked += 1
    self.assertGreater(checked, 40)


if __name__ == '__main__':
  absltest.main()
