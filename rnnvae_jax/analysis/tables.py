"""Tables of figures, published and measured: as Markdown, and drawn."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np

from rnnvae_jax.analysis import plots

_TITLES = {
  'nll_per_sentence': 'NLL',
  'perplexity': 'perplexity',
  'elbo': '-ELBO',
  'reconstruction': 'reconstruction',
  'kl': 'KL',
  'nll_per_token': 'NLL a token',
  'bits_per_token': 'bits a token',
  'bits_per_character': 'bits a character',
  'reset_perplexity': 'perplexity, state reset',
  'iwae_nll': 'IW NLL',
  'iwae_perplexity': 'IW perplexity',
  'mutual_information': 'MI',
  'mutual_information_batch': 'MI in batches',
  'active_units': 'active units',
  'reconstruction_bleu': 'reconstruction BLEU',
  'self_bleu': 'self-BLEU',
}
# What the negative ELBO stands in for where a row has latents.
_BOUNDED = 'nll_per_sentence', 'perplexity', 'nll_per_token', 'bits_per_token'


def command(table: str, rows: Sequence[str], seeds: int) -> str:
  """What trains and evaluates these rows."""
  return (
    f'python -m rnnvae_jax.main --mode=reproduce --table={table} '
    f'--rows={",".join(rows)} --seeds={seeds} --workdir=runs/tables'
  )


def section(table: Mapping[str, Any]) -> str:
  """A table as Markdown: what any of its rows has published, and ours."""
  rows = table['rows']
  published = [metric for row in rows.values() for metric in row['published']]
  metrics = list(dict.fromkeys([*published, *table.get('columns', ())]))
  columns = ['row', *map(_title, metrics), 'source', 'minutes', 'commits']
  lines = [
    f'## {table["table"]}\n',
    f'{table["protocol"]}\n',
    _line(columns),
    _line(['---'] * len(columns)),
  ]
  missing = [
    name
    for name, row in rows.items()
    if 'ours' not in row and not row.get('diverged_seeds')
  ]
  for name, row in rows.items():
    if 'ours' not in row and not row['published']:
      continue
    ours = row.get('ours', {})
    cells = [_cell(row['published'], ours, metric) for metric in metrics]
    minutes = _minutes(row['wall_seconds']) if ours else ''
    commit = ', '.join(
      f'`{_short(commit)}`' for commit in row.get('commits', ()) if commit
    )
    lines.append(_line([f'`{name}`', *cells, row['source'], minutes, commit]))
  lines += [
    f'\n`{name}`: {row["note"]}' for name, row in rows.items() if 'note' in row
  ]
  lines += [
    f'\n`{name}`: measured with settings that its config has no more.'
    for name, row in rows.items()
    if row.get('outdated')
  ]
  lines += [
    f'\n`{name}`: diverged with seeds {row["diverged_seeds"]}, which the means '
    'leave out.'
    for name, row in rows.items()
    if row.get('diverged_seeds')
  ]
  commands = _commands(rows)
  if missing:
    names = ', '.join(f'`{name}`' for name in missing)
    lines += ['', f'Not measured yet: {names}.']
    commands.append(command(table['table'], missing, 1) + '  # not run yet')
  if commands:
    lines += ['', '```', *commands, '```']
  return '\n'.join([*lines, ''])


def _commands(rows: Mapping[str, Any]) -> list[str]:
  """What made the rows, with where; rows that share one of each are joined."""
  together: dict[tuple[str, ...], list[str]] = {}
  for name, row in rows.items():
    if 'ours' in row:
      parts = row['command'].partition(f'--rows={name}')
      key = parts[0], parts[1] and '--rows=', parts[2], row['device']
      together.setdefault(key, []).append(name)
  return [
    f'{before}{option}{",".join(names) if option else ""}{after}  # {device}'
    for (before, option, after, device), names in together.items()
  ]


def plot(table: Mapping[str, Any], path: pathlib.Path) -> bool:
  """Draws one figure against another, or one over the minutes of training.

  Returns:
    Whether there was anything to draw.
  """
  x, y = table['plot']
  axes_of = {y} if x == 'minutes' else {x, y}
  measured = {
    name: row
    for name, row in table['rows'].items()
    if axes_of <= _finite(row.get('ours', {}))
  }
  if not measured:
    return False
  figure, axes = plots.pyplot().subplots(figsize=(8, 6), layout='constrained')
  if x == 'minutes':
    _draw_training(axes, measured, y)
  else:
    _draw_trade(axes, measured, x, y)
  axes.set_ylabel(_title(y))
  axes.set_title(f'{table["table"]}: lower is better')
  axes.grid(alpha=0.3)
  plots.legend(axes)
  plots.save(figure, str(path))
  return True


def _draw_training(axes, rows, y: str) -> None:
  """A row's validations; dotted where it ended as published; count models."""
  lowest, counted = [], []
  for number, (name, row) in enumerate(rows.items()):
    color, final = f'C{number}', row['ours'][y]['mean']
    if 'curve' not in row:
      if row.get('model', 'ngrams') == 'ngrams':  # Which has no steps.
        counted.append((final, color, name))
      continue
    minutes, values = zip(*row['curve'], strict=True)
    axes.plot(minutes, values, color=color, marker='.', label=name)
    lowest.append(min(values))
    if y in row['published']:
      published = row['published'][y]
      axes.axhline(published, color=color, linestyle=':')
      lowest.append(published)
  top = 1.6 * min(lowest, default=float('inf'))
  if lowest:  # Not the fall from the first guess.
    axes.set_ylim(top=top)
  for final, color, name in counted:
    if final < top:
      axes.axhline(final, color=color, linestyle='--', label=name)
  axes.set_xlabel('minutes of training (dotted: the published end)')


