"""Figures of results.json, with what they are and how they are estimated."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from rnnvae_jax.tasks import base
from rnnvae_jax.web import drawing, explanations, page
from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web.parts import run

FILE = 'results.json'
# By figure, those that say the same in another unit or by another name.
_SAME = {
  'elbo': ('nll_per_sentence', 'nll_per_token', 'bits_per_token', 'perplexity'),
  'accuracy': ('error_percent',),
}
# How texts are read and what is restored: not figures of the task.
_COMMON = ('corpus', 'protocol', 'estimator', 'state', 'checkpoint')
_MOST_CARDS = 6
_CARDS_FIRST = ('iwae_perplexity', 'elbo', 'kl', 'accuracy', 'f1')


def splits(files: files_lib.Files) -> dict[str, dict[str, Any]]:
  """By split, its figures."""
  return {
    name: figures
    for name, figures in files.json(FILE).items()
    if isinstance(figures, dict)
  }


def render(files: files_lib.Files) -> str:
  found = splits(files)
  if not found:
    return ''
  task = run.task(files)
  figures: Sequence[base.Figure] = task.FIGURES if task else ()
  return _cards(found, figures) + _table(found, figures) + _labels(found, task)


def repeated(names: Container[str]) -> set[str]:
  """Figures that say the same as one of these."""
  return {
    twin for name, twins in _SAME.items() if name in names for twin in twins
  }


def label_of(figure: base.Figure, values: Mapping[str, Any]) -> str:
  """What a figure is called; '' leaves it out."""
  if not callable(figure.label):
    return figure.label
  try:
    return figure.label(values)
  except KeyError:  # Of a file that another version has written.
    return figure.title or figure.name.replace('_', ' ')


def _cards(
  found: Mapping[str, Mapping[str, Any]], figures: Sequence[base.Figure]
) -> str:
  """The main figures of the split that was evaluated last."""
  split, values = [*found.items()][-1]
  same = repeated(values)
  known = [
    f for f in figures if f.title and f.name in values and f.name not in same
  ]
  known.sort(key=lambda f: f.name not in _CARDS_FIRST)
  cards = []
  for figure in known[:_MOST_CARDS]:
    text = explanations.explain_figure(figure.name, values)
    cards.append(
      f'<div class="card"><span class="value">'
      f'{page.escape(_shown(figure, values))}</span>'
      f'{explanations.term(figure.title, text)}</div>'
    )
  if not cards:
    return ''
  how = [
    f'{name} {_common(name, values)}'
    for name in ('corpus', 'protocol', 'estimator', 'checkpoint')
    if name in values
  ]
  return (
    f'<p class="hint">Split <b>{page.escape(split)}</b>: {", ".join(how)}. '
    'Nats are those of a sentence unless another unit is named.</p>'
    f'<div class="cards">{"".join(cards)}</div>'
  )


def _table(
  found: Mapping[str, Mapping[str, Any]], figures: Sequence[base.Figure]
) -> str:
  rows = []
  for name in _COMMON:
    if any(name in values for values in found.values()):
      rows.append([name, *(_common(name, v) for v in found.values())])
  seen = {*_COMMON}
  for figure in figures:
    having = [v for v in found.values() if figure.name in v]
    seen.add(figure.name)
    if not having or '\n' in _shown(figure, having[0]):
      continue  # Tables have parts of their own.
    label = label_of(figure, having[0])
    if label:
      text = explanations.explain_figure(figure.name, having[0])
      cells = [
        page.escape(_shown(figure, v)) if figure.name in v else '-'
        for v in found.values()
      ]
      rows.append([explanations.term(label.strip(), text), *cells])
  others: dict[str, Callable[[Any], str]] = {}
  for values in found.values():
    for name, value in values.items():
      is_number = isinstance(value, int | float | str) or value is None
      if name not in seen and is_number:
        others[name] = _plain
  more = [
    [
      explanations.term(
        name.replace('_', ' '), explanations.FIGURES.get(name, '')
      ),
      *(
        page.escape(show(v[name])) if name in v else '-' for v in found.values()
      ),
    ]
    for name, show in others.items()
  ]
  head = ['figure', *(f'#{page.escape(name)}' for name in found)]
  names = ', '.join(map(page.escape, found))
  return page.folded(
    f'All figures of {names} ({len(rows) + len(more)})',
    page.table(head, [*rows, *more]),
  )


def _labels(found: Mapping[str, Mapping[str, Any]], task: Any) -> str:
  """The main figures of the sentences of each label."""
  figures: Sequence[base.Figure] = task.FIGURES if task else ()
  tables = []
  for split, values in found.items():
    by_column = values.get('labels')
    if not isinstance(by_column, dict):
      continue
    for column, by_label in by_column.items():
      first = next(iter(by_label.values()))
      known = [figure for figure in figures if figure.name in first]
      head = [page.escape(column)]
      names = [label_of(f, first) or f.name.replace('_', ' ') for f in known]
      head += [f'#{page.escape(name)}' for name in names]
      rows = [
        [page.escape(kind), *(page.escape(_shown(f, v)) for f in known)]
        for kind, v in by_label.items()
      ]
      caption = f'{page.escape(split)} by {page.escape(column)}'
      tables.append(page.table(head, rows, caption))
  if not tables:
    return ''
  return page.folded(
    'Main figures by label', f'<div class="tables">{"".join(tables)}</div>'
  )


def _common(name: str, values: Mapping[str, Any]) -> str:
  value = str(values.get(name, '-'))
  known = {
    'protocol': explanations.PROTOCOLS,
    'estimator': explanations.ESTIMATORS,
  }.get(name, {})
  return explanations.term(value, known.get(value, ''))


def _shown(figure: base.Figure, values: Mapping[str, Any]) -> str:
  value = values.get(figure.name)
  try:
    return figure.show(value)
  except (TypeError, ValueError, AttributeError, KeyError):
    return str(value)


def _plain(value: Any) -> str:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return drawing.number_text(value) if is_number else str(value)
