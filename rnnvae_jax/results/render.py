"""RESULTS.md: the tables' figures, published and measured, as Markdown."""

from collections.abc import Mapping, Sequence
import functools
import os
from typing import Any

from rnnvae_jax.config import build as config_build
from rnnvae_jax.results import gains, plots, tables
from rnnvae_jax.training import workdir as workdir_lib
from rnnvae_jax.training import writers

_HEADER = """# Results

Rendered by `python -m rnnvae_jax.main --mode=reproduce` from the JSON files in
`{folder}/`, which hold more figures of each row and the versions that made
them. A cell reads published / ours; `-` means that there is no such figure.
Ours are means over seeds, with their standard deviation where there are
several. The unit is nats a sentence unless the column says otherwise. `(bound)`
marks a negative ELBO that stands in for the negative log-likelihood,
`(sampled)` a KL term that was estimated from samples. The second table of a
section lists the conditions of each measured row.

`gain over own LM` is the negative log-likelihood of the same decoder as a
language model minus that of the row, importance-weighted for VAEs, with its
standard error over the sentences of the split (of the differences on each);
`± ?` where the nats of single sentences were not kept.
"""

# Figures of text that a run writes, which no task has.
_JUDGED_TITLES = {
  'reconstruction_bleu': 'reconstruction BLEU',
  'self_bleu': 'self-BLEU',
}
_GAIN_TITLE = 'test gain over own LM, nats'
# The figures that the negative ELBO stands in for where there is one.
_BOUNDED = 'nll_per_sentence', 'perplexity', 'nll_per_token', 'bits_per_token'


@functools.cache
def titles() -> dict[str, str]:
  """The short name of each metric, by its key in results.json."""
  found = {
    figure.name: figure.title
    for kind in config_build.TASKS
    for figure in config_build.task(kind).FIGURES
    if figure.title
  }
  return found | _JUDGED_TITLES


def title(metric: str) -> str:
  """The title of a table's metric, SPLIT_NAME."""
  if metric == gains.GAIN:
    return _GAIN_TITLE
  split, _, name = metric.partition('_')
  return f'{split} {titles().get(name, name)}'


def document(where: tables.Store) -> None:
  """Writes the document, and the plots that it shows, from all tables' files.

  Args:
    where: the tables' files lie and the document goes.
  """
  root = where.document.parent
  relative = lambda path: os.path.relpath(path, root).replace(os.sep, '/')
  parts = [_HEADER.format(folder=relative(where.folder))]
  for path in sorted(where.folder.glob('*.json')):
    table = workdir_lib.read_json(str(path))
    parts.append(section(table))
    picture = path.with_suffix('.png')
    if 'plot' in table and plots.draw(table, picture, title):
      parts.append(f'![{path.stem}]({relative(picture)})\n')
  writers.write_text(str(where.document), '\n'.join(parts))


def section(table: Mapping[str, Any]) -> str:
  """A table as Markdown: figures, conditions, commands."""
  rows = table['rows']
  published = [metric for row in rows.values() for metric in row['published']]
  gained = [gains.GAIN for row in rows.values() if 'gain_over' in row]
  columns = [*published, *gained, *table.get('columns', ())]
  metrics = list(dict.fromkeys(columns))
  shown = {
    name: row for name, row in rows.items() if 'ours' in row or row['published']
  }
  begun = {
    name: row
    for name, row in rows.items()
    if 'ours' in row or row.get('diverged_seeds')
  }
  missing = [name for name in rows if name not in begun]
  lines = [
    f'## {table["table"]}\n',
    f'{table["protocol"]}\n',
    *_markdown(
      ['row', *map(title, metrics), 'source'],
      [
        [
          f'`{name}`',
          *(
            _cell(row['published'], row.get('ours', {}), metric)
            for metric in metrics
          ),
          row['source'],
        ]
        for name, row in shown.items()
      ],
    ),
  ]
  if begun:
    lines += ['', *_conditions(begun)]
  commands = _commands(begun)
  if missing:
    names = ', '.join(f'`{name}`' for name in missing)
    lines += ['', f'Not measured yet: {names}.']
    command = tables.command(table['table'], missing, 1)
    commands.append(f'{command}  # not run yet')
  if commands:
    lines += ['', '```', *commands, '```']
  return '\n'.join([*lines, ''])


