"""Named tables of papers: trains and evaluates their rows -> RESULTS.md.

A table is a config file with two things more: `PROTOCOL`, a line on what its
figures have in common, and `ROWS`, by name the published figures of each row
and their source; `get_config('row=NAME')` is a row's config. `COLUMNS` may name
more metrics to be shown, `PLOT` two to be drawn against each other: the KL term
and the reconstruction of a split, or `minutes`, those of training, and any.
With `JUDGED = True` what a row writes is judged, too. Its data lie in
`benchmarks/results/tables/`, a JSON file a table, from which RESULTS.md is
written anew. Every seed of a row is a run of its own in the given folder:
what is finished is not done again, what was stopped goes on. Where that is
faster, the seeds of a row train as a population, each into its own folder.
"""

from collections.abc import Mapping, Sequence
import contextlib
import functools
import hashlib
import json
import os
import pathlib
import runpy
import time
from typing import Any

from absl import logging
import jax
import numpy as np

from rnnvae_jax import config_lib, errors, evaluate, judge, train
from rnnvae_jax.analysis import tables
from rnnvae_jax.data import corpora
from rnnvae_jax.training import (
  checkpoints,
  environment,
  population,
  runs,
  writers,
)

CONFIGS = pathlib.Path('configs')
TABLES = pathlib.Path('benchmarks/results/tables')
RESULTS = pathlib.Path('RESULTS.md')

# Of a run, by the reproduction that trained it.
_RECORD = 'reproduced.json'
# Where N small products take less time as one; on a CPU they take more.
_BATCHING = ('gpu', 'tpu')
# Of results.json, what is no figure of the model.
_NOT_OF_THE_MODEL = ('seconds', 'seed', 'sentences', 'tokens', 'truncated')
_SPLITS = ('valid', 'test')
# Of the validation split; the test split has as many as the config says.
_VALID_SAMPLES = 20
_JUDGED_COLUMNS = 'test_reconstruction_bleu', 'samples_self_bleu'
_JUDGED_AS = (
  ' BLEU is of greedy reconstructions from posterior means, self-BLEU of '
  f'{judge.SELF_BLEU} samples.'
)
# What the figures of `judge` depend on beside the run.
_JUDGED_BY = (
  'judge.',
  'generate.seed',
  'generate.max_length',
  'generate.beam_size',
  'generate.length_penalty',
)


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
    budget: seconds after which training stops, at a checkpoint, and no
      evaluation and no run is begun any more; 0: none.

  Raises:
    ValueError: an unknown table or row, a config that cannot run, or a folder
      that holds a run of another: all before the first row begins.
  """
  defined = load(table)
  for row in rows:
    if row not in defined['ROWS']:
      raise ValueError(errors.unknown('--rows', row, defined['ROWS']))
  configs_of = {
    row: _configs(defined, os.path.join(workdir, table, row), row, seeds)
    for row in rows or defined['ROWS']
  }
  for configs in configs_of.values():
    for folder, config in configs.items():
      config_lib.validate(config)
      runs.check_folder(config, folder)
  _write(_kept(table, defined))
  deadline = time.time() + budget if budget else float('inf')
  for row, configs in configs_of.items():
    if time.time() > deadline:
      logging.info('The budget is spent; %s is left for the next time.', row)
      return
    _train_together(configs, deadline)
    results, failed, curve = [], [], []
    for seed, (folder, config) in enumerate(configs.items()):
      if time.time() > deadline:
        break
      try:
        result = run(config, folder, deadline, defined.get('JUDGED', False))
      except FloatingPointError as error:  # The other rows may do better.
        logging.error('Row %s, seed %d: %s', row, seed, error)
        failed.append(seed)
        continue
      if result is None:
        break
      results.append(result)
      curve = _curve(folder, defined)
    if results:
      _add(table, defined, row, results, failed, curve)
    elif failed:
      kept = _kept(table, defined)
      kept['rows'][row]['diverged_seeds'] = failed
      _write(kept)


def _configs(defined, workdir: str, row: str, seeds: int) -> dict[str, Any]:
  """Those of a row's seeds, by folder."""
  configs: dict[str, Any] = {}
  for seed in range(seeds):
    config = defined['get_config'](f'row={row}')
    config.seed = seed
    configs[os.path.join(workdir, f'seed_{seed}')] = config
  return configs


