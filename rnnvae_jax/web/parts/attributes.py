"""How sentences change that are moved towards another value of a label."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnvae_jax.web import charts, explanations, page
from rnnvae_jax.web.parts import texts

_LINES = {
  'flipped': 'flipped',
  'control_flipped': 'flipped, random direction',
  'content_kept': 'content words kept',
}
_MOST = 12  # Examples of a move.


def draw(found: Sequence[Mapping[str, Any]]) -> str:
  """A panel a label; all moves and examples of them are folded.

  Args:
    found: entries of latents.json.
  """
  title = explanations.term(
    'Attributes',
    'A sentence is moved by an amount along the difference of the mean latents '
    'of two labels, decoded, and judged by a classifier that has not seen the '
    'model. Control: as far in a random direction.',
  )
  labels = dict.fromkeys(str(one['label']) for one in found)
  panels = ''.join(
    _panel(label, [one for one in found if str(one['label']) == label])
    for label in labels
  )
  return (
    f'<h3>{title}</h3><p class="hint">Shares of the sentences, as means over '
    f'all pairs of values of the label.</p><div class="panels">{panels}</div>'
    + page.folded(f'All moves ({len(found)})', _table(found), on_paper=False)
    + page.folded('Examples', ''.join(map(_examples, found)), on_paper=False)
  )


def _panel(label: str, found: Sequence[Mapping[str, Any]]) -> str:
  amounts = sorted({float(one['amount']) for one in found})
  series = []
  for name, shown in _LINES.items():
    means = [
      _mean([one.get(name) for one in found if one['amount'] == amount])
      for amount in amounts
    ]
    series.append(charts.Series(shown, amounts, means, True))
  return charts.lines(page.escape(label), series, 'amount', '')


def _mean(values: Sequence[Any]) -> float:
  known = [float(value) for value in values if value is not None]
  return sum(known) / len(known) if known else float('nan')


def _table(found: Sequence[Mapping[str, Any]]) -> str:
  rows = [
    (
      _name(one),
      f'{one["amount"]:g}',
      _share(one['flipped']),
      f'{_share(one.get("low"))} to {_share(one.get("high"))}',
      _share(one.get('control_flipped')),
      _share(one.get('content_kept')),
    )
    for one in found
  ]
  head = (
    *('attribute', '#amount', '#flipped', '#95 % interval'),
    *('#control', '#content kept'),
  )
  return page.table(head, rows)


def _examples(one: Mapping[str, Any]) -> str:
  pairs = [
    (
      page.escape(pair.get('before', '')),
      texts.changed(str(pair.get('before', '')), str(pair.get('after', ''))),
    )
    for pair in one.get('examples', ())[:_MOST]
  ]
  if not pairs:
    return ''
  caption = f'{_name(one)}, amount {one["amount"]:g}'
  return page.table(('before', 'after'), pairs, caption)


def _name(one: Mapping[str, Any]) -> str:
  label, before, after = (
    page.escape(one[name]) for name in ('label', 'value_from', 'value_to')
  )
  return f'{label}: {before} → {after}'


def _share(value: Any) -> str:
  return '-' if value is None else f'{value:.1%}'
