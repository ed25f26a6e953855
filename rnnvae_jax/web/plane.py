"""The explorer's map: sentences in the plane, and the reader's among them."""

import numpy as np

from rnnvae_jax.web import drawing, landmarks, page

# Sentences that are drawn; more would slow a browser down.
_MOST = 500
_HERE = 'this sentence'
_SENTENCES = 'sentences'
# Of Okabe and Ito, which colour-blind readers tell apart.
_COLOURS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#999999')
_HERE_COLOUR = '#D55E00'
_WIDTH, _HEIGHT = 860, 430
_LEGEND, _MARGIN = 34, 24  # Pixels above the points, and around them.


class Plane:
  """The map as SVG: marks with their sentence under the pointer, a legend."""

  def __init__(self, found: landmarks.Landmarks):
    rows = range(0, len(found.texts), -(-len(found.texts) // _MOST))
    self._name, kinds = '', [_SENTENCES] * len(rows)
    for name, values in found.labels.items():
      kept = [str(values[i]) or 'none' for i in rows]
      if 1 < len({*kept}) <= len(_COLOURS):
        self._name, kinds = name, kept
        break
    places = found.places[:: rows.step]
    self._ends = np.min(places, axis=0), np.max(places, axis=0)
    self._names = [*dict.fromkeys(kinds)]
    self._points = ''.join(
      _mark(*self._pixels(place), self._names.index(kind), found.texts[i])
      for place, kind, i in zip(places, kinds, rows, strict=True)
    )

  def draw(self, text: str = '', place: tuple[float, float] | None = None):
    """The map, with a sentence at a place of its two components, if any."""
    here = ''
    if place is not None:
      x, y = self._pixels(place)
      here = (
        f'<g class="here" fill="none" stroke="{_HERE_COLOUR}" '
        f'stroke-width="3"><title>{page.escape(text)}</title>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
        f'<path d="M{x - 16:.1f} {y:.1f}h9m14 0h9M{x:.1f} {y - 16:.1f}'
        'v9m0 14v9"/></g>'
      )
    return (
      f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" '
      'font-size="13" aria-label="Sentences by the first two principal '
      f'components of their latents">{self._legend(bool(here))}'
      f'{self._points}{here}</svg>'
    )

  def _pixels(self, place) -> tuple[float, float]:
    low, high = self._ends
    share = (np.asarray(place) - low) / np.where(high > low, high - low, 1.0)
    # The reader's sentence may lie beyond all others.
    x, y = np.clip(share, -0.02, 1.02)
    across = _MARGIN + x * (_WIDTH - 2 * _MARGIN)
    down = _HEIGHT - _MARGIN - y * (_HEIGHT - _LEGEND - 2 * _MARGIN)
    return float(across), float(down)

  def _legend(self, has_here: bool) -> str:
    items = [(name, _mark(0, 0, i, '')) for i, name in enumerate(self._names)]
    if has_here:
      ring = f'<circle r="6" fill="none" stroke="{_HERE_COLOUR}"'
      items.append((_HERE, f'{ring} stroke-width="3"/>'))
    x, drawn = float(_MARGIN), ''
    if self._name:
      drawn = _label(x, f'{self._name}:')
      x += 8.0 * len(self._name) + 24
    for name, mark in items:
      drawn += f'<g transform="translate({x:.0f} 16)">{mark}</g>'
      drawn += _label(x + 12, name)
      x += 8.0 * len(name) + 40
    return drawn


def _mark(x: float, y: float, kind: int, text: str) -> str:
  shape, colour = drawing.SHAPES[kind], _COLOURS[kind]
  return (
    f'<path transform="translate({x:.1f} {y:.1f})" d="{shape}" '
    f'fill="{colour}" fill-opacity=".75"><title>{page.escape(text)}</title>'
    '</path>'
  )


def _label(x: float, text: str) -> str:
  return (
    f'<text x="{x:.0f}" y="21" fill="currentColor">{page.escape(text)}</text>'
  )