def load(table: str) -> dict[str, Any]:
  """PROTOCOL, ROWS and get_config of a table.

  Raises:
    ValueError: there is no such table.
  """
  legal = sorted(
    path.stem for path in CONFIGS.glob('*.py') if 'ROWS =' in path.read_text()
  )
  if not legal:
    raise ValueError(
      f'No tables in {CONFIGS.resolve()}: run this in the project folder.'
    )
  if table not in legal:
    raise ValueError(errors.unknown('--table', table, legal))
  return runpy.run_path(str(CONFIGS / f'{table}.py'))


def run(
  config: Any,
  workdir: str,
  deadline: float = float('inf'),
  judged: bool = False,
) -> dict[str, Any] | None:
  """A run's figures, trained and evaluated as far as that is left to do.

  Args:
    config: of the run.
    workdir: its folder.
    deadline: seconds since 1970 after which nothing more is begun.
    judged: whether what it writes is judged, too.

  Returns:
    'metrics', by split and name, where `samples` stands for a split, too;
    'wall_seconds' of training, evaluation and judging; 'environment', as it was
    when the run was begun; 'commits' and 'places' that it was of. None if the
    deadline came first.

  Raises:
    ValueError: a config that cannot run, or the folder of another's run.
  """
  config_lib.validate(config)
  described, judging = _described(config), _chosen(config, _JUDGED_BY)
  done = _read_record(config, workdir)
  is_evaluated = 'metrics' in done and done.get('config') == described
  if is_evaluated and (not judged or done.get('judged_by') == judging):
    return done
  if is_evaluated and not runs.is_trained(workdir):
    logging.warning('%s: no checkpoint is left to be judged.', workdir)
    return done
  done = _begin_record(config, workdir)
  start = time.time()
  try:
    corpus = train.train(config, workdir, deadline)
    if corpus is None or time.time() > deadline:
      return None
    if not is_evaluated:
      done.pop('judged_by', None)  # As its figures are gone.
      metrics = _evaluate(config, workdir, corpus)
      done |= {'metrics': metrics, 'config': described}
    if judged:
      if time.time() > deadline:
        return None
      done['metrics'] |= _judge(config, workdir, corpus)
      done['judged_by'] = judging
    return done
  finally:  # Also when it is stopped: the time counts.
    done['wall_seconds'] += time.time() - start
    _keep_record(workdir, done)


def _chosen(config, prefixes: tuple[str, ...]) -> dict[str, Any]:
  return {
    key: value
    for key, value in config_lib.flatten(config).items()
    if key.startswith(prefixes)
  }


def _described(config) -> dict[str, Any]:
  """The settings that a run's figures depend on."""
  return {
    key: value
    for key, value in config_lib.flatten(config).items()
    if not key.startswith(('data.', 'generate.', 'judge.', 'trace.'))
  }


def _begin_record(config, workdir: str) -> dict[str, Any]:
  """What a run's folder says of it, from now on of this commit too.

  It is written before there is anything to tell, so that a kill leaves what the
  run was begun with. Figures of another evaluation stay, with the config that
  they are of, until there are others.
  """
  now = environment.describe()
  first: dict[str, Any] = {
    'environment': now,
    'wall_seconds': 0.0,
    'commits': [],
    'places': [],
  }
  done = first | _read_record(config, workdir)
  for names, name in (('commits', now['commit']), ('places', _place(now))):
    if name not in done[names]:
      done[names].append(name)
  if runs.check_folder(config, workdir):
    # Of what was killed, the metrics alone know how long it took.
    spent = sum(seconds for _, seconds in _calls(workdir))
    done['wall_seconds'] = max(done['wall_seconds'], spent)
  _keep_record(workdir, done)
  return done


def _place(described: Mapping[str, Any]) -> str:
  """The class of a device, with its cores."""
  cores = described['cores']
  return f'{described["device"]}, {cores} core' + ('s' if cores > 1 else '')


def _read_record(config, workdir: str) -> dict[str, Any]:
  """That of this config; of another, which came to nothing, there is none."""
  path = os.path.join(workdir, _RECORD)
  is_ours = runs.check_folder(config, workdir) and os.path.exists(path)
  return runs.read_json(path) if is_ours else {}


def _keep_record(workdir: str, done: Mapping[str, Any]) -> None:
  os.makedirs(workdir, exist_ok=True)
  writers.write_json(os.path.join(workdir, _RECORD), done)


