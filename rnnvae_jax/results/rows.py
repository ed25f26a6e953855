"""A row's runs: trained, evaluated, judged and recorded, a folder each.

The record of a run, `reproduced.json` in its folder, says which commits and
places it was made in, how long it took, and what was measured with which
settings. A run that is finished is skipped, one that was stopped resumes. Each
run has its own folder. On a CPU of several cores the runs of all rows train
side by side, on one core each; on an accelerator the seeds of a row train as a
population, and rows one after another.
"""

from collections.abc import Collection, Iterator, Mapping
import os
import time
from typing import Any

from absl import logging
import jax

# What trains, evaluates and judges a run is imported here and nowhere else in
# this package.
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora
from rnnvae_jax.inference import evaluate, judge
from rnnvae_jax.results import parallel, records, settings, tables, together
from rnnvae_jax.training import (
  environment,
  loop,
  population,
  writers,
)
from rnnvae_jax.training import workdir as workdir_lib

RECORD = 'reproduced.json'
# How figures of `judge` were made, for the protocol of a table.
JUDGED_AS = (
  ' BLEU is of greedy reconstructions from posterior means, self-BLEU of '
  f'{judge.SELF_BLEU} samples.'
)

# What a run leads to: its record, None if the deadline came first, or why it
# diverged.
Outcome = dict[str, Any] | FloatingPointError | None

# Entries of results.json that are no figures of the model.
_NOT_OF_THE_MODEL = ('seconds', 'seed', 'sentences', 'tokens', 'truncated')
# Of the validation split; the others have as many as the config says.
_VALID_SAMPLES = 20


def configs(
  table: tables.Table, row: str, workdir: str, seeds: int
) -> dict[str, Any]:
  """The configs of a row's runs, with seeds 0, 1 and so on, by folder.

  Args:
    table: that has the row.
    row: its name.
    workdir: holds the runs: TABLE/ROW/seed_N.
    seeds: how many.

  Raises:
    ValueError: a config that cannot run, or a folder that holds a run with
      other settings.
  """
  found: dict[str, Any] = {}
  source = source_folder(table, row, workdir)
  for seed in range(seeds):
    config = table.get_config(f'row={row}')
    config.seed = seed
    if source:
      config.train.init_from = source
    folder = _folder(workdir, table.name, row, seed)
    config_build.validate(config)
    workdir_lib.check(config, folder)
    found[folder] = config
  return found


def source_folder(table: tables.Table, row: str, workdir: str) -> str:
  """The folder of the run that lends a row its weights; '': there is none."""
  source = table.rows[row].get('begins_with', '')
  if not source:
    return ''
  name, _, lender = source.rpartition('/')
  return _folder(workdir, name or table.name, lender, 0)


def _folder(workdir: str, table: str, row: str, seed: int) -> str:
  return os.path.join(workdir, table, row, f'seed_{seed}')


def run_all(
  by_row: Mapping[str, Mapping[str, Any]],
  deadline: float,
  judged: bool = False,
) -> Iterator[tuple[str, list[Outcome]]]:
  """Runs rows, side by side where that is faster.

  Args:
    by_row: by folder, the configs of each row's seeds.
    deadline: seconds since 1970 after which no run is begun.
    judged: whether what the runs write is judged, too.

  Yields:
    A row and what its seeds have led to, in their order, when all of it is
    known. Rows without a seed that was begun are left out.

  Raises:
    ValueError: a config that cannot run, or the folder of another run.
    ChildProcessError: a run failed for another reason than that it diverged;
      raised after all others.
  """
  apart = parallel.choose(
    [
      (config, folder)
      for configs in by_row.values()
      for folder, config in configs.items()
      if not _is_done(config, folder, judged)
    ]
  )
  row_of = {folder: row for row in by_row for folder in by_row[row]}
  waited_for: dict[str, set[str]] = {row: set() for row in by_row}
  for _, folder in apart:
    waited_for[row_of[folder]].add(folder)
  known: dict[str, Outcome] = {}
  broken = []
  ends = parallel.run(outcome, apart, deadline, judged, until=deadline)
  for folder, ended in ends:
    known[folder] = ended.value
    if ended.failure:
      broken.append(folder)
    row = row_of[folder]
    waited_for[row].discard(folder)
    if not waited_for[row] and all(
      _is_done(config, other, judged)
      for other, config in by_row[row].items()
      if other not in known
    ):
      del waited_for[row]
      yield row, _outcomes(by_row[row], deadline, judged, known)
  for row in waited_for:
    if time.time() > deadline and not by_row[row].keys() & known.keys():
      logging.info('The budget is spent; %s is left for the next time.', row)
      continue
    train_together(by_row[row], deadline, known)
    yield row, _outcomes(by_row[row], deadline, judged, known)
  if broken:
    raise parallel.failed(broken)


