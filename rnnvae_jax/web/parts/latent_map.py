"""The map of a run's sentences by their latents, coloured by a label."""

from collections.abc import Mapping, Sequence
import itertools
import os
from typing import Any

import numpy as np

from rnnvae_jax.web import drawing, page
from rnnvae_jax.web import files as files_lib

FILE = 'latents/map.parquet'
# How two latents of a plane were computed, by the names of their columns.
PLANES = {'tsne': 't-SNE', 'umap': 'UMAP', 'pca': 'PCA'}
_MOST_POINTS = 2_500
_MANY = 600  # Points whose marks are smaller.
_MOST_KINDS = len(drawing.SHAPES) - 1  # The last mark is of all others.
_LONGEST = 240  # Characters of a text.
_WIDTH, _HEIGHT, _MARGIN = 760, 520, 14
_OTHERS, _NONE = 'others', '(none)'


def render(files: files_lib.Files) -> str:
  if not files.has(FILE):
    return ''
  try:
    columns = read(os.path.join(files.folder, FILE))
    return draw(columns)
  except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
    first = (str(error).splitlines() or [''])[0]
    files.problems.append(f'{FILE} cannot be read: {first}')
    return ''


def read(path: str) -> dict[str, list[Any]]:
  """The columns of the table, each a list."""
  from pyarrow import parquet

  return parquet.read_table(path).to_pydict()


def draw(columns: Mapping[str, Sequence[Any]]) -> str:
  """The map, with its controls and a list of what a search finds.

  Args:
    columns: 'text', for each plane its x and y, as 'tsne_x' and 'tsne_y', and
      one for each label.
  """
  total = len(columns['text'])
  kept = np.unique(
    np.linspace(0, total - 1, min(total, _MOST_POINTS)).astype(int)
  )
  scale = 1.0 if len(kept) < _MANY else 1.5
  size = scale * _WIDTH, scale * _HEIGHT
  planes = {
    name: _placed(columns, name, kept, size)
    for name in PLANES
    if f'{name}_x' in columns and f'{name}_y' in columns
  }
  if not planes or not total:
    return ''
  taken = {'text', *(f'{name}_{axis}' for name in planes for axis in 'xy')}
  labels = {
    name: kinds([values[i] for i in kept])
    for name, values in columns.items()
    if name not in taken
  }
  labels = {name: found for name, found in labels.items() if len(found[0]) > 1}
  sentences = [_cut(str(columns['text'][i])) for i in kept]
  first_label = next(iter(labels), '')
  names, numbers = labels.get(first_label, (['sentences'], [0] * len(kept)))
  plane = next(iter(planes))
  marks = ''.join(
    drawing.mark(x, y, number)
    for x, y, number in zip(*planes[plane], numbers, strict=True)
  )
  content = {
    'texts': sentences,
    'planes': planes,
    'labels': {
      name: {'kinds': found[0], 'of': found[1]}
      for name, found in labels.items()
    },
  }
  shown = f'{len(kept):,} sentences'
  if len(kept) < total:
    shown = f'{len(kept):,} of {total:,} sentences, evenly chosen'
  return (
    '<h3>Map of the sentences</h3>'
    '<figure class="chart map">'
    f'{_controls(planes, labels)}'
    f'<div class="key">{drawing.legend(names)}</div>'
    f'<svg class="plot" width="{1.2 * _WIDTH:g}" '
    f'viewBox="0 0 {size[0]:g} {size[1]:g}" tabindex="0" '
    f'role="img" aria-label="Map of {shown} by their latents. Arrow keys move '
    f'from point to point."><g class="points">{marks}</g></svg>'
    '<p class="hint screen found" role="status"></p>'
    '<ol class="texts results screen"></ol>'
    f'<p class="hint">{shown}; near ones have similar latents. Distances on a '
    'map of t-SNE or UMAP say little, neighbourhoods do.</p>'
    f'{page.data(content, "map-data")}</figure>'
  )


def kinds(values: Sequence[Any]) -> tuple[list[str], list[int]]:
  """The kinds of a label's values, and the number of each value's kind.

  The commonest values are kinds, in alphabetical order, and the last kind is of
  all others. Many different numbers fall into five ranges of equal counts.
  """
  spelt = [str(value) or _NONE for value in values]
  numbers = _numbers(spelt)
  if numbers is not None and len(set(spelt)) > _MOST_KINDS:
    return _ranges(numbers)
  counts = {kind: spelt.count(kind) for kind in sorted(set(spelt))}
  order = sorted(counts, key=lambda kind: -counts[kind])
  names = sorted(order[:_MOST_KINDS])
  number = {kind: place for place, kind in enumerate(names)}
  if len(names) < len(order):
    names = [*names, _OTHERS]
  return names, [number.get(kind, len(names) - 1) for kind in spelt]


def _numbers(spelt: Sequence[str]) -> np.ndarray | None:
  """Values as numbers, if all are."""
  try:
    found = np.array([float(value) for value in spelt])
  except ValueError:
    return None
  return found if np.isfinite(found).all() else None


def _ranges(values: np.ndarray) -> tuple[list[str], list[int]]:
  edges = np.unique(np.quantile(values, np.linspace(0, 1, 6)))
  numbers = np.clip(
    np.searchsorted(edges, values, 'right') - 1, 0, len(edges) - 2
  )
  texts = [drawing.number_text(float(edge)) for edge in edges]
  names = [f'{a} to {b}' for a, b in itertools.pairwise(texts)]
  return names, numbers.tolist()


def _placed(
  columns: Mapping[str, Sequence[Any]],
  name: str,
  kept: np.ndarray,
  size: tuple[float, float],
) -> tuple[list[float], list[float]]:
  """The places of the points in pixels, in proportion."""
  places = [
    np.array([columns[f'{name}_{axis}'][i] for i in kept], np.float64)
    for axis in 'xy'
  ]
  spans = [float(np.ptp(values)) or 1.0 for values in places]
  x, y = (
    _MARGIN + (values - values.min()) / span * (length - 2 * _MARGIN)
    for values, span, length in zip(places, spans, size, strict=True)
  )
  return np.round(x, 1).tolist(), np.round(size[1] - y, 1).tolist()


def _controls(planes: Mapping[str, Any], labels: Mapping[str, Any]) -> str:
  options = ''.join(
    f'<option value="{page.escape(name)}">{page.escape(name)}</option>'
    for name in labels
  )
  colour = (
    f'<label>Colour <select name="label">{options}</select></label>'
    if labels
    else ''
  )
  buttons = ''.join(
    f'<label><input type="radio" name="plane" value="{name}"'
    f'{" checked" * (number == 0)}> {PLANES[name]}</label>'
    for number, name in enumerate(planes)
  )
  return (
    '<div class="controls screen">'
    f'<fieldset><legend>Map</legend>{buttons}</fieldset>{colour}'
    '<label>Search <input type="search" name="search" '
    'placeholder="words of a sentence"></label></div>'
  )


def _cut(text: str) -> str:
  return text if len(text) <= _LONGEST else f'{text[: _LONGEST - 1]}…'
