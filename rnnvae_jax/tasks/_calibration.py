"""Probabilities of classes from scores, calibrated on a validation split."""

from typing import NamedTuple

import numpy as np

# Where a split of few sentences is all right, the best scale is infinite.
_LARGEST = 1e3


class Calibration(NamedTuple):
  """An affine map of scores before their softmax.

  Attributes:
    scale: what scores are multiplied by; 1 over the temperature.
    offsets: float64[C], added to the scores.
  """

  scale: float
  offsets: np.ndarray

  def log_probs(self, scores: np.ndarray) -> np.ndarray:
    """Log-probabilities of the classes: float[N, C] -> float64[N, C], nats."""
    return log_softmax(self.scale * scores + self.offsets)


def none(num_classes: int) -> Calibration:
  """The map that changes nothing."""
  return Calibration(1.0, np.zeros(num_classes))


def fit(
  scores: np.ndarray, labels: np.ndarray, with_offsets: bool = False
) -> Calibration:
  """The map with the highest likelihood of the labels.

  Temperature scaling (Guo et al. 2017, 'On calibration of modern neural
  networks', equation 9), if asked for with an offset for each class, which
  moves the threshold between classes. The mean negative log-likelihood is
  convex in scale and offsets.

  Args:
    scores: float[N, C], of sentences that the weights were not fitted to.
    labels: int[N].
    with_offsets: whether offsets are fitted, too; else they are 0.
  """
  from scipy import optimize

  rows, num_classes = np.arange(len(labels)), scores.shape[1]
  # Scores of any unit, so that the search begins near its end.
  unit = float(np.std(scores - scores.mean(axis=1, keepdims=True))) or 1.0

  def nats(values):
    scale, offsets = values[0] / unit, values[1:]
    log_probs = log_softmax(scale * scores + offsets)
    error = np.exp(log_probs)
    error[rows, labels] -= 1
    gradient = [np.sum(error * scores) / unit, *error.sum(axis=0)]
    value = -np.sum(log_probs[rows, labels])
    return value / len(rows), np.array(gradient) / len(rows)

  reach = _LARGEST if with_offsets else 0.0
  found = optimize.minimize(
    nats,
    np.concatenate([[1.0], np.zeros(num_classes)]),
    jac=True,
    method='L-BFGS-B',
    bounds=[(1 / _LARGEST, _LARGEST), *[(-reach, reach)] * num_classes],
    options={'ftol': 1e-12, 'gtol': 1e-8, 'maxiter': 1_000},
  )
  return Calibration(float(found.x[0]) / unit, found.x[1:])


def log_softmax(scores: np.ndarray) -> np.ndarray:
  """Log-probabilities: float[N, C] -> float[N, C], nats."""
  shifted = scores - scores.max(axis=1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
