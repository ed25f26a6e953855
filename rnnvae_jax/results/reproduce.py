"""Reproduces tables of papers: rows are trained, evaluated and rendered."""

from collections.abc import Mapping, Sequence
import os
import time
from typing import Any

from absl import logging

from rnnvae_jax import errors
from rnnvae_jax.results import gains, records, render, tables
from rnnvae_jax.results import rows as rows_lib
from rnnvae_jax.training import workdir as workdir_lib

_Runs = dict[str, Any]  # By folder, the config.


def reproduce(
  table: str,
  workdir: str,
  rows: Sequence[str] = (),
  seeds: int = 1,
  budget: float = 0.0,
) -> tables.Store:
  """Trains and evaluates rows of a table, and renders RESULTS.md.

  Args:
    table: its name, that of its config file.
    workdir: holds the runs: TABLE/ROW/seed_N.
    rows: their names; all of the table if there is none.
    seeds: runs of each row, with seeds 0, 1 and so on.
    budget: seconds after which training stops, at a checkpoint, and no
      evaluation and no run is begun; 0: no limit.

  Returns:
    Where the figures are.

  Raises:
    ValueError: an unknown table or row, a config that cannot run, or a folder
      that holds another run: all before the first row begins.
  """
  defined = tables.load(table)
  for row in rows:
    if row not in defined.rows:
      raise ValueError(errors.unknown('--rows', row, defined.rows))
  where = tables.store(defined, workdir)
  logging.info('Figures: %s, %s.', where.folder, where.document)
  by_row = {
    row: rows_lib.configs(defined, row, workdir, seeds)
    for row in rows or defined.rows
  }
  runs = os.path.join(workdir, defined.name)
  waves = _waves(defined, by_row, workdir)
  figures = tables.read(defined, where, rows_lib.JUDGED_AS)
  _publish(figures, where, runs)
  deadline = time.time() + budget if budget else float('inf')
  for wave in waves:
    for row, outcomes in rows_lib.run_all(wave, deadline, defined.judged):
      _add(defined, row, outcomes, list(by_row[row]), where, runs)
  return where


def _waves(
  defined: tables.Table, by_row: Mapping[str, _Runs], workdir: str
) -> list[dict[str, _Runs]]:
  """The rows to run first, and those that begin with the weights of others.

  Raises:
    ValueError: a row begins with one that neither is trained nor will be.
  """
  waves: list[dict[str, _Runs]] = [{}, {}]
  for row, configs in by_row.items():
    source = defined.rows[row].get('begins_with', '')
    waves[bool(source)][row] = configs
    folder = rows_lib.source_folder(defined, row, workdir)
    if source and source not in by_row and not workdir_lib.is_trained(folder):
      table, _, lender = source.rpartition('/')
      legal = f'--rows={source},{row}'
      if table:
        legal = f'--table={table} --rows={lender} first'
      raise ValueError(
        f'--rows: {row} begins with the weights of {source}, and {folder} has '
        f'no trained run. Legal: {legal}.'
      )
  return waves


def _add(
  defined: tables.Table,
  row: str,
  outcomes: Sequence[rows_lib.Outcome],
  folders: Sequence[str],
  where: tables.Store,
  runs: str,
) -> None:
  """Adds what a row's seeds have led to, and publishes the table."""
  results, diverged, curve = [], [], []
  for seed, (folder, outcome) in enumerate(zip(folders, outcomes, strict=True)):
    if isinstance(outcome, FloatingPointError):
      diverged.append(seed)
    elif outcome is not None:
      results.append(outcome)
      if defined.plot[:1] == ('minutes',):
        curve = records.curve(folder, defined.plot[1])
  figures = tables.read(defined, where, rows_lib.JUDGED_AS)
  if results:
    is_new = tables.add(figures, defined, row, results, diverged, curve)
  else:
    is_new = bool(diverged)
    figures['rows'][row]['diverged_seeds'] = diverged
  if is_new:
    _publish(figures, where, runs)


def _publish(figures: dict[str, Any], where: tables.Store, runs: str) -> None:
  """Writes a table, with the gains that its runs tell today."""
  gains.fill(figures, runs)
  tables.write(figures, where)
  render.document(where)
