"""GloVe as a task: counted, then fitted by AdaGrad, in one command.

It is `Fitted`, not `Trained`: its updates read entries of a matrix of counts,
where the training loop's read sentences, and touch the rows of a few words,
where an optimiser's touch all parameters.
"""

from collections.abc import Sequence
import dataclasses
import json
import os
import time
from typing import Any
import zipfile

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.tasks.word_vectors import adagrad, cooccurrence

_FILE = 'glove.npz'
_PROGRESS = 'glove_progress.npz'
_KEEP_EVERY = 60.0  # Seconds between savings of progress.
_FIRST = len(vocab_lib.SPECIALS)  # Id of the first word.


@schema.fragment('model.glove')
class GloVeConfig:
  """Counts of co-occurrences, and how vectors are fitted to them."""

  vector_size: int = schema.field(50, 'Numbers of a vector.', low=1, tiny=6)
  window: int = schema.field(
    10,
    'Largest distance of two words that occur together, in words of the '
    'vocabulary; a pair counts 1 / distance.',
    low=1,
    high=1_000,
    tiny=3,
  )
  x_max: float = schema.field(
    100.0, 'Counts from here on have the full weight 1.', low=1e-3
  )
  alpha: float = schema.field(
    0.75, 'Smaller counts have the weight (count / x_max)^alpha.', low=0
  )
  step_size: float = schema.field(
    0.05, 'Factor of the gradients, whose squares AdaGrad adds up.', low=1e-6
  )
  passes: int = schema.field(
    25, 'Passes over all counts that are not 0.', low=1, tiny=2
  )
  counts_per_update: int = schema.field(
    256, 'Counts of an update.', low=1, tiny=16
  )
  updates_per_call: int = schema.field(
    1_000, 'Updates that one call of the compiled program does.', low=1, tiny=4
  )
  memory: int = schema.field(
    cooccurrence.MEMORY,
    'Pairs of words that are in memory at a time while they are counted, of '
    '8 bytes and some copies each; the counts of further ones are in files.',
    low=1_000,
  )


