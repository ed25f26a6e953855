"""Named tables of papers: trains and evaluates their rows -> RESULTS.md.

A table is a config file with two things more: `PROTOCOL`, a line on what its
figures have in common, and `ROWS`, by name the published figures of each row
and their source; `get_config('row=NAME')` is a row's config. `COLUMNS` may name
more metrics to be shown, `PLOT` two to be drawn against each other. Its data
lie in `benchmarks/results/tables/`, a JSON file a table, from which RESULTS.md
is written anew. Every seed of a row is a run of its own in the given folder:
what is finished is not done again, what was stopped goes on.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
import runpy
import time
from typing import Any

from absl import logging
import numpy as np

from rnnvae_jax import config_lib, data, errors, evaluate, train
from rnnvae_jax.analysis import plots
from rnnvae_jax.training import environment, runs, writers

CONFIGS = pathlib.Path('configs')
TABLES = pathlib.Path('benchmarks/results/tables')
RESULTS = pathlib.Path('RESULTS.md')

# Of results.json, what is no figure of the model.
_NOT_OF_THE_MODEL = ('seconds', 'seed', 'sentences', 'tokens', 'truncated')
_SPLITS = ('valid', 'test')
# Of the validation split; the test split has as many as the config says.
_VALID_SAMPLES = 20


def reproduce(
  table: str,
  workdir: str,
  rows: Sequence[str] = (),
  seeds: int = 1,
  budget: float = 0.0,
) -> None:
  """Trains and evaluates rows of a table, and writes RESULTS.md anew.

  Args:
    table: its name: configs/NAME.py.
    workdir: holds the runs: TABLE/ROW/seed_N.
    rows: their names; all of the table's if there is none.
    seeds: runs of each row, with seeds 0, 1 and so on.
    budget: seconds after which training stops, at a checkpoint, and no row is
      begun any more; 0: none.

  Raises:
    ValueError: an unknown table or row, or a config that cannot run.
  """
  defined = load(table)
  for row in rows:
    if row not in defined['ROWS']:
      raise ValueError(errors.unknown('--rows', row, defined['ROWS']))
  _write(_kept(table, defined))
  deadline = time.time() + budget if budget else float('inf')
  for row in rows or defined['ROWS']:
    if time.time() > deadline:
      logging.info('The budget is spent; %s is left for the next time.', row)
      return
    results = []
    for seed in range(seeds):
      config = defined['get_config'](f'row={row}')
      config.seed = seed
      folder = os.path.join(workdir, table, row, f'seed_{seed}')
      try:
        result = run(config, folder, deadline)
      except FloatingPointError as error:  # The other rows may do better.
        logging.error('Row %s, seed %d: %s', row, seed, error)
        continue
      if result is None:
        break
      results.append(result)
    if results:
      _add(table, defined, row, results)


def load(table: str) -> dict[str, Any]:
  """PROTOCOL, ROWS and get_config of a table.

  Raises:
    ValueError: there is no such table.
  """
  path = CONFIGS / f'{table}.py'
  if not path.is_file():
    tables = sorted(
      path.stem for path in CONFIGS.glob('*.py') if 'ROWS =' in path.read_text()
    )
    if not tables:
      raise ValueError(
        f'No tables in {CONFIGS.resolve()}: run this in the project folder.'
      )
    raise ValueError(errors.unknown('--table', table, tables))
  return runpy.run_path(str(path))


def run(
  config: Any, workdir: str, deadline: float = float('inf')
) -> dict[str, Any] | None:
  """A run's figures, trained and evaluated as far as that is left to do.

  Returns:
    'metrics', by split and name; 'wall_seconds' of training and evaluation;
    'environment', as it was when the run was begun. None if the deadline came
    first.
  """
  config_lib.validate(config)
  path = os.path.join(workdir, 'reproduced.json')
  wanted = {
    key: value
    for key, value in config_lib.flatten(config).items()
    if not key.startswith(('data.', 'generate.', 'judge.', 'trace.'))
  }
  done: dict[str, Any] = {}
  if os.path.exists(path):
    done = runs.read_json(path)
  if done.get('config') == wanted and 'metrics' in done:
    return done
  # Figures of another config are of no use; `train` refuses another run.
  done = {
    'config': wanted,
    'environment': done.get('environment') or environment.describe(),
    'wall_seconds': done.get('wall_seconds', 0.0),
  }
  start = time.time()
  try:
    corpus = train.train(config, workdir, deadline)
    if corpus is None:
      return None
    done['metrics'] = _evaluate(config, workdir, corpus)
    return done
  finally:  # Also when it is stopped: the time counts.
    done['wall_seconds'] += time.time() - start
    if os.path.isdir(workdir):
      writers.write_json(path, done)


def _evaluate(config, workdir: str, corpus: data.Corpus) -> dict[str, Any]:
  metrics: dict[str, float] = {}
  samples = config.evaluate.iw_samples
  for split in filter(corpus.splits.get, _SPLITS):
    config.evaluate.split = split
    of_valid = min(samples, _VALID_SAMPLES)
    config.evaluate.iw_samples = of_valid if split == 'valid' else samples
    values = evaluate.evaluate(config, workdir, corpus)[split]
    metrics |= {
      f'{split}_{name}': value
      for name, value in values.items()
      if isinstance(value, int | float) and name not in _NOT_OF_THE_MODEL
    }
  return metrics


def _kept(table: str, defined: Mapping[str, Any]) -> dict[str, Any]:
  """The table: what its config says, and the figures its file has."""
  path = TABLES / f'{table}.json'
  kept: dict[str, Any] = {}
  if path.exists():
    kept = runs.read_json(str(path))
  before = kept.get('rows', {})
  kept |= {
    'table': table,
    'protocol': defined['PROTOCOL'],
    'columns': list(defined.get('COLUMNS', ())),
    'rows': {
      name: before.get(name, {}) | published
      for name, published in defined['ROWS'].items()
    },
  }
  if 'PLOT' in defined:
    kept['plot'] = list(defined['PLOT'])
  return kept


def _write(table: Mapping[str, Any]) -> None:
  """Its file, and RESULTS.md from those of all tables."""
  TABLES.mkdir(parents=True, exist_ok=True)
  writers.write_json(str(TABLES / f'{table["table"]}.json'), table)
  render()


def _add(
  table: str,
  defined: Mapping[str, Any],
  row: str,
  results: Sequence[Mapping[str, Any]],
) -> None:
  """Puts a row's figures into the table."""
  kept = _kept(table, defined)
  before = kept['rows'][row].get('ours', {})
  if any(value['seeds'] > len(results) for value in before.values()):
    logging.info('%s: kept the figures of more seeds.', row)
    return
  last = results[-1]['environment']
  kept['rows'][row] |= {
    'ours': {
      name: _spread([result['metrics'][name] for result in results])
      for name in results[0]['metrics']
    },
    'config': f'configs/{table}.py:row={row}',
    'command': f'python -m rnnvae_jax.main --mode=reproduce --table={table} '
    f'--rows={row} --seeds={len(results)} --workdir=runs/tables',
    'commit': last['commit'],
    'device': f'{last["device"]}, {last["cores"]} cores',
    'wall_seconds': round(
      float(np.mean([result['wall_seconds'] for result in results]))
    ),
    'environment': last,
  }
  _write(kept)


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
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


