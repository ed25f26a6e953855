"""Preparation of training: a run's corpus, batches and initial weights."""

from collections.abc import Callable
import os
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches, corpora, indexed, word_vectors
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.ops import rows
from rnnvae_jax.tasks import base
from rnnvae_jax.training import (
  checkpoints,
  devices,
  exported,
  peers,
  writers,
)
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib


def prepare(config: ml_collections.ConfigDict, workdir: str) -> corpora.Corpus:
  """Creates a run in `workdir`, or checks that the run there is this one.

  Nothing is written before the corpus has been read without an error. A run
  that has no checkpoint yet is overwritten. Of several processes of a run,
  process 0 does so first; then the others read the corpus.

  Raises:
    ValueError: the folder has a run with another config or text (the message
      lists the differing keys or splits); another process trains in it; or the
      text, the windows or the word vectors do not fit the config; or process 0
      has another config or text.
  """
  if peers.is_first():
    corpus = _prepare(config, workdir)
    if peers.count() > 1:
      peers.agreed('identity of the run', _identity(config, corpus))
    return corpus
  first = peers.agreed('identity of the run')
  # What a run that begins with another's weights has of that one's.
  saved = _saved_vocabulary(workdir) if config.train.init_from else None
  corpus = build_corpus(config, saved)
  own = _identity(config, corpus)
  for key in sorted({*own, *first}):
    if own.get(key) != first.get(key):
      raise ValueError(
        f'Process {peers.index()} is not of the same run as process 0: {key} '
        f'is {own.get(key)!r} here, {first.get(key)!r} there.'
      )
  return corpus


def _identity(
  config: ml_collections.ConfigDict, corpus: corpora.Corpus
) -> dict[str, str]:
  """What all processes of a run must have in common."""
  hashes = {
    f'the hash of the {name} split': split.content_hash
    for name, split in corpus.splits.items()
  }
  settings = {
    f'config.{key}': repr(value)
    for key, value in config_build.flatten(config).items()
    if key != 'data.dir'  # Each machine may have its own.
  }
  vocabulary = {'the hash of the vocabulary': corpus.vocab.content_hash}
  return hashes | settings | vocabulary


def _prepare(config: ml_collections.ConfigDict, workdir: str) -> corpora.Corpus:
  if indexed.is_index(workdir):
    raise ValueError(
      f'{workdir} is the index of a text, which config.corpus.name may name. '
      'Choose another --workdir.'
    )
  workdir_lib.check(config, workdir)
  trained = workdir_lib.is_trained(workdir)
  saved = _saved_vocabulary(workdir)
  # The run that lent its weights is not needed any more.
  is_tuned = trained and config.get('train', {}).get('init_from', '')
  corpus = build_corpus(config, saved if is_tuned else None)
  if issubclass(config_build.task(config.model.kind), base.Trained):
    # Fail early on batching and word vectors.
    feeding(config, corpus.splits['train'])
    _word_vectors(config, corpus)
  if trained:
    _check_text(corpus, workdir)
  os.makedirs(workdir, exist_ok=True)
  with workdir_lib.locked(workdir):
    workdir_lib.check(config, workdir)  # Another training may have ended since.
    trained = workdir_lib.is_trained(workdir)
    if trained:
      _check_text(corpus, workdir)
    vocab_path = workdir_lib.path(workdir, workdir_lib.VOCABULARY)
    if not trained or not os.path.exists(vocab_path):
      corpus.vocab.save(vocab_path)
    text_path = workdir_lib.path(workdir, workdir_lib.TEXT)
    if not trained or not os.path.exists(text_path):
      writers.write_json(text_path, _described(corpus))
    if not trained or workdir_lib.replaces_config(config, workdir):
      # Saved last: this file marks the folder as a run.
      workdir_lib.save_config(config, workdir)
  return corpus


def confirm(
  config: ml_collections.ConfigDict, workdir: str, corpus: corpora.Corpus
) -> None:
  """Checks under the folder's lock that the run is still the prepared one.

  Raises:
    ValueError: another process has prepared another run there since.
  """
  if not workdir_lib.check(config, workdir):
    raise ValueError(
      f'Another process has begun another run in {workdir} just now. Choose '
      'another --workdir.'
    )
  _check_text(corpus, workdir)


