"""The gain over a decoder as a language model, computed by hand."""

import copy
import os

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.config import build
from rnnvae_jax.data import corpora
from rnnvae_jax.results import gains, render, tables
from rnnvae_jax.tasks import base
from rnnvae_jax.training import sentence_nats

# Nats of four sentences. The differences 1, 3, 2 and 0 have mean 1.5 and
# squared deviations .25, 2.25, .25 and 2.25, so a variance of 5 / 3: the
# standard error is (5 / 3 / 4)**.5.
OWN = [11.0, 23.0, 7.0, 40.0]
OURS = [10.0, 20.0, 5.0, 40.0]
GAIN, ERROR = 1.5, (5 / 12) ** 0.5


def figure(mean, seeds=1):
  return {'mean': mean, 'std': None, 'seeds': seeds}


def split(*lengths):
  return corpora.split_of(
    [np.array([*range(4, 3 + n), 2], np.int32) for n in lengths]
  )


def has_latents(table, row):
  task = build.task(table.get_config(f'row={row}').model.kind)
  return issubclass(task, base.HasLatents)


class FillTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.runs = self.create_tempdir().full_path
    self.table = {
      'rows': {
        'lm': {'ours': {'test_nll_per_sentence': figure(np.mean(OWN))}},
        'vae': {
          'gain_over': 'lm',
          'ours': {
            'test_elbo': figure(25.0),
            'test_nll_per_sentence': figure(25.0),
            'test_iwae_nll': figure(np.mean(OURS)),
          },
        },
      }
    }
    self.ours = self.table['rows']['vae']['ours']

  def keep(self, row, nll, seed=0, lengths=(3, 5, 2, 4)):
    folder = os.path.join(self.runs, row, f'seed_{seed}')
    os.makedirs(folder, exist_ok=True)
    sentence_nats.write(folder, 'test', np.array(nll), split(*lengths))

  def gain(self):
    gains.fill(self.table, self.runs)
    return self.ours['test_gain']

  def test_is_paired_sentence_by_sentence(self):
    self.keep('lm', OWN)
    self.keep('vae', OURS)
    gain = self.gain()
    self.assertAlmostEqual(gain['mean'], GAIN, places=12)
    self.assertAlmostEqual(gain['standard_error'], ERROR, places=12)
    self.assertEqual(gain['seeds'], 1)
    self.assertNotIn('test_gain', self.table['rows']['lm']['ours'])

  def test_seeds_are_averaged_first(self):
    # Those of the row as above in the mean; seed 1 of the language model
    # diverged.
    self.ours['test_iwae_nll']['seeds'] = 2
    self.table['rows']['lm']['diverged_seeds'] = [0]
    self.keep('lm', OWN, seed=1)
    self.keep('vae', [8.0, 21.0, 5.0, 39.0], seed=0)
    self.keep('vae', [12.0, 19.0, 5.0, 41.0], seed=1)
    gain = self.gain()
    self.assertAlmostEqual(gain['mean'], GAIN, places=12)
    self.assertAlmostEqual(gain['standard_error'], ERROR, places=12)
    self.assertEqual(gain['seeds'], 2)

  @parameterized.parameters(
    {},  # Nothing was kept.
    {'lm': OWN},
    {'vae': OURS},
    {'lm': OWN, 'vae': [10.0, 20.0, 5.0, 40.1]},  # Evaluated again since.
    {'lm': OWN, 'vae': OURS, 'lengths': (5, 3, 2, 4)},  # Another order.
  )
  def test_has_no_standard_error_otherwise(self, lengths=(3, 5, 2, 4), **kept):
    for row, nll in kept.items():
      keep = {'lengths': lengths} if row == 'vae' else {}
      self.keep(row, nll, **keep)
    gain = self.gain()
    self.assertAlmostEqual(gain['mean'], GAIN, places=12)
    self.assertIsNone(gain['standard_error'])

  def test_a_recorded_standard_error_stays_as_long_as_the_gain_does(self):
    self.keep('lm', OWN)
    self.keep('vae', OURS)
    self.gain()
    gains.fill(self.table)  # Elsewhere, without the runs.
    self.assertAlmostEqual(
      self.ours['test_gain']['standard_error'], ERROR, places=12
    )
    self.ours['test_iwae_nll']['mean'] -= 0.25
    gains.fill(self.table)
    self.assertAlmostEqual(self.ours['test_gain']['mean'], GAIN + 0.25)
    self.assertIsNone(self.ours['test_gain']['standard_error'])

  def test_there_is_none_of_a_bound_or_without_both_rows(self):
    rows, whole = self.table['rows'], copy.deepcopy(self.table['rows'])
    del self.ours['test_iwae_nll']
    gains.fill(self.table)
    self.assertNotIn('test_gain', self.ours)
    for name in ('lm', 'vae'):
      rows.update(copy.deepcopy(whole))
      gains.fill(self.table)
      del rows[name]['ours']
      gains.fill(self.table)
      self.assertNotIn('test_gain', rows['vae'].get('ours', {}))

  def test_a_row_without_latents_is_compared_by_its_exact_nats(self):
    del self.ours['test_elbo'], self.ours['test_iwae_nll']
    gains.fill(self.table)
    self.assertAlmostEqual(self.ours['test_gain']['mean'], 20.25 - 25.0)


class RenderTest(parameterized.TestCase):
  @parameterized.parameters((0.31, '1.50 ± 0.31'), (None, '1.50 ± ?'))
  def test_its_standard_error_is_in_the_cell(self, error, text):
    gain = figure(1.5) | {'standard_error': error}
    row = {'published': {}, 'source': 'none', 'ours': {'test_gain': gain}}
    table = {
      'table': 'toy',
      'protocol': 'A toy.',
      'rows': {'vae': row | {'gain_over': 'lm'}},
    }
    lines = render.section(table).splitlines()
    self.assertIn('| row | test gain over own LM, nats | source |', lines)
    self.assertIn(f'| `vae` | - / {text} | none |', lines)


class ConfigsTest(absltest.TestCase):
  def test_rows_with_latents_are_compared_with_rows_without(self):
    compared = 0
    for table in map(tables.load, tables.find()):
      for row, defined in table.rows.items():
        if 'gain_over' in defined:
          compared += 1
          self.assertTrue(has_latents(table, row), (table.name, row))
          own = defined['gain_over']
          self.assertFalse(has_latents(table, own), (table.name, row))
    self.assertGreater(compared, 50)


if __name__ == '__main__':
  absltest.main()
