"""A table: what its config file defines, and the figures in its JSON file.

A table's config file has, besides `get_config`, `PROTOCOL`, a text on what its
figures have in common, and `ROWS`, by name the published figures of each row
and their source; `get_config('row=NAME')` is a row's config. A row may name in
`gain_over` the row of its decoder as a language model, and in `begins_with` the
row whose first run lends it its weights, TABLE/ROW if it is another table's.
`COLUMNS` may name further metrics to be shown, `PLOT` two to be drawn against
each other: two metrics, or `minutes` of training and a metric. `JUDGED = True`
has what a row writes judged, too.
"""

from collections.abc import Callable, Mapping, Sequence
import pathlib
import runpy
from typing import Any, NamedTuple

from absl import logging
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.results import settings
from rnnvae_jax.training import workdir as workdir_lib
from rnnvae_jax.training import writers

_PACKAGE = pathlib.Path(__file__).parent.parent
_JUDGED_COLUMNS = 'test_reconstruction_bleu', 'samples_self_bleu'


class Table(NamedTuple):
  """What a config file defines.

  Attributes:
    name: of the table.
    path: its config file.
    root: the folder that the commands of the table are run in.
    protocol: what the figures have in common.
    rows: by name, `published` figures by metric, their `source` and, if the
      row has them, `gain_over` and `begins_with`.
    get_config: 'row=NAME' -> the config of a row.
    columns: metrics that are shown besides the published ones.
    plot: two metrics, or `minutes` and one; () for no plot.
    judged: whether what the rows write is judged.
  """

  name: str
  path: pathlib.Path
  root: pathlib.Path
  protocol: str
  rows: Mapping[str, Mapping[str, Any]]
  get_config: Callable[[str], Any]
  columns: tuple[str, ...]
  plot: tuple[str, ...]
  judged: bool


class Store(NamedTuple):
  """Where figures are kept.

  Attributes:
    folder: of the tables' JSON files and plots.
    document: the Markdown file that is rendered from them.
  """

  folder: pathlib.Path
  document: pathlib.Path


def config_folders() -> list[pathlib.Path]:
  """Where tables are looked for: the first folder that has one defines it.

  They are the source tree that the package is part of, the current folder, and
  the copy that an installed package brings along.
  """
  return [
    _PACKAGE.parent / 'configs',
    pathlib.Path.cwd() / 'configs',
    _PACKAGE / '_configs',
  ]


def find() -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
  """By name, the config file of each table and the folder it was found in."""
  found: dict[str, tuple[pathlib.Path, pathlib.Path]] = {}
  for folder in config_folders():
    for path in sorted(folder.rglob('*.py')):
      if 'ROWS =' in path.read_text(encoding='utf-8'):
        found.setdefault(path.stem, (path, folder))
  return found


def load(name: str) -> Table:
  """The table of that name.

  Raises:
    ValueError: there is no such table.
  """
  found = find()
  if not found:
    folders = ', '.join(map(str, config_folders()))
    raise ValueError(f'No tables were found. Searched: {folders}.')
  if name not in found:
    raise ValueError(errors.unknown('--table', name, sorted(found)))
  path, folder = found[name]
  defined = runpy.run_path(str(path))
  judged = defined.get('JUDGED', False)
  return Table(
    name=name,
    path=path,
    root=folder.parent,
    protocol=defined['PROTOCOL'],
    rows=defined['ROWS'],
    get_config=defined['get_config'],
    columns=(
      *defined.get('COLUMNS', ()),
      *(_JUDGED_COLUMNS if judged else ()),
    ),
    plot=tuple(defined.get('PLOT', ())),
    judged=judged,
  )


def store(table: Table, workdir: str) -> Store:
  """The repository that the table belongs to; else the workdir."""
  results = table.root / 'benchmarks' / 'results'
  if results.is_dir():
    return Store(results / 'tables', table.root / 'RESULTS.md')
  folder = pathlib.Path(workdir)
  return Store(folder / 'tables', folder / 'RESULTS.md')


def command(table: str, rows: Sequence[str], seeds: int) -> str:
  """The command that trains and evaluates these rows."""
  return (
    f'python -m rnnvae_jax.main --mode=reproduce --table={table} '
    f'--rows={",".join(rows)} --seeds={seeds} --workdir=runs/tables'
  )


