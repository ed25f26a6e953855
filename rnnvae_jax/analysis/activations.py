"""Correlations of single units of a character model with the text's structure.

Karpathy et al., arXiv:1506.02078, section 4.2: some cells of an LSTM follow the
position in the line, or whether the text is inside of quotes, brackets,
comments or an if-statement.
"""

import base64
from collections.abc import Mapping, Sequence
import re

import numpy as np

from rnnvae_jax.web import page as pages

_OPENING, _CLOSING = '([{', ')]}'


def properties(text: str) -> dict[str, np.ndarray]:
  """Computes properties of the text that a unit might follow.

  Returns:
    By name float64[N], the value after each character: line_position, the
    number of characters since the line began; quotes, brackets, comments (as in
    C) and if_statements (their conditions), 1 inside and 0 outside.
  """
  return {
    'line_position': _line_position(text),
    'quotes': _quotes(text),
    'brackets': _spans(text, list(_brackets(text).items())),
    'comments': _spans(text, _comments(text)),
    'if_statements': _spans(text, _conditions(text)),
  }


def ranking(
  traces: np.ndarray, properties: Mapping[str, np.ndarray], count: int = 10
) -> dict[str, list[tuple[int, float]]]:
  """Finds the units that correlate most with each property.

  Args:
    traces: float[N, U], the units' values after each character.
    properties: float[N] each; constant properties are left out.
    count: number of units to return for each property.

  Returns:
    By property, pairs of unit number and correlation in [-1, 1], the largest
    absolute correlation first. The squared correlation is the share of the
    property's variance that a linear function of the unit explains.
  """
  centred = traces - traces.mean(axis=0)
  norms = np.linalg.norm(centred, axis=0)
  ranked = {}
  for name, values in properties.items():
    wanted = values - values.mean()
    norm = np.linalg.norm(wanted)
    if not norm:
      continue
    scale = np.where(norms > 0, norms, np.inf) * norm
    correlation = wanted @ centred / scale
    best = np.argsort(-np.abs(correlation), kind='stable')[:count]
    ranked[name] = [(int(u), float(correlation[u])) for u in best]
  return ranked


def page(
  text: str,
  traces: np.ndarray,
  names: Sequence[str],
  ranked: Mapping[str, Sequence[tuple[int, float]]],
) -> str:
  """Renders an HTML page of the text, coloured by a unit that the reader picks.

  Args:
    text: N characters.
    traces: float[N, U]; colours are relative to a unit's largest absolute
      value.
    names: names of the U units.
    ranked: the result of `ranking`; only these units are on the page.

  Returns:
    The page, which loads no other files.
  """
  units = list(dict.fromkeys(u for best in ranked.values() for u, _ in best))
  largest = np.max(np.abs(traces[:, units]), axis=0, initial=1e-9)
  bytes_ = np.round(127 * traces[:, units] / largest).astype(np.int8)
  groups = [
    {
      'label': name.replace('_', ' '),
      'units': [
        {'place': units.index(u), 'label': f'{names[u]}, r = {r:+.3f}'}
        for u, r in best
      ],
    }
    for name, best in ranked.items()
  ]
  content = {
    'text': text,
    'groups': groups,
    'count': len(units),
    'traces': base64.b64encode(bytes_.tobytes()).decode(),
  }
  title = f'{len(text):,} characters, {traces.shape[1]:,} units'
  body = f"""<h1>{title}</h1>
<p><label>Unit <select id="unit"></select></label>: red where it is negative,
blue where it is positive, after each character. r is its correlation with the
property.</p>
<pre id="text"></pre>
{pages.data(content, 'data')}"""
  return pages.document(title, body, _STYLES, _SCRIPT)


def _line_position(text: str) -> np.ndarray:
  places = np.arange(len(text))
  ends = np.array([c == '\n' for c in text], bool)
  last = np.maximum.accumulate(np.where(ends, places, -1))
  return (places - last).astype(np.float64)


def _quotes(text: str) -> np.ndarray:
  """1 after an opening mark until its closing mark or a blank line."""
  inside, values = False, np.zeros(len(text))
  for place, c in enumerate(text):
    if c == '"' and text[place - 1 : place] != '\\':
      inside = not inside
    elif c in '“”':
      inside = c == '“'
    elif c == '\n' and text[place - 1 : place] == '\n':
      inside = False
    values[place] = inside
  return values


def _brackets(text: str) -> dict[int, int]:
  """Maps the positions of opening brackets to those of their closing brackets.

  Brackets without a partner, as in :-(, are ignored.
  """
  opened: dict[str, list[int]] = {closing: [] for closing in _CLOSING}
  closing_of = dict(zip(_OPENING, _CLOSING, strict=True))
  pairs = {}
  for place, c in enumerate(text):
    if c in closing_of:
      opened[closing_of[c]].append(place)
    elif opened.get(c):
      opening = opened[c].pop()
      pairs[opening] = place
      # Drops brackets of other kinds that were opened inside and never closed.
      for places in opened.values():
        while places and places[-1] > opening:
          places.pop()
  return pairs


def _comments(text: str) -> list[tuple[int, int]]:
  pattern = re.compile(r'/\*.*?(?:\*/|\Z)|//[^\n]*', re.DOTALL)
  return [match.span() for match in pattern.finditer(text)]


def _conditions(text: str) -> list[tuple[int, int]]:
  pairs = _brackets(text)
  opened = [m.end() - 1 for m in re.finditer(r'\bif\s*\(', text)]
  return [(place, pairs[place]) for place in opened if place in pairs]


def _spans(text: str, spans) -> np.ndarray:
  values = np.zeros(len(text))
  for start, stop in spans:
    values[start:stop] = 1.0
  return values


_STYLES = """
pre { font: .9rem/1.6 monospace; white-space: pre-wrap; }
"""
_SCRIPT = """
const data = JSON.parse(document.querySelector('.data').textContent);
const bytes = Uint8Array.from(atob(data.traces), c => c.charCodeAt(0));
const traces = new Int8Array(bytes.buffer);
const characters = Array.from(data.text);
const pre = document.getElementById('text');
const spans = characters.map(c => {
  const span = document.createElement('span');
  span.textContent = c;
  pre.appendChild(span);
  return span;
});
const select = document.getElementById('unit');
for (const group of data.groups) {
  const options = document.createElement('optgroup');
  options.label = group.label;
  for (const unit of group.units) {
    options.appendChild(new Option(unit.label, unit.place));
  }
  select.appendChild(options);
}
function colour() {
  const place = Number(select.value);
  spans.forEach((span, number) => {
    const value = traces[number * data.count + place] / 127;
    const rgb = value < 0 ? '220,60,40' : '40,90,220';
    span.style.backgroundColor = `rgba(${rgb},${Math.abs(value)})`;
    span.title = value.toFixed(2);
  });
}
select.onchange = colour;
colour();
"""