def _saved_vocabulary(workdir: str) -> vocab_lib.Vocabulary | None:
  """The vocabulary in a folder, of a run that is to be overwritten or not.

  Raises:
    ValueError: a file that would be overwritten is no run's.
  """
  text_path = workdir_lib.path(workdir, workdir_lib.TEXT)
  if os.path.exists(text_path) and (
    'splits' not in workdir_lib.read_json(text_path)
  ):
    raise ValueError(f"{text_path} is no run's. Choose another --workdir.")
  workdir_lib.read_results(workdir)
  vocab_path = workdir_lib.path(workdir, workdir_lib.VOCABULARY)
  if not os.path.exists(vocab_path):
    return None
  return vocab_lib.Vocabulary.load(vocab_path)


def _described(corpus: corpora.Corpus) -> dict[str, Any]:
  """The description of a run's text that is saved beside the vocabulary."""
  return {
    'labels': list(corpus.labels),
    'splits': {
      name: {
        'sentences': len(split),
        'tokens': len(split.tokens),
        'hash': split.content_hash,
      }
      for name, split in corpus.splits.items()
    },
  }


def _check_text(corpus: corpora.Corpus, workdir: str) -> None:
  """Raises ValueError if a trained run's text has changed."""
  vocab_path = workdir_lib.path(workdir, workdir_lib.VOCABULARY)
  if os.path.exists(vocab_path):
    saved = vocab_lib.Vocabulary.load(vocab_path)
    if saved.content_hash != corpus.vocab.content_hash:
      raise ValueError(
        f'The vocabulary of corpus {corpus.name!r} ({len(corpus.vocab)} '
        f'entries, {corpus.vocab.content_hash[:12]}) is not the one that the '
        f'run in {workdir} was begun with ({len(saved)} entries, '
        f'{saved.content_hash[:12]}): the text has changed.'
      )
  text_path = workdir_lib.path(workdir, workdir_lib.TEXT)
  if not os.path.exists(text_path):
    return
  theirs = workdir_lib.read_json(text_path).get('splits', {})
  for name, split in corpus.splits.items():
    before = theirs.get(name)
    if before is not None and before['hash'] != split.content_hash:
      raise ValueError(
        f'The {name} split of corpus {corpus.name!r} has changed since the run '
        f'in {workdir} was begun: it had {before["sentences"]:,} sentences and '
        f'{before["tokens"]:,} tokens, now it has {len(split):,} and '
        f'{len(split.tokens):,}. Its figures would compare two texts. Restore '
        'the text, or choose another --workdir.'
      )


def labels(workdir: str) -> tuple[str, ...]:
  """Names of the classes or tags of a run, in the order of their ids."""
  text_path = workdir_lib.path(workdir, workdir_lib.TEXT)
  if not os.path.exists(text_path):
    return ()
  return tuple(workdir_lib.read_json(text_path).get('labels', ()))


def build_corpus(
  config: ml_collections.ConfigDict,
  vocab: vocab_lib.Vocabulary | None = None,
  labels: tuple[str, ...] = (),
) -> corpora.Corpus:
  """Reads the corpus of a config.

  A run that starts from another run's weights uses that run's vocabulary, so
  that the same ids stand for the same words.

  Args:
    config: config of the run.
    vocab: the vocabulary to use; None: it is built from the training text.
    labels: names of the labels; (): they are read from the training text.

  Raises:
    ValueError: see `corpora.build` and `indexed.build`; or the split to be
      evaluated is missing.
  """
  source = config.get('train', {}).get('init_from', '')
  if vocab is None and source:
    vocab = vocabulary_of(source)
  settings = dict(config.corpus)
  name = settings.pop('name')
  build = indexed.build if indexed.is_index(name) else corpora.build
  corpus = build(
    name,
    **settings,
    data_dir=config.data.dir or None,
    vocab=vocab,
    fields=config_build.task(config.model.kind).FIELDS,
    labels=labels,
  )
  for warning in corpus.warnings():
    logging.warning('%s', warning)
  wanted = config.evaluate.split
  if wanted not in (*corpus.splits, 'all', 'none'):
    raise ValueError(
      f'config.evaluate.split = {wanted!r}: {corpus.name} has no such split. '
      f'Legal: {", ".join(corpus.splits)}, all, none. '
      'config.corpus.test_share makes a test split of a single text file.'
    )
  if wanted in ('train', 'all') and isinstance(
    corpus.splits['train'], indexed.Split
  ):
    raise ValueError(
      f'config.evaluate.split = {wanted!r}: {corpus.name} is an index, whose '
      'training text is not evaluated. Legal: valid, test, none.'
    )
  return corpus


