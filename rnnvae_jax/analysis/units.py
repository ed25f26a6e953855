"""How well the units of a language model tell two classes of texts apart.

Radford et al., arXiv:1704.01444: a linear classifier of all units with an L1
penalty, and a threshold on a single unit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.analysis import plots

# Strengths C of the classifier that a validation split chooses from; the
# penalty is 1 / C.
STRENGTHS = tuple(2.0**k for k in range(-8, 1))


class Thresholds(NamedTuple):
  """For each unit the threshold that separates two classes best.

  Attributes:
    value: float64[U]; a text is positive if its value is above it.
    sign: int[U], 1, or -1 where texts are positive if it is below.
    accuracy: float64[U], the share of the fitted texts that are right.
  """

  value: np.ndarray
  sign: np.ndarray
  accuracy: np.ndarray


def thresholds(features: np.ndarray, positive: np.ndarray) -> Thresholds:
  """Fits a threshold for each unit by trying all that differ.

  A threshold is halfway between two neighbouring values, or infinite: then all
  texts are of one class. Of equally good ones the lowest is taken, and sign 1
  before sign -1.

  Args:
    features: float[N, U].
    positive: bool[N].
  """
  count = len(features)
  order = np.argsort(features, axis=0, kind='stable')
  ordered = np.take_along_axis(features, order, axis=0).astype(np.float64)
  # Of k texts below the threshold: right are the negative ones, and those
  # above that are positive.
  signs = np.where(positive, -1, 1)[order]
  gained = np.concatenate([np.zeros((1, features.shape[1]), int), signs])
  right = positive.sum() + np.cumsum(gained, axis=0)
  possible = np.ones(right.shape, bool)
  possible[1:-1] = ordered[1:] > ordered[:-1]
  above = np.where(possible, right, -1)
  below = np.where(possible, count - right, -1)
  units = np.arange(features.shape[1])
  best_above, best_below = above.argmax(axis=0), below.argmax(axis=0)
  is_above = above[best_above, units] >= below[best_below, units]
  best = np.where(is_above, best_above, best_below)
  edges = np.full(right.shape, np.inf)
  edges[0] = -np.inf
  edges[1:-1] = ordered[:-1] + (ordered[1:] - ordered[:-1]) / 2
  most = np.maximum(above[best_above, units], below[best_below, units])
  return Thresholds(edges[best, units], np.where(is_above, 1, -1), most / count)


def correct(
  fitted: Thresholds, features: np.ndarray, positive: np.ndarray
) -> np.ndarray:
  """Which texts each unit's threshold is right about: bool[N, U]."""
  above = features > fitted.value
  return np.where(fitted.sign > 0, above, ~above) == positive[:, None]


def correlations(features: np.ndarray, positive: np.ndarray) -> np.ndarray:
  """Each unit's correlation with the class: float64[U]; 0 of a constant one."""
  centred = features - features.mean(axis=0, dtype=np.float64)
  wanted = positive - positive.mean()
  norms = np.linalg.norm(centred, axis=0) * np.linalg.norm(wanted)
  return np.divide(
    wanted @ centred, norms, out=np.zeros(len(norms)), where=norms > 0
  )


class Probe(NamedTuple):
  """An L1-regularised logistic regression of standardised units.

  Attributes:
    mean: float64[U], of the training texts.
    scale: float64[U], their standard deviations; 1 for a constant unit.
    weights: float64[U], of standardised units.
    bias: log-odds of the positive class at weights of 0.
    strength: C, which the validation texts chose.
  """

  mean: np.ndarray
  scale: np.ndarray
  weights: np.ndarray
  bias: float
  strength: float

  def log_odds(self, features: np.ndarray) -> np.ndarray:
    """float64[N], of the positive class."""
    standard = (features - self.mean) / self.scale
    return standard @ self.weights + self.bias

  def correct(self, features: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Which texts it is right about: bool[N]."""
    return (self.log_odds(features) > 0) == positive


def fit_probe(
  features: np.ndarray,
  positive: np.ndarray,
  valid_features: np.ndarray,
  valid_positive: np.ndarray,
  strengths: Sequence[float] = STRENGTHS,
  seed: int = 0,
) -> Probe:
  """Fits logistic regressions to all units; validation texts choose one.

  Of equally accurate ones the most regularised is taken. Units are
  standardised, so that the penalty treats units of different ranges alike.

  Args:
    features: float[N, U], of training texts.
    positive: bool[N].
    valid_features: float[M, U].
    valid_positive: bool[M].
    strengths: of which one is chosen; scikit-learn's C.
    seed: of the solver.
  """
  from sklearn import linear_model  # A second to import.

  mean = features.mean(axis=0, dtype=np.float64)
  scale = features.std(axis=0, dtype=np.float64)
  scale = np.where(scale > 0, scale, 1.0)
  standard = (features - mean) / scale
  best, most = None, -1
  for strength in sorted(strengths):
    model = linear_model.LogisticRegression(
      C=strength,
      l1_ratio=1.0,
      solver='liblinear',
      random_state=seed,
    ).fit(standard, positive)
    probe = Probe(
      mean, scale, model.coef_[0], float(model.intercept_[0]), strength
    )
    right = int(probe.correct(valid_features, valid_positive).sum())
    if right > most:
      best, most = probe, right
  assert best is not None, 'no strengths'
  return best


def plot(
  values: np.ndarray,
  positive: np.ndarray,
  threshold: float,
  names: tuple[str, str],
  title: str,
  path: str,
) -> None:
  """Draws the histogram of a unit for each of two classes.

  Args:
    values: float[N].
    positive: bool[N].
    threshold: drawn as a line.
    names: of the negative and the positive class.
    title: of the figure.
    path: file to write.
  """
  figure, axes = plots.pyplot().subplots(figsize=(6, 3.6))
  edges = np.histogram_bin_edges(values, bins=60)
  for number, name in enumerate(names):
    chosen: Any = values[positive == bool(number)]
    axes.hist(
      chosen,
      edges,
      color=plots.COLOURS[number],
      alpha=0.55,
      hatch=('', '//')[number],
      label=f'{name} ({len(chosen):,})',
    )
  if np.isfinite(threshold):
    axes.axvline(threshold, color='black', linestyle='--', label='threshold')
  axes.set_xlabel('value of the unit after the text')
  axes.set_ylabel('texts')
  axes.set_title(title)
  plots.legend(axes)
  plots.save(figure, path)