def outcome(
  config: Any, workdir: str, deadline: float, judged: bool
) -> Outcome:
  """What `run` returns, or its error if training diverged."""
  if time.time() > deadline:
    return None
  try:
    return run(config, workdir, deadline, judged)
  except FloatingPointError as error:  # Other runs may do better.
    logging.error('%s: %s', workdir, error)
    return error


def _outcomes(
  by_folder: Mapping[str, Any],
  deadline: float,
  judged: bool,
  known: Mapping[str, Outcome],
) -> list[Outcome]:
  """Those of a row's seeds; what is not known yet is run here."""
  found: list[Outcome] = []
  in_time = True
  for folder, config in by_folder.items():
    if folder in known:
      found.append(known[folder])
    elif in_time:
      found.append(outcome(config, folder, deadline, judged))
      in_time = found[-1] is not None
    else:
      found.append(None)
  return found


def run(
  config: Any,
  workdir: str,
  deadline: float = float('inf'),
  judged: bool = False,
) -> dict[str, Any] | None:
  """Trains, evaluates and judges a run, as far as that is not done yet.

  Args:
    config: of the run.
    workdir: its folder.
    deadline: seconds since 1970 after which no further part is begun.
    judged: whether what the run writes is judged, too.

  Returns:
    The run's record: 'metrics', by SPLIT_NAME, where `samples` stands for a
    split, too; 'wall_seconds' of training, evaluation and judging;
    'environment', as it was at the start of the run; 'commits' and 'places',
    all that the run was made with. None if the deadline came first.

  Raises:
    ValueError: a config that cannot run, or the folder of another run.
    FloatingPointError: training diverged.
  """
  config_build.validate(config)
  described, judging = settings.described(config), settings.judging(config)
  record = read_record(config, workdir)
  if _is_done(config, workdir, judged):
    return record
  is_evaluated = _is_evaluated(config, record)
  if is_evaluated and not workdir_lib.is_trained(workdir):
    logging.warning('%s: no checkpoint is left to be judged.', workdir)
    return record
  record = begin_record(config, workdir)
  start = time.time()
  try:
    corpus = loop.train(config, workdir, deadline)
    if corpus is None or time.time() > deadline:
      return None
    if not is_evaluated:
      record.pop('judged_by', None)  # Those figures are replaced, too.
      metrics = _evaluate(config, workdir, corpus)
      record |= {'metrics': metrics, 'config': described}
    if judged:
      if time.time() > deadline:
        return None
      record['metrics'] |= _judge(config, workdir, corpus)
      record['judged_by'] = judging
    return record
  finally:  # The time until an interruption counts, too.
    record['wall_seconds'] += time.time() - start
    _write_record(workdir, record)


def _is_done(config: Any, workdir: str, judged: bool) -> bool:
  """Whether the folder's record has all figures, with these settings."""
  record = read_record(config, workdir)
  return _is_evaluated(config, record) and (
    not judged or record.get('judged_by') == settings.judging(config)
  )


def _is_evaluated(config: Any, record: Mapping[str, Any]) -> bool:
  return 'metrics' in record and settings.are_kept(record.get('config'), config)


