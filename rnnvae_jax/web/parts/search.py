"""A search: its trials, its history, KL against reconstruction, its space."""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any

from rnnvae_jax.web import charts, drawing, explanations, page
from rnnvae_jax.web import files as files_lib
from rnnvae_jax.web.parts import images

TRIALS, SWEEP = 'trials.json', 'sweep.json'
FINALISTS, WINNER = 'finalists.json', 'winner.py'
_COMPLETE, _FAILED = 'complete', 'failed'
_LEVELS = 5
_MOST = 200  # Trials of the table.


def render(files: files_lib.Files) -> str:
  trials = files.json(TRIALS).get('trials', [])
  sweep = files.json(SWEEP)
  if not trials:
    return ''
  ranked = ranking(trials, sweep)
  parts = [_summary(trials, sweep), _winner(files)]
  if ranked:
    parts.append('<div class="panels wide">')
    parts += [_history(ranked, sweep), _trade(ranked, sweep), '</div>']
    parts += [
      _coordinates(ranked, sweep),
      images.figure(files, 'importances.png', 'Importances of the keys'),
    ]
  parts += [_table(trials, ranked, sweep), _finalists(files, sweep)]
  return ''.join(parts)


def last(trial: Mapping[str, Any]) -> Mapping[str, float]:
  """The figures of a trial after its last comparison; {} if there are none."""
  figures = trial.get('figures') or {}
  return figures[max(figures, key=int)] if figures else {}


