r"""Writes the figures of README.md and docs/*.md from their JSON files.

  python -m benchmarks.render_figures             rewrites the documents
  python -m benchmarks.render_figures --check     exits with 1 if one differs
  python -m benchmarks.render_figures --unmarked  lists decimals without a mark

A document marks a figure by its name, invisibly to the reader:

  PyTorch takes <!-- figure gru_256_torch -->1.68<!-- /figure --> times as long.

docs/figures.toml says what each name stands for: an expression and a format.

  [figures]
  gru_256_torch = ["entry('recurrence', 'peers/torch/CASE/ratio')", '.2f']

An expression has numbers, + - * / **, the constants of the file, and

  entry(FILE, PATH)      of benchmarks/results/FILE.json; PATH is keys and /
  lowest(FILE, PATH)     of all benchmarks/results/cpu/*/FILE.json that have it
  highest(FILE, PATH)    likewise
  ours(ROW)              mean over seeds; ROW is TABLE/ROW/METRIC
  published(ROW)         the published figure of that row
  minutes(TABLE/ROW)     of training and evaluation
  log, exp, sqrt, abs, min, max

A format is that of Python's `format`: the exact value is rounded once, to the
nearest. `<!-- table NAME -->` and `<!-- /table -->` enclose a table of
`device_tables` or `latent_tables`. This script needs the standard library
alone.
"""

import argparse
import ast
from collections.abc import Iterator
import contextlib
import functools
import json
import math
import operator
import pathlib
import re
import sys
import tomllib
from typing import Any

from benchmarks import device_tables, latent_tables

ROOT = pathlib.Path(__file__).parent.parent
DEFINITIONS = 'docs/figures.toml'
_TABLES = {**device_tables.TABLES, **latent_tables.TABLES}

_MARK = re.compile(r'(<!-- figure ([\w.-]+) -->)(.*?)(<!-- /figure -->)', re.S)
_TABLE = re.compile(
  r'(<!-- table ([\w.-]+) -->\n)(.*?)(\n?<!-- /table -->)', re.S
)
_OPENED = re.compile(r'<!-- /?(?:figure|table)\b')
# Text without figures to check: code blocks, inline code, links, marks.
_NOT_PROSE = re.compile(
  r'```.*?```|`[^`\n]*`|\]\([^)]*\)|<!-- figure .*?<!-- /figure -->'
  r'|<!-- table .*?<!-- /table -->',
  re.S,
)
_DECIMAL = re.compile(r'(?<![\w.])\d*\.\d+(?![\w.]*\w)')

_OPERATORS: dict[type, Any] = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
  ast.Pow: operator.pow,
}