def _conditions(rows: Mapping[str, Any]) -> list[str]:
  """What each row was measured under, a line each."""
  return _markdown(
    ['row', 'device', 'seeds', 'minutes', 'commits', 'remarks'],
    [
      [
        f'`{name}`',
        row.get('device', ''),
        max(
          (str(x['seeds']) for x in row.get('ours', {}).values()), default=''
        ),
        _minutes(row['wall_seconds']) if 'wall_seconds' in row else '',
        ', '.join(f'`{_short(x)}`' for x in row.get('commits', ()) if x),
        '; '.join(_remarks(row)),
      ]
      for name, row in rows.items()
    ],
  )


def _remarks(row: Mapping[str, Any]) -> list[str]:
  """What a reader of a measured row should know besides."""
  remarks = [row['note'].rstrip('.')] if 'note' in row else []
  if row.get('outdated'):
    changes = ', '.join(row['outdated'])
    remarks.append(
      f'measured with settings that have since changed ({changes})'
    )
  if row.get('diverged_seeds'):
    seeds = ', '.join(map(str, row['diverged_seeds']))
    remarks.append(f'diverged with seed {seeds}, which the means leave out')
  if 'ours' in row and not row.get('environment'):
    remarks.append('nothing else of the environment was recorded')
  return remarks


def _commands(rows: Mapping[str, Any]) -> list[str]:
  """The commands of the rows; those that differ in the row alone are joined."""
  together: dict[tuple[str, ...], list[str]] = {}
  for name, row in rows.items():
    if 'command' in row:
      before, option, after = row['command'].partition(f'--rows={name}')
      key = before, option and '--rows=', after
      together.setdefault(key, []).append(name)
  return [
    f'{before}{option}{",".join(names) if option else ""}{after}'
    for (before, option, after), names in together.items()
  ]


def _markdown(
  columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[str]:
  """The lines of a Markdown table."""
  line = lambda cells: '| ' + ' | '.join(cells) + ' |'
  return [line(columns), line(['---'] * len(columns)), *map(line, rows)]


def _minutes(seconds: float) -> str:
  """Two digits at least, and all of those before the point."""
  minutes = seconds / 60
  return f'{minutes:.0f}' if minutes >= 10 else f'{minutes:.2g}'


def _short(commit: str) -> str:
  """Its first digits, and whether files differed from it."""
  number, _, dirty = commit.partition('-')
  return number[:8] + (f'-{dirty}' if dirty else '')


def _cell(published, ours, metric: str) -> str:
  """'published / ours ± deviation', as far as there are any."""
  theirs = str(published[metric]) if metric in published else '-'
  if metric not in ours:
    return f'{theirs} / -' if metric in published else ''
  value = ours[metric]
  digits = 4 if metric.endswith(('_per_token', '_per_character')) else 2
  if metric.endswith('_units') and value['std'] is None:
    digits = 0
  text = 'inf' if value['mean'] is None else f'{value["mean"]:z.{digits}f}'
  if value['std'] is not None:
    text += f' ± {value["std"]:.{digits}f}'
  if gains.STANDARD_ERROR in value:
    error = value[gains.STANDARD_ERROR]
    text += ' ± ?' if error is None else f' ± {error:.2f}'
  split, _, name = metric.partition('_')
  if name in _BOUNDED and f'{split}_elbo' in ours:
    text += ' (bound)'
  if name == 'kl' and f'{split}_kl_standard_error' in ours:
    text += ' (sampled)'
  return f'{theirs} / {text}'