def _train_together(configs: Mapping[str, Any], deadline: float) -> None:
  """Trains the runs without a checkpoint as a population, where it is faster.

  Each folder is left as `train` would have left it, but that metrics are of
  validations only, and that each run has taken its share of the time. One that
  is stopped goes on by itself, from its last validation.

  Args:
    configs: of a row's seeds, by folder.
    deadline: seconds since 1970 at which training stops.
  """
  fresh = {
    folder: config
    for folder, config in configs.items()
    if not os.path.exists(runs.checkpoint_dir(folder))
    # Whose checkpoints may have been removed since.
    and 'metrics' not in _read_record(config, folder)
  }
  if len(fresh) < 2 or jax.default_backend() not in _BATCHING:
    return
  reason = population.refusal([*fresh.values()])
  if reason:
    logging.info('One seed after the other: %s', reason)
    return
  start, folders = time.time(), [*fresh]
  records = [_begin_record(config, folder) for folder, config in fresh.items()]
  for folder, config in fresh.items():
    corpus = runs.prepare(config, folder)
  saved = [
    checkpoints.Checkpoints(
      runs.checkpoint_dir(folder), corpus.vocab.content_hash
    )
    for folder in folders
  ]
  with contextlib.ExitStack() as stack:
    for folder in folders:
      stack.enter_context(runs.held(folder))
    writing = [
      stack.enter_context(writers.Writer(folder)) for folder in folders
    ]

    def keep(number, state, summary):
      config = fresh[folders[number]]
      log = functools.partial(logging.info, 'Seed %d: %s', config.seed)
      train.record(config, state, summary, saved[number], writing[number], log)

    for writer in writing:  # What came to no checkpoint.
      writer.truncate(0)
    try:
      population.train([*fresh.values()], corpus, keep=keep, deadline=deadline)
    finally:
      for folder, record in zip(folders, records, strict=True):
        record['wall_seconds'] += (time.time() - start) / len(fresh)
        _keep_record(folder, record)


def _evaluate(config, workdir: str, corpus: corpora.Corpus) -> dict[str, Any]:
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


def _judge(config, workdir: str, corpus: corpora.Corpus) -> dict[str, float]:
  """What it writes: of the samples, and the reconstructions of a split."""
  split = 'test' if 'test' in corpus.splits else 'valid'
  config.evaluate.split = split
  try:
    judged = judge.judge(config, workdir, corpus)
  except FloatingPointError as error:  # Of a critic, not of the run.
    logging.error('%s: %s', workdir, error)
    judged = runs.read_json(os.path.join(workdir, judge.FILE))
  return {
    f'{split if name == "reconstruction_bleu" else "samples"}_{name}': value
    for name, value in judged.items()
    if isinstance(value, float) and name != 'length_penalty'
  }


def _kept(table: str, defined: Mapping[str, Any]) -> dict[str, Any]:
  """The table: what its config says, and the figures its file has."""
  path = TABLES / f'{table}.json'
  kept: dict[str, Any] = {}
  if path.exists():
    kept = runs.read_json(str(path))
  before, judged = kept.get('rows', {}), defined.get('JUDGED', False)
  kept |= {
    'table': table,
    'protocol': defined['PROTOCOL'] + (_JUDGED_AS if judged else ''),
    'columns': [
      *defined.get('COLUMNS', ()),
      *(_JUDGED_COLUMNS if judged else ()),
    ],
    'rows': {
      name: before.get(name, {}) | published
      for name, published in defined['ROWS'].items()
    },
  }
  if 'PLOT' in defined:
    kept['plot'] = list(defined['PLOT'])
  for name, row in kept['rows'].items():
    row.pop('outdated', None)
    now = defined['get_config'](f'row={name}')
    for key, described in (
      ('settings', _described(now)),
      ('judged_by', _chosen(now, _JUDGED_BY)),
    ):
      if key in row and row[key] != _settings(described):
        row['outdated'] = True
  return kept


