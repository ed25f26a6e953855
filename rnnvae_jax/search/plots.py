"""What a search has shown: a file of its trials, a table, four pictures."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.analysis import plots
from rnnvae_jax.config import space
from rnnvae_jax.search import plan
from rnnvae_jax.search import study as study_lib
from rnnvae_jax.training import writers

FILE = 'trials.json'
_SHOWN = 10  # Of the best trials, in the table.
_MARKERS = {'random': 'o', 'grid': 's', 'tpe': '^'}


def write(study: study_lib.Study, sweep: space.Sweep, workdir: str) -> None:
  """Writes trials.json and the plots, and prints the best trials.

  Args:
    study: the trials.
    sweep: the search.
    workdir: its folder.
  """
  trials = study.trials()
  writers.write_json(
    os.path.join(workdir, FILE),
    {
      'trials': [
        trial._asdict() | {'params': dict(trial.params)} for trial in trials
      ]
    },
  )
  known = [trial for trial in trials if trial.figures]
  if not known:
    return
  _print(trials, sweep)
  path = lambda name: os.path.join(workdir, f'{name}.png')
  _draw_history(known, sweep, path('history'))
  _draw_coordinates(known, sweep, path('coordinates'))
  importances = study.importances()
  if importances:
    _draw_importances(importances, sweep, path('importances'))
  if {'kl', 'reconstruction'} <= {*known[0].last}:
    _draw_trade(known, sweep, path('kl_reconstruction'))


def _print(trials: Sequence[study_lib.Trial], sweep: space.Sweep) -> None:
  best = plan.best(trials, sweep)[:_SHOWN]
  figures = [*dict.fromkeys((sweep.figure, *sweep.at_least))]
  counts = [
    f'{sum(trial.state == state for trial in trials)} {state}'
    for state in (study_lib.COMPLETE, study_lib.PRUNED, study_lib.FAILED)
  ]
  shown = rich_table.Table(title=f'The best of {", ".join(counts)} trials')
  for name in 'trial', *figures, *sweep.space:
    shown.add_column(name.rpartition('.')[-1], justify='right')
  for trial in best:
    values = [trial.last[name] for name in figures]
    values += [trial.params[key] for key in sweep.space]
    shown.add_row(str(trial.number), *map(_text, values))
  rich_console.Console().print(shown)


def _draw_history(
  trials: Sequence[study_lib.Trial], sweep: space.Sweep, path: str
) -> None:
  """Each trial's figure, and the best one so far."""
  figure, axes = plots.pyplot().subplots(figsize=(8, 5), layout='constrained')
  best, steps = [], []
  for trial in trials:
    if trial.state == study_lib.COMPLETE:
      steps.append(trial.number)
      until = [t for t in trials if t.number <= trial.number]
      best.append(plan.best(until, sweep)[0].last[sweep.figure])
  _scatter(axes, trials, lambda t: (t.number, t.last[sweep.figure]), sweep)
  axes.step(steps, best, where='post', color=plots.COLOURS[1], label='the best')
  axes.set_xlabel('trial')
  axes.set_ylabel(f'{sweep.figure}, validation')
  axes.set_ylim(*_window([t.last[sweep.figure] for t in trials]))
  plots.legend(axes)
  plots.save(figure, path)


def _draw_trade(
  trials: Sequence[study_lib.Trial], sweep: space.Sweep, path: str
) -> None:
  """KL against reconstruction; on dotted lines the ELBO is the same."""
  figure, axes = plots.pyplot().subplots(figsize=(8, 6), layout='constrained')
  _scatter(
    axes, trials, lambda t: (t.last['kl'], t.last['reconstruction']), sweep
  )
  axes.set_ylim(*_window([t.last['reconstruction'] for t in trials]))
  if 'kl' in sweep.at_least:
    axes.axvline(sweep.at_least['kl'], color='gray', linewidth=0.8)
  plots.sums(axes)
  axes.set_xlabel('KL, nats a sentence')
  axes.set_ylabel('reconstruction, nats a sentence')
  axes.set_title('Trials on the validation split (dotted: equal -ELBO)')
  plots.legend(axes)
  plots.save(figure, path)


def _draw_importances(
  importances: Mapping[str, float], sweep: space.Sweep, path: str
) -> None:
  figure, axes = plots.pyplot().subplots(figsize=(8, 4), layout='constrained')
  names = [*importances][::-1]
  axes.barh(
    names, [importances[name] for name in names], color=plots.COLOURS[0]
  )
  axes.set_xlabel(f'importance for {sweep.figure} (PED-ANOVA; all add up to 1)')
  plots.save(figure, path)


def _draw_coordinates(
  trials: Sequence[study_lib.Trial], sweep: space.Sweep, path: str
) -> None:
  """A line a trial through its values; the darker, the better it ranks."""
  pyplot = plots.pyplot()
  keys = [*sweep.space]
  figure, axes = pyplot.subplots(
    figsize=(max(8.0, 1.6 * len(keys)), 5), layout='constrained'
  )
  ranked = sorted(
    trials, key=lambda t: study_lib.rank(t.last, sweep), reverse=True
  )
  colours = pyplot.get_cmap('viridis_r')(np.linspace(0, 1, len(ranked)))
  for colour, trial in zip(colours, ranked, strict=True):
    heights = [place(sweep.space[key], trial.params[key]) for key in keys]
    is_complete = trial.state == study_lib.COMPLETE
    axes.plot(heights, color=colour, alpha=1.0 if is_complete else 0.35)
  for number, key in enumerate(keys):
    domain = sweep.space[key]
    ticks = domain.values if isinstance(domain, space.Choices) else domain[:2]
    for value in ticks:
      axes.annotate(
        _text(value), (number, place(domain, value)), fontsize=8, ha='right'
      )
    axes.axvline(number, color='gray', linewidth=0.8)
  axes.set_xticks(
    range(len(keys)), [key.partition('.')[-1] or key for key in keys]
  )
  axes.set_yticks([])
  axes.set_title(
    f'Trials by {sweep.figure}: dark ones are better, pale ones stopped'
  )
  plots.save(figure, path)


def place(domain: space.Choices | space.Range, value: Any) -> float:
  """Where a value is on an axis from 0 to 1."""
  if isinstance(domain, space.Choices):
    return domain.values.index(value) / (len(domain.values) - 1)
  scale = np.log if domain.log else float
  low, high = scale(domain.low), scale(domain.high)
  return float((scale(value) - low) / (high - low))


def _scatter(
  axes: Any, trials: Sequence[study_lib.Trial], point: Any, sweep: space.Sweep
) -> None:
  """A point a trial: its phase is the marker, filled if it is complete."""
  for phase, marker in _MARKERS.items():
    for is_complete in True, False:
      points = [
        point(trial)
        for trial in trials
        if trial.phase == phase
        and (trial.state == study_lib.COMPLETE) == is_complete
      ]
      if points:
        axes.scatter(
          *zip(*points, strict=True),
          marker=marker,
          color=plots.COLOURS[0],
          facecolors=plots.COLOURS[0] if is_complete else 'none',
          label=phase + ('' if is_complete else ', stopped'),
        )


def _window(values: Sequence[float]) -> tuple[float, float]:
  """Limits of an axis that leave out far outliers, which are bad trials."""
  low, middle, high = np.percentile(values, [0, 75, 100])
  top = min(high, middle + 3 * max(middle - low, 1e-6))
  margin = 0.05 * max(top - low, 1e-6)
  return low - margin, top + margin


def _text(value: Any) -> str:
  return f'{value:.4g}' if isinstance(value, float) else str(value)
