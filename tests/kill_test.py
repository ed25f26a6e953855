"""Killed at any moment, by any signal, a run ends as if it had not been."""

import json
import os
import pathlib
import subprocess
import sys

from absl.testing import absltest
import pytest

SCRIPT = pathlib.Path(__file__).with_name('kills.py')
LIMIT = 1_800.0  # Seconds, on a busy machine.


class KillTest(absltest.TestCase):
  @pytest.mark.slow
  def test_runs_that_are_killed_twenty_times_end_as_an_undisturbed_one(self):
    path = self.create_tempdir().full_path + '/record.json'
    done = subprocess.run(
      [sys.executable, SCRIPT, '--kills=20', f'--json={path}'],
      env=os.environ | {'PYTHONPATH': str(SCRIPT.parents[1])},
      capture_output=True,
      text=True,
      check=False,
      timeout=LIMIT,
    )
    self.assertEqual(done.returncode, 0, done.stderr[-5000:])
    record = json.loads(pathlib.Path(path).read_text())
    self.assertEqual(record['differing'], {})
    self.assertEqual(record['kills'], 20)


if __name__ == '__main__':
  absltest.main()
