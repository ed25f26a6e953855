"""Tables: rows are trained once, and rendered as they were measured."""

import collections
import json
import os
import pathlib
import time
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax import reproduce
from rnnvae_jax.training import runs

pytestmark = pytest.mark.usefixtures('compile_once')

TABLE = """
from rnnvae_jax import config_lib

PROTOCOL = 'A toy grammar.'
ROWS = {
  'lm': {'published': {'test_perplexity': 12.5}, 'source': 'nowhere'},
  'vae_a_1': {
    'published': {'test_kl': 1.5, 'valid_elbo': 9}, 'source': 'nowhere'
  },
  'vae_a_2': {'published': {}, 'source': 'none'},
}
PLOT = 'test_kl', 'test_reconstruction'

def get_config(tail=''):
  arg = config_lib.parse_arg(tail, row='lm', tiny=False)
  config_lib.check_row(arg.row, ROWS)
  config = config_lib.default()
  config.model.kind = 'language_model' if arg.row == 'lm' else 'sentence_vae'
  if arg.row == 'vae_a_2':
    config.train.pretrain_steps = 6
  arg.tiny, arg.corpus = True, 'text'
  config_lib.apply(config, arg)
  config.train.num_buckets = config.evaluate.num_buckets = 1
  return config
"""


class FiguresTest(absltest.TestCase):
  def test_infinite_figures_are_null_in_a_file(self):
    spread = reproduce._spread([float('inf'), 3.0])
    self.assertEqual(spread, {'mean': None, 'std': None, 'seeds': 2})
    self.assertEqual(spread, reproduce._spread([None, 3.0]))
    spread = reproduce._spread([2.0, 4.0])
    self.assertEqual(spread, {'mean': 3.0, 'std': 2.0**0.5, 'seeds': 2})

  def test_a_curve_is_over_the_time_of_training_alone(self):
    # Ten steps a second; a validation of 30 s, and a stop of an hour.
    times = {10: 1.0, 20: 2.0, 30: 33.0, 40: 34.0, 50: 3_635.0, 60: 3_636.0}
    lines = [
      {'step': step, 'time': time, 'train/loss': 1.0}
      for step, time in times.items()
    ]
    lines.insert(2, {'step': 20, 'time': 32.0, 'valid/perplexity': 9.0})
    lines.append({'step': 60, 'time': 3_640.0, 'valid/perplexity': 8.0})
    folder = self.create_tempdir()
    folder.create_file('metrics.jsonl', '\n'.join(map(json.dumps, lines)))
    defined = {'PLOT': ('minutes', 'valid_perplexity')}
    curve = reproduce._curve(folder.full_path, defined)
    self.assertEqual(curve, [(0.03, 9.0), (0.1, 8.0)])
    lines.append({'step': 60, 'time': 3_640.0, 'valid/perplexity': 'inf'})
    folder.create_file('metrics.jsonl', '\n'.join(map(json.dumps, lines)))
    self.assertEqual(reproduce._curve(folder.full_path, defined), curve)
    # A population does not write its calls.
    lines.append({'step': 70, 'time': 3_650.0, 'valid/perplexity': 8.0})
    folder.create_file('metrics.jsonl', '\n'.join(map(json.dumps, lines)))
    self.assertEqual(reproduce._curve(folder.full_path, defined), [])
    self.assertEqual(reproduce._curve(folder.full_path, {}), [])
    folder = self.create_tempdir().full_path  # That of a count model.
    self.assertEqual(reproduce._curve(folder, defined), [])


class ReproduceTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    before = os.getcwd()
    os.chdir(self.root)
    self.addCleanup(os.chdir, before)
    os.mkdir('configs')
    pathlib.Path('configs/toy.py').write_text(TABLE)
    os.mkdir('text')
    for split in ('train', 'valid', 'test'):
      pathlib.Path(f'text/{split}.txt').write_text('a b c .\nb c a d .\n' * 20)

  def reproduce(self, *rows, **more):
    reproduce.reproduce('toy', 'runs', rows, **more)
    path = reproduce.TABLES / 'toy.json'
    return json.loads(path.read_text()) if path.exists() else None

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
    text = reproduce.RESULTS.read_text()
    kl = row['ours']['test_kl']
    self.assertIn(f'1.5 / {kl["mean"]:.2f} ± {kl["std"]:.2f}', text)
    self.assertIn('| `lm` | 12.5 / - |', text)  # Published, not measured.
    self.assertTrue((reproduce.TABLES / 'toy.png').exists())

  @pytest.mark.slow
  def test_seeds_may_train_as_a_population(self):
    apart = self.reproduce('vae_a_2', seeds=2)['rows']['vae_a_2']
    steps = self.steps_of('vae_a_2')
    os.rename('runs', 'apart')
    with mock.patch.object(reproduce, '_BATCHING', ('cpu',)):
      together = self.reproduce('vae_a_2', seeds=2)['rows']['vae_a_2']
    self.assert_same_figures(together, apart)
    self.assertEqual(together['command'], apart['command'])
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
      wraps=reproduce.train.record, side_effect=[mock.DEFAULT] * 2 + [OSError]
    )
    with (
      mock.patch.object(reproduce, '_BATCHING', ('cpu',)),
      mock.patch.object(reproduce.train, 'record', record),
      self.assertRaises(OSError),
    ):
      self.reproduce('vae_a_2', seeds=2)
    for seed in (0, 1):
      path = pathlib.Path(f'runs/toy/vae_a_2/seed_{seed}/reproduced.json')
      self.assertGreater(json.loads(path.read_text())['wall_seconds'], 0)
    with mock.patch.object(reproduce, '_BATCHING', ('cpu',)):
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

  def test_what_is_done_is_not_done_again_and_what_was_stopped_goes_on(self):
    # No time at all: nothing is begun.
    table = self.reproduce('vae_a_2', budget=1e-9)
    self.assertFalse(any('ours' in row for row in table['rows'].values()))
    self.assertIn(
      'Not measured yet: `lm`, `vae_a_1`, `vae_a_2`.',
      reproduce.RESULTS.read_text(),
    )
    # A deadline in the past stops the training that has begun.
    defined = reproduce.load('toy')
    config = defined['get_config']('row=vae_a_2')
    folder = 'runs/toy/vae_a_2/seed_0'
    self.assertIsNone(reproduce.run(config, folder, deadline=0.0))
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

  def test_the_time_of_a_killed_run_counts(self):
    os.makedirs('runs/a')
    lines = [
      json.dumps({'step': 10 * call, 'time': 100.0 * call, 'train/loss': 1.0})
      for call in range(1, 4)
    ]
    text = '\n'.join([*lines, lines[0][:9]])  # The last is cut.
    pathlib.Path('runs/a/metrics.jsonl').write_text(text)
    config = reproduce.load('toy')['get_config']('row=lm')
    start = time.time()
    self.assertIsNone(reproduce.run(config, 'runs/a', deadline=0.0))
    elapsed = time.time() - start
    spent = json.loads(pathlib.Path('runs/a/reproduced.json').read_text())
    self.assertBetween(spent['wall_seconds'], 300.0, 300.0 + elapsed)

  def test_the_time_of_settings_that_came_to_nothing_does_not_count(self):
    config = reproduce.load('toy')['get_config']('row=lm')
    runs.prepare(config, 'runs/a')
    line = {'step': 10, 'time': 1.0, 'train/loss': 1.0}
    pathlib.Path('runs/a/metrics.jsonl').write_text(
      f'{json.dumps(line)}\n{json.dumps(line | {"time": 301.0})}\n'
    )
    spent = reproduce._begin_record(config, 'runs/a')
    self.assertEqual(spent['wall_seconds'], 600.0)
    config.seed = 3
    spent = reproduce._begin_record(config, 'runs/a')
    self.assertEqual(spent['wall_seconds'], 0.0)

  def test_figures_of_settings_that_are_gone_are_called_so_and_make_way(self):
    settings = lambda: reproduce._described(
      reproduce.load('toy')['get_config']('row=lm')
    )

    def run(config, folder, deadline, judged):
      del folder, deadline, judged
      return {
        'metrics': {'test_perplexity': 9.0 + config.model.hidden_size},
        'config': settings(),
        'wall_seconds': 60.0,
        'environment': {'commit': 'c', 'device': 'cpu', 'cores': 1},
        'commits': ['c'],
      }

    gone = 'with settings that its config has no more'
    with mock.patch.object(reproduce, 'run', run):
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
      self.assertIn(f'`lm`: measured {gone}', reproduce.RESULTS.read_text())
      row = self.reproduce('lm')['rows']['lm']
    self.assertEqual(row['ours']['test_perplexity']['seeds'], 1)
    self.assertNotIn(f'`lm`: measured {gone}', reproduce.RESULTS.read_text())

  @pytest.mark.slow
  def test_rows_of_other_calls_are_kept(self):
    first = self.reproduce('vae_a_2')
    both = self.reproduce('lm')
    self.assertEqual(both['rows']['vae_a_2'], first['rows']['vae_a_2'])
    self.assertIsNone(both['rows']['lm']['ours']['test_perplexity']['std'])
    self.assertIn('12.5 / ', reproduce.RESULTS.read_text())

  @pytest.mark.slow
  def test_other_settings_of_the_evaluation_evaluate_again(self):
    config = reproduce.load('toy')['get_config']('row=vae_a_1')
    first = reproduce.run(config.copy_and_resolve_references(), 'runs/a')
    again = config.copy_and_resolve_references()
    again.evaluate.iw_samples += 3
    second = reproduce.run(again, 'runs/a')
    name = 'test_iwae_samples'
    self.assertEqual(second['metrics'][name], first['metrics'][name] + 3)
    before = pathlib.Path('runs/a/reproduced.json').read_text()
    config.model.latent_size += 1
    with self.assertRaisesRegex(ValueError, 'model.latent_size'):
      reproduce.run(config, 'runs/a')
    # What the folder's own config has measured is not lost.
    after = pathlib.Path('runs/a/reproduced.json').read_text()
    self.assertEqual(after, before)

  @pytest.mark.slow
  def test_a_row_that_diverges_does_not_keep_others_from_their_turn(self):
    table = TABLE.replace(
      "if arg.row == 'vae_a_2':", "if arg.row == 'lm':"
    ).replace(
      'config.train.pretrain_steps = 6',
      "config.optimizer.name = 'sgd'\n"
      '    config.optimizer.learning_rate = 1e30\n'
      '    config.optimizer.clip_norm = 0.0',
    )
    pathlib.Path('configs/toy.py').write_text(table)
    jax.config.update('jax_debug_nans', False)
    self.addCleanup(jax.config.update, 'jax_debug_nans', True)
    rows = self.reproduce('lm', 'vae_a_1')['rows']
    self.assertNotIn('ours', rows['lm'])
    self.assertIn('ours', rows['vae_a_1'])
    text = reproduce.RESULTS.read_text()
    self.assertIn('`lm`: diverged with seeds [0]', text)
    self.assertIn('Not measured yet: `vae_a_2`.', text)

  def test_seeds_that_diverge_are_named_and_left_out(self):
    finished = [
      {
        'metrics': {'test_kl': kl, f'test_{commits[0]}': 1.0},
        'config': reproduce._described(reproduce.load('toy')['get_config']()),
        'wall_seconds': 60.0,
        'environment': {'commit': 'c', 'device': 'cpu', 'cores': 1},
        'commits': commits,
      }
      for kl, commits in ((2.0, ['c', 'd']), (4.0, ['d', 'e']))
    ]
    # What was said of figures before does not stay.
    reproduce.TABLES.mkdir(parents=True, exist_ok=True)
    old = {'note': 'An older recipe.', 'curve': [[1.0, 2.0]]}
    (reproduce.TABLES / 'toy.json').write_text(
      json.dumps({'rows': {'lm': old}})
    )
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
      mock.patch.object(reproduce, 'run', run),
      mock.patch.object(reproduce, '_curve', curve_of),
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
    text = reproduce.RESULTS.read_text()
    self.assertIn('`lm`: diverged with seeds [1]', text)

  def test_a_folder_of_another_run_is_refused_before_any_row_begins(self):
    config = reproduce.load('toy')['get_config']('row=lm')
    config.model.hidden_size += 1
    folder = 'runs/toy/lm/seed_0'
    self.assertIsNone(reproduce.run(config, folder, deadline=0.0))
    with (
      mock.patch.object(reproduce, 'run') as run,
      self.assertRaisesRegex(ValueError, f'{folder} holds .*\n.*hidden_size'),
    ):
      self.reproduce('vae_a_1', 'lm')
    run.assert_not_called()

  def test_what_a_run_is_begun_with_is_kept_before_it_trains(self):
    config = reproduce.load('toy')['get_config']('row=lm')
    described = reproduce.environment.describe()
    seen = []

    def train(*_):  # And is killed.
      record = pathlib.Path('runs/a/reproduced.json').read_text()
      seen.append(json.loads(record))
      raise OSError

    for commit in ('c', 'c', 'd'):
      with (
        mock.patch.object(reproduce.environment, 'describe') as describe,
        mock.patch.object(reproduce.train, 'train', train),
        self.assertRaises(OSError),
      ):
        describe.return_value = described | {'commit': commit}
        reproduce.run(config, 'runs/a')
    self.assertEqual([x['commits'] for x in seen], [['c'], ['c'], ['c', 'd']])
    self.assertEqual(seen[2]['environment']['commit'], 'c')

  def test_a_record_without_figures_is_not_done(self):
    config = reproduce.load('toy')['get_config']('row=lm')
    described = reproduce._described(config)
    os.makedirs('runs/a')
    path = pathlib.Path('runs/a/reproduced.json')
    path.write_text(json.dumps({'config': described}))
    with (
      mock.patch.object(reproduce.train, 'train'),
      mock.patch.object(reproduce, '_evaluate') as evaluate,
    ):
      evaluate.return_value = {'test_perplexity': 9.0}
      done = reproduce.run(config, 'runs/a')
    self.assertEqual(done['metrics'], {'test_perplexity': 9.0})

  def test_figures_stay_until_there_are_others(self):
    config = reproduce.load('toy')['get_config']('row=lm')
    path = pathlib.Path('runs/a/reproduced.json')
    with (
      mock.patch.object(reproduce.train, 'train'),
      mock.patch.object(reproduce, '_evaluate') as evaluate,
    ):
      evaluate.return_value = {'test_perplexity': 9.0}
      first = reproduce.run(config, 'runs/a')
      self.assertEqual(reproduce.run(config, 'runs/a'), first)
      evaluate.assert_called_once()
      config.evaluate.batch_size += 1
      evaluate.side_effect = OSError
      with self.assertRaises(OSError):
        reproduce.run(config, 'runs/a')
      kept = json.loads(path.read_text())
      self.assertEqual(kept['metrics'], first['metrics'])
      self.assertEqual(kept['config'], first['config'])
      evaluate.side_effect = None
      evaluate.return_value = {'test_perplexity': 8.0}
      second = reproduce.run(config, 'runs/a')
    self.assertEqual(second['metrics'], {'test_perplexity': 8.0})
    self.assertEqual(json.loads(path.read_text()), second)

  def test_what_a_row_writes_is_judged_where_that_is_asked_for(self):
    config = reproduce.load('toy')['get_config']('row=vae_a_1')
    judged = {'self_bleu': 7.0, 'reconstruction_bleu': 5.0, 'samples': 15}
    figures = {'samples_self_bleu': 7.0, 'test_reconstruction_bleu': 5.0}
    corpus = runs.build_corpus(config)
    os.makedirs(runs.checkpoint_dir('runs/a'))
    with (
      mock.patch.object(reproduce.train, 'train', return_value=corpus),
      mock.patch.object(
        reproduce, '_evaluate', lambda *_: evaluated() and {'test_kl': 9.0}
      ),
      mock.patch.object(reproduce.judge, 'judge', return_value=judged) as judge,
    ):
      evaluated = mock.Mock()
      plain = reproduce.run(config, 'runs/a')
      self.assertEqual(plain['metrics'], {'test_kl': 9.0})
      for change, evaluations, times in (
        ({}, 1, 1),
        ({}, 1, 1),  # All is done.
        ({'judge.num_samples': 16}, 1, 2),
        ({'generate.input': 'lines.txt'}, 1, 2),
        ({'evaluate.batch_size': 7}, 2, 3),
      ):
        config.update_from_flattened_dict(change)
        done = reproduce.run(config, 'runs/a', judged=True)
        self.assertEqual(done['metrics'], {'test_kl': 9.0} | figures)
        self.assertEqual(evaluated.call_count, evaluations)
        self.assertEqual(judge.call_count, times)
      # That of other settings is called so.
      defined = reproduce.load('toy')
      reproduce._add('toy', defined, 'vae_a_1', [done], [], [])
      self.assertTrue(
        reproduce._kept('toy', defined)['rows']['vae_a_1']['outdated']
      )
      # Figures that are not judged do not keep how others were.
      unjudged = {k: v for k, v in done.items() if k != 'judged_by'}
      reproduce._add('toy', defined, 'vae_a_1', [unjudged], [], [])
      row = reproduce._kept('toy', defined)['rows']['vae_a_1']
      self.assertNotIn('judged_by', row)

  def test_what_is_gone_is_not_trained_again_to_be_judged(self):
    config = reproduce.load('toy')['get_config']('row=vae_a_1')
    with (
      mock.patch.object(reproduce.train, 'train') as train,
      mock.patch.object(reproduce, '_evaluate', return_value={'test_kl': 9.0}),
    ):
      plain = reproduce.run(config, 'runs/a')
      self.assertEqual(reproduce.run(config, 'runs/a', judged=True), plain)
      train.assert_called_once()

  def test_a_critic_that_diverges_leaves_the_other_figures(self):
    config = reproduce.load('toy')['get_config']('row=vae_a_1')
    os.makedirs('runs/a')
    pathlib.Path('runs/a/judged.json').write_text('{"self_bleu": 7.0}')
    with mock.patch.object(
      reproduce.judge, 'judge', side_effect=FloatingPointError
    ):
      got = reproduce._judge(config, 'runs/a', runs.build_corpus(config))
    self.assertEqual(got, {'samples_self_bleu': 7.0})

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

  def test_a_row_names_all_places_that_it_was_made_in(self):
    config = reproduce.load('toy')['get_config']('row=lm')
    described = reproduce.environment.describe()
    for device, cores in (('cpu', 1), ('cpu', 1), ('gpu', 16)):
      with mock.patch.object(reproduce.environment, 'describe') as describe:
        describe.return_value = described | {'device': device, 'cores': cores}
        done = reproduce._begin_record(config, 'runs/a')
    done |= {'metrics': {}, 'config': reproduce._described(config)}
    reproduce._add('toy', reproduce.load('toy'), 'lm', [done], [], [])
    row = json.loads((reproduce.TABLES / 'toy.json').read_text())['rows']['lm']
    self.assertEqual(row['device'], 'cpu, 1 core; gpu, 16 cores')

  def test_the_test_split_has_all_samples_and_validation_a_few(self):
    config = reproduce.load('toy')['get_config']('row=vae_a_1')
    config.evaluate.iw_samples = 50
    corpus, seen = runs.build_corpus(config), []

    def evaluate(config, *_):
      split = config.evaluate.split
      seen.append((split, config.evaluate.iw_samples))
      return {split: {'kl': 2.5, 'tokens': 8, 'estimator': 'elbo'}}

    with mock.patch.object(reproduce.evaluate, 'evaluate', evaluate):
      metrics = reproduce._evaluate(config, 'runs/a', corpus)
    self.assertEqual(seen, [('valid', 20), ('test', 50)])
    self.assertEqual(metrics, {'valid_kl': 2.5, 'test_kl': 2.5})

  def test_no_seed_is_begun_after_the_deadline(self):
    now = [0.0]
    result = {
      'metrics': {'test_perplexity': 9.0},
      'config': reproduce._described(
        reproduce.load('toy')['get_config']('row=lm')
      ),
      'wall_seconds': 60.0,
      'environment': {'commit': 'c', 'device': 'cpu', 'cores': 1},
      'commits': ['c'],
    }

    def run(*_):  # Its evaluation ends after the deadline.
      now[0] += 60.0
      return result

    with (
      mock.patch.object(reproduce.time, 'time', lambda: now[0]),
      mock.patch.object(reproduce, 'run', run),
    ):
      row = self.reproduce('lm', seeds=3, budget=50.0)['rows']['lm']
    self.assertEqual(row['ours']['test_perplexity']['seeds'], 1)

  def test_what_is_done_is_done_without_its_checkpoints_too(self):
    config = reproduce.load('toy')['get_config']('row=lm')
    folders = 'runs/a', 'runs/b'
    for folder in folders:
      os.makedirs(folder)
      pathlib.Path(folder, 'reproduced.json').write_text('{"metrics": {}}')
    with (
      mock.patch.object(reproduce, '_BATCHING', ('cpu',)),
      mock.patch.object(reproduce.population, 'train') as train,
    ):
      reproduce._train_together(dict.fromkeys(folders, config), float('inf'))
    train.assert_not_called()

  @parameterized.parameters(
    ('toy', ('vae_a_3',), "--rows = 'vae_a_3' is unknown"),
    ('toi', (), "Did you mean 'toy'"),
  )
  def test_names_what_it_does_not_know(self, table, rows, message):
    with self.assertRaisesRegex(ValueError, message):
      reproduce.reproduce(table, 'runs', rows)

  def test_a_config_without_rows_is_no_table(self):
    pathlib.Path('configs/plain.py').write_text('def get_config(tail): pass')
    with self.assertRaisesRegex(ValueError, "'plain' is unknown. Known: toy"):
      reproduce.reproduce('plain', 'runs')

  def test_says_where_it_wants_to_be_run(self):
    os.chdir(self.create_tempdir().full_path)
    with self.assertRaisesRegex(ValueError, 'in the project folder'):
      reproduce.reproduce('toy', 'runs')


if __name__ == '__main__':
  absltest.main()
