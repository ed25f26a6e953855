"""Puts the figures of all steps so far into one file.

  python collect.py FOLDER FILE STEP STATUS SECONDS

The file has an entry for each step that has ended: its status, its seconds and
its figures, if FOLDER has them. It needs nothing but Python.
"""

import json
import pathlib
import sys


def collect(
  folder: pathlib.Path, file: pathlib.Path, step: str, status: int, seconds: int
) -> None:
  """Adds a step to the file, or replaces it."""
  steps = json.loads(file.read_text()) if file.exists() else {}
  steps[step] = {'status': status, 'seconds': seconds}
  figures = folder / f'{step}.json'
  if figures.exists():
    steps[step]['figures'] = json.loads(figures.read_text())
  new = file.with_suffix('.new')
  new.write_text(json.dumps(steps, indent=1) + '\n', encoding='utf-8')
  new.replace(file)  # The run may be cut off at any moment.


if __name__ == '__main__':
  folder, file, step, status, seconds = sys.argv[1:]
  collect(
    pathlib.Path(folder), pathlib.Path(file), step, int(status), int(seconds)
  )
