"""Killed at any moment, by any signal, a run ends as if it had not been."""

import json
import os
import pathlib
import subprocess
import sys

from absl.testing import absltest
import kills
import pytest


class KillTest(absltest.TestCase):
  @pytest.mark.slow
  def test_twenty_runs_that_are_killed_end_as_an_undisturbed_one(self):
    record = self.create_tempdir().full_path + '/record.json'
    done = subprocess.run(
      [sys.executable, kills.__file__, '--runs=20', f'--json={record}'],
      env=os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(kills.ROOT)},
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(done.returncode, 0, done.stderr[-3000:])
    found = json.loads(pathlib.Path(record).read_text())
    self.assertEqual(found['differing'], {})
    # A few runs may have ended before their moment came.
    self.assertGreaterEqual(found['kills'], 10, found)


if __name__ == '__main__':
  absltest.main()