def _settings(described: Mapping[str, Any]) -> str:
  """A digest of what is not the default; not of a seed, nor of where text is.

  So a key that a later version adds leaves it as it is.
  """
  defaults = config_lib.flatten(config_lib.default())
  own = {
    key: value
    for key, value in described.items()
    if key not in ('seed', 'corpus.name') and value != defaults.get(key)
  }
  text = json.dumps(own, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


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
  failed: Sequence[int],
  curve: Sequence[tuple[float, float]],
) -> None:
  """Puts a row's figures, which seeds diverged, and a curve into the table."""
  kept = _kept(table, defined)
  before = kept['rows'][row].get('ours', {})
  is_more = any(value['seeds'] > len(results) for value in before.values())
  if is_more and 'outdated' not in kept['rows'][row]:
    logging.info('%s: kept the figures of more seeds.', row)
    return
  # A remark, a curve and how it was judged were of the figures before.
  for name in ('note', 'curve', 'outdated', 'judged_by'):
    kept['rows'][row].pop(name, None)
  last, described = results[-1]['environment'], results[-1]['config']
  commits = [commit for result in results for commit in result['commits']]
  places = [
    place
    for result in results
    for place in [_place(result['environment']), *result.get('places', ())]
  ]
  kept['rows'][row] |= {
    'ours': {
      name: _spread([result['metrics'][name] for result in results])
      for name in results[0]['metrics']
      # One of another version may lack some.
      if all(name in result['metrics'] for result in results)
    },
    'config': f'configs/{table}.py:row={row}',
    'settings': _settings(described),
    'model': described['model.kind'],
    'command': tables.command(table, [row], len(results) + len(failed)),
    'commits': list(dict.fromkeys(commits)),
    'device': '; '.join(dict.fromkeys(places)),
    'wall_seconds': round(
      float(np.mean([result['wall_seconds'] for result in results]))
    ),
    'environment': last,
    'diverged_seeds': list(failed),
  }
  if 'judged_by' in results[-1]:
    judged_by = _settings(results[-1]['judged_by'])
    kept['rows'][row]['judged_by'] = judged_by
  if curve:
    kept['rows'][row]['curve'] = curve
  _write(kept)


def _curve(
  workdir: str, defined: Mapping[str, Any]
) -> list[tuple[float, float]]:
  """What validations said after minutes of training, if that is drawn."""
  x, y = defined.get('PLOT', ('', ''))
  calls = _calls(workdir)
  if x != 'minutes' or not calls:
    return []
  steps, seconds = zip(*calls, strict=True)
  after = dict(zip(steps, np.cumsum(seconds), strict=True))
  name = y.replace('_', '/', 1)  # Of its split.
  validations = [record for record in _records(workdir) if name in record]
  if any(record['step'] not in after for record in validations):
    return []  # Some are a population's, whose calls are not written.
  return [
    (round(after[record['step']] / 60, 2), round(float(record[name]), 4))
    for record in validations
    if np.isfinite(float(record[name]))  # Written as a text if not.
  ]


def _calls(workdir: str) -> list[tuple[int, float]]:
  """The calls of a run's step: steps done after each, and its seconds.

  A validation, a stop or whatever else takes ten times as long as a call
  counts as one call; so does the first one, which compiles.
  """
  calls = [record for record in _records(workdir) if 'train/loss' in record]
  if len(calls) < 2:
    return []
  seconds = np.diff([call['time'] for call in calls])
  usual = float(np.median(seconds))
  seconds[seconds > 10 * usual] = usual
  steps = [call['step'] for call in calls]
  return [*zip(steps, [usual, *seconds.tolist()], strict=True)]


def _records(workdir: str) -> list[dict[str, Any]]:
  """What a run has written of its steps."""
  path = pathlib.Path(workdir, writers.METRICS_FILE)
  records = []
  for line in path.read_text().splitlines() if path.exists() else ():
    with contextlib.suppress(ValueError):  # A kill may cut the last one.
      records.append(json.loads(line))
  return records


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
    parts.append(tables.section(table))
    picture = path.with_suffix('.png')
    if 'plot' in table and tables.plot(table, picture):
      parts.append(f'![{path.stem}]({picture})\n')
  writers.write_text(str(RESULTS), '\n'.join(parts))


_HEADER = """# Results

Written by `python -m rnnvae_jax.main --mode=reproduce`, from the files in
`benchmarks/results/tables/`, which hold more figures of each row and the
versions they were made with. Published figures stand before the slash, ours
after it, `-` where there is none: means over seeds with their standard
deviation, where there are several. Nats a sentence unless named otherwise;
`(bound)` says that the negative ELBO stands in for the likelihood. What has no
figure of ours is not measured.
"""
