"""What a classifier or a tagger gets right and wrong."""

from collections.abc import Mapping, Sequence
import html
from typing import Any

from rnnvae_jax.web import drawing, page
from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web.parts import figures, images

_MOST_CELLS = 20  # Classes whose confusion is a matrix.
_MOST = 60  # Lines of a table.
_LONGEST = 600  # Characters of a text.


def render(files: files_lib.Files) -> str:
  parts = []
  for split, values in figures.splits(files).items():
    found = [
      _confusion(values),
      _by_name(values.get('classes'), 'label'),
      _by_name(values.get('spans'), 'type'),
      _counts(values.get('mistakes'), 'wrong spans'),
      _pairs(values.get('confused')),
      _telling(values.get('telling')),
      _reliability(files, split),
    ]
    text = ''.join(found)
    if text or files.has(f'mistakes_{split}.tsv'):
      parts.append(
        f'<h3>Split {page.escape(split)}</h3><div class="tables">{text}</div>'
        + _mistakes(files, split)
      )
  return ''.join(parts)


def _confusion(values: Mapping[str, Any]) -> str:
  """The matrix of labels and predictions; a cell is as dark as its share."""
  rows, classes = values.get('confusion'), values.get('classes')
  if not (isinstance(rows, list) and isinstance(classes, dict)):
    return ''
  names = [*classes]
  if len(names) > _MOST_CELLS:
    pairs = [
      [names[i], names[j], count]
      for i, row in enumerate(rows)
      for j, count in enumerate(row)
      if i != j and count
    ]
    return _pairs(sorted(pairs, key=lambda pair: -pair[2])[:_MOST])
  lines = []
  for name, row in zip(names, rows, strict=True):
    total = sum(row) or 1
    lines.append(
      [page.escape(name), *(_cell(count, count / total) for count in row)]
    )
  head = ['label', *(f'#{page.escape(name)}' for name in names)]
  return page.table(
    head,
    lines,
    'Sentences of each label (rows) by predicted label (columns), with shares '
    'of the row.',
  )


def _cell(count: int, share: float) -> str:
  return (
    f'<span class="heat heat{round(5 * share)}">{count:,} '
    f'<small>{share:.0%}</small></span>'
  )


def _by_name(found: Any, kind: str) -> str:
  """Precision, recall and F1 of each class or type of span."""
  if not isinstance(found, dict) or not found:
    return ''
  columns = ('count', 'predicted', 'precision', 'recall', 'f1')
  known = [c for c in columns if any(c in v for v in found.values())]
  rows = [
    [page.escape(name), *(_figure(c, values.get(c)) for c in known)]
    for name, values in [*found.items()][:_MOST]
  ]
  heads = [f'#{"F1" if c == "f1" else c}' for c in known]
  return page.table([kind, *heads], rows)


def _figure(column: str, value: Any) -> str:
  if value is None:
    return '-'
  if column in ('count', 'predicted'):
    return f'{value:,}'
  # Shares of classes are of 1, those of spans of 100.
  return f'{value:.3f}' if value <= 1 else f'{value:.2f}'


def _counts(found: Any, kind: str) -> str:
  if not isinstance(found, dict) or not found:
    return ''
  rows = [(page.escape(name), f'{count:,}') for name, count in found.items()]
  return page.table([kind, '#count'], rows)


def _pairs(found: Any) -> str:
  if not isinstance(found, list) or not found:
    return ''
  rows = [
    (page.escape(right), page.escape(wrong), f'{count:,}')
    for right, wrong, count in found
  ]
  return page.table(('right', 'predicted', '#count'), rows, 'Commonest errors')


def _telling(found: Any) -> str:
  """The features that speak most for each label."""
  if not isinstance(found, dict) or not found:
    return ''
  rows = [
    (page.escape(label), page.escape(', '.join(str(f[0]) for f in features)))
    for label, features in found.items()
  ]
  return page.table(('label', 'most telling'), rows)


def _reliability(files: files_lib.Files, split: str) -> str:
  return images.figure(
    files,
    f'reliability_{split}.png',
    'Reliability: how often predictions of a probability are right',
  )


def _mistakes(files: files_lib.Files, split: str) -> str:
  """The texts of mistakes_SPLIT.tsv."""
  rows = files.rows(f'mistakes_{split}.tsv')
  if not rows:
    return ''
  head = [*rows[0]]
  lines = [[_text(row, name) for name in head] for row in rows[:_MOST]]
  names = [
    f'#{name}' if name in ('probability', 'sentence', 'word') else name
    for name in head
  ]
  cut = f', the first {_MOST} of {len(rows)}' if len(rows) > _MOST else ''
  return page.folded(
    f'Mistakes{cut}', page.table(list(map(html.escape, names)), lines)
  )


def _text(row: Mapping[str, str], name: str) -> str:
  """A cell; in the text of a tagger the words in question are marked."""
  value = row[name]
  if name == 'text' and len(value) > _LONGEST:
    value = f'{value[:_LONGEST]}…'
  if name == 'probability':
    return page.escape(drawing.number_text(float(value)))
  if name == 'text' and row.get('word', '').isdecimal():
    words = value.split()
    first = int(row['word']) - 1
    size = max(len(row.get('words', '').split()), 1)
    return _with_mark(words, first, first + size)
  return page.escape(value)


def _with_mark(words: Sequence[str], first: int, stop: int) -> str:
  parts = [
    page.escape(' '.join(part))
    for part in (words[:first], words[first:stop], words[stop:])
  ]
  return f'{parts[0]} <mark>{parts[1]}</mark> {parts[2]}'.strip()
