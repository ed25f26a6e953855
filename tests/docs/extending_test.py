"""The tutorial of docs/extending.md works as it is written."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.objectives import schedules
from tests.docs import tutorial

CELL_TEST = 'tests/models/cells/minimal_gated_test.py'


def copy_with_tutorial(folder):
  """A copy of the package in a folder, with the files of the tutorial."""
  root = pathlib.Path(folder)
  for name in ('rnnvae_jax', 'configs', 'docs'):
    ignored = shutil.ignore_patterns('__pycache__')
    shutil.copytree(tutorial.ROOT / name, root / name, ignore=ignored)
  for name in ('pyproject.toml', 'tests/conftest.py'):
    (root / name).parent.mkdir(exist_ok=True)
    shutil.copy(tutorial.ROOT / name, root / name)
  for path, text in tutorial.files().items():
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding='utf-8')
  return root


def run(root, command):
  """Runs a command of the tutorial; returns what it prints."""
  environment = os.environ | {
    'PYTHONPATH': str(root),
    # The `python` of a tutorial is that of these tests.
    'PATH': os.pathsep.join(
      (str(pathlib.Path(sys.executable).parent), os.environ['PATH'])
    ),
    'JAX_COMPILATION_CACHE_DIR': str(root / 'compiled'),
  }
  done = subprocess.run(
    command,
    shell=True,
    cwd=root,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert not done.returncode, f'{command}\n{done.stdout}\n{done.stderr}'
  return done.stdout + done.stderr


class ExtendingTest(absltest.TestCase):
  def test_the_schedule_rises_in_three_steps(self):
    path = pathlib.Path(self.create_tempdir().full_path, 'kl_steps.py')
    path.write_text(tutorial.files()['kl_steps.py'], encoding='utf-8')
    shape = schedules.resolve(f'{path}:three_steps')
    weights = [
      schedules.anneal(shape, step, start=0.0, end=1.0, steps=9)
      for step in range(12)
    ]
    thirds = [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    np.testing.assert_allclose(jnp.stack(weights), np.array(thirds) / 3, 1e-6)

  @pytest.mark.slow
  def test_the_cell_passes_its_own_test(self):
    root = copy_with_tutorial(self.create_tempdir().full_path)
    printed = run(root, f'python -m pytest -n0 -q {CELL_TEST}')
    self.assertIn('1 passed', printed)

  def test_every_file_that_the_table_promises_is_shown(self):
    shown = set(tutorial.files())
    for folder in (
      'models/cells',
      'objectives/rate_control',
      'data/sources',
      'commands',
    ):
      self.assertTrue(
        any(path.startswith(f'rnnvae_jax/{folder}/') for path in shown), folder
      )

  @pytest.mark.slow
  def test_all_its_commands_run_in_order(self):
    root = copy_with_tutorial(self.create_tempdir().full_path)
    printed = {command: run(root, command) for command in tutorial.commands()}
    lines = (root / 'runs/steps/metrics.jsonl').read_text().splitlines()
    weights = [json.loads(line).get('train/kl_weight') for line in lines]
    thirds = sorted({round(3 * w, 3) for w in weights if w is not None})
    # A record is of several updates, hence whole thirds or means of two.
    self.assertEqual((thirds[0], thirds[-1]), (0, 3))
    (cell,) = [
      text for command, text in printed.items() if 'runs/cell' in command
    ]
    self.assertIn('Recurrence: scan', cell)
    self.assertIn('minimal_gated', (root / 'docs/config.md').read_text())
    (words,) = [
      text for command, text in printed.items() if '=words' in command
    ]
    self.assertIn('hundred', words.split())


if __name__ == '__main__':
  absltest.main()
