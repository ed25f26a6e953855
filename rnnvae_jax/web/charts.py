"""Charts as inline SVG, which are whole without a script.

Each is a figure with the points that a reader can visit with the pointer or
the keyboard, [x, y, text, series] in the units of the drawing; `report.js`
shows the text of the one that is visited. Series differ in colour and in the
shape of their marks.
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
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 36
_UP = 2  # The shape of a mark that stands for a value above the frame.
_ABOVE = '<p class="hint">Hollow triangles are above the frame.</p>'


class Series(NamedTuple):
  """A line.

  Attributes:
    name: as text.
    x: ascending.
    y: as many; NaN breaks the line.
    marked: whether each value has a mark.
  """

  name: str
  x: Sequence[float]
  y: Sequence[float]
  marked: bool = False


class Point(NamedTuple):
  """A point of a scatter plot.

  Attributes:
    x: its place.
    y: its place.
    text: what is shown of it.
    series: the number of its kind.
    hollow: whether only its outline is drawn.
  """

  x: float
  y: float
  text: str
  series: int = 0
  hollow: bool = False


class Axis(NamedTuple):
  """A range of values and the pixels that it is drawn on."""

  low: float
  high: float
  start: float
  stop: float

  def place(self, value: float) -> float:
    share = (value - self.low) / ((self.high - self.low) or 1.0)
    return self.start + share * (self.stop - self.start)


def symbols() -> str:
  """The marks, which must stand once on a page with charts."""
  paths = ''.join(
    f'<path id="s{number}" d="{path}"/>' for number, path in enumerate(SHAPES)
  )
  return (
    '<svg class="symbols" width="0" height="0" aria-hidden="true"><defs>'
    f'{paths}</defs></svg>'
  )


def lines(
  title: str,
  series: Sequence[Series],
  x_label: str,
  y_label: str,
) -> str:
  """Lines over a common axis, with a table of the marked ones' values.

  Args:
    title: HTML.
    series: the lines.
    x_label: of the axis, as text.
    y_label: of the values, as text.
  """
  width, height = 360, 220
  values = [y for one in series for y in one.y if math.isfinite(y)]
  if not values:
    return ''
  ends = [x for one in series for x in (one.x[0], one.x[-1])]
  room = 0.0 if min(ends) < max(ends) else 0.5  # On both sides of one value.
  x_axis = Axis(min(ends) - room, max(ends) + room, _LEFT, width - _RIGHT)
  y_axis = Axis(*window(values), height - _BOTTOM, _TOP)
  drawn, points = [], []
  outside = False  # Whether marked values are above the frame.
  for number, one in enumerate(series):
    places = [
      (x_axis.place(x), y_axis.place(y)) if math.isfinite(y) else None
      for x, y in zip(one.x, one.y, strict=True)
    ]
    drawn.append(f'<path class="line c{number}" d="{_path(places)}"/>')
    for place, x, y in zip(places, one.x, one.y, strict=True):
      if place is None:
        continue
      inside = place[0], max(place[1], _TOP)
      is_above = place[1] < _TOP
      outside = outside or (is_above and one.marked)
      if one.marked:
        drawn.append(
          mark(*inside, number, ' hollow', _UP)
          if is_above
          else mark(*inside, number)
        )
      text = f'{one.name}: {number_text(y)} at {x_label} {number_text(x)}'
      points.append((*inside, text, number))
  frame = _frame(x_axis, y_axis, x_label, y_label)
  # What leaves the frame is cut off.
  x, y = _LEFT - 6, _TOP - 6
  across, down = width - _LEFT - _RIGHT + 12, height - _TOP - _BOTTOM + 12
  inner = (
    f'<svg x="{x}" y="{y}" width="{across}" height="{down}" '
    f'viewBox="{x} {y} {across} {down}">{"".join(drawn)}</svg>'
  )
  names = [one.name for one in series]
  label = f'{", ".join(names)} by {x_label}'
  return figure(
    title,
    width,
    height,
    frame + inner,
    points,
    label,
    legend(names) if len(names) > 1 else '',
    _ABOVE * outside + _values(series, x_label),
    'line',
  )


def scatter(
  title: str,
  points: Sequence[Point],
  names: Sequence[str],
  x_label: str,
  y_label: str,
  extra: str = '',
  note: str = '',
  sums: bool = False,
  hollow: str = '',
) -> str:
  """Points of several kinds.

  Args:
    title: HTML.
    points: the points.
    names: of the kinds, as text.
    x_label: of the axis, as text.
    y_label: of the axis, as text.
    extra: 'x=3.0' draws a line there; '': none.
    note: HTML below the points.
    sums: whether lines show where the sum of both axes is the same.
    hollow: what hollow marks mean, for the legend.
  """
  width, height = 560, 360
  x_axis = Axis(*window([p.x for p in points]), _LEFT, width - _RIGHT)
  y_axis = Axis(*window([p.y for p in points]), height - _BOTTOM, _TOP)
  drawn = []
  if sums:
    drawn += _equal_sums(x_axis, y_axis)
  if extra:
    x = x_axis.place(float(extra.removeprefix('x=')))
    drawn.append(
      f'<path class="guide" d="M{x:.1f} {_TOP}V{height - _BOTTOM}"/>'
    )
  visited = []
  for point in points:
    x = min(max(x_axis.place(point.x), _LEFT), width - _RIGHT)
    y = min(max(y_axis.place(point.y), _TOP), height - _BOTTOM)
    drawn.append(mark(x, y, point.series, ' hollow' * point.hollow))
    visited.append((x, y, point.text, point.series))
  return figure(
    title,
    width,
    height,
    _frame(x_axis, y_axis, x_label, y_label) + ''.join(drawn),
    visited,
    f'{y_label} against {x_label}, {len(points)} points',
    legend(names, hollow if any(p.hollow for p in points) else ''),
    note,
  )


def bars(
  title: str,
  values: Sequence[float],
  names: Sequence[str],
  x_label: str,
  y_label: str,
  note: str = '',
) -> str:
  """A bar a value, in the order given."""
  width, height = 560, 220
  y_axis = Axis(
    min(0.0, *values), max(*values, 1e-9) * 1.05, height - _BOTTOM, _TOP
  )
  step = (width - _LEFT - _RIGHT) / len(values)
  every = math.ceil(16 / step)
  base = y_axis.place(0.0)
  drawn, points = [], []
  for number, (value, name) in enumerate(zip(values, names, strict=True)):
    x, y = _LEFT + step * (number + 0.5), y_axis.place(value)
    top, size = min(y, base), abs(base - y)
    drawn.append(
      f'<rect class="bar" x="{x - 0.4 * step:.1f}" y="{top:.1f}" '
      f'width="{0.8 * step:.1f}" height="{size:.1f}"/>'
    )
    if number % every == 0:
      drawn.append(
        f'<text class="tick" x="{x:.1f}" y="{height - _BOTTOM + 14}" '
        f'text-anchor="middle">{page.escape(name)}</text>'
      )
    points.append((x, y, f'{x_label} {name}: {number_text(value)}', 0))
  frame = _vertical(y_axis, width, y_label) + _x_label(width, height, x_label)
  return figure(
    title,
    width,
    height,
    frame + ''.join(drawn),
    points,
    f'{y_label} of each {x_label}',
    '',
    note,
    'line',
  )


class Coordinate(NamedTuple):
  """An axis of parallel coordinates.

  Attributes:
    name: as text.
    ticks: (share of the height from below, text).
  """

  name: str
  ticks: Sequence[tuple[float, str]]


def coordinates(
  title: str,
  axes: Sequence[Coordinate],
  rows: Sequence[tuple[Sequence[float], Sequence[str], int, bool]],
  label: str,
  note: str = '',
) -> str:
  """Parallel coordinates: a line a row, the last one in front.

  Args:
    title: HTML.
    axes: from left to right.
    rows: of each line the shares of the height where it meets the axes, the
      text of each of these points, its level of five, and whether it is faint.
    label: what is drawn, as text.
    note: HTML below the lines.
  """
  step = 104
  width, height = step * len(axes) + 20, 320
  top, bottom = 34, height - 16
  drawn, points = [], []
  place = lambda number, share: (
    70 + step * number,
    bottom - share * (bottom - top),
  )
  for number, (shares, texts, level, faint) in enumerate(rows):
    places = [place(i, share) for i, share in enumerate(shares)]
    drawn.append(
      f'<path class="line level{level}{" faint" * faint}" '
      f'data-series="{number}" d="{_path(places)}"/>'
    )
    points += [
      (*at, text, number) for at, text in zip(places, texts, strict=True)
    ]
  for number, axis in enumerate(axes):
    x = 70 + step * number
    drawn.append(f'<path class="axis" d="M{x} {top}V{bottom}"/>')
    drawn.append(
      f'<text class="name" x="{x}" y="{14 + 10 * (number % 2)}" '
      f'text-anchor="middle">{page.escape(axis.name)}</text>'
    )
    for share, text in axis.ticks:
      y = place(number, share)[1]
      drawn.append(
        f'<text class="tick halo" x="{x - 5}" y="{y + 3:.1f}" '
        f'text-anchor="end">{page.escape(text)}</text>'
      )
  return figure(
    title, width, height, ''.join(drawn), points, label, '', note, 'line wide'
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


def _path(places: Sequence[tuple[float, float] | None]) -> str:
  parts, pen = [], 'M'
  for place in places:
    if place is None:
      pen = 'M'
      continue
    parts.append(f'{pen}{place[0]:.1f} {place[1]:.1f}')
    pen = 'L'
  return ''.join(parts)


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
  width, height = x_axis.stop + _RIGHT, y_axis.start + _BOTTOM
  parts = [_vertical(y_axis, width, y_label), _x_label(width, height, x_label)]
  for value in ticks(x_axis.low, x_axis.high):
    x = x_axis.place(value)
    parts.append(
      f'<path class="axis" d="M{x:.1f} {y_axis.start:.1f}v4"/>'
      f'<text class="tick" x="{x:.1f}" y="{y_axis.start + 15:.1f}" '
      f'text-anchor="middle">{_tick(value)}</text>'
    )
  return ''.join(parts)


def _vertical(y_axis: Axis, width: float, label: str) -> str:
  right = width - _RIGHT
  parts = [
    f'<text class="label" transform="translate(11 '
    f'{(y_axis.start + y_axis.stop) / 2:.1f}) rotate(-90)" '
    f'text-anchor="middle">{page.escape(label)}</text>',
    f'<path class="axis" d="M{_LEFT} {y_axis.start:.1f}H{right:.1f}"/>',
  ]
  for value in ticks(y_axis.low, y_axis.high):
    y = y_axis.place(value)
    parts.append(
      f'<path class="grid" d="M{_LEFT} {y:.1f}H{right:.1f}"/>'
      f'<text class="tick" x="{_LEFT - 5}" y="{y + 3.5:.1f}" '
      f'text-anchor="end">{_tick(value)}</text>'
    )
  return ''.join(parts)


def _x_label(width: float, height: float, label: str) -> str:
  return (
    f'<text class="label" x="{(_LEFT + width - _RIGHT) / 2:.1f}" '
    f'y="{height - 4:.1f}" text-anchor="middle">{page.escape(label)}</text>'
  )


def _tick(value: float) -> str:
  return f'{value:,.10g}' if 1e-4 <= abs(value) < 1e6 else f'{value:.10g}'


def _equal_sums(x_axis: Axis, y_axis: Axis) -> list[str]:
  """Lines x + y = constant, within both axes, with the constant on each."""
  drawn = []
  low, high = x_axis.low + y_axis.low, x_axis.high + y_axis.high
  for total in ticks(low, high, 8):
    left = max(x_axis.low, total - y_axis.high)
    right = min(x_axis.high, total - y_axis.low)
    if left >= right:
      continue
    ends = [(x_axis.place(x), y_axis.place(total - x)) for x in (left, right)]
    drawn.append(f'<path class="guide" d="{_path(ends)}"/>')
    x, y = ends[0]
    drawn.append(
      f'<text class="tick halo" x="{x + 3:.1f}" y="{y + 12:.1f}">'
      f'{_tick(total)}</text>'
    )
  return drawn


def _values(series: Sequence[Series], x_label: str) -> str:
  """The values of the marked lines, as a table."""
  marked = [one for one in series if one.marked]
  if not marked:
    return ''
  by_x: dict[float, dict[str, float]] = {}
  for one in marked:
    for x, y in zip(one.x, one.y, strict=True):
      by_x.setdefault(x, {})[one.name] = y
  rows = [
    [number_text(x), *(_cell(found.get(one.name)) for one in marked)]
    for x, found in sorted(by_x.items())
  ]
  head = [f'#{page.escape(x_label)}']
  head += [f'#{page.escape(one.name)}' for one in marked]
  return page.folded('Values', page.table(head, rows), on_paper=False)


def _cell(value: float | None) -> str:
  if value is None:
    return ''
  return number_text(value) if math.isfinite(value) else str(value)
