"""Calibration of predicted probabilities: errors and reliability diagrams.

A classifier is calibrated if, of the texts whose label it gives probability p,
a share p has that label. Guo et al., arXiv:1706.04599.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.analysis import plots

BINS = 15


class Reliability(NamedTuple):
  """The bins of a reliability diagram; bins without a text are left out.

  Attributes:
    low: float64[K], the lower ends.
    high: float64[K], the upper ends.
    counts: int64[K], texts.
    confidence: float64[K], their mean probability of the predicted label.
    accuracy: float64[K], the share that is predicted rightly.
  """

  low: np.ndarray
  high: np.ndarray
  counts: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray

  @property
  def error(self) -> float:
    """Expected calibration error: a text's mean |accuracy - confidence|."""
    gaps = np.abs(self.accuracy - self.confidence)
    return float(gaps @ self.counts / self.counts.sum())

  @property
  def largest_error(self) -> float:
    """The largest |accuracy - confidence| of a bin."""
    return float(np.max(np.abs(self.accuracy - self.confidence)))


def reliability(
  log_probs: np.ndarray,
  labels: np.ndarray,
  bins: int = BINS,
  adaptive: bool = False,
) -> Reliability:
  """Sorts predictions into bins of their confidence.

  Args:
    log_probs: float[N, C], log-probabilities of the labels.
    labels: int[N].
    bins: how many.
    adaptive: whether bins hold equally many texts, as nearly as possible
      (Nixon et al., arXiv:1904.01685); else they are equally wide: (0, 1/bins],
      and so on. A confidence on an end belongs to the bin below.

  Raises:
    ValueError: the shapes do not fit, a label is out of range, or there are no
      texts.
  """
  probs, labels = _checked(log_probs, labels)
  confidence = probs.max(axis=1)
  right = probs.argmax(axis=1) == labels
  order = np.argsort(confidence, kind='stable')
  if adaptive:
    ends = np.round(np.linspace(0, len(order), bins + 1)).astype(int)
    number = np.searchsorted(ends[1:], np.arange(len(order)), side='right')
  else:
    edges = np.arange(1, bins) / bins
    number = np.searchsorted(edges, confidence[order], side='left')
  counts = np.bincount(number, minlength=bins)
  kept = counts > 0
  mean = lambda values: (
    np.bincount(number, values[order], minlength=bins)[kept] / counts[kept]
  )
  if adaptive:
    first = np.cumsum(counts) - counts
    low = confidence[order][first[kept]]
    high = confidence[order][(np.cumsum(counts) - 1)[kept]]
  else:
    low = (np.arange(bins) / bins)[kept]
    high = ((np.arange(bins) + 1) / bins)[kept]
  return Reliability(
    low, high, counts[kept], mean(confidence), mean(right.astype(np.float64))
  )


def expected_calibration_error(
  log_probs: np.ndarray,
  labels: np.ndarray,
  bins: int = BINS,
  adaptive: bool = False,
) -> float:
  """Mean |accuracy - confidence| over texts, by bins; see `reliability`."""
  return reliability(log_probs, labels, bins, adaptive).error


def brier_score(log_probs: np.ndarray, labels: np.ndarray) -> float:
  """Mean over texts of the squared error of the labels' probabilities.

  Summed over all labels (Brier 1950), so in [0, 2]; of two labels it is twice
  the score of one of them.
  """
  probs, labels = _checked(log_probs, labels)
  truth = np.eye(probs.shape[1])[labels]
  return float(np.mean(np.sum(np.square(probs - truth), axis=1)))


def nll(log_probs: np.ndarray, labels: np.ndarray) -> float:
  """Mean negative log-probability of the labels, nats a text."""
  _checked(log_probs, labels)
  picked = np.take_along_axis(
    _normalised(log_probs), np.asarray(labels)[:, None], axis=1
  )
  return float(-np.mean(picked))


def figures(log_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """The errors of predictions, by name."""
  return {
    'expected_calibration_error': expected_calibration_error(log_probs, labels),
    'adaptive_calibration_error': expected_calibration_error(
      log_probs, labels, adaptive=True
    ),
    'brier_score': brier_score(log_probs, labels),
    'nll_per_text': nll(log_probs, labels),
  }


def plot(curves: Mapping[str, Reliability], path: str) -> None:
  """Draws a reliability diagram, a line for each of `curves` by its name.

  The area of a point is in proportion to the texts of its bin.
  """
  figure, axes = plots.pyplot().subplots(figsize=(4.5, 4.5))
  axes.plot([0, 1], [0, 1], color='0.6', linestyle=':', label='calibrated')
  for number, (name, curve) in enumerate(curves.items()):
    colour = plots.COLOURS[number % len(plots.COLOURS)]
    label = f'{name}, error {curve.error:.3f}'
    axes.plot(curve.confidence, curve.accuracy, color=colour, label=label)
    sizes = 300 * curve.counts / curve.counts.sum()
    axes.scatter(curve.confidence, curve.accuracy, sizes, color=colour)
  axes.set_xlabel('probability of the predicted label')
  axes.set_ylabel('share predicted rightly')
  axes.set_xlim(0, 1)
  axes.set_ylim(0, 1)
  plots.legend(axes)
  plots.save(figure, path)


def _checked(log_probs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
  """Probabilities float64[N, C] and labels int[N]; see `reliability`."""
  log_probs, labels = np.asarray(log_probs), np.asarray(labels)
  if log_probs.ndim != 2 or labels.shape != log_probs.shape[:1]:
    raise ValueError(
      f'log_probs {log_probs.shape} and labels {labels.shape} are not (N, C) '
      'and (N,).'
    )
  if not len(labels):
    raise ValueError('there are no texts.')
  if labels.min() < 0 or labels.max() >= log_probs.shape[1]:
    raise ValueError(
      f'labels are in [{labels.min()}, {labels.max()}], not in [0, '
      f'{log_probs.shape[1] - 1}].'
    )
  return np.exp(_normalised(log_probs)), labels


def _normalised(log_probs: np.ndarray) -> np.ndarray:
  """log softmax, which changes log-probabilities only by their rounding."""
  log_probs = np.asarray(log_probs, np.float64)
  log_probs = log_probs - log_probs.max(axis=1, keepdims=True)
  return log_probs - np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
