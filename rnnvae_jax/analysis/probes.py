"""Probes: how well a label can be read off a representation of sentences.

Alain & Bengio, arXiv:1610.01644. A probe is fitted to some sentences and judged
on others. What a linear probe finds is there in a form that a linear layer can
use; what the nearest neighbours find may be bent. What neither finds may still
be there.
"""

from collections.abc import Sequence
import math
from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.analysis import intervals

LINEAR, NEIGHBOURS = 'linear', 'nearest neighbours'
KINDS = (LINEAR, NEIGHBOURS)
# Weights of the losses against the penalty that a probe chooses from.
STRENGTHS = (0.03, 0.3, 3.0, 30.0)
# Share of a probe's probability that is given to all labels alike: no label is
# impossible, so that log-probabilities are finite.
_SPREAD = 1e-3
_MOST_STEPS = 2_000


class Guesses(NamedTuple):
  """What probes say of sentences that they were not fitted to.

  Attributes:
    labels: int64[N], the likeliest.
    nats: float64[N], -log of the probability of the true label.
  """

  labels: np.ndarray
  nats: np.ndarray


def cross_validate(
  kind: str,
  features: Any,
  labels: np.ndarray,
  folds: np.ndarray,
  neighbours: int = 10,
) -> Guesses:
  """Fits a probe to all folds but one, and asks it about that one; for each.

  A linear probe is a logistic regression with an L2 penalty. The strength of
  the penalty is chosen by the likelihood of one of the other folds, and the
  probe then fitted to all of them. Dense features are standardised for it. The
  nearest neighbours vote, and their distance is Euclidean.

  Args:
    kind: one of `KINDS`.
    features: float[N, F], dense or a SciPy sparse matrix of rows.
    labels: int[N], from 0 on.
    folds: int[N], see `latents.folds`.
    neighbours: that vote.
  """
  classes = int(labels.max()) + 1
  shares = np.zeros((len(labels), classes))
  count = int(folds.max()) + 1
  for fold in range(count):
    rest, asked = folds != fold, folds == fold
    if kind == LINEAR:
      inner = folds == (fold + 1) % count
      strength = _strength(features, labels, rest & ~inner, inner, classes)
      found = _linear(features, labels, rest, asked, classes, strength)
    else:
      found = _vote(features, labels, rest, asked, classes, neighbours)
    shares[asked] = found
  return Guesses(shares.argmax(axis=1), _nats(shares, labels))


def accuracy(
  guessed: np.ndarray, labels: np.ndarray, numbers: np.ndarray
) -> intervals.Share:
  """The share of sentences that are right, with its 95 % interval.

  Duplicates are no independent observations: the interval is Wilson's for as
  many observations as there are groups, of which a whole number is right.

  Args:
    guessed: int[N].
    labels: int[N].
    numbers: int[N], see `latents.groups`.
  """
  share = float(np.mean(guessed == labels))
  count = len(np.unique(numbers))
  # A share of groups that rounding has moved over a whole number is that one.
  right = round(share * count, 6)
  return intervals.Share(
    share,
    intervals.wilson(math.floor(right), count).low,
    intervals.wilson(math.ceil(right), count).high,
  )


def chance(labels: np.ndarray) -> float:
  """The share of the most frequent label, which takes no features to guess."""
  return float(np.bincount(labels).max() / len(labels))


def bag_of_words(sentences: Sequence[np.ndarray], size: int) -> Any:
  """Counts of each token, rows scaled to length 1.

  Args:
    sentences: int[T] each.
    size: V, of the vocabulary.

  Returns:
    scipy.sparse.csr_matrix float64[N, V].
  """
  from scipy import sparse
  from sklearn import preprocessing

  lengths = [len(ids) for ids in sentences]
  rows = np.repeat(np.arange(len(sentences)), lengths)
  columns = np.concatenate([*sentences, np.zeros(0, np.int64)])
  counts = sparse.csr_matrix(
    (np.ones(len(rows)), (rows, columns)), (len(sentences), size)
  )
  counts.sum_duplicates()
  return preprocessing.normalize(counts)


def mean_vectors(
  sentences: Sequence[np.ndarray], rows: np.ndarray, values: np.ndarray
) -> np.ndarray:
  """The mean of the vectors of a sentence's words: float64[N, E].

  Words without a vector are left out; a sentence of such words alone is 0.

  Args:
    sentences: int[T] each.
    rows: int[K], ids that have a vector.
    values: float[K, E], their vectors.
  """
  place = {int(number): i for i, number in enumerate(rows)}
  found = np.zeros((len(sentences), values.shape[1]))
  for number, ids in enumerate(sentences):
    known = [place[i] for i in ids.tolist() if i in place]
    if known:
      found[number] = values[known].mean(axis=0, dtype=np.float64)
  return found


def _strength(features, labels, fitted, asked, classes: int) -> float:
  """The strength with which `fitted` sentences predict the `asked` ones best.

  Where nothing can be fitted, or asked, a middling one.
  """
  if len(np.unique(labels[fitted])) < 2 or not asked.any():
    return STRENGTHS[len(STRENGTHS) // 2]
  nats = [
    _nats(
      _linear(features, labels, fitted, asked, classes, strength),
      labels[asked],
    ).mean()
    for strength in STRENGTHS
  ]
  return STRENGTHS[int(np.argmin(nats))]


def _linear(features, labels, fitted, asked, classes: int, strength: float):
  """Probabilities of the labels of `asked` sentences: float64[M, C]."""
  known = np.unique(labels[fitted])
  shares = np.zeros((int(asked.sum()), classes))
  if len(known) == 1:  # Nothing to tell apart.
    shares[:, known] = 1
    return shares
  from sklearn import linear_model

  train, test = features[fitted], features[asked]
  if isinstance(train, np.ndarray):
    mean = train.mean(axis=0, dtype=np.float64)
    scale = train.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    train, test = (train - mean) / scale, (test - mean) / scale
  model = linear_model.LogisticRegression(C=strength, max_iter=_MOST_STEPS)
  model.fit(train, labels[fitted])
  shares[:, model.classes_] = model.predict_proba(test)
  return shares


def _vote(features, labels, fitted, asked, classes: int, neighbours: int):
  """Shares of the neighbours that have each label: float64[M, C].

  Between labels of as many neighbours the nearest neighbour decides.
  """
  from sklearn import neighbors

  own = labels[fitted]
  model = neighbors.NearestNeighbors(
    n_neighbors=min(neighbours, len(own)), algorithm='brute'
  ).fit(features[fitted])
  near = own[model.kneighbors(features[asked], return_distance=False)]
  shares = np.zeros((len(near), classes))
  for column in range(near.shape[1]):
    shares[np.arange(len(near)), near[:, column]] += 1 / near.shape[1]
  shares[np.arange(len(near)), near[:, 0]] += 1e-9
  return shares


def _nats(shares: np.ndarray, labels: np.ndarray) -> np.ndarray:
  picked = shares[np.arange(len(labels)), labels]
  return -np.log((1 - _SPREAD) * picked + _SPREAD / shares.shape[1])
