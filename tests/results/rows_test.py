"""A row's runs are recorded, resumed and not repeated."""

import json
import os
import pathlib
import time
from unittest import mock

from absl.testing import absltest
import pytest

from rnnvae_jax.results import rows, settings, tables
from rnnvae_jax.training import preparation, processes
from rnnvae_jax.training import workdir as workdir_lib

pytestmark = pytest.mark.usefixtures('compile_once')

TOY = pathlib.Path(__file__).with_name('toy_table.py')


class RowsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    before = os.getcwd()
    os.chdir(self.root)
    self.addCleanup(os.chdir, before)
    os.mkdir('configs')
    pathlib.Path('configs/toy.py').write_text(TOY.read_text())
    os.mkdir('text')
    for split in ('train', 'valid', 'test'):
      pathlib.Path(f'text/{split}.txt').write_text('a b c .\nb c a d .\n' * 20)

  def test_rows_begin_with_weights_of_their_own_table_or_of_another(self):
    table = tables.load('toy')
    for source, folder in (
      ('lm', 'runs/toy/lm/seed_0'),
      ('other/lm', 'runs/other/lm/seed_0'),
      ('', ''),
    ):
      own = {'published': {}, 'source': 'none', 'begins_with': source}
      changed = table._replace(rows={**table.rows, 'vae_a_1': own})
      configs = rows.configs(changed, 'vae_a_1', 'runs', seeds=2)
      self.assertEqual(
        list(configs), [f'runs/toy/vae_a_1/seed_{seed}' for seed in (0, 1)]
      )
      for config in configs.values():
        self.assertEqual(config.train.init_from, folder)

  def test_the_time_of_a_killed_run_counts(self):
    os.makedirs('runs/a')
    lines = [
      json.dumps({'step': 10 * call, 'time': 100.0 * call, 'train/loss': 1.0})
      for call in range(1, 4)
    ]
    text = '\n'.join([*lines, lines[0][:9]])  # The last is cut.
    pathlib.Path('runs/a/metrics.jsonl').write_text(text)
    config = tables.load('toy').get_config('row=lm')
    start = time.time()
    self.assertIsNone(rows.run(config, 'runs/a', deadline=0.0))
    elapsed = time.time() - start
    spent = json.loads(pathlib.Path('runs/a/reproduced.json').read_text())
    self.assertBetween(spent['wall_seconds'], 300.0, 300.0 + elapsed)

  def test_the_time_of_other_settings_does_not_count(self):
    config = tables.load('toy').get_config('row=lm')
    preparation.prepare(config, 'runs/a')
    line = {'step': 10, 'time': 1.0, 'train/loss': 1.0}
    pathlib.Path('runs/a/metrics.jsonl').write_text(
      f'{json.dumps(line)}\n{json.dumps(line | {"time": 301.0})}\n'
    )
    spent = rows.begin_record(config, 'runs/a')
    self.assertEqual(spent['wall_seconds'], 600.0)
    config.seed = 3
    spent = rows.begin_record(config, 'runs/a')
    self.assertEqual(spent['wall_seconds'], 0.0)

  @pytest.mark.slow
  def test_other_settings_of_the_evaluation_repeat_it(self):
    config = tables.load('toy').get_config('row=vae_a_1')
    first = rows.run(config.copy_and_resolve_references(), 'runs/a')
    again = config.copy_and_resolve_references()
    again.evaluate.iw_samples += 3
    second = rows.run(again, 'runs/a')
    name = 'test_iwae_samples'
    self.assertEqual(second['metrics'][name], first['metrics'][name] + 3)
    before = pathlib.Path('runs/a/reproduced.json').read_text()
    config.model.latent_size += 1
    with self.assertRaisesRegex(ValueError, 'model.latent_size'):
      rows.run(config, 'runs/a')
    # What the folder's own config has measured is not lost.
    after = pathlib.Path('runs/a/reproduced.json').read_text()
    self.assertEqual(after, before)

  def test_the_record_is_written_before_training(self):
    config = tables.load('toy').get_config('row=lm')
    described = rows.environment.describe()
    seen = []

    def train(*_):  # And is killed.
      record = pathlib.Path('runs/a/reproduced.json').read_text()
      seen.append(json.loads(record))
      raise OSError

    for commit in ('c', 'c', 'd'):
      with (
        mock.patch.object(rows.environment, 'describe') as describe,
        mock.patch.object(rows.loop, 'train', train),
        self.assertRaises(OSError),
      ):
        describe.return_value = described | {'commit': commit}
        rows.run(config, 'runs/a')
    self.assertEqual([x['commits'] for x in seen], [['c'], ['c'], ['c', 'd']])
    self.assertEqual(seen[2]['environment']['commit'], 'c')

  def test_a_record_without_figures_is_not_finished(self):
    config = tables.load('toy').get_config('row=lm')
    described = settings.described(config)
    os.makedirs('runs/a')
    path = pathlib.Path('runs/a/reproduced.json')
    path.write_text(json.dumps({'config': described}))
    with (
      mock.patch.object(rows.loop, 'train'),
      mock.patch.object(rows, '_evaluate') as evaluate,
    ):
      evaluate.return_value = {'test_perplexity': 9.0}
      done = rows.run(config, 'runs/a')
    self.assertEqual(done['metrics'], {'test_perplexity': 9.0})

  def test_figures_stay_until_they_are_replaced(self):
    config = tables.load('toy').get_config('row=lm')
    path = pathlib.Path('runs/a/reproduced.json')
    with (
      mock.patch.object(rows.loop, 'train'),
      mock.patch.object(rows, '_evaluate') as evaluate,
    ):
      evaluate.return_value = {'test_perplexity': 9.0}
      first = rows.run(config, 'runs/a')
      self.assertEqual(rows.run(config, 'runs/a'), first)
      evaluate.assert_called_once()
      config.evaluate.batch_size += 1
      evaluate.side_effect = OSError
      with self.assertRaises(OSError):
        rows.run(config, 'runs/a')
      kept = json.loads(path.read_text())
      self.assertEqual(kept['metrics'], first['metrics'])
      self.assertEqual(kept['config'], first['config'])
      evaluate.side_effect = None
      evaluate.return_value = {'test_perplexity': 8.0}
      second = rows.run(config, 'runs/a')
    self.assertEqual(second['metrics'], {'test_perplexity': 8.0})
    self.assertEqual(json.loads(path.read_text()), second)

  def test_text_is_judged_where_the_table_asks_for_it(self):
    config = tables.load('toy').get_config('row=vae_a_1')
    judged = {'self_bleu': 7.0, 'reconstruction_bleu': 5.0, 'samples': 15}
    figures = {'samples_self_bleu': 7.0, 'test_reconstruction_bleu': 5.0}
    corpus = preparation.build_corpus(config)
    os.makedirs(
      os.path.join(workdir_lib.checkpoint_dir('runs/a'), 'latest', '3')
    )
    with (
      mock.patch.object(rows.loop, 'train', return_value=corpus),
      mock.patch.object(
        rows, '_evaluate', lambda *_: evaluated() and {'test_kl': 9.0}
      ),
      mock.patch.object(rows.judge, 'judge', return_value=judged) as judge,
    ):
      evaluated = mock.Mock()
      plain = rows.run(config, 'runs/a')
      self.assertEqual(plain['metrics'], {'test_kl': 9.0})
      for change, evaluations, times in (
        ({}, 1, 1),
        ({}, 1, 1),  # All is done.
        ({'judge.num_samples': 16}, 1, 2),
        ({'generate.input': 'lines.txt'}, 1, 2),
        ({'evaluate.batch_size': 7}, 2, 3),
      ):
        config.update_from_flattened_dict(change)
        done = rows.run(config, 'runs/a', judged=True)
        self.assertEqual(done['metrics'], {'test_kl': 9.0} | figures)
        self.assertEqual(evaluated.call_count, evaluations)
        self.assertEqual(judge.call_count, times)
      # Text that was judged with other settings is called outdated.
      toy = tables.load('toy')
      where = tables.store(toy, 'runs')
      figures = tables.read(toy, where)
      tables.add(figures, toy, 'vae_a_1', [done], [], [])
      tables.write(figures, where)
      row = tables.read(toy, where)['rows']['vae_a_1']
      self.assertIn('how its text was judged', row['outdated'])
      # Figures that are not judged do not keep how earlier ones were.
      unjudged = {k: v for k, v in done.items() if k != 'judged_by'}
      tables.add(figures, toy, 'vae_a_1', [unjudged], [], [])
      row = figures['rows']['vae_a_1']
      self.assertNotIn('judged_by', row)

  def test_a_run_without_checkpoints_is_not_retrained_to_be_judged(self):
    config = tables.load('toy').get_config('row=vae_a_1')
    with (
      mock.patch.object(rows.loop, 'train') as train,
      mock.patch.object(rows, '_evaluate', return_value={'test_kl': 9.0}),
    ):
      plain = rows.run(config, 'runs/a')
      self.assertEqual(rows.run(config, 'runs/a', judged=True), plain)
      train.assert_called_once()

  def test_a_critic_that_diverges_leaves_the_other_figures(self):
    config = tables.load('toy').get_config('row=vae_a_1')
    os.makedirs('runs/a')
    pathlib.Path('runs/a/judged.json').write_text('{"self_bleu": 7.0}')
    with mock.patch.object(rows.judge, 'judge', side_effect=FloatingPointError):
      got = rows._judge(config, 'runs/a', preparation.build_corpus(config))
    self.assertEqual(got, {'samples_self_bleu': 7.0})

  def test_a_row_names_all_devices_that_it_was_made_on(self):
    config = tables.load('toy').get_config('row=lm')
    described = rows.environment.describe()
    for device, cores in (('cpu', 1), ('cpu', 1), ('gpu', 16)):
      with mock.patch.object(rows.environment, 'describe') as describe:
        describe.return_value = described | {'device': device, 'cores': cores}
        done = rows.begin_record(config, 'runs/a')
    done |= {'metrics': {}, 'config': settings.described(config)}
    toy = tables.load('toy')
    figures = tables.read(toy, tables.store(toy, 'runs'))
    tables.add(figures, toy, 'lm', [done], [], [])
    device = figures['rows']['lm']['device']
    self.assertEqual(device, 'cpu, 1 core; gpu, 16 cores')

  def test_the_test_split_has_all_samples_and_validation_a_few(self):
    config = tables.load('toy').get_config('row=vae_a_1')
    config.evaluate.iw_samples = 50
    corpus, seen = preparation.build_corpus(config), []

    def evaluate(config, *_):
      split = config.evaluate.split
      seen.append((split, config.evaluate.iw_samples))
      figures = {'kl': 2.5, 'tokens': 8, 'estimator': 'elbo'}
      figures['labels'] = {'topic': {'sport': {'kl': 1.0}}}
      return {split: figures | {'bound': {'25': 4.0, '50': 3.5}}}

    with mock.patch.object(rows.evaluate, 'evaluate', evaluate):
      metrics = rows._evaluate(config, 'runs/a', corpus)
    self.assertEqual(seen, [('valid', 20), ('test', 50)])
    figures = {'kl': 2.5, 'bound_25': 4.0, 'bound_50': 3.5}
    want = {
      f'{split}_{name}': value
      for split in ('valid', 'test')
      for name, value in figures.items()
    }
    self.assertEqual(metrics, want)

  def test_finished_runs_need_no_checkpoints(self):
    config = tables.load('toy').get_config('row=lm')
    folders = 'runs/a', 'runs/b'
    for folder in folders:
      os.makedirs(folder)
      pathlib.Path(folder, 'reproduced.json').write_text('{"metrics": {}}')
    with (
      mock.patch.object(rows.together, 'BATCHING', ('cpu',)),
      mock.patch.object(rows.together, 'train') as train,
    ):
      rows.train_together(dict.fromkeys(folders, config), float('inf'))
    train.assert_not_called()

  def test_each_row_is_given_once_all_its_runs_have_ended(self):
    error = FloatingPointError('The loss is nan.')
    by_row = {'a': {'a0': 1, 'a1': 2}, 'b': {'b0': 3, 'b1': 4}, 'c': {'c0': 5}}
    # b0 is finished, a1 has begun on several cores, b1 is done in a process.
    ends = [
      ('b1', processes.Ended(1, {'of': 'b1'}, '')),
      ('c0', processes.Ended(2, None, 'exit status 1.')),
      ('a0', processes.Ended(0, error, '')),
    ]
    given = []
    with (
      mock.patch.object(
        rows, '_is_done', lambda config, folder, judged: folder == 'b0'
      ),
      mock.patch.object(rows.parallel, 'run', return_value=iter(ends)),
      mock.patch.object(rows.parallel, 'choose') as choose,
      mock.patch.object(rows, 'run', lambda config, folder, *_: {'of': folder}),
      mock.patch.object(rows, 'train_together'),
      self.assertRaisesRegex(ChildProcessError, '1 of the runs .*c0/log'),
    ):
      choose.return_value = [(1, 'a0'), (4, 'b1'), (5, 'c0')]
      for row in rows.run_all(by_row, float('inf')):
        given.append(row)
    self.assertEqual(
      given,
      [
        ('b', [{'of': 'b0'}, {'of': 'b1'}]),
        ('c', [None]),
        ('a', [error, {'of': 'a1'}]),
      ],
    )
    (unfinished,) = choose.call_args.args
    folders = [folder for _, folder in unfinished]
    self.assertEqual(folders, ['a0', 'a1', 'b1', 'c0'])


if __name__ == '__main__':
  absltest.main()
