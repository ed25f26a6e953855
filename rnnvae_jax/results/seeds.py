"""Several seeds of one config: means and standard deviations."""

from collections.abc import Callable, Mapping, Sequence
import os
from typing import Any

from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.config import build as config_build
from rnnvae_jax.results import parallel, tables
from rnnvae_jax.training import writers

FILE = 'seeds.json'


def train(
  train_one: Callable[[Any, str], dict[str, Any]],
  config: Any,
  workdir: str,
  count: int,
) -> list[dict[str, Any]]:
  """Trains several seeds of a config, side by side where that is faster.

  Args:
    train_one: of a module; (config, folder) -> figures.
    config: of the first seed; the others count on from its own.
    workdir: the folder above the seeds' own.
    count: of seeds.

  Returns:
    The figures of each seed.

  Raises:
    ChildProcessError: a seed failed that was trained in a process; the others
      are trained.
  """
  runs = []
  for seed in range(config.seed, config.seed + count):
    of_seed = config.copy_and_resolve_references()
    of_seed.seed = seed
    runs.append((of_seed, os.path.join(workdir, f'seed_{seed}')))
  figures, failed = {}, []
  for folder, ended in parallel.run(train_one, parallel.choose(runs)):
    figures[folder] = ended.value
    if ended.failure:
      failed.append(folder)
  for of_seed, folder in runs:
    if folder not in figures:
      figures[folder] = train_one(of_seed, folder)
  if failed:
    raise parallel.failed(failed)
  return [figures[folder] for _, folder in runs]


def report(
  results: Sequence[Mapping[str, Mapping[str, Any]]], workdir: str, kind: str
) -> dict[str, Any]:
  """Writes seeds.json and prints a table of means and standard deviations.

  Args:
    results: of each seed, by split, the figures of results.json.
    workdir: the folder above the seeds' own.
    kind: the task, whose figures are shown.

  Returns:
    By split and figure: mean, std (of one seed none) and seeds.
  """
  spread: dict[str, Any] = {}
  for split in results[0]:
    figures = results[0][split]
    spread[split] = {
      name: tables.spread([result[split].get(name) for result in results])
      for name, value in figures.items()
      if isinstance(value, int | float) and not isinstance(value, bool)
    }
  writers.write_json(os.path.join(workdir, FILE), spread)
  shown = rich_table.Table(title=f'{len(results)} seeds, mean ± deviation')
  shown.add_column('')
  for split in spread:
    shown.add_column(split, justify='right')
  for figure in config_build.task(kind).FIGURES:
    if any(figure.name in values for values in spread.values()):
      cells = [_cell(values.get(figure.name)) for values in spread.values()]
      shown.add_row(figure.name.replace('_', ' '), *cells)
  rich_console.Console().print(shown)
  return spread


def _cell(value: Mapping[str, Any] | None) -> str:
  if value is None:
    return '-'
  if value['mean'] is None:
    return 'inf'
  text = f'{value["mean"]:,.4g}'
  return text if value['std'] is None else f'{text} ± {value["std"]:.2g}'
