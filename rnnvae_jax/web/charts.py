"""Charts as inline SVG, which are whole without a script.

Series differ in colour and in the shape of their marks.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

from rnnvae_jax.web import drawing, page

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
  x_axis = drawing.across((min(ends) - room, max(ends) + room), width)
  y_axis = drawing.upwards(drawing.window(values), height)
  drawn, points = [], []
  outside = False  # Whether marked values are above the frame.
  for number, one in enumerate(series):
    places = [
      (x_axis.place(x), y_axis.place(y)) if math.isfinite(y) else None
      for x, y in zip(one.x, one.y, strict=True)
    ]
    drawn.append(f'<path class="line c{number}" d="{drawing.path(places)}"/>')
    for place, x, y in zip(places, one.x, one.y, strict=True):
      if place is None:
        continue
      inside = place[0], max(place[1], y_axis.stop)
      is_above = place[1] < y_axis.stop
      outside = outside or (is_above and one.marked)
      if one.marked:
        drawn.append(
          drawing.mark(*inside, number, ' hollow', _UP)
          if is_above
          else drawing.mark(*inside, number)
        )
      at = f'{x_label} {drawing.number_text(x)}'
      text = f'{one.name}: {drawing.number_text(y)} at {at}'
      points.append((*inside, text, number))
  frame = drawing.frame(x_axis, y_axis, x_label, y_label)
  # What leaves the frame by more than half a mark is cut off.
  left, top = x_axis.start - 6, y_axis.stop - 6
  size = x_axis.stop + 6 - left, y_axis.start + 6 - top
  inner = (
    f'<svg x="{left}" y="{top}" width="{size[0]}" height="{size[1]}" '
    f'viewBox="{left} {top} {size[0]} {size[1]}">{"".join(drawn)}</svg>'
  )
  names = [one.name for one in series]
  label = f'{", ".join(names)} by {x_label}'
  return drawing.figure(
    title,
    width,
    height,
    frame + inner,
    points,
    label,
    drawing.legend(names) if len(names) > 1 else '',
    _ABOVE * outside + _values(series, x_label),
    'line',
  )


def scatter(
  title: str,
  points: Sequence[Point],
  names: Sequence[str],
  x_label: str,
  y_label: str,
  guide: float | None = None,
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
    guide: where a line crosses the first axis; None: nowhere.
    sums: whether lines show where the sum of both axes is the same.
    hollow: what hollow marks mean, for the legend.
  """
  width, height = 560, 360
  x_axis = drawing.across(drawing.window([p.x for p in points]), width)
  y_axis = drawing.upwards(drawing.window([p.y for p in points]), height)
  drawn = []
  if sums:
    drawn += _equal_sums(x_axis, y_axis)
  if guide is not None and x_axis.low <= guide <= x_axis.high:
    x = x_axis.place(guide)
    drawn.append(
      f'<path class="guide" d="M{x:.1f} {y_axis.stop}V{y_axis.start}"/>'
    )
  visited, outside = [], 0
  for point in points:
    x = min(x_axis.place(point.x), x_axis.stop)
    y = max(y_axis.place(point.y), y_axis.stop)
    outside += point.x > x_axis.high or point.y > y_axis.high
    drawn.append(drawing.mark(x, y, point.series, ' hollow' * point.hollow))
    visited.append((x, y, point.text, point.series))
  note = ''
  if outside:
    what = 'Points outside of the frame, drawn at its edge'
    note = f'<p class="hint">{what}: {outside}.</p>'
  return drawing.figure(
    title,
    width,
    height,
    drawing.frame(x_axis, y_axis, x_label, y_label) + ''.join(drawn),
    visited,
    f'{y_label} against {x_label}, {len(points)} points',
    drawing.legend(names, hollow if any(p.hollow for p in points) else ''),
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
  x_axis = drawing.across((0, len(values)), width)
  y_axis = drawing.upwards(
    (min(0.0, *values), max(*values, 1e-9) * 1.05), height
  )
  step = x_axis.place(1) - x_axis.place(0)
  every = math.ceil(16 / step)
  base = y_axis.place(0.0)
  drawn, points = [], []
  for number, (value, name) in enumerate(zip(values, names, strict=True)):
    x, y = x_axis.place(number + 0.5), y_axis.place(value)
    top, size = min(y, base), abs(base - y)
    drawn.append(
      f'<rect class="bar" x="{x - 0.4 * step:.1f}" y="{top:.1f}" '
      f'width="{0.8 * step:.1f}" height="{size:.1f}"/>'
    )
    if number % every == 0:
      drawn.append(
        f'<text class="tick" x="{x:.1f}" y="{y_axis.start + 14}" '
        f'text-anchor="middle">{page.escape(name)}</text>'
      )
    points.append((x, y, f'{x_label} {name}: {drawing.number_text(value)}', 0))
  frame = drawing.vertical(y_axis, width, y_label) + drawing.x_name(
    width, height, x_label
  )
  return drawing.figure(
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
      f'data-series="{number}" d="{drawing.path(places)}"/>'
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
  return drawing.figure(
    title, width, height, ''.join(drawn), points, label, '', note, 'line wide'
  )


def _equal_sums(x_axis: drawing.Axis, y_axis: drawing.Axis) -> list[str]:
  """Lines x + y = constant, within both axes, with the constant on each."""
  drawn = []
  low, high = x_axis.low + y_axis.low, x_axis.high + y_axis.high
  for total in drawing.ticks(low, high, 8):
    left = max(x_axis.low, total - y_axis.high)
    right = min(x_axis.high, total - y_axis.low)
    if left >= right:
      continue
    ends = [(x_axis.place(x), y_axis.place(total - x)) for x in (left, right)]
    drawn.append(f'<path class="guide" d="{drawing.path(ends)}"/>')
    x, y = ends[0]
    drawn.append(
      f'<text class="tick halo" x="{x + 3:.1f}" y="{y + 12:.1f}">'
      f'{drawing.tick(total)}</text>'
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
    [drawing.number_text(x), *(_cell(found.get(one.name)) for one in marked)]
    for x, found in sorted(by_x.items())
  ]
  head = [f'#{page.escape(x_label)}']
  head += [f'#{page.escape(one.name)}' for one in marked]
  return page.folded('Values', page.table(head, rows), on_paper=False)


def _cell(value: float | None) -> str:
  if value is None:
    return ''
  return drawing.number_text(value) if math.isfinite(value) else str(value)
