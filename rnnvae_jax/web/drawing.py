"""What charts consist of: axes, frames, marks, figures.

A figure has the points that a reader can visit with the pointer or the
keyboard, [x, y, text, series] in the units of the drawing; `report.js` shows
the text of the one that is visited.
"""

from collections.abc import Iterable, Sequence
import math
from typing import NamedTuple

from rnnvae_jax.web import page

# Marks around (0, 0), by the number of a series.
SHAPES = (
  'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0',
  'M-3.6-3.6h7.2v7.2h-7.2z',
  'M0-4.8L4.6 3.4h-9.2z',
  'M0-5L5 0L0 5L-5 0z',
  'M-1.5-4.6h3v3.1h3.1v3h-3.1v3.1h-3v-3.1h-3.1v-3h3.1z',
  'M0 4.8L4.6-3.4h-9.2z',
  'M-2.5-2.5h5v5h-5z',
)
# Pixels between the frame and the ends of the drawing.
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 36


class Axis(NamedTuple):
  """A range of values and the pixels that it is drawn on."""

  low: float
  high: float
  start: float
  stop: float

  def place(self, value: float) -> float:
    share = (value - self.low) / ((self.high - self.low) or 1.0)
    return self.start + share * (self.stop - self.start)


def across(ends: tuple[float, float], width: float) -> Axis:
  """The horizontal axis of a drawing."""
  return Axis(*ends, LEFT, width - RIGHT)


def upwards(ends: tuple[float, float], height: float) -> Axis:
  """The vertical axis of a drawing."""
  return Axis(*ends, height - BOTTOM, TOP)


def symbols() -> str:
  """The marks, which must stand once on a page with charts."""
  paths = ''.join(
    f'<path id="s{number}" d="{path}"/>' for number, path in enumerate(SHAPES)
  )
  return (
    '<svg class="symbols" width="0" height="0" aria-hidden="true"><defs>'
    f'{paths}</defs></svg>'
  )


def figure(
  title: str,
  width: float,
  height: float,
  drawing: str,
  points: Iterable[tuple[float, float, str, int]],
  label: str,
  legend: str = '',
  note: str = '',
  kind: str = '',
) -> str:
  """A figure: its title, its legend, its drawing, its points and a note.

  Args:
    title: HTML.
    width: of the drawing.
    height: of the drawing.
    drawing: SVG.
    points: that can be visited.
    label: what is drawn, as text, for readers who do not see it.
    legend: HTML.
    note: HTML.
    kind: 'line' if arrow keys move along series, else they move to neighbours.
  """
  visited = [[round(x, 1), round(y, 1), *rest] for x, y, *rest in points]
  help_text = 'Arrow keys move from point to point.'
  return (
    f'<figure class="chart {kind}"><figcaption>{title}</figcaption>{legend}'
    f'<svg class="plot" width="{1.2 * width:g}" '
    f'viewBox="0 0 {width:g} {height:g}" tabindex="0" '
    f'role="img" aria-label="{page.escape(label)}. {help_text}">'
    f'{drawing}</svg>{page.data(visited, "points")}{note}</figure>'
  )


def mark(
  x: float, y: float, series: int, kind: str = '', shape: int | None = None
) -> str:
  """The mark of a series, in its colour and in its shape or another one."""
  number = series % len(SHAPES)
  shape = number if shape is None else shape
  return (
    f'<use href="#s{shape}" class="mark c{number}{kind}" '
    f'x="{x:.1f}" y="{y:.1f}"/>'
  )


def legend(names: Sequence[str], hollow: str = '') -> str:
  """The marks of the kinds with these names."""
  items = [(mark(7, 7, i), name) for i, name in enumerate(names)]
  if hollow:
    items.append((mark(7, 7, 0, ' hollow'), hollow))
  return (
    '<ul class="legend">'
    + ''.join(
      '<li><svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">'
      f'{sign}</svg>{page.escape(name)}</li>'
      for sign, name in items
    )
    + '</ul>'
  )


def window(values: Sequence[float]) -> tuple[float, float]:
  """The ends of an axis that leaves out far outliers above.

  The first updates of a training, and trials that failed, are far from what is
  of interest.
  """
  ordered = sorted(value for value in values if math.isfinite(value))
  if not ordered:
    return 0.0, 1.0
  low, high = ordered[0], ordered[-1]
  usual = ordered[int(0.9 * (len(ordered) - 1))]
  if high - low > 3 * (usual - low) > 0:
    high = usual + 0.3 * (usual - low)
  margin = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
  return low - margin, high + margin


def ticks(low: float, high: float, count: int = 5) -> list[float]:
  """Round numbers within a range, about `count`."""
  span = high - low
  step = 10 ** math.floor(math.log10(span / count))
  step *= min(f for f in (1, 2, 5, 10) if span / (step * f) <= count)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [k * step for k in range(first, last + 1)]


def number_text(value: float) -> str:
  """A number with four digits that count, or all digits of a whole one."""
  if value == int(value) and abs(value) < 1e15:
    return f'{int(value):,}'
  if 1e-3 <= abs(value) < 1e6:
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f'{value:,.{digits}f}'
  return f'{value:.3g}'


def path(places: Sequence[tuple[float, float] | None]) -> str:
  parts, pen = [], 'M'
  for place in places:
    if place is None:
      pen = 'M'
      continue
    parts.append(f'{pen}{place[0]:.1f} {place[1]:.1f}')
    pen = 'L'
  return ''.join(parts)


def frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
  width, height = x_axis.stop + RIGHT, y_axis.start + BOTTOM
  parts = [vertical(y_axis, width, y_label), x_name(width, height, x_label)]
  for value in ticks(x_axis.low, x_axis.high):
    x = x_axis.place(value)
    parts.append(
      f'<path class="axis" d="M{x:.1f} {y_axis.start:.1f}v4"/>'
      f'<text class="tick" x="{x:.1f}" y="{y_axis.start + 15:.1f}" '
      f'text-anchor="middle">{tick(value)}</text>'
    )
  return ''.join(parts)


def vertical(y_axis: Axis, width: float, label: str) -> str:
  right = width - RIGHT
  parts = [
    f'<text class="label" transform="translate(11 '
    f'{(y_axis.start + y_axis.stop) / 2:.1f}) rotate(-90)" '
    f'text-anchor="middle">{page.escape(label)}</text>',
    f'<path class="axis" d="M{LEFT} {y_axis.start:.1f}H{right:.1f}"/>',
  ]
  for value in ticks(y_axis.low, y_axis.high):
    y = y_axis.place(value)
    parts.append(
      f'<path class="grid" d="M{LEFT} {y:.1f}H{right:.1f}"/>'
      f'<text class="tick" x="{LEFT - 5}" y="{y + 3.5:.1f}" '
      f'text-anchor="end">{tick(value)}</text>'
    )
  return ''.join(parts)


def x_name(width: float, height: float, label: str) -> str:
  return (
    f'<text class="label" x="{(LEFT + width - RIGHT) / 2:.1f}" '
    f'y="{height - 4:.1f}" text-anchor="middle">{page.escape(label)}</text>'
  )


def tick(value: float) -> str:
  return f'{value:,.10g}' if 1e-4 <= abs(value) < 1e6 else f'{value:.10g}'