class GloVe(base.Fitted, base.WordVectors):
  """Vectors whose products are the logarithms of counts."""

  FRAGMENTS = (GloVeConfig,)
  FIGURES = (
    base.Figure('sentences', 'sentences', '{:,}'),
    base.Figure('tokens', 'tokens', '{:,}'),
    base.Figure('coverage', 'words with a vector', '{:.2%}', 'coverage'),
    base.Figure('training_loss', 'loss of a count, last epoch', '{:.5f}'),
  )

  def __init__(self, table: np.ndarray, losses: Sequence[float], entries: int):
    """Creates the task.

    Args:
      table: float32[2, V, E + 1], words and contexts with their biases.
      losses: mean loss of an entry in each epoch, before its update.
      entries: number of counts that are not 0.
    """
    self.table = table
    self.losses = tuple(losses)
    self.entries = entries

  @classmethod
  def fit(cls, config: Any, corpus: corpora.Corpus) -> 'GloVe':
    return cls.fit_in(config, corpus, '')

  @classmethod
  def fit_in(cls, config: Any, corpus: corpora.Corpus, workdir: str) -> 'GloVe':
    """Counts, then fits; what is done is kept in the folder each minute.

    What the folder has already is returned as it is.

    Raises:
      ValueError: the text is not of words, or no two of them occur together.
    """
    if corpus.vocab.kind != 'word':
      raise ValueError(
        f'Word vectors need a text of words; {corpus.name!r} is read as '
        f'{corpus.vocab.kind}s (config.corpus.protocol = {corpus.protocol!r}).'
      )
    if workdir and cls.is_fitted(workdir):
      return cls.load(config, corpus.vocab, corpus.labels, workdir)
    settings, size = config.model.glove, len(corpus.vocab) - _FIRST
    start = time.time()
    words, sentences = _words(corpus.splits['train'])
    counts = cooccurrence.count(
      words, sentences, size, settings.window, settings.memory, workdir or None
    )
    if not len(counts.values):
      raise ValueError(f'No two words of {corpus.name!r} occur together.')
    logging.info(
      '%s words of text, %s counts that are not 0, in %.1f s.',
      f'{len(words):,}',
      f'{len(counts.values):,}',
      time.time() - start,
    )
    path = os.path.join(workdir, _PROGRESS) if workdir else ''
    table, losses = _fit(config, counts, size, path)
    return cls(table, losses, len(counts.values))

  def save(self, workdir: str) -> None:
    """Saves the vectors; a kill leaves either the old or the new file."""
    _write(
      os.path.join(workdir, _FILE),
      table=self.table,
      losses=np.array(self.losses),
      entries=np.int64(self.entries),
    )
    progress = os.path.join(workdir, _PROGRESS)
    if os.path.exists(progress):
      os.remove(progress)

  @classmethod
  def load(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
    workdir: str,
  ) -> 'GloVe':
    del labels
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
      raise FileNotFoundError(
        f'The run in {workdir!r} has no word vectors yet: {path} does not '
        'exist. The command that began it goes on.'
      )
    arrays = _read(path, ('table', 'losses', 'entries'))
    want = 2, len(vocab) - _FIRST, config.model.glove.vector_size + 1
    if arrays['table'].shape != want:
      raise ValueError(
        f'{path} does not fit its config and vocabulary: {want} numbers are '
        f'wanted, it has {arrays["table"].shape}.'
      )
    losses = arrays['losses'].tolist()
    return cls(arrays['table'], losses, int(arrays['entries']))

  @classmethod
  def is_fitted(cls, workdir: str) -> bool:
    return os.path.exists(os.path.join(workdir, _FILE))

  def describe(self) -> str:
    return (
      f'words: {self.table.shape[1]:,}; counts: {self.entries:,}; loss of a '
      f'count in the first and the last epoch: {self.losses[0]:.5f}, '
      f'{self.losses[-1]:.5f}'
    )

  def word_vectors(self) -> tuple[np.ndarray, np.ndarray]:
    """The sums of words' and contexts' vectors, as the paper has it."""
    vectors = self.table[:, :, :-1].sum(axis=0)
    return np.arange(_FIRST, _FIRST + len(vectors)), vectors

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """words float[B], those of a sentence, and those that have a vector."""
    del params, key, extras, samples
    is_word = batch['mask'] & (batch['targets'] != vocab_lib.EOS)
    is_known = is_word & (batch['targets'] != vocab_lib.UNK)
    return {
      'words': jnp.sum(is_word, axis=1, dtype=jnp.float32),
      'known': jnp.sum(is_known, axis=1, dtype=jnp.float32),
    }

  def summarise(self, values, split, config, final=False) -> dict[str, Any]:
    del config, final
    return {
      'sentences': len(split),
      'tokens': len(split.tokens),
      'coverage': float(values['known'].sum() / max(values['words'].sum(), 1)),
      'training_loss': self.losses[-1],
    }


def _words(split: corpora.Split) -> tuple[np.ndarray, np.ndarray]:
  """The known words of a split and the sentence of each: int32[N] each.

  Unknown words are left out before distances are counted.
  """
  sentences = np.repeat(np.arange(len(split), dtype=np.int32), split.lengths)
  # A stream has no end marks but those of its lines, which are sentences.
  is_word = split.tokens >= _FIRST
  words = (split.tokens[is_word] - _FIRST).astype(np.int32)
  return words, sentences[is_word]


