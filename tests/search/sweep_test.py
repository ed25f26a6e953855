"""Searches: the same trials however they are interrupted or shared."""

import json
import os
import pathlib
import runpy
import threading
import time
from unittest import mock

from absl.testing import absltest, parameterized
import pytest

from rnnvae_jax.config import argument, build, space
from rnnvae_jax.search import plan, plots, sweep, trials
from rnnvae_jax.search import study as study_lib
from rnnvae_jax.training import workdir as workdir_lib

pytest.importorskip('optuna', reason='the extra `sweep` is not installed')


def make_sweep(**settings):
  """A search of 27 updates a trial, which no one needs to train."""
  config = build.default('sentence_vae')
  argument.apply(config, argument.parse('tiny', tiny=False))
  config.train.num_steps, config.train.eval_every = 27, 3
  first = {
    'config': config,
    'space': {
      'optimizer.learning_rate': space.log_uniform(1e-4, 1e-1),
      'model.latent_size': space.choices(2, 4, 8),
      'dropout.word': space.uniform(0.0, 0.5),
    },
    'figure': 'elbo',
    'at_least': {'kl': 1.0},
    'random': 9,
    'grid': ('model.latent_size', 'dropout.word'),
    'tpe': 6,
    'halving': 3,
    'finalists': 2,
    'seeds': 2,
  }
  return space.Sweep(**(first | settings))


class Kill(BaseException):
  """Stands for a kill: nothing catches it."""


class Training:
  """Trains nothing: figures follow from the config and the update.

  Attributes:
    trained: (folder, first update, last update) of each call that has ended.
    kill_after: validations until a kill.
  """

  def __init__(self):
    self.trained, self.kill_after, self.pause = [], float('inf'), 0.0
    self.diverge = lambda config: False
    self.victim = ''  # The name of the one thread that is killed.
    self.killed = threading.Event()

  def __call__(self, config, workdir, deadline=None, until=0):
    with workdir_lib.locked(workdir):
      return self.train(config, workdir, until)

  def train(self, config, workdir, until):
    path = pathlib.Path(workdir, 'metrics.jsonl')
    before = path.read_text().splitlines() if path.exists() else []
    first = step = json.loads(before[-1])['step'] if before else 0
    while step < until:
      if self.diverge(config):
        raise FloatingPointError('the loss is not finite')
      if self.victim in ('', threading.current_thread().name):
        self.kill_after -= 1
        if self.kill_after < 0:
          self.killed.set()
          raise Kill
      elif self.kill_after < float('inf'):
        # However the machine is loaded, the victim gets as far as its kill,
        # before another has done all the work.
        self.killed.wait(0.1)
      time.sleep(self.pause)
      step += config.train.eval_every
      with open(path, 'a') as file:
        file.write(json.dumps({'step': step} | self.figures(config, step)))
        file.write('\n')
    self.trained.append((workdir, first, step))
    return 'corpus' if step == config.train.num_steps else None

  def figures(self, config, step):
    rate = config.optimizer.learning_rate
    kl = config.model.latent_size * (1 - config.dropout.word) / 3
    elbo = 100 + (rate - 0.01) ** 2 * 1e3 + 50 / step + kl
    elbo += config.seed * 0.01 + config.dropout.word
    return {
      'valid/elbo': elbo,
      'valid/kl': kl,
      'valid/reconstruction': elbo - kl,
    }


class SweepTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.training = Training()
    patches = (
      mock.patch.object(trials.loop, 'train', self.training),
      mock.patch.object(trials, '_WAIT', 0.01),
      mock.patch.object(
        trials, 'choose', return_value=trials.Way('in turn', 'a test')
      ),
    )
    for patch in patches:
      self.enterContext(patch)

  def run_sweep(self, workdir, **settings):
    with mock.patch.object(plots, 'write'):
      sweep.run(make_sweep(**settings), 'toy', workdir)

  def found(self, workdir, **settings):
    return study_lib.open_study(make_sweep(**settings), workdir).trials()

  def new(self):
    return self.create_tempdir().full_path

  def assert_same(self, ours, theirs):
    """The same trials, finalists and winner."""
    self.assertEqual(self.found(ours), self.found(theirs))
    read = lambda folder, name: pathlib.Path(folder, name).read_text()
    self.assertEqual(*(read(f, 'finalists.json') for f in (ours, theirs)))
    self.assertEqual(
      *(read(f, 'winner.py').replace(f, '') for f in (ours, theirs))
    )

  def test_three_kills_change_nothing(self):
    undisturbed, killed = self.new(), self.new()
    self.run_sweep(undisturbed)
    wanted = sorted(
      (os.path.relpath(folder, undisturbed), last)
      for folder, _, last in self.training.trained
    )
    for after in 7, 16, 19:
      self.training.kill_after = after
      with self.assertRaises(Kill):
        self.run_sweep(killed)
    self.training.kill_after = float('inf')
    self.training.trained.clear()
    self.run_sweep(killed)
    self.assert_same(killed, undisturbed)
    # Nothing was trained again from the start that had come further.
    self.assertLess(len(self.training.trained), len(wanted))

  @parameterized.parameters(*range(1, 40, 13))
  def test_a_kill_between_two_writes_of_the_journal_changes_nothing(self, n):
    undisturbed, killed = self.new(), self.new()
    settings = {'tpe': 2, 'random': 4, 'seeds': 1}
    self.run_sweep(undisturbed, **settings)
    import optuna

    backend = optuna.storages.journal.JournalFileBackend
    write, left = backend.append_logs, [n]

    def append(self, logs):
      left[0] -= 1
      if left[0] < 0:
        raise Kill
      write(self, logs)

    with (
      mock.patch.object(backend, 'append_logs', append),
      self.assertRaises(Kill),
    ):
      self.run_sweep(killed, **settings)
    # What a kill amid a write leaves.
    with open(os.path.join(killed, study_lib.JOURNAL), 'ab') as file:
      file.write(b'{"op_code":')
    self.run_sweep(killed, **settings)
    self.assertEqual(
      self.found(killed, **settings), self.found(undisturbed, **settings)
    )

  def test_two_processes_share_the_work(self):
    alone, shared = self.new(), self.new()
    self.run_sweep(alone)
    calls = sorted(
      (os.path.relpath(folder, alone), *steps)
      for folder, *steps in self.training.trained
    )
    self.training.trained.clear()
    self.training.pause = 0.002
    with mock.patch.object(plots, 'write'):
      # As processes do, each has a study of its own, and locks its own files.
      both = [
        threading.Thread(
          target=sweep.run, args=(make_sweep(), 'toy', shared), daemon=True
        )
        for _ in range(2)
      ]
      for thread in both:
        thread.start()
      for thread in both:
        thread.join(600)
        self.assertFalse(thread.is_alive())
    self.assert_same(shared, alone)
    # Each part was trained by one of them, once.
    self.assertEqual(
      sorted(
        (os.path.relpath(folder, shared), *steps)
        for folder, *steps in self.training.trained
      ),
      calls,
    )

  @parameterized.parameters(3, 12)
  def test_one_of_two_processes_is_killed(self, validations):
    alone, shared = self.new(), self.new()
    self.run_sweep(alone)
    self.training.pause = 0.002
    self.training.victim = 'victim'
    self.training.kill_after = validations
    killed = []

    def run():
      try:
        sweep.run(make_sweep(), 'toy', shared)
      except Kill as kill:
        killed.append(kill)

    with mock.patch.object(plots, 'write'):
      both = [
        threading.Thread(target=run, name=name, daemon=True)
        for name in ('victim', 'survivor')
      ]
      for thread in both:
        thread.start()
      for thread in both:
        thread.join(600)
        self.assertFalse(thread.is_alive())
    self.assertLen(killed, 1)
    self.assert_same(shared, alone)

  def test_more_trials_can_be_added(self):
    workdir = self.new()
    self.run_sweep(workdir, random=4, grid=(), tpe=0)
    before = self.found(workdir)
    self.run_sweep(workdir, random=7, grid=(), tpe=0)
    after = self.found(workdir)
    self.assertLen(after, 7)
    self.assertEqual(after[:4], before)
    all_at_once = self.new()
    self.run_sweep(all_at_once, random=7, grid=(), tpe=0)
    self.assertEqual(
      [trial.params for trial in after],
      [trial.params for trial in self.found(all_at_once)],
    )

  def test_phases_follow_each_other(self):
    workdir = self.new()
    self.run_sweep(workdir, halving=0)
    found = self.found(workdir, halving=0)
    phases = [trial.phase for trial in found]
    self.assertEqual(
      phases, sorted(phases, key=['random', 'grid', 'tpe'].index)
    )
    self.assertEqual(phases.count('random'), 9)
    self.assertEqual(phases.count('tpe'), 6)
    self.assertLen({str(trial.params) for trial in found}, len(found))
    centre = min(
      found[:9], key=lambda t: (max(0, 1 - t.last['kl']), t.last['elbo'])
    )
    for trial in found:
      if trial.phase == 'grid':
        rate = 'optimizer.learning_rate'
        self.assertEqual(trial.params[rate], centre.params[rate])
        distance = abs(
          trial.params['dropout.word'] - centre.params['dropout.word']
        )
        self.assertLessEqual(distance, 0.05 + 1e-12)

  def test_the_winner_reaches_its_bound_and_is_a_config(self):
    workdir = self.new()
    self.run_sweep(workdir, winner={'train.num_steps': 54})
    finalists = json.loads(pathlib.Path(workdir, 'finalists.json').read_text())
    best = finalists['finalists'][0]
    self.assertGreaterEqual(best['figures']['kl']['mean'], 1.0)
    self.assertEqual(best['figures']['elbo']['seeds'], 2)
    file = runpy.run_path(os.path.join(workdir, 'winner.py'))
    config = file['get_config']()
    build.validate(config)
    wanted = space.settled(
      make_sweep().config, best['params'] | {'train.num_steps': 54}
    )
    self.assertEqual(build.flatten(config), build.flatten(wanted))

  def test_each_rung_keeps_the_best_third(self):
    workdir = self.new()
    self.run_sweep(workdir, grid=(), tpe=0)
    found = self.found(workdir)
    self.assertEqual(plan.rungs(make_sweep()), [3, 9, 27])
    for rung, count in ((3, 9), (9, 3), (27, 1)):
      there = [trial for trial in found if rung in trial.figures]
      self.assertLen(there, count)
    # As if all had been trained to the end: figures here keep their order.
    full = self.new()
    self.run_sweep(full, grid=(), tpe=0, halving=0)
    (best,) = [t for t in found if t.state == study_lib.COMPLETE]
    ranked = plan.best(self.found(full, halving=0), make_sweep())
    self.assertEqual(best.number, ranked[0].number)

  def test_a_trial_that_diverges_ends_and_others_go_on(self):
    workdir = self.new()
    self.training.diverge = lambda config: config.model.latent_size == 8
    self.run_sweep(workdir)
    for trial in self.found(workdir):
      has_diverged = trial.params['model.latent_size'] == 8
      self.assertEqual(trial.state == study_lib.FAILED, has_diverged)
    self.training.diverge = lambda config: True
    with self.assertRaisesRegex(ValueError, 'All 15 trials diverged'):
      self.run_sweep(self.new())

  def test_the_budget_ends_the_search_which_goes_on(self):
    workdir = self.new()
    with mock.patch.object(plots, 'write'):
      sweep.run(make_sweep(), 'toy', workdir, budget=1e-9)
      self.assertFalse(os.path.exists(os.path.join(workdir, 'winner.py')))
      sweep.run(make_sweep(), 'toy', workdir, budget=3600.0)
    self.assertTrue(os.path.exists(os.path.join(workdir, 'winner.py')))

  def test_a_database_holds_the_trials(self):
    workdir = self.new()
    address = f'sqlite:///{workdir}/trials.db'
    settings = {'random': 3, 'grid': (), 'tpe': 0, 'seeds': 1}
    with mock.patch.object(plots, 'write'):
      sweep.run(make_sweep(**settings), 'toy', workdir, address)
    journal = self.new()
    self.run_sweep(journal, **settings)
    study = study_lib.open_study(make_sweep(**settings), workdir, address)
    self.assertEqual(study.trials(), self.found(journal, **settings))
    with self.assertRaisesRegex(ValueError, 'a database there, a journal here'):
      self.found(workdir, **settings)

  def test_another_search_or_a_run_is_refused(self):
    workdir = self.new()
    self.found(workdir)
    other = make_sweep().config
    other.optimizer.clip_norm = 3.0
    for settings, message in (
      ({'figure': 'kl'}, "figure: 'elbo' there, 'kl' here"),
      ({'seed': 1}, 'seed: 0 there, 1 here'),
      ({'config': other}, 'config.optimizer.clip_norm'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        self.found(workdir, **settings)
    self.found(workdir, random=20, finalists=1)  # These may change.
    run = self.new()
    pathlib.Path(run, 'config.json').write_text('{}')
    with self.assertRaisesRegex(ValueError, 'holds a run, not a search'):
      self.found(run)

  def test_without_optuna_the_extra_is_named(self):
    with (
      mock.patch.dict('sys.modules', optuna=None),
      self.assertRaisesRegex(ImportError, r'rnnvae_jax\[sweep\]'),
    ):
      self.found(self.new())

  def test_plots_are_drawn_and_trials_are_listed(self):
    workdir = self.new()
    sweep.run(make_sweep(random=12, halving=0), 'toy', workdir)
    for name in 'history', 'coordinates', 'importances', 'kl_reconstruction':
      content = pathlib.Path(workdir, f'{name}.png').read_bytes()
      self.assertEqual(content[:4], b'\x89PNG', name)
    listed = json.loads(pathlib.Path(workdir, 'trials.json').read_text())
    self.assertLen(listed['trials'], len(self.found(workdir, halving=0)))


if __name__ == '__main__':
  absltest.main()
