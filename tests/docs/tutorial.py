"""The files and the commands of docs/extending.md."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = ROOT / 'docs' / 'extending.md'

_FILE = re.compile(r'<!-- file: (\S+) -->\n```python\n(.*?)```', re.S)
_COMMANDS = re.compile(r'<!-- run -->\n```\n(.*?)```', re.S)


def files() -> dict[str, str]:
  """By path, the text of each file that the page shows in full."""
  found = _FILE.findall(PAGE.read_text(encoding='utf-8'))
  assert len(found) == len(dict(found)), 'a file is shown twice'
  return dict(found)


def commands() -> list[str]:
  """The commands of the page, in its order, without line continuations."""
  blocks = _COMMANDS.findall(PAGE.read_text(encoding='utf-8'))
  return [block.replace('\\\n', '').strip() for block in blocks]
