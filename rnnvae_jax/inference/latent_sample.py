"""Sentences of a run's corpus with their labels and latents."""

from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.analysis import latents as analysis
from rnnvae_jax.data import corpora
from rnnvae_jax.inference import run as run_lib

_MOST_VALUES = 50  # Of a label: columns of more are names, not classes.


class Sample(NamedTuple):
  """Sentences of a split.

  Attributes:
    sentences: int[T] each.
    texts: of the same.
    labels: by name str[N]; '' is no label.
    groups: int[N], equal for duplicates; see `analysis.latents.groups`.
    means: float32[N, Z], of the posteriors.
    log_variances: float32[N, Z].
    points: z float32[N, Z] that stand for the sentences, and are decoded.
  """

  sentences: list[np.ndarray]
  texts: list[str]
  labels: dict[str, np.ndarray]
  groups: np.ndarray
  means: np.ndarray
  log_variances: np.ndarray
  points: np.ndarray


class Labelled(NamedTuple):
  """The sentences of a sample that have a label, by its name.

  Attributes:
    rows: int[M], their places in the sample.
    names: of the classes, the most frequent first.
    classes: int[M], each sentence's place in `names`.
  """

  rows: np.ndarray
  names: list[str]
  classes: np.ndarray


def take(run: run_lib.Run, corpus: corpora.Corpus) -> Sample:
  """Draws and encodes the sentences that `config.latents` asks for.

  Raises:
    ValueError: the corpus has no such split.
  """
  settings = run.config.latents
  if settings.split not in corpus.splits:
    raise ValueError(
      f'config.latents.split = {settings.split!r}: {corpus.name} has no such '
      f'split. Legal: {", ".join(corpus.splits)}.'
    )
  split = corpus.splits[settings.split]
  rows = drawn(len(split), settings.sentences, settings.seed)
  sentences = [split.sentence(i) for i in rows]
  texts = [run.text(ids) for ids in sentences]
  means, log_variances, points = run.encode_ids(sentences)
  labels = {
    name: np.array([values[i] for i in rows], str)
    for name, values in split.labels.items()
  }
  numbers = analysis.groups(texts)
  return Sample(sentences, texts, labels, numbers, means, log_variances, points)


def drawn(count: int, limit: int, seed: int) -> np.ndarray:
  """The places of `limit` of `count` things, all for 0, in ascending order."""
  if not 0 < limit < count:
    return np.arange(count)
  return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def labelled(sample: Sample, least: int) -> dict[str, Labelled]:
  """The labels that can be asked about.

  A class counts if it has `least` different sentences; a label if it has 2 to
  50 classes that do.
  """
  found = {}
  for label, values in sample.labels.items():
    rows = np.flatnonzero(
      analysis.usable(values.tolist(), sample.groups, least)
    )
    names, classes, counts = np.unique(
      values[rows], return_inverse=True, return_counts=True
    )
    if not 2 <= len(names) <= _MOST_VALUES:
      continue
    order = np.argsort(-counts, kind='stable')
    place: Any = np.argsort(order)
    found[label] = Labelled(rows, names[order].tolist(), place[classes])
  return found