def render() -> None:
  """RESULTS.md from the files of all tables."""
  parts = [_HEADER]
  for path in sorted(TABLES.glob('*.json')):
    table = runs.read_json(str(path))
    parts.append(_section(table))
    picture = path.with_suffix('.png')
    if 'plot' in table and _plot(table, picture):
      parts.append(f'![{path.stem}]({picture})\n')
  writers.write_text(str(RESULTS), '\n'.join(parts))


_HEADER = """# Results

Written by `python -m rnnvae_jax.main --mode=reproduce`, from the files in
`benchmarks/results/tables/`, which hold more figures of each row and the
versions they were made with. Published figures stand before the slash, ours
after it: means over seeds with their standard deviation, where there are
several. Nats a sentence unless named otherwise. What has no figure of ours is
not measured.
"""
_TITLES = {
  'nll_per_sentence': 'NLL',
  'perplexity': 'perplexity',
  'elbo': '-ELBO',
  'reconstruction': 'reconstruction',
  'kl': 'KL',
  'nll_per_token': 'NLL a token',
  'bits_per_token': 'bits a token',
  'reset_perplexity': 'perplexity, state reset',
  'iwae_nll': 'IW NLL',
  'iwae_perplexity': 'IW perplexity',
  'mutual_information': 'MI',
  'mutual_information_batch': 'MI in batches',
  'active_units': 'active units',
}


