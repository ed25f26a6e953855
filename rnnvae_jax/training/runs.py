"""A run's folder: its config, vocabulary and checkpoints."""

import json
import os
from typing import Any, NamedTuple

from absl import logging
import jax
import ml_collections

from rnnvae_jax import config_lib, data
from rnnvae_jax.data import batches
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import (
  checkpoints,
  evaluation,
  optimizers,
  tasks,
  writers,
)
from rnnvae_jax.training import (
  state as state_lib,
)


class Run(NamedTuple):
  """A trained run, opened for reading."""

  config: ml_collections.ConfigDict
  vocab: vocab_lib.Vocabulary
  task: tasks.Task
  state: state_lib.TrainState
  checkpoint: str  # Which one: 'best, step 500'.


def checkpoint_dir(workdir: str) -> str:
  return os.path.join(workdir, 'checkpoints')


def prepare(config: ml_collections.ConfigDict, workdir: str) -> data.Corpus:
  """Begins a run in `workdir`, or checks that it is this run's.

  Nothing is written before the corpus has been read without an error.

  Raises:
    ValueError: the folder holds a run with another config or another
      vocabulary; the differing keys are listed.
  """
  path = _path(workdir, 'config.json')
  ours = config_lib.flatten(config)
  if os.path.exists(path):
    differing = config_lib.differences(ours, _read_json(path))
    if differing:
      raise ValueError(
        f'{workdir} holds a run of another config. Take another --workdir, '
        'or the config it was begun with:\n  ' + '\n  '.join(differing)
      )
  corpus = build_corpus(config)
  vocab_path = _path(workdir, 'vocab.json')
  if os.path.exists(vocab_path):
    saved = vocab_lib.Vocabulary.load(vocab_path)
    if saved.content_hash != corpus.vocab.content_hash:
      raise ValueError(
        f'The vocabulary of corpus {corpus.name!r} ({len(corpus.vocab)} '
        f'entries, {corpus.vocab.content_hash[:12]}) is not the one that the '
        f'run in {workdir} was begun with ({len(saved)} entries, '
        f'{saved.content_hash[:12]}): the text has changed.'
      )
  else:
    os.makedirs(workdir, exist_ok=True)
    corpus.vocab.save(vocab_path)
  if not os.path.exists(path):  # Last: it says that there is a run.
    writers.write_json(path, ours)
  return corpus


def build_corpus(
  config: ml_collections.ConfigDict,
  vocab: vocab_lib.Vocabulary | None = None,
) -> data.Corpus:
  """The corpus of a config, with its own vocabulary or the given one."""
  return data.build(
    config.corpus.name,
    protocol=config.corpus.protocol,
    max_length=config.corpus.max_length,
    vocab_size=config.corpus.vocab_size,
    min_count=config.corpus.min_count,
    data_dir=config.data.dir or None,
    vocab=vocab,
  )


def load_config(workdir: str) -> ml_collections.ConfigDict:
  """The config that the run in `workdir` was begun with.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: the file is damaged, or another version's.
  """
  path = _path(workdir, 'config.json')
  if not os.path.exists(path):
    raise FileNotFoundError(
      f'No run in {workdir!r}: {path} does not exist. Train one first: '
      f'python -m rnnvae_jax.main --config=configs/gru_vae.py '
      f'--workdir={workdir}'
    )
  return config_lib.from_flat(_read_json(path))


def open_run(config: ml_collections.ConfigDict, workdir: str) -> Run:
  """Restores the best checkpoint of a run, or else its latest.

  Args:
    config: from `load_config`, maybe with other evaluate and generate keys.
    workdir: the run's folder.

  Raises:
    FileNotFoundError: no checkpoint yet.
    ValueError: a damaged or foreign vocabulary or checkpoint.
  """
  vocab = vocab_lib.Vocabulary.load(_path(workdir, 'vocab.json'))
  task = tasks.build(config, len(vocab))
  tx = optimizers.build(config)
  abstract = state_lib.abstract(task, tx)
  saved = checkpoints.Checkpoints(checkpoint_dir(workdir), vocab.content_hash)
  for kind in ('best', 'latest'):
    restored = saved.restore(abstract, kind)
    if restored is not None:
      state, step = restored
      name = f'{kind}, step {step}'
      logging.info('Restored the checkpoint: %s.', name)
      return Run(config, vocab, task, state, name)
  raise FileNotFoundError(
    f'The run in {workdir!r} has no checkpoint yet: the first is written '
    f'after {config.train.eval_every} steps.'
  )


def train_buckets(config: Any, split: data.Split) -> tuple[batches.Bucket, ...]:
  """The shapes of a run's training batches on this platform."""
  return batches.buckets_for(
    split.lengths,
    config.train.batch_size,
    config.train.num_buckets,
    jax.default_backend(),
  )


def make_validator(config: Any, task: tasks.Task, split: data.Split):
  """The evaluator that training validates with: one posterior sample."""
  return evaluation.make_evaluator(
    task,
    split,
    batch_size=config.evaluate.batch_size,
    num_buckets=config.evaluate.num_buckets,
    num_samples=1,
    chunk=1,
  )


def take_validation(
  config: Any, state: state_lib.TrainState, summary: dict[str, Any], step: int
) -> state_lib.TrainState:
  """The state after a validation: the best so far, and the rate's decay."""
  return state.replace(
    selection=state_lib.select(
      state.selection,
      summary['nll_per_sentence'],
      step,
      config.optimizer.plateau_patience,
      config.optimizer.plateau_factor,
    )
  )


def has_stalled(config: Any, state: state_lib.TrainState) -> bool:
  """Whether validation has not improved for `config.train.patience` times."""
  patience = config.train.patience
  waited = int(state.selection.evaluations_since_best)
  return bool(patience) and waited >= patience


def make_evaluator(run: Run, split: data.Split):
  """The evaluator of a split with the run's evaluation settings."""
  settings = run.config.evaluate
  return evaluation.make_evaluator(
    run.task,
    split,
    batch_size=settings.batch_size,
    num_buckets=settings.num_buckets,
    num_samples=settings.iw_samples,
    chunk=settings.chunk,
  )


def _path(workdir: str, name: str) -> str:
  return os.path.join(workdir, name)


def _read_json(path: str) -> dict[str, Any]:
  with open(path, encoding='utf-8') as file:
    try:
      value = json.load(file)
    except ValueError as error:
      raise ValueError(f'{path} is damaged: {error}.') from error
  if not isinstance(value, dict):
    raise ValueError(f'{path} is damaged: it holds no JSON object.')
  return value