def begin_record(config: Any, workdir: str) -> dict[str, Any]:
  """Writes a run's record before there are figures, and returns it.

  So a run that is killed leaves what it was begun with. Figures of an earlier
  evaluation stay, with the config that they belong to, until they are replaced.

  Args:
    config: of the run.
    workdir: its folder.
  """
  now = environment.describe()
  first: dict[str, Any] = {
    'environment': now,
    'wall_seconds': 0.0,
    'commits': [],
    'places': [],
  }
  record = first | read_record(config, workdir)
  for names, name in (
    ('commits', now['commit']),
    ('places', tables.device(now)),
  ):
    if name not in record[names]:
      record[names].append(name)
  if workdir_lib.check(config, workdir):
    # Only the metrics know how long a killed run had taken.
    spent = sum(seconds for _, seconds in records.calls(workdir))
    record['wall_seconds'] = max(record['wall_seconds'], spent)
  _write_record(workdir, record)
  return record


def read_record(config: Any, workdir: str) -> dict[str, Any]:
  """The record of this config's run; empty if the folder holds none."""
  path = os.path.join(workdir, RECORD)
  is_ours = workdir_lib.check(config, workdir) and os.path.exists(path)
  return workdir_lib.read_json(path) if is_ours else {}


def _write_record(workdir: str, record: Mapping[str, Any]) -> None:
  os.makedirs(workdir, exist_ok=True)
  writers.write_json(os.path.join(workdir, RECORD), record)


def train_together(
  by_folder: Mapping[str, Any],
  deadline: float,
  known: Collection[str] = (),
) -> None:
  """Trains the runs without a checkpoint as a population, where it is faster.

  Each folder is left as `train` would have left it, except that metrics are of
  validations only, and that each run is charged its share of the time. A run
  that is stopped resumes alone, from its last validation.

  Args:
    by_folder: configs of a row's seeds.
    deadline: seconds since 1970 at which training stops.
    known: folders of runs that have ended.
  """
  fresh = {
    folder: config
    for folder, config in by_folder.items()
    if folder not in known
    and not os.path.exists(workdir_lib.checkpoint_dir(folder))
    # A finished run whose checkpoints were removed is not fresh.
    and 'metrics' not in read_record(config, folder)
  }
  if len(fresh) < 2 or jax.default_backend() not in together.BATCHING:
    return
  reason = population.refusal([*fresh.values()])
  if reason:
    logging.info('One seed after the other: %s', reason)
    return
  start = time.time()
  begun = {
    folder: begin_record(config, folder) for folder, config in fresh.items()
  }
  log = lambda folder, line: logging.info(
    'Seed %d: %s', fresh[folder].seed, line
  )
  try:
    together.train(fresh, deadline, log=log)
  finally:
    for folder, record in begun.items():
      record['wall_seconds'] += (time.time() - start) / len(fresh)
      _write_record(folder, record)


def _evaluate(config, workdir: str, corpus: corpora.Corpus) -> dict[str, Any]:
  metrics: dict[str, float] = {}
  samples = config.evaluate.get('iw_samples')  # Of tasks with latents.
  for split in corpus.splits:
    if split == 'train':
      continue
    config.evaluate.split = split
    if samples is not None:
      few = min(samples, _VALID_SAMPLES)
      config.evaluate.iw_samples = few if split == 'valid' else samples
    values = evaluate.evaluate(config, workdir, corpus)[split]
    metrics |= {
      f'{split}_{name}': value
      for name, value in _scalars(values).items()
      if name not in _NOT_OF_THE_MODEL
    }
  return metrics


def _scalars(values: Mapping[str, Any]) -> dict[str, float]:
  """The scalars among figures; those of one name by KEY as NAME_KEY."""
  found: dict[str, float] = {}
  for name, value in values.items():
    parts = value if isinstance(value, Mapping) else {'': value}
    found |= {
      f'{name}_{key}' if key else name: part
      for key, part in parts.items()
      if isinstance(part, int | float)
    }
  return found


def _judge(config, workdir: str, corpus: corpora.Corpus) -> dict[str, float]:
  """Figures of the samples, and of the reconstructions of a split."""
  split = 'test' if 'test' in corpus.splits else 'valid'
  config.evaluate.split = split
  try:
    judged = judge.judge(config, workdir, corpus)
  except FloatingPointError as error:  # A critic diverged, not the run.
    logging.error('%s: %s', workdir, error)
    judged = workdir_lib.read_json(os.path.join(workdir, judge.FILE))
  return {
    f'{split if name == "reconstruction_bleu" else "samples"}_{name}': value
    for name, value in judged.items()
    if isinstance(value, float) and name != 'length_penalty'
  }
