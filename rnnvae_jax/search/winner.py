"""Finalists: the best trials with more seeds, and the winner as a config."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from absl import logging
import numpy as np

from rnnvae_jax.config import build, space
from rnnvae_jax.results import tables
from rnnvae_jax.search import study as study_lib
from rnnvae_jax.search import trials as trials_lib
from rnnvae_jax.training import writers

FILE, FIGURES = 'winner.py', 'finalists.json'


def runs(
  finalists: Sequence[study_lib.Trial], sweep: space.Sweep, workdir: str
) -> dict[str, Any]:
  """By folder, the configs of the finalists' further seeds."""
  found = {}
  for trial in finalists:
    for seed in _seeds(sweep)[1:]:
      config = space.settled(sweep.config, trial.params)
      config.seed = seed
      found[_folder(workdir, trial, seed)] = config
  return found


def write(
  finalists: Sequence[study_lib.Trial],
  sweep: space.Sweep,
  file: str,
  workdir: str,
) -> None:
  """Writes the finalists' figures, and the best one's config as a file.

  A finalist is as good as its mean over seeds. One of which a seed diverged is
  worse than all others.

  Args:
    finalists: the best first.
    sweep: the search.
    file: that defines it.
    workdir: its folder.
  """
  end = sweep.config.train.num_steps
  results = []
  for trial in finalists:
    values = [trial.last]
    for seed in _seeds(sweep)[1:]:
      known = trials_lib.outcome(_folder(workdir, trial, seed))
      if not known.error:
        values.append(known.figures[end])
    means = {
      name: float(np.mean([figures[name] for figures in values]))
      for name in (sweep.figure, *sweep.at_least)
    }
    diverged = sweep.seeds - len(values)
    results.append((diverged, study_lib.rank(means, sweep), trial, values))
  results.sort(key=lambda result: (*result[:2], result[2].number))
  spreads = [
    {
      'trial': trial.number,
      'params': dict(trial.params),
      'diverged_seeds': diverged,
      'figures': {
        name: tables.spread([figures[name] for figures in values])
        for name in values[0]
        if name != 'step'
      },
    }
    for diverged, _, trial, values in results
  ]
  writers.write_json(os.path.join(workdir, FIGURES), {'finalists': spreads})
  _, _, best, _ = results[0]
  figures: Any = spreads[0]['figures']
  shown = ', '.join(
    f'{name} {_shown(figures[name])}'
    for name in dict.fromkeys((sweep.figure, *sweep.at_least))
  )
  path = os.path.join(workdir, FILE)
  writers.write_text(path, source(best, sweep, file, shown, path))
  logging.info('The winner is trial %d (%s): %s.', best.number, shown, path)


def source(
  trial: study_lib.Trial,
  sweep: space.Sweep,
  file: str,
  shown: str,
  path: str,
) -> str:
  """The winner's config file."""
  config = space.settled(sweep.config, {**trial.params, **sweep.winner})
  default = build.flatten(build.default(config.model.kind))
  lines = [
    f'  config.{key} = {value!r}'
    for key, value in build.flatten(config).items()
    if value != default[key]
  ]
  settings = '\n'.join(lines)
  seeds = f'{sweep.seeds} seed' + 's' * (sweep.seeds > 1)
  return f'''r"""The winner of the search {file}, its trial {trial.number}.

  python -m rnnvae_jax.main --config={path}

As a trial, on the validation split, {seeds}: {shown}.
"""

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(tail, tiny=False)
  config = build.default({config.model.kind!r})
{settings}
  argument.apply(config, arg)
  return config
'''


def _seeds(sweep: space.Sweep) -> list[int]:
  """The seeds of a finalist, first that of its trial."""
  first = sweep.config.seed
  return [*range(first, first + sweep.seeds)]


def _folder(workdir: str, trial: study_lib.Trial, seed: int) -> str:
  return os.path.join(workdir, 'finalists', str(trial.number), f'seed_{seed}')


def _shown(spread: Mapping[str, Any]) -> str:
  text = f'{spread["mean"]:.4g}'
  return text if spread['std'] is None else f'{text} ± {spread["std"]:.2g}'