def _section(table: Mapping[str, Any]) -> str:
  """A table as Markdown: what any of its rows has published, and ours."""
  rows = table['rows']
  published = [metric for row in rows.values() for metric in row['published']]
  metrics = list(dict.fromkeys([*published, *table.get('columns', ())]))
  columns = ['row', *map(_title, metrics), 'source', 'minutes', 'commit']
  lines = [
    f'## {table["table"]}\n',
    f'{table["protocol"]}\n',
    _line(columns),
    _line(['---'] * len(columns)),
  ]
  idle = [
    name
    for name, row in rows.items()
    if not row['published'] and 'ours' not in row
  ]
  for name, row in rows.items():
    if name in idle:
      continue
    ours = row.get('ours', {})
    cells = [_cell(row['published'], ours, metric) for metric in metrics]
    minutes = f'{row["wall_seconds"] / 60:.2g}' if ours else ''
    commit = f'`{_short(row["commit"])}`' if ours and row['commit'] else ''
    lines.append(_line([f'`{name}`', *cells, row['source'], minutes, commit]))
  lines += [
    f'\n`{name}`: {row["note"]}' for name, row in rows.items() if 'note' in row
  ]
  commands = _commands(rows)
  if idle:
    lines += [
      '',
      'Not measured yet: ' + ', '.join(f'`{x}`' for x in idle) + '.',
    ]
  if commands:
    lines += ['', '```', *commands, '```']
  return '\n'.join([*lines, ''])


def _commands(rows: Mapping[str, Any]) -> list[str]:
  """What made the rows, with where; rows that share one of each are joined."""
  together: dict[tuple[str, ...], list[str]] = {}
  for name, row in rows.items():
    if 'ours' in row:
      parts = row['command'].partition(f'--rows={name}')
      key = parts[0], parts[1] and '--rows=', parts[2], row['device']
      together.setdefault(key, []).append(name)
  return [
    f'{before}{option}{",".join(names) if option else ""}{after}  # {device}'
    for (before, option, after, device), names in together.items()
  ]


def _plot(table: Mapping[str, Any], path: pathlib.Path) -> bool:
  """One figure against another; a curve for each control over its strength.

  Returns:
    Whether there was anything to draw.
  """
  x, y = table['plot']
  curves: dict[str, list[tuple[float, float, str]]] = {}
  for name, row in table['rows'].items():
    if {x, y} <= set(row.get('ours', {})):
      control, _, strength = name.rpartition('_')
      at = (row['ours'][x]['mean'], row['ours'][y]['mean'], strength)
      curves.setdefault(control, []).append(at)
  if not curves:
    return False
  figure, axes = plots.pyplot().subplots(figsize=(8, 6), layout='constrained')
  markers = 'osv^D<>pX*'
  for number, (control, points) in enumerate(curves.items()):
    xs, ys, strengths = zip(*sorted(points), strict=True)
    marker = markers[number % len(markers)]
    axes.plot(xs, ys, marker=marker, label=control.replace('_', ' '))
    for point in zip(strengths, xs, ys, strict=True):
      axes.annotate(
        point[0],
        point[1:],
        xytext=(4, 4),
        textcoords='offset points',
        fontsize=7,
      )
  axes.set_xlabel(f'{_title(x)}, nats a sentence')
  axes.set_ylabel(f'{_title(y)}, nats a sentence')
  # Points of equal negative ELBO lie on lines of slope -1.
  axes.set_title(f'{table["table"]}: lower left is better')
  axes.grid(alpha=0.3)
  axes.legend()
  plots.save(figure, str(path))
  return True


def _title(metric: str) -> str:
  split, _, name = metric.partition('_')
  return f'{split} {_TITLES.get(name, name)}'


def _short(commit: str) -> str:
  """Its first digits, and whether files differed from it."""
  number, _, dirty = commit.partition('-')
  return number[:8] + (f'-{dirty}' if dirty else '')


def _line(cells: Sequence[str]) -> str:
  return '| ' + ' | '.join(cells) + ' |'


def _cell(published, ours, metric: str) -> str:
  """'published / ours ± deviation (seeds)', as far as there are any."""
  theirs = str(published[metric]) if metric in published else ''
  if metric not in ours:
    return theirs
  value = ours[metric]
  digits = 4 if metric.endswith('_per_token') else 2
  text = 'inf' if value['mean'] is None else f'{value["mean"]:.{digits}f}'
  if value['std'] is not None:
    text += f' ± {value["std"]:.{digits}f}'
  return f'{theirs or "-"} / {text}'
