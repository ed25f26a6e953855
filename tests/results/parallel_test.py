"""Which runs train side by side, and what a signal leaves of them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from unittest import mock

from absl.testing import absltest, parameterized
import pytest

from rnnvae_jax.results import parallel
from rnnvae_jax.training import processes, stopping

import helpers


class ChooseTest(parameterized.TestCase):
  def choose(self, *begun, cores=4, platform='cpu'):
    """Which of the runs are chosen that have begun on so many cores."""
    root = pathlib.Path(self.create_tempdir().full_path)
    runs = []
    for number, before in enumerate(begun):
      folder = root / str(number)
      if before:
        (folder / 'checkpoints').mkdir(parents=True)
        described = json.dumps({'cores': before})
        (folder / 'environment.json').write_text(described)
      runs.append((number, str(folder)))
    available = mock.patch.object(
      processes, 'available_cores', return_value=[*range(cores)]
    )
    with available, helpers.on_platform(platform):
      return [number for number, _ in parallel.choose(runs)]

  @parameterized.parameters(
    ((0, 0, 0), {}, [0, 1, 2]),
    ((0, 0), {'platform': 'gpu'}, []),
    ((0, 0), {'cores': 1}, []),
    ((0, 0), {'cores': 0}, []),
    ((0,), {}, []),
    ((), {}, []),
    # A run goes on with as many cores as it has begun with.
    ((0, 2, 0, 1), {}, [0, 2, 3]),
    ((2, 2), {}, []),
    ((1,), {}, [0]),
    ((2, 1), {}, [1]),
    ((2, 0), {}, []),
  )
  def test_those_that_gain_by_it_train_side_by_side(self, begun, place, want):
    self.assertEqual(self.choose(*begun, **place), want)


@pytest.mark.skipif(
  len(processes.available_cores()) < 2, reason='needs two cores'
)
class SeedsTest(absltest.TestCase):
  @pytest.mark.slow
  def test_a_signal_stops_all_seeds_with_a_checkpoint(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    command = [
      *(sys.executable, '-m', 'rnnvae_jax.main', '--config=gru_lm:tiny'),
      *(f'--workdir={root}', '--seeds=2', '--config.train.num_steps=300000'),
    ]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = [root / f'seed_{seed}' / 'metrics.jsonl' for seed in (0, 1)]
    deadline = time.monotonic() + 300
    while not all(path.exists() and path.read_text() for path in metrics):
      self.assertIsNone(parent.poll())
      self.assertLess(time.monotonic(), deadline)
      time.sleep(0.2)
    parent.send_signal(signal.SIGTERM)
    _, printed = parent.communicate(timeout=300)
    self.assertEqual(parent.returncode, stopping.RESUME, printed)
    self.assertIn('the same command goes on', printed)
    for seed in (0, 1):
      folder = root / f'seed_{seed}'
      self.assertRegex((folder / parallel.LOG).read_text(), 'Stopped at step')
      place = json.loads((folder / 'environment.json').read_text())
      self.assertEqual(place['cores'], 1)
      self.assertNotEmpty(os.listdir(folder / 'checkpoints'))


if __name__ == '__main__':
  absltest.main()
