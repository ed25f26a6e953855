"""Tables of word vectors: of files, of the extra `glove`, of trained runs."""

from collections.abc import Sequence
import dataclasses
import functools
import os
from typing import Any

import jax
import numpy as np

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data import word_vectors as data_lib
from rnnvae_jax.inference import loading
from rnnvae_jax.tasks import base

# The parameter of a table of vectors in Flax.
_LEAF = 'embedding'


@dataclasses.dataclass(frozen=True)
class Table:
  """Words and their vectors.

  Attributes:
    source: where they are from, for people.
    words: V words, mostly the frequent ones first.
    values: float32[V, E].
  """

  source: str
  words: Sequence[str]
  values: np.ndarray

  @functools.cached_property
  def _rows(self) -> dict[str, int]:
    return {word: row for row, word in reversed([*enumerate(self.words)])}

  @functools.cached_property
  def _folded(self) -> dict[str, int]:
    rows = reversed([*enumerate(self.words)])
    return {word.upper(): row for row, word in rows}

  @functools.cached_property
  def spellings(self) -> np.ndarray:
    """int[V], equal for words that differ in upper and lower case alone."""
    return np.array([self._folded[word.upper()] for word in self.words])

  def find(self, word: str) -> int | None:
    """The row of a word; of its first spelling if it is not there itself."""
    row = self._rows.get(word)
    return self.find_folded(word) if row is None else row

  def find_folded(self, word: str) -> int | None:
    """The first row of a word in any spelling of upper and lower case."""
    return self._folded.get(word.upper())


def open_table(config: Any, workdir: str) -> Table:
  """The table that `config.vectors` names.

  Raises:
    FileNotFoundError: there is no such file, or no run.
    ImportError: the extra `glove` is not installed.
    ValueError: the file cannot be read, or the run has no vectors.
  """
  settings = config.vectors
  if settings.source:
    source = os.path.expanduser(settings.source)
    words, values = data_lib.load(source, settings.format, settings.limit)
    name = source
    if source == data_lib.PACKAGE:
      name = 'GloVe 6B, 50 dimensions'
    return Table(name, words, values)
  run = loading.open_run(config, workdir)
  ids, values, name = _of_run(run, settings.table)
  is_word = ids >= len(vocab_lib.SPECIALS)
  ids, values = ids[is_word], values[is_word]
  stop = settings.limit or len(ids)
  return Table(
    f'{name} of the {config.model.kind} in {workdir}, {run.checkpoint}',
    [run.vocab.tokens[i] for i in ids[:stop]],
    np.asarray(values[:stop], np.float32),
  )


def _of_run(run: Any, name: str) -> tuple[np.ndarray, np.ndarray, str]:
  """Ids, vectors and name of a run's table."""
  if isinstance(run.task, base.WordVectors):
    if name:
      raise ValueError(
        f'config.vectors.table = {name!r}: this run has one table alone. '
        "Leave it at ''."
      )
    return *run.task.word_vectors(), 'word vectors'
  found = embeddings(run.params, len(run.vocab))
  if not found:
    raise ValueError(
      f'A {run.config.model.kind} has no word vectors. Name others by '
      'config.vectors.source.'
    )
  if name and name not in found:
    raise ValueError(
      f'config.vectors.table = {name!r} is unknown. Known: {", ".join(found)}.'
    )
  if not name and len(found) > 1:
    raise ValueError(
      'This run has several tables of vectors. Choose one by '
      f'config.vectors.table: {", ".join(found)}.'
    )
  name = name or next(iter(found))
  values = np.asarray(found[name], np.float32)
  return np.arange(len(values)), values, name


def embeddings(params: Any, size: int) -> dict[str, Any]:
  """The embeddings of a vocabulary among parameters, by their paths."""
  found = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    names = [str(getattr(part, 'key', part)) for part in path]
    if names[-1:] == [_LEAF] and np.shape(leaf)[:1] == (size,):
      names = [name for name in names[:-1] if name != 'params']
      found['/'.join(names) or _LEAF] = leaf
  return found
