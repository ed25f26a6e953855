"""Puts the figures of all steps so far into one file.

  python collect.py FOLDER FILE STEP STATUS SECONDS

The file has an entry for each step that has ended: its status, its seconds and
its figures, if FOLDER has them. The commit that `gpu_prepare.sh` noted in
.gpu/commit is that of the figures: a copy of the files need not have the
repository's. It needs nothing but Python.
"""

import json
import pathlib
import sys

_COMMIT = pathlib.Path('.gpu/commit')


def collect(
  folder: pathlib.Path, file: pathlib.Path, step: str, status: int, seconds: int
) -> None:
  """Adds a step to the file, or replaces it."""
  steps = json.loads(file.read_text()) if file.exists() else {}
  steps[step] = {'status': status, 'seconds': seconds}
  figures = folder / f'{step}.json'
  if figures.exists():
    found = steps[step]['figures'] = json.loads(figures.read_text())
    if _COMMIT.exists():
      found['environment']['commit'] = _COMMIT.read_text().strip()
  new = file.with_suffix('.new')
  new.write_text(json.dumps(steps, indent=1) + '\n', encoding='utf-8')
  new.replace(file)  # The run may be cut off at any moment.


if __name__ == '__main__':
  folder, file, step, status, seconds = sys.argv[1:]
  collect(
    pathlib.Path(folder), pathlib.Path(file), step, int(status), int(seconds)
  )