def read(table: Table, where: Store, judged_as: str = '') -> dict[str, Any]:
  """A table's file, brought up to date with what its config file defines.

  Args:
    table: what the config file defines.
    where: its JSON file lies.
    judged_as: a sentence that a judged table's protocol ends with.

  Returns:
    `table`, `protocol`, `columns`, `plot` and `rows`, by name: `published`,
    `source`, and what `add` has put there. `outdated` lists the settings of a
    measured row that have changed since.
  """
  path = where.folder / f'{table.name}.json'
  kept: dict[str, Any] = (
    workdir_lib.read_json(str(path)) if path.exists() else {}
  )
  before = kept.get('rows', {})
  kept |= {
    'table': table.name,
    'protocol': table.protocol + (judged_as if table.judged else ''),
    'columns': list(table.columns),
    'rows': {
      name: before.get(name, {}) | published
      for name, published in table.rows.items()
    },
  }
  if table.plot:
    kept['plot'] = list(table.plot)
  for name, row in kept['rows'].items():
    row.pop('outdated', None)
    for key in ('gain_over', 'begins_with'):
      if key not in table.rows[name]:
        row.pop(key, None)
    changes = settings.changes(row, table.get_config(f'row={name}'))
    if changes:
      row['outdated'] = changes
  return kept


def write(figures: Mapping[str, Any], where: Store) -> None:
  """Writes the JSON file of a table."""
  where.folder.mkdir(parents=True, exist_ok=True)
  path = where.folder / f'{figures["table"]}.json'
  writers.write_json(str(path), figures)


def add(
  figures: dict[str, Any],
  table: Table,
  row: str,
  results: Sequence[Mapping[str, Any]],
  diverged: Sequence[int],
  curve: Sequence[tuple[float, float]],
) -> bool:
  """Puts the measured figures of a row into a table's.

  Args:
    figures: of the table, which are changed.
    table: what its config file defines.
    row: its name.
    results: what `rows.run` returned for each seed that was finished.
    diverged: seeds that were not.
    curve: of the last seed, see `records.curve`.

  Returns:
    Whether they were: figures of more seeds that are not outdated stay.
  """
  kept = figures['rows'][row]
  seeds = [value['seeds'] for value in kept.get('ours', {}).values()]
  if max(seeds, default=0) > len(results) and 'outdated' not in kept:
    logging.info('%s: kept the figures of more seeds.', row)
    return False
  # They belonged to the figures that are replaced.
  for name in ('note', 'curve', 'outdated', 'judged_by'):
    kept.pop(name, None)
  last = results[-1]
  places = [
    place
    for result in results
    for place in [device(result['environment']), *result.get('places', ())]
  ]
  commits = [commit for result in results for commit in result['commits']]
  relative = table.path.relative_to(table.root)
  kept |= {
    'ours': {
      name: spread([result['metrics'][name] for result in results])
      for name in results[0]['metrics']
      # A result of another version may lack some.
      if all(name in result['metrics'] for result in results)
    },
    'config': f'{relative}:row={row}',
    'settings': settings.digest(last['config']),
    'non_default': settings.non_default(last['config']),
    'command': command(table.name, [row], len(results) + len(diverged)),
    'commits': list(dict.fromkeys(commits)),
    'device': '; '.join(dict.fromkeys(places)),
    'wall_seconds': round(
      float(np.mean([result['wall_seconds'] for result in results]))
    ),
    'environment': last['environment'],
    'diverged_seeds': list(diverged),
  }
  if 'judged_by' in last:
    kept['judged_by'] = settings.digest(last['judged_by'])
  if curve:
    kept['curve'] = curve
  return True


def device(described: Mapping[str, Any]) -> str:
  """A device and its cores, from what `environment.describe` returns."""
  cores = described['cores']
  return f'{described["device"]}, {cores} core' + ('s' if cores > 1 else '')


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
  """Mean and standard deviation over seeds; of one seed there is none.

  None stands for infinity, of which there is no deviation either.
  """
  finite = [v for v in values if v is not None and np.isfinite(v)]
  whole = len(finite) == len(values)
  several = whole and len(values) > 1
  return {
    'mean': float(np.mean(finite)) if whole else None,
    'std': float(np.std(finite, ddof=1)) if several else None,
    'seeds': len(values),
  }
