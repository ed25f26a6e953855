"""What modes have measured of a run: figures, pictures, other pages."""

from collections.abc import Mapping
from typing import Any
from urllib import parse

from rnnvae_jax.web import drawing, page
from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web.parts import images

_PICTURES = {
  'agreement.png': 'Subject-verb agreement by the nouns in between',
  'gradients.png': 'Gradient norms through time',
}
_OWN = 'report.html'
_UNITS = ('all_units', 'one_unit', 'random_unit')


def render(files: files_lib.Files) -> str:
  names = files.names()
  shown = [
    _judged(files.json('judged.json')),
    _units(files.json('units.json')),
    _trace(files.json('trace.json')),
    *(images.figure(files, *picture) for picture in _PICTURES.items()),
  ]
  shown += [
    images.figure(files, name, f'The best unit by label: {name}')
    for name in names
    if name.startswith('units-') and name.endswith('.png')
  ]
  links = ''.join(
    f'<li><a href="{page.escape(parse.quote(name))}">{page.escape(name)}</a>'
    '</li>'
    for name in names
    if name.endswith('.html') and name != _OWN
  )
  if links:
    shown.append(f'<p>Pages beside this one:</p><ul>{links}</ul>')
  return ''.join(shown)


def _judged(found: Mapping[str, Any]) -> str:
  """What mode `judge` has measured of samples and reconstructions."""
  rows = [
    (page.escape(name.replace('_', ' ')), drawing.number_text(value))
    for name, value in found.items()
    if isinstance(value, int | float) and not isinstance(value, bool)
  ]
  return page.table(('what it writes', '#figure'), rows) if rows else ''


def _units(found: Mapping[str, Any]) -> str:
  """How well units tell the labels of a corpus apart, per cent of its texts."""
  tables = []
  for corpus, result in found.items():
    rows = [
      (
        page.escape(kind.replace('_', ' ')),
        _accuracy(result['trained'][kind]),
        _accuracy(result['untrained'][kind]),
      )
      for kind in _UNITS
    ]
    caption = f'{page.escape(corpus)}: accuracy with 95 % intervals'
    head = ('units', '#trained', '#untrained')
    tables.append(page.table(head, rows, caption))
  return ''.join(tables)


def _accuracy(found: Mapping[str, Any]) -> str:
  return (
    f'{found["test_accuracy"]:.1%} <small>{100 * found["low"]:.1f} to '
    f'{100 * found["high"]:.1f}</small>'
  )


def _trace(found: Mapping[str, Any]) -> str:
  """The unit that correlates most with each property of the text."""
  rows = [
    (
      page.escape(name.replace('_', ' ')),
      page.escape(best[0]['unit']),
      f'{best[0]["correlation"]:+.3f}',
    )
    for name, best in found.items()
    if best
  ]
  head = ('property of the text', 'unit', '#correlation')
  return page.table(head, rows) if rows else ''
