"""Prints what word vectors have answered."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from rich import console as rich_console
from rich import table as rich_table
from rich import text as rich_text

_MOST = 20  # Missing words that are printed; vectors.json has all.


def show(result: Mapping[str, Any]) -> None:
  """Prints what vectors.json has, as tables."""
  console = rich_console.Console()
  console.print(
    f'{result["source"]}: {result["words"]:,} words, vectors of '
    f'{result["size"]} numbers',
    markup=False,
  )
  for asked in result.get('neighbours', ()):
    title = f'{asked["of"]}: nearest by {asked["distance"]} distance'
    _print_words(console, title, asked['neighbours'])
  for asked in result.get('analogies', ()):
    title = f'{asked["question"]} by rule {asked["rule"]!r}'
    _print_words(console, title, asked['answers'])
  if 'pairs' in result:
    lines = [
      (' - '.join(p['words']), f'{p["cosine"]:.4f}', f'{p["euclidean"]:.4f}')
      for p in result['pairs']
    ]
    _print_table(console, 'Distances', ('words', 'cosine', 'Euclidean'), lines)
  _print_tests(console, result.get('tests', {}))
  if 'associations' in result:
    _print_associations(console, result['associations'])


def _print_words(
  console: rich_console.Console, title: str, words: Sequence[Mapping[str, Any]]
) -> None:
  lines = [tuple(_shown(v) for v in entry.values()) for entry in words]
  _print_table(console, title, tuple(words[0]) if words else (), lines)


def _print_tests(console, tests: Mapping[str, Any]) -> None:
  lines = []
  for name, found in tests.items():
    if 'groups' in found:
      rows = [
        (
          part,
          f'{f["questions"]:,}',
          f'{f["with_vectors"]:,}',
          f'{f["correct"]:,}',
          'none' if f['accuracy'] is None else f'{f["accuracy"]:.2%}',
        )
        for part, f in (found['sections'] | found['groups']).items()
      ]
      _print_table(
        console,
        f'{os.path.basename(name)}, rule {found["rule"]!r}',
        ('section', 'questions', 'with vectors', 'right', 'accuracy'),
        rows,
      )
    else:
      lines.append(
        (
          os.path.basename(name),
          f'{found["with_vectors"]:,} of {found["pairs"]:,}',
          _shown(found['spearman']),
          _shown(found['pearson']),
        )
      )
  if lines:
    columns = 'test', 'pairs with vectors', 'Spearman', 'Pearson'
    _print_table(console, 'Similarity', columns, lines)


def _print_associations(console, tests: Mapping[str, Any]) -> None:
  columns = 'test', 'X - Y', 'A - B', 'words', 'missing', 'effect', 'p'
  lines, remarks = [], []
  for name, found in tests.items():
    is_measured = 'effect_size' in found
    lines.append(
      (
        os.path.basename(name),
        ' - '.join(found['targets']),
        ' - '.join(found['attributes']),
        '+'.join(map(str, found['words'])),
        str(len(found['missing'])),
        f'{found["effect_size"]:.2f}' if is_measured else 'none',
        _shown_p(found) if is_measured else '',
      )
    )
    if not is_measured:
      remarks.append(f'{name} is not measured: {found["refused"]}')
    if found['missing']:
      remarks.append(f'{name}, without a vector: {_some(found["missing"])}')
  title = 'WEAT: X goes with A, and Y with B, if the effect is positive'
  _print_table(console, title, columns, lines)
  for remark in remarks:
    console.print(rich_text.Text(remark))


def _some(words: Sequence[str]) -> str:
  """The first words of a list."""
  rest = len(words) - _MOST
  return ' '.join(words[:_MOST]) + (f' and {rest} more' if rest > 0 else '')


def _shown_p(found: Mapping[str, Any]) -> str:
  if found['exact'] and not found['p_value']:
    return f'0 of {found["partitions"]:,}'
  return f'{found["p_value"]:.2g}' + ('' if found['exact'] else ' (sampled)')


def _shown(value: Any) -> str:
  if isinstance(value, float):
    return f'{value:.4f}'
  return 'none' if value is None else str(value)


def _print_table(console, title: str, columns, lines) -> None:
  # As `Text`, since a word may look like markup.
  console.print(rich_text.Text(title))
  table = rich_table.Table()
  for number, name in enumerate(columns):
    table.add_column(name, justify='right' if number else 'left')
  for line in lines:
    table.add_row(*map(rich_text.Text, line))
  console.print(table)