class Figures:
  """The values of the names that docs/figures.toml defines.

  Args:
    root: folder of the repository.
  """

  def __init__(self, root: pathlib.Path = ROOT):
    self._results = root / 'benchmarks' / 'results'
    defined = tomllib.loads((root / DEFINITIONS).read_text(encoding='utf-8'))
    self._figures: dict[str, list[str]] = defined['figures']
    self._functions = {
      'entry': self._entry,
      'lowest': lambda name, path: min(self._entries(name, path)),
      'highest': lambda name, path: max(self._entries(name, path)),
      'ours': lambda path: self._row(path, 'ours', '/mean'),
      'published': lambda path: self._row(path, 'published'),
      'minutes': lambda path: self._row(f'{path}/wall_seconds', '') / 60,
      'log': math.log,
      'exp': math.exp,
      'sqrt': math.sqrt,
      'abs': abs,
      'min': min,
      'max': max,
    }
    self._read = functools.cache(
      lambda name: json.loads(
        (self._results / f'{name}.json').read_text(encoding='utf-8')
      )
    )
    self._constants: dict[str, float] = {}
    for name, text in defined.get('constants', {}).items():
      self._constants[name] = self.evaluate(text)

  def __iter__(self) -> Iterator[str]:
    return iter(self._figures)

  def text(self, name: str) -> str:
    """Formats a figure for a document.

    Raises:
      ValueError: the figure is not defined, or its definition is wrong.
    """
    if name not in self._figures:
      raise ValueError(f'{DEFINITIONS} does not define the figure {name!r}.')
    expression, form = self._figures[name]
    return format(self.evaluate(expression), form)

  def evaluate(self, expression: str) -> float:
    """Evaluates an expression; see the module's docstring.

    Raises:
      ValueError: the expression has a part that is not allowed, or an entry
        does not exist.
    """
    try:
      return self._value(ast.parse(expression, mode='eval').body)
    except (KeyError, TypeError, OSError, SyntaxError) as error:
      raise ValueError(f'{expression}: {error!r}') from error

  def table(self, name: str) -> str:
    """The lines of a table of `device_tables` or `latent_tables`.

    Raises:
      ValueError: there is no such table.
    """
    if name not in _TABLES:
      raise ValueError(f'There is no table {name!r}.')
    return _TABLES[name](self._results)

  def _value(self, node: ast.AST) -> Any:
    match node:
      case ast.Constant(value=int() | float() | str()):
        return node.value
      case ast.Name() if node.id in self._constants:
        return self._constants[node.id]
      case ast.UnaryOp(op=ast.USub()):
        return -self._value(node.operand)
      case ast.BinOp() if type(node.op) in _OPERATORS:
        apply = _OPERATORS[type(node.op)]
        return apply(self._value(node.left), self._value(node.right))
      case ast.Call(func=ast.Name()) if (
        node.func.id in self._functions and not node.keywords
      ):
        return self._functions[node.func.id](*map(self._value, node.args))
    raise ValueError(f'{ast.unparse(node)!r} is not allowed in a figure.')

  def _entries(self, name: str, path: str) -> list[float]:
    """The entry of each CPU whose report has it."""
    found = []
    for report in device_tables.reports(self._results, name).values():
      with contextlib.suppress(KeyError):
        found.append(self._at(report, name, path))
    if not found:
      raise KeyError(path)
    return found

  def _entry(self, name: str, path: str) -> float:
    return self._at(self._read(name), name, path)

  def _at(self, value: Any, name: str, path: str) -> float:
    for key in path.split('/'):
      value = value[key]
    if not isinstance(value, int | float):
      raise TypeError(f'{path} of {name} is no number')
    return value

  def _row(self, path: str, section: str, end: str = '') -> float:
    table, row, metric = path.split('/')
    middle = f'{section}/' if section else ''
    return self._entry(f'tables/{table}', f'rows/{row}/{middle}{metric}{end}')


def documents(root: pathlib.Path = ROOT) -> list[pathlib.Path]:
  """The documents whose figures are rendered."""
  return [root / 'README.md', *sorted((root / 'docs').glob('*.md'))]


def render(text: str, figures: Figures) -> str:
  """Replaces the marked figures of a document by their current values.

  Raises:
    ValueError: a figure is not defined, or a mark is not closed.
  """
  marks = [m[0] for mark in (_MARK, _TABLE) for m in mark.finditer(text)]
  closed = sum(len(_OPENED.findall(mark)) for mark in marks)
  if closed != 2 * len(marks) or closed != len(_OPENED.findall(text)):
    raise ValueError('A mark <!-- figure NAME --> is not closed, or malformed.')
  text = _MARK.sub(lambda m: m[1] + figures.text(m[2]) + m[4], text)
  return _TABLE.sub(
    lambda m: f'{m[1]}{figures.table(m[2])}\n{m[4].strip()}', text
  )


def unmarked(text: str) -> list[tuple[int, str]]:
  """(line, decimal) of the decimals in prose that have no mark."""
  blank = lambda m: re.sub(r'[^\n]', ' ', m[0])
  prose = _NOT_PROSE.sub(blank, text)
  return [
    (number, found[0])
    for number, line in enumerate(prose.splitlines(), 1)
    for found in _DECIMAL.finditer(line)
  ]


def main(arguments: list[str]) -> int:
  parser = argparse.ArgumentParser(prog='benchmarks.render_figures')
  parser.add_argument('--check', action='store_true', help='write nothing')
  parser.add_argument('--unmarked', action='store_true', help='list decimals')
  options = parser.parse_args(arguments)
  figures, differing = Figures(), []
  for path in documents():
    before = path.read_text(encoding='utf-8')
    if options.unmarked:
      for number, decimal in unmarked(before):
        print(f'{path.relative_to(ROOT)}:{number}: {decimal}')
      continue
    after = render(before, figures)
    if after != before:
      differing.append(path.relative_to(ROOT))
      if not options.check:
        path.write_text(after, encoding='utf-8')
  for path in differing:
    print(f'{path} {"differs" if options.check else "was rewritten"}')
  return int(options.check and bool(differing))


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
