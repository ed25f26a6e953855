"""Texts that a run has written: samples, interpolations, reconstructions."""

from collections.abc import Sequence
import difflib
from typing import NamedTuple

from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web import page

FILE, RECONSTRUCTIONS = 'samples.txt', 'reconstructions.jsonl'
# The first words of the titles in samples.txt; see `generate.showcase`.
_SAMPLES, _WAYS = 'Samples', 'Interpolations'
_MOST = 40  # Texts of a list.


class Written(NamedTuple):
  """What samples.txt holds.

  Attributes:
    title: of the samples.
    samples: a text each.
    ways_title: of the interpolations.
    ways: the texts of each interpolation, in their order.
  """

  title: str
  samples: list[str]
  ways_title: str
  ways: list[list[str]]


def render(files: files_lib.Files) -> str:
  parts = []
  written = read(files.lines(FILE))
  if written.samples:
    items = ''.join(
      f'<li>{page.escape(text)}</li>' for text in written.samples[:_MOST]
    )
    parts.append(
      f'<h3>{page.escape(written.title)}</h3><ol class="texts">{items}</ol>'
    )
  if written.ways:
    parts.append(f'<h3>{page.escape(written.ways_title)}</h3>')
    parts.append(
      '<p class="hint">From one end to the other; words that differ from the '
      'text above are marked.</p>'
    )
    parts.append(f'<div class="ways">{"".join(map(way, written.ways))}</div>')
  records = files.json_lines(RECONSTRUCTIONS)[:_MOST]
  if records:
    parts.append('<h3>Reconstructions</h3>')
    rows = []
    for record in records:
      text, made = (
        str(record.get(name, '')) for name in ('text', 'reconstruction')
      )
      rows.append((page.escape(text), changed(text, made)))
    parts.append(page.table(('sentence', 'reconstruction'), rows))
  return ''.join(parts)


def read(lines: Sequence[str]) -> Written:
  """Reads samples.txt.

  A blank line follows a title and separates interpolations. It separates
  samples where one of them has a line end.
  """
  titles = [
    number
    for number, line in enumerate(lines)
    if line.startswith((_SAMPLES, _WAYS))
    and lines[number + 1 : number + 2] == ['']
    and (number == 0 or not lines[number - 1])
  ]
  found = Written('', [], '', [])
  for number, start in enumerate(titles):
    stop = titles[number + 1] if number + 1 < len(titles) else len(lines)
    blocks = _blocks(lines[start + 2 : stop])
    if lines[start].startswith(_WAYS):
      found = found._replace(ways_title=lines[start], ways=blocks)
    else:
      texts = blocks[0] if len(blocks) == 1 else ['\n'.join(b) for b in blocks]
      found = found._replace(title=lines[start], samples=texts)
  return found


def changed(before: str, after: str) -> str:
  """The second text, with what differs from the first one marked."""
  ours, theirs = before.split(), after.split()
  parts = []
  matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
  for kind, a, b, c, d in matcher.get_opcodes():
    old, new = (
      page.escape(' '.join(words)) for words in (ours[a:b], theirs[c:d])
    )
    if kind == 'equal':
      parts.append(new)
      continue
    if old:
      parts.append(f'<del>{old}</del>')
    if new:
      parts.append(f'<ins>{new}</ins>')
  return ' '.join(parts)


def way(texts: Sequence[str]) -> str:
  """Texts one after the other, each with what differs from the last."""
  items = []
  for number, text in enumerate(texts):
    shown = page.escape(text)
    if number:
      shown = _marked(texts[number - 1].split(), text.split())
    items.append(f'<li>{shown}</li>')
  return f'<ol class="texts way">{"".join(items)}</ol>'


def _marked(before: Sequence[str], words: Sequence[str]) -> str:
  """Words, of which those that differ from the ones before are marked."""
  parts = []
  matcher = difflib.SequenceMatcher(None, before, words, autojunk=False)
  for kind, _, _, start, stop in matcher.get_opcodes():
    text = page.escape(' '.join(words[start:stop]))
    if text:
      parts.append(text if kind == 'equal' else f'<mark>{text}</mark>')
  return ' '.join(parts)


def _blocks(lines: Sequence[str]) -> list[list[str]]:
  """Lines between blank ones."""
  blocks: list[list[str]] = [[]]
  for line in lines:
    if line:
      blocks[-1].append(line)
    elif blocks[-1]:
      blocks.append([])
  return [block for block in blocks if block]
