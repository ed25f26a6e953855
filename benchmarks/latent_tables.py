"""The tables of docs/latents.md, from benchmarks/results/latents_CORPUS.json.

They have a row for each label and what is compared; figures are percentages
with 95 % intervals, or nats.
"""

from collections.abc import Callable, Mapping
import functools
import json
import pathlib
from typing import Any

from benchmarks import device_tables

_CORPORA = ('grammar', 'politicians')
_PROBES = ('linear', 'nearest neighbours')


def probes(ours: Mapping[str, Any]) -> str:
  """How often probes are right: a row for each label and representation."""
  rows: dict[tuple[str, str], dict[str, str]] = {}
  for entry in ours['latents']['probes']:
    row = rows.setdefault((entry['label'], entry['features']), {})
    row['chance'] = f'{100 * entry["chance"]:.1f}'
    row['classes'] = str(entry['classes'])
    row[entry['probe']] = _interval(entry, 'accuracy')
  columns = ['label', 'classes', 'chance', 'read off', *_PROBES]
  return device_tables.markdown(
    columns,
    [
      [label, row['classes'], row['chance'], name, *(row[p] for p in _PROBES)]
      for (label, name), row in rows.items()
    ],
  )


def information(ours: Mapping[str, Any]) -> str:
  """Nats of mutual information: a row for each label, a column an estimate."""
  rows: dict[str, dict[str, float]] = {}
  for entry in ours['latents']['mutual_information']:
    row = rows.setdefault(entry['label'], {'entropy': entry['entropy']})
    row[entry['estimator']] = entry['nats']
  columns = list(next(iter(rows.values())))
  return device_tables.markdown(
    ['label', *columns],
    [
      [label, *(f'{row[name]:.2f}' for name in columns)]
      for label, row in rows.items()
    ],
  )


def shifts(ours: Mapping[str, Any]) -> str:
  """What a classifier of texts says of shifted sentences, by label."""
  judges = {
    judge['label']: _percent(judge['accuracy'])
    for judge in ours['latents']['judges']
  }
  return device_tables.markdown(
    [
      *('label', 'judge is right', 'amount', 'flipped', 'content kept'),
      *('flipped at random', 'content kept at random'),
    ],
    [
      [
        entry['label'],
        judges[entry['label']],
        f'{entry["amount"]:g}',
        _interval(entry, 'flipped'),
        _percent(entry['content_kept']),
        _percent(entry['control_flipped']),
        _percent(entry['control_content_kept']),
      ]
      for entry in ours['shifts']
    ],
  )


def parsed(ours: Mapping[str, Any]) -> str:
  """What the grammar says of its shifted sentences, by factor."""
  return device_tables.markdown(
    [
      *('factor', 'amount', 'flipped', 'flipped, others kept', 'grammatical'),
      *('flipped at random', 'grammatical at random'),
    ],
    [
      [
        entry['label'],
        f'{entry["amount"]:g}',
        _interval(entry, 'flipped'),
        _percent(entry['others_kept']),
        _percent(entry['grammatical']),
        _percent(entry['control_flipped']),
        _percent(entry['control_grammatical']),
      ]
      for entry in ours['parsed_shifts']
    ],
  )


SECTIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
  'probes': probes,
  'information': information,
  'shifts': shifts,
  'parsed': parsed,
}


def _of(
  corpus: str,
  make: Callable[[Mapping[str, Any]], str],
  results: pathlib.Path,
) -> str:
  path = results / f'latents_{corpus}.json'
  return make(json.loads(path.read_text(encoding='utf-8'))['ours'])


TABLES: dict[str, Callable[[pathlib.Path], str]] = {
  f'latents_{corpus}_{name}': functools.partial(_of, corpus, make)
  for corpus in _CORPORA
  for name, make in SECTIONS.items()
}


def _interval(entry: Mapping[str, Any], name: str) -> str:
  low, high = (100 * entry[end] for end in ('low', 'high'))
  return f'{100 * entry[name]:.1f} ({low:.1f} to {high:.1f})'


def _percent(share: float | None) -> str:
  return '' if share is None else f'{100 * share:.0f}'
