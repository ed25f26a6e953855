"""A run's folder: its config, vocabulary and checkpoints."""

from collections.abc import Callable, Iterator
import contextlib
import json
import os
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import ml_collections

from rnnvae_jax import config_lib
from rnnvae_jax.baselines import ngrams
from rnnvae_jax.data import batches, corpora, protocols, word_vectors
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import base
from rnnvae_jax.training import (
  checkpoints,
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
  params: Any  # As they are evaluated.
  extras: Any  # What the objective adapted beside them.
  checkpoint: str  # Which one: 'best, step 500'.


def checkpoint_dir(workdir: str) -> str:
  return os.path.join(workdir, 'checkpoints')


def prepare(config: ml_collections.ConfigDict, workdir: str) -> corpora.Corpus:
  """Begins a run in `workdir`, or checks that it is this run's.

  Nothing is written before the corpus has been read without an error. What a
  run left that never came to a checkpoint is overwritten.

  Raises:
    ValueError: the folder holds a run with another config or another
      vocabulary; the differing keys are listed. Or another process trains in
      it. Or text, windows or word vectors do not fit the config.
  """
  check_folder(config, workdir)
  corpus = build_corpus(config)
  if config.model.kind != 'ngrams':  # What else could be wrong with them.
    feeding(config, corpus.splits['train'])
    _word_vectors(config, corpus)
  vocab_path, trained = _path(workdir, 'vocab.json'), is_trained(workdir)
  config_path = _path(workdir, 'config.json')
  if os.path.exists(vocab_path):  # Which may be no run's.
    saved = vocab_lib.Vocabulary.load(vocab_path)
    if trained and saved.content_hash != corpus.vocab.content_hash:
      raise ValueError(
        f'The vocabulary of corpus {corpus.name!r} ({len(corpus.vocab)} '
        f'entries, {corpus.vocab.content_hash[:12]}) is not the one that the '
        f'run in {workdir} was begun with ({len(saved)} entries, '
        f'{saved.content_hash[:12]}): the text has changed.'
      )
  os.makedirs(workdir, exist_ok=True)
  with held(workdir):
    if not trained or not os.path.exists(vocab_path):
      corpus.vocab.save(vocab_path)
    if not trained or not os.path.exists(config_path):
      # Last: it says that there is a run.
      writers.write_json(config_path, config_lib.flatten(config))
  return corpus


@contextlib.contextmanager
def held(workdir: str) -> Iterator[None]:
  """Lets no other process train in the folder; a kill lets go of it as well.

  Raises:
    ValueError: one does already.
  """
  try:
    import fcntl
  except ImportError:  # Windows has none.
    yield
    return
  folder = os.open(workdir, os.O_RDONLY)
  try:
    try:
      fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(
        f'Another process is training in {workdir}. Wait for its end, or take '
        'another --workdir.'
      ) from None
    except OSError:
      pass  # Some network file systems lock no folders.
    yield
  finally:
    os.close(folder)


def check_folder(config: ml_collections.ConfigDict, workdir: str) -> bool:
  """Checks that `workdir` may hold, or go on with, this run.

  Returns:
    Whether what is there is this run's: not that of another config, which came
    to nothing and will be overwritten.

  Raises:
    ValueError: it holds a run with another config; the differing keys are
      listed. Or a config.json that is no run's.
  """
  path = _path(workdir, 'config.json')
  if not os.path.exists(path):
    return True
  theirs = read_json(path)
  if 'model.kind' not in theirs:
    raise ValueError(f'{path} is no config of a run. Take another --workdir.')
  differing = config_lib.differences(config_lib.flatten(config), theirs)
  if differing and is_trained(workdir):
    raise ValueError(
      f'{workdir} holds a run of another config. Take another --workdir, or '
      'the config it was begun with:\n  ' + '\n  '.join(differing)
    )
  return not differing


def is_trained(workdir: str) -> bool:
  """Whether the folder has what a run of another config would spoil."""
  made = checkpoint_dir(workdir), _path(workdir, 'ngrams.npz')
  return any(map(os.path.exists, made))


def build_corpus(
  config: ml_collections.ConfigDict,
  vocab: vocab_lib.Vocabulary | None = None,
) -> corpora.Corpus:
  """The corpus of a config, with its own vocabulary or the given one."""
  corpus = corpora.build(
    config.corpus.name,
    protocol=config.corpus.protocol,
    max_length=config.corpus.max_length,
    vocab_size=config.corpus.vocab_size,
    min_count=config.corpus.min_count,
    data_dir=config.data.dir or None,
    vocab=vocab,
    labelled=config.corpus.labelled,
    stream=config.corpus.stream,
    valid_share=config.corpus.valid_share,
    test_share=config.corpus.test_share,
  )
  wanted = config.evaluate.split
  if wanted not in (*corpus.splits, 'all'):
    raise ValueError(
      f'config.evaluate.split = {wanted!r}: {corpus.name} has no such split. '
      f'Legal: {", ".join(corpus.splits)}, all. Of a single text file '
      'config.corpus.test_share is the test split.'
    )
  return corpus


def fit_counts(config: Any, workdir: str, corpus: corpora.Corpus) -> None:
  """Fits a run's count model and saves it."""
  start = time.time()
  settings, vocab = config.model.ngrams, corpus.vocab
  counts = ngrams.NGrams.fit(
    corpus.splits['train'].tokens,
    len(vocab),
    settings.order,
    settings.smoothing,
    # Count models begin each sentence anew, in a stream of words as well.
    vocab_lib.BOS if vocab.kind == 'word' else corpus.splits['train'].bos,
    unknown=vocab.kind == 'word'
    or any(vocab_lib.UNK in split.tokens for split in corpus.splits.values()),
  )
  counts.save(_path(workdir, 'ngrams.npz'))
  logging.info(
    'Fitted in %.1f s; distinct n-grams of each order: %s.',
    time.time() - start,
    ', '.join(f'{len(order.keys):,}' for order in counts.orders) or 'none',
  )


def load_config(workdir: str) -> ml_collections.ConfigDict:
  """The config that the run in `workdir` was begun with.

  Its protocol has a name, so that another text is read as the run's own was.

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
  config = config_lib.from_flat(read_json(path))
  config.corpus.protocol = _protocol_name(config)
  return config


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
  if config.model.kind == 'ngrams':
    path = _path(workdir, 'ngrams.npz')
    if not os.path.exists(path):
      raise FileNotFoundError(
        f'The run in {workdir!r} has no counts yet: {path} does not exist. The '
        'command that began it fits them.'
      )
    counts = ngrams.NGrams.load(path)
    return Run(config, vocab, tasks.scored(counts), {}, {}, 'counts')
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
      params = optimizers.evaluated(state)
      return Run(config, vocab, task, params, state.extras, name)
  raise FileNotFoundError(
    f'The run in {workdir!r} has no checkpoint yet: the first is written '
    f'after {config.train.eval_every} steps.'
  )


def protocol(run: Run) -> protocols.Protocol:
  """How the run's text became tokens."""
  return protocols.PROTOCOLS[_protocol_name(run.config)]


def _protocol_name(config) -> str:
  corpus = config.corpus
  return corpus.protocol or base.default_protocol(corpus.name)


def with_word_vectors(
  config: Any, state: state_lib.TrainState, corpus: corpora.Corpus
) -> state_lib.TrainState:
  """The first state with its pretrained embeddings, if it is to have some.

  Raises:
    FileNotFoundError, ImportError, ValueError: see `word_vectors.read`; and
      vectors of another size than the embeddings.
  """
  vectors = _word_vectors(config, corpus)
  if vectors is None:
    return state
  logging.info('%s', vectors.report())

  def replaced(path, leaf):
    if getattr(path[-1], 'key', '') != 'embedding':
      return leaf
    return leaf.at[vectors.rows].set(vectors.values)

  params = jax.tree_util.tree_map_with_path(replaced, state.params)
  return state.replace(params=params)


def _word_vectors(config, corpus) -> word_vectors.Vectors | None:
  source, size = config.model.pretrained_embeddings, config.model.embedding_size
  if not source:
    return None
  vectors = word_vectors.read(
    source, corpus.vocab, corpus.splits['train'].tokens
  )
  if vectors.values.shape[1] != size:
    raise ValueError(
      f'config.model.embedding_size = {size}: the vectors of {source!r} have '
      f'{vectors.values.shape[1]} numbers.'
    )
  return vectors


class Feeding(NamedTuple):
  """How a run's text is cut into batches."""

  buckets: tuple[batches.Bucket, ...]
  schedule: batches.Schedule | batches.StreamSchedule
  gather: Callable


def feeding(config: Any, split: corpora.Split) -> Feeding:
  """That of a run's training on this platform."""
  settings, seed = config.train, config.seed
  if config.corpus.stream:
    buckets, weights = batches.windows(settings.unroll, settings.unroll_spread)
    stream = batches.StreamSchedule(
      len(split.tokens), buckets, settings.batch_size, seed, weights
    )
    return Feeding(buckets, stream, batches.gather_windows)
  buckets = train_buckets(config, split)
  schedule = batches.Schedule(split.lengths, buckets, settings.batch_size, seed)
  return Feeding(buckets, schedule, batches.gather)


def train_buckets(
  config: Any, split: corpora.Split
) -> tuple[batches.Bucket, ...]:
  """The shapes of a run's training batches on this platform."""
  return batches.buckets_for(
    split.lengths,
    config.train.batch_size,
    config.train.num_buckets,
    jax.default_backend(),
  )


def _path(workdir: str, name: str) -> str:
  return os.path.join(workdir, name)


def read_json(path: str) -> dict[str, Any]:
  """The object in a JSON file.

  Raises:
    ValueError: the file is damaged.
  """
  with open(path, encoding='utf-8') as file:
    try:
      value = json.load(file)
    except ValueError as error:
      raise ValueError(f'{path} is damaged: {error}.') from error
  if not isinstance(value, dict):
    raise ValueError(f'{path} is damaged: it holds no JSON object.')
  return value
