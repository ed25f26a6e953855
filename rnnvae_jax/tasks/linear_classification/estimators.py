"""Estimators of linear classifiers: weights from sparse vectors and labels.

A problem of two classes has one column of weights, those of class 1 against
class 0; one of more classes has a column for each class. All arithmetic is in
float64.
"""

from typing import Any, NamedTuple

import numpy as np

ESTIMATORS = ('naive_bayes', 'logistic_regression', 'svm', 'nb_svm')
LOSSES = ('logistic', 'squared_hinge')

# So many steps of the solvers are never needed; fewer end with a warning.
_MOST_STEPS = 10_000


class Linear(NamedTuple):
  """A linear classifier.

  Attributes:
    weights: float[F, K]; K is 1 for two classes, else the number of classes.
    bias: float[K].
  """

  weights: np.ndarray
  bias: np.ndarray

  def scores(self, x: Any) -> np.ndarray:
    """Scores of the classes, before a softmax: float64[N, C]."""
    scores = x @ self.weights.astype(np.float64) + self.bias
    if scores.shape[1] == 1:
      return np.concatenate([np.zeros_like(scores), scores], axis=1)
    return scores


def naive_bayes(
  x: Any, labels: np.ndarray, num_classes: int, smoothing: float
) -> Linear:
  """Multinomial naive Bayes; 'binary' for vectors of presence.

  log p(class) + sum over features of x log p(feature | class), with `smoothing`
  added to the count of each feature in each class.

  Args:
    x: float[N, F].
    labels: int[N].
    num_classes: C.
    smoothing: above 0.
  """
  totals = _totals(x, labels, num_classes) + smoothing
  weights = np.log(totals / totals.sum(axis=0))
  bias = np.log(np.bincount(labels, minlength=num_classes) / len(labels))
  if num_classes == 2:
    return Linear(weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1])
  return Linear(weights, bias)


def discriminative(
  x: Any,
  labels: np.ndarray,
  num_classes: int,
  loss: str,
  strength: float,
) -> Linear:
  """Logistic regression or a support vector machine.

  Of more than two classes each is told from all others.

  Args:
    x: float[N, F].
    labels: int[N].
    num_classes: C.
    loss: one of `LOSSES`.
    strength: weight of the losses against half the squared weights.
  """
  parts = [
    _binary(x, labels == number, loss, strength)
    for number in _positive(num_classes)
  ]
  weights, bias = zip(*parts, strict=True)
  return Linear(np.stack(weights, axis=1), np.array(bias))


def nb_svm(
  x: Any,
  labels: np.ndarray,
  num_classes: int,
  loss: str,
  strength: float,
  smoothing: float,
  interpolation: float,
) -> Linear:
  """A classifier of vectors that are multiplied by naive Bayes' ratios.

  Wang & Manning 2012, 'Baselines and bigrams', equations 2 and 7.

  Args:
    x: float[N, F], of presence for the published method.
    labels: int[N].
    num_classes: C.
    loss: one of `LOSSES`.
    strength: see `discriminative`.
    smoothing: added to the count of each feature in each class.
    interpolation: share of the learnt weights; the rest is their mean
      magnitude, which for all features the same is naive Bayes.
  """
  weights, bias = [], []
  for number in _positive(num_classes):
    is_positive = labels == number
    ratio = log_ratio(x, is_positive, smoothing)
    scaled = x.copy()
    scaled.data *= ratio[scaled.indices]
    learnt, intercept = _binary(scaled, is_positive, loss, strength)
    mean = np.mean(np.abs(learnt))
    mixed = (1 - interpolation) * mean + interpolation * learnt
    weights.append(ratio * mixed)
    bias.append(intercept)
  return Linear(np.stack(weights, axis=1), np.array(bias))


def log_ratio(x: Any, is_positive: np.ndarray, smoothing: float) -> np.ndarray:
  """log (p / |p|) / (q / |q|), counts of the positive and other rows: [F]."""
  totals = _totals(x, is_positive.astype(np.int64), 2) + smoothing
  shares = totals / totals.sum(axis=0)
  return np.log(shares[:, 1] / shares[:, 0])


def _totals(x: Any, labels: np.ndarray, num_classes: int) -> np.ndarray:
  """The sum of each class's rows: float64[F, C]."""
  sums = [
    np.asarray(x[labels == number].sum(axis=0)).ravel()
    for number in range(num_classes)
  ]
  return np.stack(sums, axis=1)


def _positive(num_classes: int) -> range:
  """The classes that get weights of their own."""
  return range(1, 2) if num_classes == 2 else range(num_classes)


def _binary(
  x: Any, is_positive: np.ndarray, loss: str, strength: float
) -> tuple[np.ndarray, float]:
  """Weights float64[F] and bias that tell positive rows from the others."""
  from sklearn import linear_model, svm

  options: dict[str, Any] = {
    'C': strength,
    'max_iter': _MOST_STEPS,
    'random_state': 0,
  }
  if loss == 'logistic':
    solver = linear_model.LogisticRegression(solver='liblinear', **options)
  else:
    solver = svm.LinearSVC(dual=True, **options)
  solver.fit(x, is_positive)
  return solver.coef_[0], float(solver.intercept_[0])
