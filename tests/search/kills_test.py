"""A search that is killed has the trials and the winner of one that is not."""

import glob
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from absl.testing import absltest
import pytest

pytest.importorskip('optuna', reason='the extra `sweep` is not installed')

# The report's search at `tiny`, with a grid of one key.
SEARCH = """\
import runpy

from rnnvae_jax.config import files

REPORT = runpy.run_path(files.find('sweeps/rnn_vae_report'))


def get_sweep(tail=''):
  return REPORT['get_sweep'](tail)._replace(grid=('model.hidden_size',))


def get_config(tail=''):
  return get_sweep(tail).config
"""
# Random trials, a rung, a grid, a finalist with two seeds.
ARGUMENT = 'tiny,random=4,halving=2,finalists=1,seeds=2'


def lines(workdir):
  """How many lines all trials have written."""
  # The search is at work in there. Path.glob raises on a folder that is removed
  # while it looks, as a checkpoint's is when it is complete; glob passes it by.
  paths = glob.glob(f'{workdir}/*/**/metrics.jsonl', recursive=True)
  return sum(len(pathlib.Path(path).read_text().splitlines()) for path in paths)


class KillsTest(absltest.TestCase):
  @pytest.mark.slow
  def test_two_kills_change_nothing(self):
    search = self.create_tempfile('search.py', SEARCH).full_path

    def command(workdir):
      return [
        *(sys.executable, '-m', 'rnnvae_jax.main', '--mode=sweep'),
        *(f'--config={search}:{ARGUMENT}', f'--workdir={workdir}'),
      ]

    undisturbed = self.create_tempdir().full_path
    subprocess.run(command(undisturbed), check=True, capture_output=True)
    killed = self.create_tempdir().full_path
    whole = lines(undisturbed)
    for part in (0.3, 0.8):
      process = subprocess.Popen(
        command(killed),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
      )
      deadline = time.monotonic() + 1_200
      while lines(killed) < part * whole:
        self.assertIsNone(process.poll())
        self.assertLess(time.monotonic(), deadline)
        time.sleep(0.05)
      os.kill(process.pid, signal.SIGKILL)
      process.wait()
    subprocess.run(command(killed), check=True, capture_output=True)
    for name in 'trials.json', 'finalists.json', 'winner.py':
      ours, theirs = (
        pathlib.Path(folder, name).read_text().replace(folder, '')
        for folder in (killed, undisturbed)
      )
      self.assertEqual(ours, theirs, name)
    listed = json.loads(pathlib.Path(killed, 'trials.json').read_text())
    states = [trial['state'] for trial in listed['trials']]
    self.assertContainsSubset(['complete', 'pruned'], states)
    # A trial is a run that other modes open.
    number = states.index('complete')
    evaluated = subprocess.run(
      [
        *(sys.executable, '-m', 'rnnvae_jax.main', '--mode=evaluate'),
        f'--workdir={killed}/trials/{number}',
      ],
      check=True,
      capture_output=True,
      text=True,
    )
    self.assertIn('ELBO', evaluated.stdout)


if __name__ == '__main__':
  absltest.main()
