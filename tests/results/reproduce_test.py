"""Tables: rows are trained once, and rendered as they were measured."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax.results import (
  parallel,
  records,
  reproduce,
  rows,
  settings,
  tables,
  together,
)
from rnnvae_jax.training import processes

pytestmark = pytest.mark.usefixtures('compile_once')

TOY = pathlib.Path(__file__).with_name('toy_table.py')
CHOOSE = parallel.choose
TABLES = pathlib.Path('benchmarks/results/tables')


class ReproduceTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    before = os.getcwd()
    os.chdir(self.root)
    self.addCleanup(os.chdir, before)
    os.mkdir('configs')
    pathlib.Path('configs/toy.py').write_text(TOY.read_text())
    TABLES.mkdir(parents=True)
    os.mkdir('text')
    for split in ('train', 'valid', 'test'):
      pathlib.Path(f'text/{split}.txt').write_text('a b c .\nb c a d .\n' * 20)
    # Processes would know nothing of what is mocked here.
    patch = mock.patch.object(parallel, 'choose', return_value=[])
    self.enterContext(patch)

  def reproduce(self, *names, **more):
    reproduce.reproduce('toy', 'runs', names, **more)
    return json.loads((TABLES / 'toy.json').read_text())

  def results(self):
    return pathlib.Path('RESULTS.md').read_text()

  @pytest.mark.slow
  def test_a_row_is_trained_evaluated_and_rendered(self):
    table = self.reproduce('vae_a_1', seeds=2)
    self.assertEqual((table['table'], table['protocol'][:5]), ('toy', 'A toy'))
    self.assertEqual(list(table['rows']), ['lm', 'vae_a_1', 'vae_a_2'])
    self.assertNotIn('ours', table['rows']['lm'])
    row = table['rows']['vae_a_1']
    figures = []
    for seed in (0, 1):
      with open(f'runs/toy/vae_a_1/seed_{seed}/results.json') as file:
        figures.append(json.load(file))
    for split, name in (
      ('test', 'kl'),
      ('test', 'iwae_perplexity'),
      ('valid', 'elbo'),
      ('test', 'active_units'),
    ):
      values = [figure[split][name] for figure in figures]
      ours = row['ours'][f'{split}_{name}']
      self.assertAlmostEqual(ours['mean'], np.mean(values))
      self.assertAlmostEqual(ours['std'], np.std(values, ddof=1))
      self.assertEqual(ours['seeds'], 2)
    self.assertEqual(row['config'], 'configs/toy.py:row=vae_a_1')
    self.assertIn('--table=toy --rows=vae_a_1 --seeds=2', row['command'])
    self.assertGreater(row['wall_seconds'], 0)
    self.assertIn('cpu', row['device'])
    text = self.results()
    kl = row['ours']['test_kl']
    self.assertIn(f'1.5 / {kl["mean"]:.2f} ± {kl["std"]:.2f}', text)
    self.assertIn('| `lm` | 12.5 / - |', text)  # Published, not measured.
    self.assertTrue((TABLES / 'toy.png').exists())

  @pytest.mark.skipif(
    len(processes.available_cores()) < 2, reason='needs two cores'
  )
  @pytest.mark.slow
  def test_rows_side_by_side_are_those_trained_alone_on_one_core(self):
    names = ('lm', 'vae_a_1')
    with processes.bound_to(processes.available_cores()[0]):
      for name in names:
        command = (
          f'{sys.executable} -m rnnvae_jax.main --mode=reproduce --table=toy '
          f'--rows={name} --workdir=runs'
        )
        subprocess.run(command.split(), check=True)
    alone = json.loads((TABLES / 'toy.json').read_text())['rows']
    os.rename('runs', 'alone')
    os.remove(TABLES / 'toy.json')
    with mock.patch.object(parallel, 'choose', CHOOSE):
      together = self.reproduce(*names)['rows']
    for name in names:
      for key in ('ours', 'device', 'settings', 'command'):
        self.assertEqual(together[name][key], alone[name][key])
      self.assertEndsWith(together[name]['device'], ', 1 core')
      lines = []
      for place in ('alone', 'runs'):
        path = pathlib.Path(place, 'toy', name, 'seed_0', 'metrics.jsonl')
        values = [json.loads(line) for line in path.read_text().splitlines()]
        lines.append([{**value, 'time': 0} for value in values])
      self.assertEqual(*lines)
    # A finished row is not run again.
    with (
      mock.patch.object(parallel, 'choose', CHOOSE),
      mock.patch.object(processes, 'schedule', return_value=[]) as schedule,
    ):
      again = self.reproduce(*names)['rows']
    self.assertEmpty([*schedule.call_args.args[0]])
    self.assertEqual(again, together)

  @pytest.mark.slow
  def test_seeds_may_train_as_a_population(self):
    apart = self.reproduce('vae_a_2', seeds=2)['rows']['vae_a_2']
    steps = self.steps_of('vae_a_2')
    os.rename('runs', 'apart')
    with mock.patch.object(together, 'BATCHING', ('cpu',)):
      as_one = self.reproduce('vae_a_2', seeds=2)['rows']['vae_a_2']
    self.assert_same_figures(as_one, apart)
    self.assertEqual(as_one['command'], apart['command'])
    # No step was done by the loop of a single run.
    validations = {key: steps[key] for key in steps if key[1] == 'valid/kl'}
    self.assertNotEmpty(validations[0, 'valid/kl'])
    self.assertEqual(self.steps_of('vae_a_2'), validations)

  @pytest.mark.slow
  def test_seeds_of_a_stopped_population_go_on_by_themselves(self):
    apart = self.reproduce('vae_a_2', seeds=2)['rows']['vae_a_2']
    steps = self.steps_of('vae_a_2')
    os.rename('runs', 'apart')
    record = mock.Mock(
      wraps=rows.loop.record, side_effect=[mock.DEFAULT] * 2 + [OSError]
    )
    with (
      mock.patch.object(together, 'BATCHING', ('cpu',)),
      mock.patch.object(rows.loop, 'record', record),
      self.assertRaises(OSError),
    ):
      self.reproduce('vae_a_2', seeds=2)
    for seed in (0, 1):
      path = pathlib.Path(f'runs/toy/vae_a_2/seed_{seed}/reproduced.json')
      self.assertGreater(json.loads(path.read_text())['wall_seconds'], 0)
    with mock.patch.object(together, 'BATCHING', ('cpu',)):
      resumed = self.reproduce('vae_a_2', seeds=2)['rows']['vae_a_2']
    self.assert_same_figures(resumed, apart)
    first = steps[0, 'valid/kl'][0]
    for (seed, name), those in self.steps_of('vae_a_2').items():
      wanted = steps[seed, name]
      if name == 'train/loss':
        wanted = [step for step in wanted if step > first]
      self.assertEqual(those, wanted)

  def steps_of(self, row):
    """By seed and metric, the steps it was written at."""
    steps = collections.defaultdict(list)
    for seed in (0, 1):
      path = pathlib.Path(f'runs/toy/{row}/seed_{seed}/metrics.jsonl')
      for line in map(json.loads, path.read_text().splitlines()):
        for name in {'train/loss', 'valid/kl'} & line.keys():
          steps[seed, name].append(line['step'])
    return steps

  def assert_same_figures(self, row, wanted):
    for name, figures in wanted['ours'].items():
      # Batched and single products round differently, at every step anew.
      np.testing.assert_allclose(
        [row['ours'][name][key] for key in ('mean', 'std', 'seeds')],
        [figures[key] for key in ('mean', 'std', 'seeds')],
        rtol=1e-3,
        atol=1e-3,
        err_msg=name,
      )

  @pytest.mark.slow
  def test_finished_runs_are_skipped_and_stopped_ones_resume(self):
    # No time at all: nothing is begun.
    table = self.reproduce('vae_a_2', budget=1e-9)
    self.assertFalse(any('ours' in row for row in table['rows'].values()))
    self.assertIn(
      'Not measured yet: `lm`, `vae_a_1`, `vae_a_2`.',
      self.results(),
    )
    # A deadline in the past stops the training that has begun.
    defined = tables.load('toy')
    config = defined.get_config('row=vae_a_2')
    folder = 'runs/toy/vae_a_2/seed_0'
    self.assertIsNone(rows.run(config, folder, deadline=0.0))
    spent = json.loads(pathlib.Path(f'{folder}/reproduced.json').read_text())
    self.assertNotIn('metrics', spent)
    first = self.reproduce('vae_a_2')
    self.assertGreater(
      first['rows']['vae_a_2']['wall_seconds'], int(spent['wall_seconds'])
    )
    lines = pathlib.Path(f'{folder}/metrics.jsonl').read_text()
    self.assertEqual(self.reproduce('vae_a_2'), first)
    again = pathlib.Path(f'{folder}/metrics.jsonl').read_text()
    self.assertEqual(again, lines)

  def test_figures_of_changed_settings_are_marked_and_replaced(self):
    def run(config, folder, deadline, judged):
      del folder, deadline, judged
      return {
        'metrics': {'test_perplexity': 9.0 + config.model.hidden_size},
        'config': settings.described(config),
        'wall_seconds': 60.0,
        'environment': {'commit': 'c', 'device': 'cpu', 'cores': 1},
        'commits': ['c'],
      }

    size = tables.load('toy').get_config('row=lm').model.hidden_size
    remark = (
      'measured with settings that have since changed '
      f'(model.hidden_size was {size}, is {size + 1})'
    )
    with mock.patch.object(rows, 'run', run):
      first = self.reproduce('lm', seeds=2)['rows']['lm']
      again = self.reproduce('lm')['rows']['lm']  # Of fewer seeds.
      self.assertEqual(again, first)
      path = pathlib.Path('configs/toy.py')
      path.write_text(
        path.read_text().replace(
          'return config', 'config.model.hidden_size += 1\n  return config'
        )
      )
      self.reproduce('vae_a_1')
      self.assertIn(remark, self.results())
      row = self.reproduce('lm')['rows']['lm']
    self.assertEqual(row['ours']['test_perplexity']['seeds'], 1)
    self.assertNotIn('measured with settings', self.results())

  @pytest.mark.slow
  def test_rows_of_other_calls_are_kept(self):
    first = self.reproduce('vae_a_2')
    both = self.reproduce('lm')
    gain = both['rows']['vae_a_2']['ours'].pop('test_gain')
    self.assertEqual(both['rows']['vae_a_2'], first['rows']['vae_a_2'])
    nats = []
    for row, figure in (('lm', 'nll_per_sentence'), ('vae_a_2', 'iwae_nll')):
      folder = f'runs/toy/{row}/seed_0'
      with np.load(f'{folder}/nats_test.npz') as kept:
        nats.append(kept['nll'])
      results = json.loads(pathlib.Path(folder, 'results.json').read_text())
      np.testing.assert_allclose(nats[-1].mean(), results['test'][figure])
    self.assertLen(nats[0], 40)
    difference = nats[0] - nats[1]
    np.testing.assert_allclose(gain['mean'], difference.mean(), atol=1e-12)
    np.testing.assert_allclose(
      gain['standard_error'], difference.std(ddof=1) / 40**0.5
    )
    self.assertIsNone(both['rows']['lm']['ours']['test_perplexity']['std'])
    self.assertIn('12.5 / ', self.results())

  @pytest.mark.slow
  def test_a_row_that_diverges_does_not_keep_others_from_their_turn(self):
    table = (
      TOY.read_text()
      .replace("if arg.row == 'vae_a_2':", "if arg.row == 'lm':")
      .replace(
        'config.train.pretrain_steps = 6',
        "config.optimizer.name = 'sgd'\n"
        '    config.optimizer.learning_rate = 1e30\n'
        '    config.optimizer.clip_norm = 0.0',
      )
    )
    pathlib.Path('configs/toy.py').write_text(table)
    jax.config.update('jax_debug_nans', False)
    self.addCleanup(jax.config.update, 'jax_debug_nans', True)
    measured = self.reproduce('lm', 'vae_a_1')['rows']
    self.assertNotIn('ours', measured['lm'])
    self.assertIn('ours', measured['vae_a_1'])
    text = self.results()
    self.assertIn('| diverged with seed 0, which the means leave out |', text)
    self.assertIn('Not measured yet: `vae_a_2`.', text)

  def test_seeds_that_diverge_are_named_and_left_out(self):
    finished = [
      {
        'metrics': {'test_kl': kl, f'test_{commits[0]}': 1.0},
        'config': settings.described(tables.load('toy').get_config('row=lm')),
        'wall_seconds': 60.0,
        'environment': {'commit': 'c', 'device': 'cpu', 'cores': 1},
        'commits': commits,
      }
      for kl, commits in ((2.0, ['c', 'd']), (4.0, ['d', 'e']))
    ]
    path = pathlib.Path('configs/toy.py')
    plot = "\nPLOT = 'minutes', 'test_kl'\n"
    path.write_text(path.read_text() + plot)
    # The note and the curve of earlier figures do not stay.
    old = {'note': 'An older recipe.', 'curve': [[1.0, 2.0]]}
    (TABLES / 'toy.json').write_text(json.dumps({'rows': {'lm': old}}))
    folders = []

    def run(config, folder, deadline, judged):
      del deadline, judged
      folders.append(folder)
      if config.seed == 1:
        raise FloatingPointError('The loss is nan.')
      if config.seed == 3:  # Out of time.
        return None
      return finished[config.seed // 2]

    curve_of = mock.Mock(return_value=[])
    with (
      mock.patch.object(rows, 'run', run),
      mock.patch.object(records, 'curve', curve_of),
    ):
      row = self.reproduce('lm', seeds=5)['rows']['lm']
    self.assertLen(folders, 4)
    self.assertEqual(row['ours']['test_kl']['mean'], 3.0)
    self.assertEqual(row['ours']['test_kl']['seeds'], 2)
    self.assertEqual(list(row['ours']), ['test_kl'])  # What both have.
    self.assertEqual(row['diverged_seeds'], [1])
    self.assertEqual(row['commits'], ['c', 'd', 'e'])
    self.assertEmpty(old.keys() & row.keys())
    self.assertIn('--seeds=3 ', row['command'])
    # Of the last run that was finished.
    self.assertEqual(curve_of.call_args.args[0], folders[2])
    remark = 'diverged with seed 1, which the means leave out |'
    self.assertIn(remark, self.results())

  def test_a_folder_of_another_run_is_refused_before_any_row_begins(self):
    config = tables.load('toy').get_config('row=lm')
    config.model.hidden_size += 1
    folder = 'runs/toy/lm/seed_0'
    self.assertIsNone(rows.run(config, folder, deadline=0.0))
    with (
      mock.patch.object(rows, 'run') as run,
      self.assertRaisesRegex(ValueError, f'{folder} holds .*\n.*hidden_size'),
    ):
      self.reproduce('vae_a_1', 'lm')
    run.assert_not_called()

  @parameterized.parameters(
    ('lm', r'runs/toy/lm/seed_0 .*Legal: --rows=lm,vae_a_1\.'),
    ('other/lm', r'runs/other/lm/seed_0 .*--table=other --rows=lm first\.'),
  )
  def test_weights_that_a_row_begins_with_are_trained_first(
    self, source, message
  ):
    path = pathlib.Path('configs/toy.py')
    path.write_text(
      f'{path.read_text()}\nROWS["vae_a_1"]["begins_with"] = {source!r}\n'
    )
    with (
      mock.patch.object(rows, 'run') as run,
      self.assertRaisesRegex(ValueError, message),
    ):
      self.reproduce('vae_a_1')
    run.assert_not_called()

  @pytest.mark.slow
  def test_a_table_may_have_what_its_rows_write_judged(self):
    path = pathlib.Path('configs/toy.py')
    path.write_text(path.read_text() + '\nJUDGED = True\n')
    ours = self.reproduce('vae_a_1')['rows']['vae_a_1']['ours']
    judged = pathlib.Path('runs/toy/vae_a_1/seed_0/judged.json').read_text()
    judged = json.loads(judged)
    for name, figure in (
      ('test_reconstruction_bleu', 'reconstruction_bleu'),
      ('samples_self_bleu', 'self_bleu'),
      ('samples_novelty', 'novelty'),
    ):
      self.assertEqual(ours[name]['mean'], judged[figure])

  def test_no_seed_is_begun_after_the_deadline(self):
    now = [0.0]
    result = {
      'metrics': {'test_perplexity': 9.0},
      'config': settings.described(tables.load('toy').get_config('row=lm')),
      'wall_seconds': 60.0,
      'environment': {'commit': 'c', 'device': 'cpu', 'cores': 1},
      'commits': ['c'],
    }

    def run(*_):  # Its evaluation ends after the deadline.
      now[0] += 60.0
      return result

    with (
      mock.patch.object(reproduce.time, 'time', lambda: now[0]),
      mock.patch.object(rows, 'run', run),
    ):
      row = self.reproduce('lm', seeds=3, budget=50.0)['rows']['lm']
    self.assertEqual(row['ours']['test_perplexity']['seeds'], 1)

  @parameterized.parameters(
    ('toy', ('vae_a_3',), "--rows = 'vae_a_3' is unknown"),
    ('toyy', (), "Did you mean 'toy'"),
  )
  def test_unknown_names_are_refused(self, table, names, message):
    with self.assertRaisesRegex(ValueError, message):
      reproduce.reproduce(table, 'runs', names)

  def test_figures_go_into_the_workdir_without_a_repository(self):
    shutil.rmtree('benchmarks')
    where = reproduce.reproduce('toy', 'runs', ('lm',), budget=1e-9)
    self.assertEqual(where.document, pathlib.Path('runs/RESULTS.md'))
    self.assertTrue(pathlib.Path('runs/tables/toy.json').exists())
    self.assertIn('`tables/`', pathlib.Path('runs/RESULTS.md').read_text())
    self.assertFalse(pathlib.Path('RESULTS.md').exists())


if __name__ == '__main__':
  absltest.main()
