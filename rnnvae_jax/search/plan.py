"""Which trials come next, and which of them go on.

Both follow from what is recorded of the trials before and from the search's
seed, never from the time at which a trial ended. So a search that was stopped,
or that several processes share, has the trials of one that was not.
"""

from collections.abc import Mapping, Sequence
import itertools
import math
from typing import Any

import numpy as np

from rnnvae_jax.config import space
from rnnvae_jax.search import study as study_lib


def rungs(sweep: space.Sweep) -> list[int]:
  """The updates after which trials are compared; the last is their end.

  Between two of them lies the factor `halving`, up to whole validations.
  """
  train = sweep.config.train
  found, steps = [train.num_steps], float(train.num_steps)
  while sweep.halving:
    steps /= sweep.halving
    rung = train.eval_every * math.ceil(steps / train.eval_every)
    if rung < max(sweep.first, train.eval_every) or rung >= found[0]:
      break
    found.insert(0, rung)
  return found


def survivors(
  trials: Sequence[study_lib.Trial], rung: int, sweep: space.Sweep
) -> set[int]:
  """The numbers of the trials that go on after a rung.

  They are one of `halving` of all that have come there, in this cohort and in
  those before.
  """
  there = [trial for trial in trials if rung in trial.figures]
  there.sort(key=lambda t: (*study_lib.rank(t.figures[rung], sweep), t.number))
  kept = max(1, len(there) // sweep.halving)
  return {trial.number for trial in there[:kept]}


def cohort(
  study: study_lib.Study,
  sweep: space.Sweep,
  earlier: Sequence[study_lib.Trial],
  begun: Sequence[study_lib.Trial] = (),
) -> tuple[str, list[dict[str, Any]]]:
  """The phase and the parameters of the trials that are proposed together.

  Args:
    study: whose trials are these.
    sweep: the search.
    earlier: trials of the cohorts before, all ended.
    begun: trials of this cohort that are there already, the first of those
      that are returned: a kill came between.

  Returns:
    '' and nothing if no more trials are wanted.
  """
  counts = {
    phase: sum(trial.phase == phase for trial in earlier)
    for phase in ('random', 'tpe')
  }
  legal = lambda params: _is_new(params, earlier) and _is_legal(params, sweep)

  def ask(phase: str, count: int) -> list[dict[str, Any]]:
    seeds = (_seed(sweep, phase, n) for n in itertools.count(counts[phase]))
    known = {trial.number for trial in earlier}
    return study.propose(
      count, seeds, legal, None if phase == 'random' else known
    )

  of = begun[0].of if begun else 0
  wanted = sweep.random - counts['random']
  if begun[0].phase == 'random' if begun else wanted > 0:
    found = ask('random', of or wanted)
    if found:
      return 'random', found
  if sweep.grid and not (begun and begun[0].phase == 'tpe'):
    points = [p for p in _grid(sweep, earlier) if legal(p)]
    if points:
      return 'grid', points
  wanted = min(sweep.together, sweep.tpe - counts['tpe'])
  if of or wanted > 0:
    found = ask('tpe', of or wanted)
    if found:
      return 'tpe', found
  return '', []


def best(
  trials: Sequence[study_lib.Trial], sweep: space.Sweep
) -> list[study_lib.Trial]:
  """The complete trials, the best first."""
  done = [trial for trial in trials if trial.state == study_lib.COMPLETE]
  return sorted(done, key=lambda t: (*study_lib.rank(t.last, sweep), t.number))


def _grid(
  sweep: space.Sweep, earlier: Sequence[study_lib.Trial]
) -> list[dict[str, Any]]:
  """All combinations of neighbours of the best random trial's values."""
  ranked = best([t for t in earlier if t.phase == 'random'], sweep)
  if not ranked:
    return []
  centre = ranked[0].params
  axes = [
    space.neighbours(sweep.space[key], centre[key], sweep.neighbour)
    for key in sweep.grid
  ]
  return [
    {**centre, **dict(zip(sweep.grid, values, strict=True))}
    for values in itertools.product(*axes)
  ]


def _is_new(
  params: Mapping[str, Any], earlier: Sequence[study_lib.Trial]
) -> bool:
  return all(params != trial.params for trial in earlier)


def _is_legal(params: Mapping[str, Any], sweep: space.Sweep) -> bool:
  try:
    space.settled(sweep.config, params)
  except ValueError:
    return False
  return True


def _seed(sweep: space.Sweep, phase: str, number: int) -> int:
  """The seed of the number-th proposal of a phase."""
  entropy = [sweep.seed, ('random', 'tpe').index(phase), number]
  return int(np.random.SeedSequence(entropy).generate_state(1)[0])
