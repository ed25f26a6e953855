"""A workdir's files, of which some are absent or damaged."""

import json
import os
from typing import Any


class Files:
  """Reads a folder. What is damaged is noted in `problems`, not raised.

  Attributes:
    folder: its path.
    problems: a line for each file that cannot be read, as text.
  """

  def __init__(self, folder: str):
    self.folder = folder
    self.problems: list[str] = []
    self._objects: dict[str, dict[str, Any]] = {}

  def has(self, name: str) -> bool:
    return os.path.exists(os.path.join(self.folder, name))

  def names(self, folder: str = '') -> list[str]:
    """The names of files and folders, in order; [] if there is no folder."""
    path = os.path.join(self.folder, folder)
    return sorted(os.listdir(path)) if os.path.isdir(path) else []

  def json(self, name: str) -> dict[str, Any]:
    """The object in a JSON file; {} if there is none."""
    if name not in self._objects:
      self._objects[name] = self._object(name)
    return self._objects[name]

  def _object(self, name: str) -> dict[str, Any]:
    text = self.text(name)
    if not text:
      return {}
    try:
      value = json.loads(text)
    except (ValueError, RecursionError) as error:  # Of brackets in brackets.
      self.problems.append(f'{name} is damaged: {error}.')
      return {}
    if not isinstance(value, dict):
      self.problems.append(f'{name} is damaged: it holds no JSON object.')
      return {}
    return value

  def json_lines(self, name: str) -> list[dict[str, Any]]:
    """The objects in a file of one a line; damaged lines are left out."""
    found, damaged = [], 0
    for line in self.lines(name):
      try:
        value = json.loads(line)
      except (ValueError, RecursionError):
        value = None
      if isinstance(value, dict):
        found.append(value)
      else:
        damaged += 1
    if damaged:
      self.problems.append(f'{name}: {damaged} damaged lines are left out.')
    return found

  def rows(self, name: str) -> list[dict[str, str]]:
    """The rows of a table with a header whose cells are separated by tabs."""
    lines = self.lines(name)
    if not lines:
      return []
    head = lines[0].split('\t')
    rows = [list(map(_unescaped, line.split('\t'))) for line in lines[1:]]
    whole = [row for row in rows if len(row) == len(head)]
    if len(whole) < len(rows):
      self.problems.append(
        f'{name}: {len(rows) - len(whole)} damaged lines are left out.'
      )
    return [dict(zip(head, row, strict=True)) for row in whole]

  def lines(self, name: str) -> list[str]:
    return self.text(name).split('\n')[:-1]

  def text(self, name: str) -> str:
    """The text of a file; '' if there is none."""
    return self.content(name).decode(errors='replace')

  def content(self, name: str) -> bytes:
    """The bytes of a file; b'' if there is none."""
    if not self.has(name):
      return b''
    try:
      with open(os.path.join(self.folder, name), 'rb') as file:
        return file.read()
    except OSError as error:
      self.problems.append(f'{name} cannot be read: {error.strerror}.')
      return b''


_ESCAPES = {'\\\\': '\\', '\\t': '\t', '\\n': '\n', '\\r': '\r'}


def _unescaped(cell: str) -> str:
  """A cell as it was before `inference.records` wrote it."""
  parts, rest = [], cell
  while '\\' in rest:
    before, _, rest = rest.partition('\\')
    parts += [before, _ESCAPES.get(f'\\{rest[:1]}', f'\\{rest[:1]}')]
    rest = rest[1:]
  return ''.join([*parts, rest])
