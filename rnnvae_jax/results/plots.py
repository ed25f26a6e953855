"""Draws a table: one figure against another, or over minutes of training."""

from collections.abc import Callable, Mapping
import pathlib
from typing import Any

from rnnvae_jax.analysis import plots

_MARKERS = 'osv^D<>pX*'


def draw(
  table: Mapping[str, Any],
  path: pathlib.Path,
  title: Callable[[str], str] = str,
) -> bool:
  """Draws what the `plot` of a table asks for.

  Args:
    table: with `plot`, two metrics, or `minutes` and a metric.
    path: PNG to write.
    title: metric -> its title.

  Returns:
    Whether there was anything to draw.
  """
  x, y = table['plot']
  needed = {y} if x == 'minutes' else {x, y}
  measured = {
    name: row
    for name, row in table['rows'].items()
    if needed <= _finite(row.get('ours', {}))
  }
  if not measured:
    return False
  figure, axes = plots.pyplot().subplots(figsize=(8, 6), layout='constrained')
  if x == 'minutes':
    _draw_training(axes, measured, y)
  else:
    _draw_trade(axes, measured, x, y)
    axes.set_xlabel(
      f'{title(x)} (both in nats a sentence: left is better, too)'
    )
  axes.set_ylabel(title(y))
  axes.set_title(f'{table["table"]}: lower is better')
  axes.grid(alpha=0.3)
  plots.legend(axes)
  plots.save(figure, str(path))
  return True


def _draw_training(axes, rows: Mapping[str, Any], y: str) -> None:
  """A row's validations, its published figure dotted; dashed without a curve.

  A row has no curve if its model does not train in steps, or trained as a
  member of a population.
  """
  lowest, ends = [], []
  for number, (name, row) in enumerate(rows.items()):
    color = f'C{number}'
    if 'curve' not in row:
      ends.append((row['ours'][y]['mean'], color, name))
      continue
    minutes, values = zip(*row['curve'], strict=True)
    axes.plot(minutes, values, color=color, marker='.', label=name)
    lowest.append(min(values))
    if y in row['published']:
      published = row['published'][y]
      axes.axhline(published, color=color, linestyle=':')
      lowest.append(published)
  top = 1.6 * min(lowest, default=float('inf'))
  if lowest:  # Cuts off the fall from the first guess.
    axes.set_ylim(top=top)
  for end, color, name in ends:
    if end < top:
      axes.axhline(end, color=color, linestyle='--', label=name)
  axes.set_xlabel('minutes of training (dotted: the published end)')


def _draw_trade(axes, rows: Mapping[str, Any], x: str, y: str) -> None:
  """A curve for each control over its strength, which ends a row's name."""
  curves: dict[str, list[tuple[float, float, str]]] = {}
  for name, row in rows.items():
    control, _, strength = name.rpartition('_')
    point = (row['ours'][x]['mean'], row['ours'][y]['mean'], strength)
    curves.setdefault(control, []).append(point)
  for number, (control, points) in enumerate(curves.items()):
    xs, ys, strengths = zip(*sorted(points), strict=True)
    marker = _MARKERS[number % len(_MARKERS)]
    axes.plot(xs, ys, marker=marker, label=control.replace('_', ' '))
    for label, left, top in zip(strengths, xs, ys, strict=True):
      axes.annotate(
        label,
        (left, top),
        xytext=(4, 4),
        textcoords='offset points',
        fontsize=7,
      )
  plots.sums(axes)
  axes.text(
    0.01, 0.01, 'dotted: equal -ELBO', transform=axes.transAxes, fontsize=8
  )


def _finite(figures: Mapping[str, Any]) -> set[str]:
  """The names of figures that are finite; infinity is stored as null."""
  return {name for name, value in figures.items() if value['mean'] is not None}