def vocabulary_of(source: str) -> vocab_lib.Vocabulary:
  """The vocabulary of a run, which another one begins with.

  Raises:
    FileNotFoundError: the folder has none.
  """
  path = workdir_lib.path(source, workdir_lib.VOCABULARY)
  if not os.path.exists(path):
    raise FileNotFoundError(
      f'config.train.init_from = {source!r} is not the folder of a run: {path} '
      'does not exist.'
    )
  return vocab_lib.Vocabulary.load(path)


def first_state(
  config: Any, task: base.Trained, tx: Any, corpus: corpora.Corpus
) -> tuple[state_lib.TrainState, list[str]]:
  """The state before the first update, with everything that is pretrained.

  Args:
    config: config of the run.
    task: its task.
    tx: its optimiser.
    corpus: its corpus.

  Returns:
    The state, and lines for the log about weights of another run.

  Raises:
    FileNotFoundError, ImportError, ValueError: see `with_word_vectors` and
      `with_weights`.
  """
  state = state_lib.create(task, tx, config.seed)
  state = with_word_vectors(config, state, corpus)
  lines: list[str] = []
  if config.train.init_from:
    state, lines = with_weights(config, state)
  found = task.extras_from_text(state.params, corpus.splits['train'])
  return state.replace(extras=state.extras | found), lines


def with_weights(config: Any, state: state_lib.TrainState):
  """Replaces initial weights by those of `config.train.init_from` that fit.

  Returns:
    The state, and lines for the log that list which weights were copied and
    which were not.

  Raises:
    FileNotFoundError: the other run has no checkpoint.
    ValueError: none of its weights fits this model, or their file is damaged.
  """
  source = config.train.init_from
  weights, checkpoint = _weights_of(source)
  copied, unused, missing = [], set(weights), []

  def replaced(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    # A VAE's decoder is a language model, whose weights have other paths.
    for candidate in (name, *_aliases(name)):
      value = weights.get(candidate)
      if value is not None and value.shape == leaf.shape:
        copied.append(name)
        unused.discard(candidate)
        return jnp.asarray(value, leaf.dtype)
    missing.append(name)
    return leaf

  params = jax.tree_util.tree_map_with_path(replaced, state.params)
  if not copied:
    raise ValueError(
      f'config.train.init_from = {source!r}: none of its weights has the name '
      'and the shape of a weight of this model.'
    )
  lines = [
    f'Weights copied from {source}, {checkpoint}: {", ".join(copied)}.',
    f'Weights initialised at random: {", ".join(missing) or "none"}.',
    f'Weights of {source} not used: {", ".join(sorted(unused)) or "none"}.',
  ]
  return state.replace(params=params), lines


def _weights_of(source: str) -> tuple[dict[str, np.ndarray], str]:
  """Reads the parameters of a run or of an export, by path.

  Returns:
    The parameters, and the checkpoint that they are of.
  """
  vocab = vocabulary_of(source)
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(source), vocab.content_hash
  )
  found = saved.weights()
  if found is not None:
    return found[0], f'step {found[1]}'
  if not exported.exists(source):
    raise FileNotFoundError(
      f'config.train.init_from = {source!r}: the run has no checkpoint.'
    )
  arrays, checkpoint = exported.load(source, vocab.content_hash)
  prefix = 'params/'  # Others are what the objective adapted.
  weights = {
    name.removeprefix(prefix): array
    for name, array in arrays.items()
    if name.startswith(prefix)
  }
  return weights, checkpoint


