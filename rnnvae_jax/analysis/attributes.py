"""Attribute vectors: directions of labels, and what shifts along them do.

A sentence is shifted along a direction of latent space and decoded. A
classifier that knows texts alone says whether its attribute has flipped, and
overlap says whether its content has stayed.
"""

import collections
from collections.abc import Sequence
import itertools
from typing import Any, NamedTuple

import numpy as np

MEANS, PROBE = 'means', 'probe'
DIRECTIONS = (MEANS, PROBE)


def direction(
  points: np.ndarray,
  is_from: np.ndarray,
  is_to: np.ndarray,
  kind: str = MEANS,
) -> np.ndarray:
  """The direction from one label to another: float64[Z].

  An amount of 1 moves the mean of the first label's points as far as that of
  the second label's: onto it for 'means' (Larsen et al., arXiv:1512.09300), and
  as far along the normal of a linear probe for 'probe'.

  Args:
    points: float[N, Z].
    is_from: bool[N], at least one.
    is_to: bool[N], at least one.
    kind: one of `DIRECTIONS`.
  """
  points = np.asarray(points, np.float64)
  apart = points[is_to].mean(axis=0) - points[is_from].mean(axis=0)
  if kind == MEANS:
    return apart
  from sklearn import linear_model

  both = is_from | is_to
  model = linear_model.LogisticRegression(max_iter=2_000)
  normal = model.fit(points[both], is_to[both]).coef_[0]
  length = np.linalg.norm(normal)
  normal = normal / length if length else normal
  return normal * (normal @ apart)


def random_directions(
  points: np.ndarray, count: int, length: float, seed: int
) -> np.ndarray:
  """Directions of one length, with the covariance of points: float64[count, Z].

  They point where the points are spread, not into latents that no sentence
  uses, which would change nothing.

  Args:
    points: float[N, Z].
    count: how many.
    length: of each.
    seed: of what is drawn.
  """
  centred = points - points.mean(axis=0, dtype=np.float64)
  draws = np.random.default_rng(seed).normal(size=(count, len(points)))
  found = draws @ centred
  norms = np.linalg.norm(found, axis=1, keepdims=True)
  return length * found / np.where(norms > 0, norms, 1.0)


class TextClassifier(NamedTuple):
  """A logistic regression of words and of pairs of neighbours."""

  grams: Any
  model: Any

  @classmethod
  def fit(
    cls, sentences: Sequence[np.ndarray], labels: Sequence[str]
  ) -> 'TextClassifier':
    """Fits it to sentences int[T] and their labels, of at least two kinds.

    N-grams that occur in one sentence alone are no features.
    """
    from sklearn import linear_model
    from sklearn.feature_extraction import text

    grams = text.CountVectorizer(analyzer=_grams, binary=True, min_df=2)
    features = grams.fit_transform(sentences)
    model = linear_model.LogisticRegression(max_iter=2_000)
    return cls(grams, model.fit(features, labels))

  def predict(self, sentences: Sequence[np.ndarray]) -> np.ndarray:
    """The label of each sentence: str[N]."""
    return self.model.predict(self.grams.transform(sentences))


def _grams(sentence: np.ndarray) -> list[tuple[int, ...]]:
  words = sentence.tolist()
  return [*((word,) for word in words), *itertools.pairwise(words)]


def is_content(word: str) -> bool:
  """Whether a word has a letter and is none of English's function words."""
  from gensim.parsing import preprocessing  # A second to import.

  lower = word.lower()
  return any(map(str.isalpha, word)) and lower not in preprocessing.STOPWORDS


def content_kept(
  before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]
) -> float:
  """The share of the content words of sentences that others still have.

  A word that occurs twice before and once after is kept once. NaN if there are
  no content words.
  """
  kept = total = 0
  for first, second in zip(before, after, strict=True):
    words = collections.Counter(filter(is_content, first))
    kept += (words & collections.Counter(second)).total()
    total += words.total()
  return kept / total if total else float('nan')
