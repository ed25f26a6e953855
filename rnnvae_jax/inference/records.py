"""Lines that a mode reads, and records that it writes, as text or as JSON."""

from collections.abc import Iterable, Mapping, Sequence
import json
import math
import sys
from typing import Any

from rnnvae_jax.data import corpora
from rnnvae_jax.training import writers

Record = Mapping[str, Any]


def read_lines(source: str) -> list[str]:
  """The lines of a file, or of standard input for '-'; blank ones included.

  Raises:
    ValueError: standard input is closed; or see `corpora.read_lines`.
  """
  if source == '-' and sys.stdin is None:
    raise ValueError(
      "config.generate.input = '-': standard input is closed. Name a file."
    )
  if source == '-' and sys.stdin.isatty():
    print('Lines from the terminal; Ctrl-D ends them.', file=sys.stderr)
  return list(corpora.read_lines(source))


def write(config: Any, records: Iterable[Record], lines: Iterable[str]) -> None:
  """Writes to `generate.output`, as `generate.format` says.

  Args:
    config: of the run.
    records: what is written with 'jsonl', an object a line.
    lines: what is written with 'text'.
  """
  settings = config.generate
  if settings.format == 'jsonl':
    lines = (
      json.dumps(_legal(record), ensure_ascii=False) for record in records
    )
  if settings.output == '-':
    for line in lines:
      print(line)
    sys.stdout.flush()
  else:
    text = ''.join(f'{line}\n' for line in lines)
    writers.write_output(settings.output, text)


def separated(texts: Sequence[str]) -> list[str]:
  """Texts as lines; with a blank line between them if one has a line end."""
  if not any('\n' in text for text in texts):
    return list(texts)
  return '\n\n'.join(texts).split('\n')


def row(*cells: Any) -> str:
  """A row of a table whose cells are separated by tabs.

  White space that would end a cell or a row is written as an escape.
  """
  return '\t'.join(cell(value) for value in cells)


def cell(value: Any) -> str:
  text = str(value)
  for character, escape in (
    ('\\', '\\\\'),
    ('\t', '\\t'),
    ('\n', '\\n'),
    ('\r', '\\r'),
  ):
    text = text.replace(character, escape)
  return text


def _legal(value: Any) -> Any:
  """JSON knows no infinity: such numbers become null."""
  if isinstance(value, Mapping):
    return {key: _legal(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_legal(item) for item in value]
  is_bad = isinstance(value, float) and not math.isfinite(value)
  return None if is_bad else value