def _aliases(name: str) -> tuple[str, ...]:
  parts = name.split('/')
  if 'decoder' in parts:
    return ('/'.join(part for part in parts if part != 'decoder'),)
  return (
    '/'.join([parts[0], 'decoder', *parts[1:]]),
    '/'.join(['params', 'decoder', 'recurrent', *parts[2:]]),
    '/'.join(['params', 'recurrent', *parts[2:]]),
  )


class Feeding(NamedTuple):
  """How a run's text is cut into batches."""

  buckets: tuple[batches.Bucket, ...]
  schedule: batches.Schedule | batches.StreamSchedule
  gather: Callable


def feeding(
  config: Any, split: corpora.Split, mesh: devices.Mesh = None
) -> Feeding:
  """Returns how training cuts a split into batches on this platform.

  Args:
    config: config of the run.
    split: the text.
    mesh: of the devices among which the rows of a batch are divided. Which rows
      a batch has does not depend on it.
  """
  settings, seed = config.train, config.seed
  if config.corpus.stream:
    buckets, weights = batches.windows(settings.unroll, settings.unroll_spread)
    stream = batches.StreamSchedule(
      len(split.tokens), buckets, settings.batch_size, seed, weights
    )
    return Feeding(buckets, stream, _gather_windows)
  buckets = train_buckets(config, split, mesh)
  kind = (
    indexed.Schedule if isinstance(split, indexed.Split) else batches.Schedule
  )
  schedule = kind(split.sizes, buckets, settings.batch_size, seed)
  return Feeding(buckets, schedule, batches.gather)


def _gather_windows(text, starts, bucket):
  """Gathers the windows of the rows that this device has."""
  if 'begins' in text.fields:  # It was given no others.
    return batches.gather_windows(text, starts, bucket)
  own = {
    name: rows.own(getattr(text, name))
    for name in ('offsets', 'lengths', 'numbers')
  }
  return batches.gather_windows(text._replace(**own), starts, bucket)


def train_buckets(
  config: Any, split: corpora.Split, mesh: devices.Mesh = None
) -> tuple[batches.Bucket, ...]:
  """The shapes of a run's training batches on this platform."""
  shape = (
    config.train.batch_size,
    config.train.num_buckets,
    jax.default_backend(),
    devices.count(mesh),
  )
  if isinstance(split, indexed.Split):
    return indexed.buckets_for(split.described, *shape)
  return batches.buckets_for(split.sizes, *shape)


def with_word_vectors(
  config: Any, state: state_lib.TrainState, corpus: corpora.Corpus
) -> state_lib.TrainState:
  """Sets the embeddings to the config's pretrained word vectors, if any.

  Raises:
    FileNotFoundError, ImportError, ValueError: see `word_vectors.read`.
    ValueError: the vectors have another size than the embeddings.
  """
  vectors = _word_vectors(config, corpus)
  if vectors is None:
    return state
  logging.info('%s', vectors.report())

  def replaced(path, leaf):
    if getattr(path[-1], 'key', '') != 'embedding':
      return leaf
    if leaf.shape != (len(corpus.vocab), vectors.values.shape[1]):
      return leaf  # A table of labels.
    return leaf.at[vectors.rows].set(vectors.values)

  params = jax.tree_util.tree_map_with_path(replaced, state.params)
  return state.replace(params=params)


def _word_vectors(config, corpus) -> word_vectors.Vectors | None:
  source = config.model.get('pretrained_embeddings', '')
  if not source:
    return None
  if corpus.vocab.kind != 'word':
    raise ValueError(
      f'config.model.pretrained_embeddings = {source!r} has vectors of words; '
      f'the tokens of config.corpus.protocol = {corpus.protocol!r} are '
      f"{corpus.vocab.kind}s. Legal: ''."
    )
  size = config.model.embedding_size
  vectors = word_vectors.read(
    source, corpus.vocab, corpus.splits['train'].tokens
  )
  if vectors.values.shape[1] != size:
    raise ValueError(
      f'config.model.embedding_size = {size}: the vectors of {source!r} have '
      f'{vectors.values.shape[1]} numbers.'
    )
  return vectors