def ranking(
  trials: Sequence[Mapping[str, Any]], sweep: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
  """The trials that have figures, the best first.

  Those that reach all bounds come first, by the search's figure; the others
  follow by how much they lack. Trials that were stopped come after complete
  ones.
  """
  figure, sign = sweep.get('figure', ''), -1 if sweep.get('maximise') else 1
  bounds = sweep.get('at_least') or {}

  def rank(trial):
    figures = last(trial)
    lacking = sum(max(0.0, b - figures[n]) for n, b in bounds.items())
    is_complete = trial.get('state') == _COMPLETE
    return (not is_complete, lacking, sign * figures[figure], trial['number'])

  known = [
    trial
    for trial in trials
    if trial.get('state') != _FAILED
    and all(_finite(last(trial).get(name)) for name in (figure, *bounds))
  ]
  return sorted(known, key=rank)


def _summary(
  trials: Sequence[Mapping[str, Any]], sweep: Mapping[str, Any]
) -> str:
  counts: dict[str, int] = {}
  for trial in trials:
    state = str(trial.get('state', 'unknown'))
    counts[state] = counts.get(state, 0) + 1
  listed = ', '.join(f'{count} {state}' for state, count in counts.items())
  name = str(sweep.get('figure', ''))
  wanted = explanations.term(name, explanations.FIGURES.get(name, ''))
  how = 'highest' if sweep.get('maximise') else 'lowest'
  bounds = ' and '.join(
    f'{explanations.term(key, explanations.FIGURES.get(key, ""))} of at least '
    f'{value:g}'
    for key, value in (sweep.get('at_least') or {}).items()
  )
  return (
    f'<p>{len(trials)} trials ({page.escape(listed)}). Best is the {how} '
    f'{wanted}{f" with {bounds}" if bounds else ""}, on the validation '
    'split.</p>'
  )


def _winner(files: files_lib.Files) -> str:
  text = files.text(WINNER)
  if not text:
    return ''
  return page.folded(
    'The winner as a config file',
    f'<pre class="code">{page.escape(text)}</pre>',
  )


def _history(
  ranked: Sequence[Mapping[str, Any]], sweep: Mapping[str, Any]
) -> str:
  figure = sweep['figure']
  names, points = _points(
    ranked, lambda trial: (trial['number'], last(trial)[figure])
  )
  return charts.scatter(
    'History', points, names, 'trial', figure, hollow='not complete'
  )


def _trade(
  ranked: Sequence[Mapping[str, Any]], sweep: Mapping[str, Any]
) -> str:
  both = [t for t in ranked if {'kl', 'reconstruction'} <= {*last(t)}]
  if not both:
    return ''
  names, points = _points(
    both, lambda trial: (last(trial)['kl'], last(trial)['reconstruction'])
  )
  bound = (sweep.get('at_least') or {}).get('kl')
  return charts.scatter(
    'KL against reconstruction; on dotted lines -ELBO is the same',
    points,
    names,
    'KL, nats a sentence',
    'reconstruction, nats',
    bound,
    sums=True,
    hollow='not complete',
  )


def _points(
  ranked: Sequence[Mapping[str, Any]],
  place: Callable[[Mapping[str, Any]], tuple[float, float]],
) -> tuple[list[str], list[charts.Point]]:
  """The phases of the trials, and a point a trial, the best one in front."""
  phase = lambda trial: str(trial.get('phase', 'trial'))
  names = [*dict.fromkeys(map(phase, ranked))]
  points = []
  for trial in reversed(ranked):
    x, y = place(trial)
    is_stopped = trial.get('state') != _COMPLETE
    number = names.index(phase(trial))
    points.append(charts.Point(x, y, _described(trial), number, is_stopped))
  return names, points


def _described(trial: Mapping[str, Any]) -> str:
  figures = last(trial)
  shown = [
    f'{name} {drawing.number_text(figures[name])}'
    for name in ('elbo', 'kl', 'reconstruction', 'perplexity', 'accuracy')
    if _finite(figures.get(name))
  ]
  params = [
    f'{_short(key)} {_text(value)}' for key, value in trial['params'].items()
  ]
  return f'trial {trial["number"]}: {", ".join(shown)}; {", ".join(params)}'


def _coordinates(
  ranked: Sequence[Mapping[str, Any]], sweep: Mapping[str, Any]
) -> str:
  """A line a trial through its values and its figure."""
  space, figure = sweep.get('space') or {}, sweep['figure']
  if not space:
    return ''
  values = [last(trial)[figure] for trial in ranked]
  low, high = drawing.window(values)
  axes = [
    charts.Coordinate(
      _short(key), [(share(domain, v), _text(v)) for v in _ends(domain)]
    )
    for key, domain in space.items()
  ]
  ends = [value for value in drawing.ticks(low, high) if low <= value <= high]
  clip = lambda value: min(max((value - low) / (high - low), 0.0), 1.0)
  axes.append(
    charts.Coordinate(figure, [(clip(v), drawing.number_text(v)) for v in ends])
  )
  rows = []
  for number, trial in enumerate(ranked):
    level = _LEVELS - 1 - number * _LEVELS // len(ranked)
    rows.append(
      (
        [
          *(share(space[key], trial['params'][key]) for key in space),
          clip(last(trial)[figure]),
        ],
        [_described(trial)] * (len(space) + 1),
        level,
        trial.get('state') != _COMPLETE,
      )
    )
  return charts.coordinates(
    'Parallel coordinates: dark lines are better, dashed ones not complete',
    axes,
    rows[::-1],
    f'Values of {len(ranked)} trials and their {figure}',
  )


def share(domain: Any, value: Any) -> float:
  """Where a value is on an axis from 0 to 1.

  Args:
    domain: the listed values, or low, high and whether logarithms count.
    value: in the domain.
  """
  if isinstance(domain, list):
    return domain.index(value) / max(len(domain) - 1, 1)
  scale = math.log if domain.get('log') else float
  low, high = scale(domain['low']), scale(domain['high'])
  return (scale(value) - low) / (high - low)


def _ends(domain: Any) -> list[Any]:
  return domain if isinstance(domain, list) else [domain['low'], domain['high']]


def _table(
  trials: Sequence[Mapping[str, Any]],
  ranked: Sequence[Mapping[str, Any]],
  sweep: Mapping[str, Any],
) -> str:
  """All trials, the best first."""
  known = [trial['number'] for trial in ranked]
  rest = [trial for trial in trials if trial['number'] not in known]
  keys = [*(sweep.get('space') or trials[0]['params'])]
  figures = [sweep.get('figure', ''), *(sweep.get('at_least') or {})]
  figures += [
    name
    for name in ('kl', 'reconstruction')
    if ranked and name in last(ranked[0])
  ]
  figures = [*dict.fromkeys(figures)]
  rows = [
    [
      str(trial['number']),
      page.escape(trial.get('state', '')),
      *(_figure(last(trial).get(name)) for name in figures),
      *(page.escape(_text(trial['params'].get(key, ''))) for key in keys),
    ]
    for trial in [*ranked, *rest][:_MOST]
  ]
  head = ['trial', 'state', *(f'#{page.escape(name)}' for name in figures)]
  head += [f'#{page.escape(_short(key))}' for key in keys]
  return page.folded(
    f'All trials, the best first ({len(rows)})', page.table(head, rows)
  )


def _finalists(files: files_lib.Files, sweep: Mapping[str, Any]) -> str:
  found = files.json(FINALISTS).get('finalists')
  if not found:
    return ''
  names = [sweep.get('figure', ''), *(sweep.get('at_least') or {})]
  names = [n for n in dict.fromkeys(names) if n in found[0]['figures']]
  rows = [
    [str(one['trial']), *(_spread(one['figures'][name]) for name in names)]
    for one in found
  ]
  head = ['trial', *(f'#{page.escape(name)}' for name in names)]
  return page.table(head, rows, 'Finalists: mean ± deviation over seeds')


def _spread(spread: Mapping[str, Any]) -> str:
  text = _figure(spread.get('mean'))
  if spread.get('std') is None:
    return text
  return f'{text} ± {spread["std"]:.2g} ({spread["seeds"]} seeds)'


def _figure(value: Any) -> str:
  return drawing.number_text(value) if _finite(value) else '-'


def _finite(value: Any) -> bool:
  return isinstance(value, int | float) and math.isfinite(value)


def _short(key: str) -> str:
  return key.partition('.')[2] or key


def _text(value: Any) -> str:
  return f'{value:.4g}' if isinstance(value, float) else str(value)
