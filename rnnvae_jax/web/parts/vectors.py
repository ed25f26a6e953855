"""Word vectors: neighbours, analogies, similarity tests, association tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnvae_jax.web import drawing, explanations, page
from rnnvae_jax.web import files as files_lib

FILE = 'vectors.json'


def render(files: files_lib.Files) -> str:
  found = files.json(FILE)
  parts = [
    _lists(found.get('neighbours', ()), 'of', 'neighbours', 'distance'),
    _lists(found.get('analogies', ()), 'question', 'answers', 'score'),
    _tests(found.get('tests', {})),
    _associations(found.get('associations', {})),
  ]
  if not any(parts):
    return ''
  source = page.escape(found.get('source', ''))
  return (
    f'<p class="hint">{source}</p><div class="tables">{"".join(parts)}</div>'
  )


def _lists(
  found: Sequence[Mapping[str, Any]], title: str, words: str, value: str
) -> str:
  """A row a question, with the words that answer it."""
  rows = []
  for one in found:
    listed = ', '.join(
      f'{page.escape(word["word"])} '
      f'<small>{drawing.number_text(word[value])}</small>'
      for word in one[words]
    )
    rows.append((page.escape(one[title]), listed))
  return (
    page.table((title, f'{words}, with their {value}'), rows) if rows else ''
  )


def _tests(found: Mapping[str, Mapping[str, Any]]) -> str:
  """Similarity by its correlation, analogies by their accuracy."""
  rows = []
  for name, test in found.items():
    for group, figures in (test.get('groups') or {'': test}).items():
      figure, value = 'Spearman', figures.get('spearman')
      if 'accuracy' in figures:
        figure, value = 'accuracy', figures['accuracy']
      of = figures.get('questions', figures.get('pairs'))
      rows.append(
        (
          page.escape(f'{name} {group}'.strip()),
          figure,
          '-' if value is None else f'{value:.4f}',
          f'{figures["with_vectors"]:,} of {of:,}',
        )
      )
  if not rows:
    return ''
  covered = explanations.term(
    'with vectors',
    'Questions all of whose words have a vector; others are left out.',
  )
  return page.table(('test', 'figure', '#value', f'#{covered}'), rows)


def _associations(found: Mapping[str, Mapping[str, Any]]) -> str:
  rows = [
    (
      page.escape(name.replace('_', ' ')),
      page.escape(' / '.join(one.get('targets', ()))),
      page.escape(' / '.join(one.get('attributes', ()))),
      drawing.number_text(one['effect_size']),
      f'{one["p_value"]:.2g}',
    )
    for name, one in found.items()
    if one.get('effect_size') is not None
  ]
  if not rows:
    return ''
  effect = explanations.term(
    'effect size',
    'How much closer the first targets are to the first attributes than the '
    'second targets are, in standard deviations (WEAT).',
  )
  chance = explanations.term(
    'p-value',
    'The share of divisions of all target words into two halves that show as '
    'much.',
  )
  return page.table(
    ('association', 'targets', 'attributes', f'#{effect}', f'#{chance}'), rows
  )
