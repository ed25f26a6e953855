"""Runs a search: its trials, its finalists, its winner."""

from collections.abc import Sequence
import os
import time
from typing import Any

from absl import logging

from rnnvae_jax.config import space
from rnnvae_jax.search import plan, plots, trials, winner
from rnnvae_jax.search import study as study_lib


def run(
  sweep: space.Sweep,
  file: str,
  workdir: str,
  address: str = '',
  budget: float = 0.0,
) -> None:
  """Runs a search, or goes on with it, as one of any number of processes.

  Args:
    sweep: the search.
    file: that defines it, for what is written.
    workdir: its folder: trials/N and finalists/N/seed_S are runs.
    address: of a database for the trials; '': a journal in the folder.
    budget: seconds after which training stops; 0: no end.

  Raises:
    ValueError: the search cannot run, the folder has another one, or all trials
      diverged.
    ImportError: Optuna is not installed.
    ChildProcessError: trials failed for another reason than that they diverged.
    KeyboardInterrupt: a signal stopped the search; the same call goes on.
  """
  space.check(sweep)
  study = study_lib.open_study(sweep, workdir, address)
  way = trials.choose()
  logging.info('Trials are trained by way of %s: %s.', way.name, way.why)
  deadline = time.time() + budget if budget else float('inf')
  while time.time() < deadline:
    with study.locked():
      until, runs = advance(study, sweep, workdir)
    if not runs:
      break
    trials.train(way, runs, until, deadline)
  found = study.trials()
  with study.locked():  # Other processes write the same files.
    plots.write(study, sweep, workdir)
  finalists = plan.best(found, sweep)[: sweep.finalists]
  if time.time() >= deadline:
    logging.info('The budget is spent; the same command goes on.')
    return
  if not finalists:
    raise ValueError(f'All {len(found)} trials diverged; see {workdir}/trials.')
  seeds = winner.runs(finalists, sweep, workdir)
  end = sweep.config.train.num_steps
  while time.time() < deadline:
    left = {f: c for f, c in seeds.items() if not trials.is_done(f, end)}
    if not left:
      with study.locked():
        winner.write(finalists, sweep, file, workdir)
      return
    trials.train(way, left, end, deadline)
  logging.info('The budget is spent; the same command goes on.')


def advance(
  study: study_lib.Study, sweep: space.Sweep, workdir: str
) -> tuple[int, dict[str, Any]]:
  """Records what trials have reached, ends them, and proposes the next ones.

  The study is locked.

  Returns:
    An update, and by folder the configs of trials that are to be trained until
    then; none if the search is at its end.
  """
  rungs = plan.rungs(sweep)
  while _propose(study, sweep):
    _judge(study, sweep, rungs)  # First: a kill may have come amid it.
    waiting = _record(study, rungs, workdir)
    if waiting:
      until = _next_rung(waiting[0], rungs)
      return until, {
        folder(workdir, trial): space.settled(sweep.config, trial.params)
        for trial in waiting
      }
  return 0, {}


def folder(workdir: str, trial: study_lib.Trial) -> str:
  return os.path.join(workdir, 'trials', str(trial.number))


def _next_rung(trial: study_lib.Trial, rungs: Sequence[int]) -> int:
  return next(rung for rung in rungs if rung not in trial.figures)


def _propose(study: study_lib.Study, sweep: space.Sweep) -> bool:
  """Adds trials that a kill left out, or a cohort when all others have ended.

  Returns:
    Whether any trial has yet to end.
  """
  found = study.trials()
  is_running = any(trial.state == study_lib.RUNNING for trial in found)
  last = found[-1].cohort if found else -1
  begun = [trial for trial in found if trial.cohort == last]
  if begun and len(begun) < begun[0].of:
    cohort = last
  elif is_running:
    return True
  else:
    cohort, begun = last + 1, []
  earlier = [trial for trial in found if trial.cohort < cohort]
  phase, proposed = plan.cohort(study, sweep, earlier, begun)
  if proposed and not begun:
    logging.info('%d trials, %s.', len(proposed), phase)
  for params in proposed[len(begun) :]:
    study.add(phase, cohort, len(proposed), params)
  return is_running or len(proposed) > len(begun)


def _record(
  study: study_lib.Study,
  rungs: Sequence[int],
  workdir: str,
) -> list[study_lib.Trial]:
  """Records what trials have reached.

  Returns:
    Those that have yet to come to the first rung that not all have reached.
  """
  running = [t for t in study.trials() if t.state == study_lib.RUNNING]
  goal = min(
    (rung for trial in running for rung in rungs if rung not in trial.figures),
    default=0,
  )
  waiting = []
  for trial in running:
    if goal == 0 or goal in trial.figures:
      continue
    known = trials.outcome(folder(workdir, trial))
    if known.error:
      logging.info('Trial %d diverged: %s', trial.number, known.error)
      study.end(trial, study_lib.FAILED)
    elif goal in known.figures:
      study.reach(trial.number, goal, known.figures[goal])
    else:
      waiting.append(trial)
  return waiting


def _judge(
  study: study_lib.Study, sweep: space.Sweep, rungs: Sequence[int]
) -> None:
  """Ends trials after the last rung that all have reached."""
  found = study.trials()
  running = [t for t in found if t.state == study_lib.RUNNING]
  there = [r for r in rungs if all(r in trial.figures for trial in running)]
  if not running or not there:
    return
  if there[-1] == rungs[-1]:
    for trial in running:
      logging.info('Trial %d is complete: %s.', trial.number, trial.last)
      study.end(trial, study_lib.COMPLETE)
    return
  chosen = plan.survivors(found, there[-1], sweep)
  for trial in running:
    if trial.number not in chosen:
      logging.info('Trial %d stops at update %d.', trial.number, there[-1])
      study.end(trial, study_lib.PRUNED)
