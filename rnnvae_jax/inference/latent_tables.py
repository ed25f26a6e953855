"""The tables that mode `latents` prints."""

from collections.abc import Mapping
from typing import Any

from rich import console as rich_console
from rich import markup
from rich import table as rich_table

from rnnvae_jax.analysis import probes


def show(result: Mapping[str, Any]) -> None:
  """Prints what latents.json has as tables."""
  console = rich_console.Console()
  for make in (_probes, _information, _attributes, _traversals):
    table = make(result)
    if table.row_count:
      console.print(table)
  if result['kl']:
    nats = ', '.join(f'{value:.2f}' for value in result['kl'])
    console.print(f'KL of each latent, nats: {nats}', highlight=False)


def _table(title: str, left: int, *columns: str) -> rich_table.Table:
  """A table whose first `left` columns are of text."""
  table = rich_table.Table(title=title)
  for number, column in enumerate(columns):
    table.add_column(column, justify='left' if number < left else 'right')
  return table


def _interval(entry: Mapping[str, Any], name: str) -> str:
  return (
    f'{100 * entry[name]:.1f} '
    f'({100 * entry["low"]:.1f} to {100 * entry["high"]:.1f})'
  )


def _probes(result: Mapping[str, Any]) -> rich_table.Table:
  table = _table(
    f'Labels read off {result["sentences"]:,} {result["split"]} sentences: % '
    'right, 95 % intervals',
    2,
    'label',
    'features',
    *probes.KINDS,
    'chance',
  )
  rows: dict[tuple[str, str], dict[str, Any]] = {}
  for entry in result['probes']:
    row = rows.setdefault((entry['label'], entry['features']), {})
    row[entry['probe']] = _interval(entry, 'accuracy')
    row['chance'] = f'{100 * entry["chance"]:.1f}'
  for names, row in rows.items():
    label, features = map(markup.escape, names)
    table.add_row(
      label, features, *(row[kind] for kind in probes.KINDS), row['chance']
    )
  return table


def _information(result: Mapping[str, Any]) -> rich_table.Table:
  table = _table(
    'Mutual information of latents and label, nats',
    2,
    *('label', 'estimator', 'nats', 'entropy of the label'),
  )
  for entry in result['mutual_information']:
    table.add_row(
      markup.escape(entry['label']),
      entry['estimator'],
      f'{entry["nats"]:.3f}',
      f'{entry["entropy"]:.3f}',
    )
  return table


def _attributes(result: Mapping[str, Any]) -> rich_table.Table:
  judges = markup.escape(
    ', '.join(
      f'{100 * judge["accuracy"]:.0f} % of {judge["label"]}'
      for judge in result['judges']
    )
  )
  table = _table(
    'Sentences shifted from one label to another: % judged to have the other, '
    f'95 % intervals (the judge is right about {judges})',
    3,
    *('label', 'from', 'to', 'amount', 'flipped', 'content kept'),
    *('flipped at random', 'content kept at random'),
  )
  percent = lambda share: f'{100 * share:.0f}'
  for entry in result['attributes']:
    table.add_row(
      *(markup.escape(entry[k]) for k in ('label', 'value_from', 'value_to')),
      f'{entry["amount"]:g}',
      _interval(entry, 'flipped'),
      percent(entry['content_kept']),
      percent(entry['control_flipped']),
      percent(entry['control_content_kept']),
    )
  return table


def _traversals(result: Mapping[str, Any]) -> rich_table.Table:
  table = _table(
    'Words that a latent moves: uses a sentence at 2 less those at -2 '
    'deviations',
    1,
    *('latent', 'KL', 'words'),
  )
  for entry in result['traversals']:
    words = ', '.join(
      f'{word["word"]} {word["change"]:+.2f}' for word in entry['words']
    )
    kl = '' if entry['kl'] is None else f'{entry["kl"]:.2f}'
    table.add_row(str(entry['latent']), kl, markup.escape(words))
  return table
