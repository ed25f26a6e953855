"""What the latents hold: KL of each, map, probes, attributes, traversals."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from rnnvae_jax.web import charts, drawing, explanations, page
from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web.parts import attributes, figures, latent_map, texts

FILE = 'latents/latents.json'
_MOST = 12  # Examples, and traversals, that are shown.


def render(files: files_lib.Files) -> str:
  found = files.json(FILE)
  bars = _kl(found) + _information(files)
  parts = [f'<div class="panels wide">{bars}</div>' if bars else '']
  parts.append(latent_map.render(files))
  for name, draw in (
    ('probes', _probes),
    ('mutual_information', _mutual_information),
    ('attributes', attributes.draw),
    ('traversals', _traversals),
    ('neighbours', _neighbours),
    ('homotopies', _homotopies),
  ):
    if found.get(name):
      parts.append(draw(found[name]))
  return ''.join(parts)


def _kl(found: Mapping[str, Any]) -> str:
  values = found.get('kl')
  if not values:
    return ''
  split = page.escape(found.get('split', ''))
  return _bars(
    explanations.term(
      'KL of each latent',
      'What each latent costs, in nats: its mean divergence from the prior '
      'over the sentences. They add up to the KL where latents are '
      'independent.',
    ),
    values,
    'KL, nats',
    f'<p class="hint">{found.get("sentences", 0):,} sentences of {split}, '
    'the largest first.</p>',
  )


def _information(files: files_lib.Files) -> str:
  """Of the split that was evaluated last, where the evaluation has it."""
  for split, values in reversed(figures.splits(files).items()):
    if values.get('information_per_latent'):
      return _bars(
        explanations.term(
          'Information of each latent',
          'Mutual information of each latent alone and the sentence, in nats, '
          'estimated over the split. Values about 0 may be slightly negative.',
        ),
        values['information_per_latent'],
        'information, nats',
        f'<p class="hint">Split {page.escape(split)}, the largest first.</p>',
      )
  return ''


def _bars(title: str, values: Sequence[float], label: str, note: str) -> str:
  numbers = [float(v) if v is not None else math.nan for v in values]
  order = sorted(
    (i for i, v in enumerate(numbers) if math.isfinite(v)),
    key=lambda i: -numbers[i],
  )
  if not order:
    return ''
  return charts.bars(
    title,
    [numbers[i] for i in order],
    [*map(str, order)],
    'latent',
    label,
    note,
  )


def _probes(probes: Sequence[Mapping[str, Any]]) -> str:
  """A row a label and kind of probe, a column for what is read."""
  features = [*dict.fromkeys(str(found['features']) for found in probes)]
  by_row: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
  for found in probes:
    row = by_row.setdefault((str(found['label']), str(found['probe'])), {})
    row[str(found['features'])] = found
  rows = []
  for (label, kind), row in by_row.items():
    first = next(iter(row.values()))
    rows.append(
      (
        page.escape(label),
        page.escape(kind),
        *(_accuracy(row[name]) if name in row else '-' for name in features),
        share(first.get('chance')),
        f'{first["classes"]:,}' if 'classes' in first else '-',
      )
    )
  title = explanations.term(
    'Probes',
    'How well a classifier that reads the features alone tells a label, '
    'cross-validated, with 95 % intervals. The mark on each bar is chance: '
    'always answering with the commonest label. What other features tell '
    'better than the latents is in the sentences, but not in the vector.',
  )
  head = ['label', 'probe', *map(page.escape, features)]
  return f'<h3>{title}</h3>' + page.table([*head, '#chance', '#labels'], rows)


def _accuracy(found: Mapping[str, Any]) -> str:
  return (
    f'{share(found["accuracy"])} <small>{interval(found)}</small><br>'
    f'{_interval_bar(found)}'
  )


def _interval_bar(found: Mapping[str, Any]) -> str:
  """Accuracy as a bar from 0 to 1, with its interval and a tick at chance."""
  place = lambda share: f'{120 * min(max(float(share), 0.0), 1.0):.1f}'
  drawn = (
    '<path class="grid" d="M0 7H120"/>'
    f'<rect class="bar" x="0" y="4" width="{place(found["accuracy"])}" '
    'height="6"/>'
  )
  if found.get('low') is not None:
    drawn += (
      f'<path class="axis strong" d="M{place(found["low"])} 7'
      f'H{place(found["high"])}"/>'
    )
  if found.get('chance') is not None:
    drawn += f'<path class="chance" d="M{place(found["chance"])} 1v12"/>'
  return (
    '<svg class="spark" width="120" height="14" viewBox="0 0 120 14" '
    f'aria-hidden="true">{drawn}</svg>'
  )


def _mutual_information(found: Sequence[Mapping[str, Any]]) -> str:
  """A row a label, a column an estimator."""
  estimators = [*dict.fromkeys(str(one.get('estimator', '')) for one in found)]
  by_label: dict[str, dict[str, Any]] = {}
  for one in found:
    row = by_label.setdefault(str(one['label']), {})
    row |= {str(one.get('estimator', '')): one['nats']}
    row.setdefault('', one.get('entropy'))
  title = explanations.term(
    'Mutual information of labels and latents',
    'Nats that the latents tell about a label. They cannot exceed the entropy '
    'of the label.',
  )
  head = ['label', *(f'#{page.escape(name)}' for name in estimators)]
  rows = [
    (
      page.escape(label),
      *(_nats(row.get(name)) for name in estimators),
      _nats(row['']),
    )
    for label, row in by_label.items()
  ]
  return f'<h3>{title}</h3>' + page.table([*head, '#entropy'], rows)


def _traversals(found: Sequence[Mapping[str, Any]]) -> str:
  parts = []
  for one in found[:_MOST]:
    words = ', '.join(
      f'{page.escape(word["word"])} <small>{word["change"]:+.3f}</small>'
      for word in one.get('words', ())
    )
    kl = one.get('kl')
    title = f'Latent {page.escape(one["latent"])}' + (
      f', KL {kl:.2f} nats' if kl is not None else ''
    )
    sentences = [str(text) for text in one.get('sentences', ())]
    items = ''.join(f'<li>{page.escape(text)}</li>' for text in sentences)
    parts.append(
      page.folded(
        title,
        f'<p>Words whose probability changes most: {words}</p>'
        f'<ol class="texts">{items}</ol>',
      )
    )
  title = explanations.term(
    'Traversals',
    'One latent moves from low to high while the others stay; the words are '
    'those whose probability changes most.',
  )
  return f'<h3>{title}</h3>{"".join(parts)}'


def _neighbours(found: Sequence[Mapping[str, Any]]) -> str:
  rows = []
  for one in found[:_MOST]:
    near = ''.join(
      f'<li>{page.escape(other["text"])} '
      f'<small>{drawing.number_text(other["distance"])}</small></li>'
      for other in one.get('nearest', ())
    )
    rows.append((page.escape(one['text']), f'<ol class="texts">{near}</ol>'))
  title = explanations.term(
    'Nearest sentences', 'By the distance of their latents, the nearest first.'
  )
  return f'<h3>{title}</h3>' + page.folded(
    f'Sentences: {len(rows)}', page.table(('sentence', 'nearest'), rows)
  )


def _homotopies(found: Sequence[Mapping[str, Any]]) -> str:
  ways = ''.join(
    texts.way([text or '(empty)' for text in map(str, one['texts'])])
    for one in found[:_MOST]
  )
  title = explanations.term(
    'Between sentences',
    'What is decoded on the straight line between the latents of two '
    'sentences.',
  )
  return f'<h3>{title}</h3>' + page.folded(
    f'Ways: {len(found[:_MOST])}', f'<div class="ways">{ways}</div>'
  )


def share(value: Any) -> str:
  return '-' if value is None else f'{value:.1%}'


def interval(found: Mapping[str, Any]) -> str:
  if found.get('low') is None or found.get('high') is None:
    return ''
  return f'{100 * found["low"]:.1f} to {100 * found["high"]:.1f}'


def _nats(value: Any) -> str:
  return '-' if value is None else f'{value:.3f}'
