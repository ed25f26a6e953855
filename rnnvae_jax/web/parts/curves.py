"""Curves of a training: a panel a figure, validation and training together."""

from collections.abc import Sequence
import math
from typing import Any

from rnnvae_jax.tasks import base
from rnnvae_jax.web import charts, explanations, page
from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web.parts import figures, run

FILE = 'metrics.jsonl'
_MOST = 240  # Points of a line; more are means of neighbours.
_SUFFIX = '_per_sentence'
_SIZES = ('sentences', 'tokens')  # Of a batch and of a split.


def render(files: files_lib.Files) -> str:
  """Panels of the task's main figures; the others are folded."""
  found = read(files)
  if not found:
    return ''
  task = run.task(files)
  known: Sequence[base.Figure] = task.FIGURES if task else ()
  titles = {figure.name: figure.title for figure in known if figure.title}
  order = ['elbo', 'reconstruction', 'kl', 'active_units', *titles]
  first = [name for name in dict.fromkeys(order) if _is_valid(found, name)]
  same = figures.repeated(first)
  first = [name for name in first if name not in same]
  first += ['loss'] * ('loss' in found)
  panel = lambda name: _panel(
    titles.get(name) or name.replace('_', ' '), name, found[name]
  )
  shown = ''.join(map(panel, first))
  others = ''.join(
    panel(name)
    for name in found
    if name not in (*first, *_SIZES) and _varies(found[name])
  )
  note = (
    '<p class="hint">Training values are of text with dropout, validation '
    'values without. A validation is after the update that it is drawn at.</p>'
  )
  text = f'{note}<div class="panels">{shown}</div>'
  if others:
    others = f'<div class="panels">{others}</div>'
    text += page.folded('More curves', others, on_paper=False)
  return text


def read(
  files: files_lib.Files,
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
  """By figure and split, updates and values.

  A figure's name is what training and validation have in common: 'kl' of
  'train/kl_per_sentence' and 'valid/kl'.
  """
  values: dict[str, tuple[list[float], list[float]]] = {}
  for record in files.json_lines(FILE):
    step = record.get('step')
    if not isinstance(step, int):
      continue
    for name, value in record.items():
      number = _number(value)
      if '/' in name and number is not None:
        steps, numbers = values.setdefault(name, ([], []))
        steps.append(step)
        numbers.append(number)
  valid = {n.partition('/')[2] for n in values if n.startswith('valid/')}
  found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
  for name, pairs in values.items():
    split, _, figure = name.partition('/')
    short = figure.removesuffix(_SUFFIX)
    if split == 'train' and figure not in valid and short in valid:
      figure = short
    found.setdefault(figure, {})[split] = pairs
  return found


def thinned(
  steps: Sequence[float], values: Sequence[float], most: int = _MOST
) -> tuple[list[float], list[float]]:
  """Means of equally many neighbours, at their last step; `most` at most."""
  size = math.ceil(len(steps) / most)
  blocks = range(0, len(steps), size)
  mean = lambda block: sum(block) / len(block)
  return (
    [steps[min(i + size, len(steps)) - 1] for i in blocks],
    [mean(values[i : i + size]) for i in blocks],
  )


def _panel(
  title: str, name: str, by_split: dict[str, tuple[list[float], list[float]]]
) -> str:
  known = {'valid': 'validation', 'train': 'training'}
  series = []
  for split in sorted(by_split, key=lambda s: (s != 'valid', s)):
    steps, values = thinned(*by_split[split])
    series.append(
      charts.Series(known.get(split, split), steps, values, split == 'valid')
    )
  explained = explanations.explain_figure(name, {})
  heading = explanations.term(title, explained)
  return charts.lines(heading, series, 'update', '')


def _is_valid(found, name: str) -> bool:
  return 'valid' in found.get(name, {})


def _varies(by_split: dict[str, tuple[list[float], list[float]]]) -> bool:
  """Whether a curve says more than a number."""
  return any(len(set(values)) > 1 for _, values in by_split.values())


def _number(value: Any) -> float | None:
  """The number of a metric; what is not finite is written as text."""
  if isinstance(value, bool) or value is None:
    return None
  try:
    return float(value)
  except (TypeError, ValueError):
    return None