def _fit(
  config: Any, counts: cooccurrence.Counts, size: int, path: str
) -> tuple[np.ndarray, list[float]]:
  """Fits vectors to counts, from the start or from saved progress.

  Args:
    config: of the run.
    counts: not empty.
    size: V.
    path: file of the progress; '': nothing is kept.

  Returns:
    float32[2, V, E + 1] and the mean loss of each epoch.
  """
  settings = config.model.glove
  state = adagrad.init(jax.random.key(config.seed), size, settings.vector_size)
  weighting = adagrad.Weighting(settings.x_max, settings.alpha)
  per_call = settings.counts_per_update * settings.updates_per_call
  count = len(counts.values)
  # A resumed run must have the same settings, text and counts.
  identity = _identity(config, counts)
  epoch = place = 0
  total, losses = 0.0, []
  if path and os.path.exists(path):
    saved = _read(
      path,
      ('identity', 'table', 'squares', 'epoch', 'place', 'total', 'losses'),
    )
    if str(saved['identity']) == identity:
      state = adagrad.State(
        *map(jnp.asarray, (saved['table'], saved['squares']))
      )
      epoch, place = int(saved['epoch']), int(saved['place'])
      total, losses = float(saved['total']), saved['losses'].tolist()
      logging.info('Going on in epoch %d of %d.', epoch + 1, settings.passes)

  def keep():
    if path:
      table, squares = jax.device_get(state)
      _write(
        path,
        identity=np.array(identity),
        table=table,
        squares=squares,
        epoch=np.int64(epoch),
        place=np.int64(place),
        total=np.float64(total),
        losses=np.array(losses),
      )

  kept = begun = time.time()
  while epoch < settings.passes:
    order = np.random.default_rng([config.seed, epoch]).permutation(count)
    while place < count:
      entries = _entries(counts, order[place : place + per_call], settings)
      state, sums = adagrad.steps(state, entries, settings.step_size, weighting)
      total += float(np.sum(np.asarray(sums), dtype=np.float64))
      if not np.isfinite(total):
        raise FloatingPointError(
          f'The loss is not finite in epoch {epoch + 1}; a smaller '
          'config.model.glove.step_size may help.'
        )
      place += per_call
      if time.time() > kept + _KEEP_EVERY:
        keep()
        kept = time.time()
    losses.append(total / count)
    epoch, place, total = epoch + 1, 0, 0.0
    logging.info(
      'epoch %d of %d: loss of a count %.5f, %.0f s',
      epoch,
      settings.passes,
      losses[-1],
      time.time() - begun,
    )
  table = np.asarray(state.table)
  return table.reshape(2, size, settings.vector_size + 1), losses


def _entries(
  counts: cooccurrence.Counts, chosen: np.ndarray, settings: Any
) -> adagrad.Entries:
  """The chosen entries, in the order given, as K batches of B.

  The last ones are filled up with entries of value 0.
  """
  # The last call of an epoch has fewer batches, so that short epochs are short;
  # it is compiled for itself.
  batch = settings.counts_per_update
  number = -(-len(chosen) // batch)
  filled = np.pad(chosen, (0, number * batch - len(chosen)))
  values = counts.values[filled]
  values[len(chosen) :] = 0
  shape = number, batch
  return adagrad.Entries(
    counts.rows[filled].reshape(shape),
    counts.columns[filled].reshape(shape),
    values.reshape(shape),
  )


def _identity(config: Any, counts: cooccurrence.Counts) -> str:
  """What two fits have in common if one may go on from the other."""
  settings: Any = schema.read(config, GloVeConfig)
  facts = {
    'seed': config.seed,
    'settings': dataclasses.asdict(settings),
    'counts': len(counts.values),
    'sum': float(np.sum(counts.values, dtype=np.float64)),
  }
  return json.dumps(facts, sort_keys=True)


def _write(path: str, **arrays: Any) -> None:
  with open(f'{path}.partial', 'wb') as file:
    np.savez(file, **arrays)
  os.replace(f'{path}.partial', path)


def _read(path: str, names: Sequence[str]) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return {name: arrays[name] for name in names}
  except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f'{path} is damaged: {error}.') from error