def _draw_trade(axes, rows, x: str, y: str) -> None:
  """A curve for each control over its strength, which ends a row's name."""
  curves: dict[str, list[tuple[float, float, str]]] = {}
  for name, row in rows.items():
    control, _, strength = name.rpartition('_')
    at = (row['ours'][x]['mean'], row['ours'][y]['mean'], strength)
    curves.setdefault(control, []).append(at)
  markers = 'osv^D<>pX*'
  for number, (control, points) in enumerate(curves.items()):
    xs, ys, strengths = zip(*sorted(points), strict=True)
    marker = markers[number % len(markers)]
    axes.plot(xs, ys, marker=marker, label=control.replace('_', ' '))
    for point in zip(strengths, xs, ys, strict=True):
      axes.annotate(
        point[0],
        point[1:],
        xytext=(4, 4),
        textcoords='offset points',
        fontsize=7,
      )
  axes.set_xlabel(f'{_title(x)} (both in nats a sentence: left is better, too)')
  _draw_sums(axes)
  axes.text(
    0.01, 0.01, 'dotted: equal -ELBO', transform=axes.transAxes, fontsize=8
  )


def _draw_sums(axes) -> None:
  """Lines on which the sum of both axes is the same, behind the curves."""
  limits = axes.get_xlim(), axes.get_ylim()
  x, y = np.meshgrid(*(np.linspace(*ends) for ends in limits))
  lines = axes.contour(
    x, y, x + y, colors='gray', linestyles=':', linewidths=0.8, zorder=0
  )
  axes.clabel(lines, fontsize=7, fmt='%g')


def _finite(figures: Mapping[str, Any]) -> set[str]:
  """Which of them are no infinity, which null stands for."""
  return {name for name, value in figures.items() if value['mean'] is not None}


def _title(metric: str) -> str:
  split, _, name = metric.partition('_')
  return f'{split} {_TITLES.get(name, name)}'


def _minutes(seconds: float) -> str:
  """Two digits at least, none of them rounded away before the point."""
  minutes = seconds / 60
  return f'{minutes:.0f}' if minutes >= 10 else f'{minutes:.2g}'


def _short(commit: str) -> str:
  """Its first digits, and whether files differed from it."""
  number, _, dirty = commit.partition('-')
  return number[:8] + (f'-{dirty}' if dirty else '')


def _line(cells: Sequence[str]) -> str:
  return '| ' + ' | '.join(cells) + ' |'


def _cell(published, ours, metric: str) -> str:
  """'published / ours ± deviation (seeds)', as far as there are any."""
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
  split, _, name = metric.partition('_')
  if name in _BOUNDED and f'{split}_elbo' in ours:
    text += ' (bound)'
  if name == 'kl' and f'{split}_kl_standard_error' in ours:
    text += ' (sampled)'
  return f'{theirs} / {text}'
