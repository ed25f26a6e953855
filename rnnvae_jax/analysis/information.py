"""Mutual information between a label and points, in nats."""

import numpy as np

PROBE = 'linear probe, held out'
ROSS = 'nearest neighbours (Ross 2014)'
_ROWS = 512  # Of a block of distances.


def entropy(labels: np.ndarray) -> float:
  """The entropy of labels int[N] by their shares, in nats.

  Too small by about (C - 1) / 2N on average (Miller 1955).
  """
  counts = np.bincount(labels)
  shares = counts[counts > 0] / len(labels)
  return float(-shares @ np.log(shares))


def lower_bound(labels: np.ndarray, nats: np.ndarray) -> float:
  """A lower bound of the information, from predictions of the label.

  Barber & Agakov 2003: I >= H(label) - E[-log q(label | point)] for any q; it
  is tight where q is the true posterior. So it is too small by the KL of the
  posterior from q, which for a probe that is fitted to other sentences counts
  what it overfits, too. It is negative where the probe predicts worse than the
  shares of the labels.

  Args:
    labels: int[N].
    nats: float[N], -log q of each label, q fitted to other sentences.
  """
  return entropy(labels) - float(np.mean(nats))


def by_neighbours(
  points: np.ndarray, labels: np.ndarray, neighbours: int = 3
) -> float:
  """The information by distances to neighbours of the same label.

  Ross 2014, 'Mutual information between discrete and continuous data sets',
  equation 2. It assumes no posterior. Its bias vanishes with N, but slowly
  where there are many latents: densities are taken to be constant within the
  distance of the k-th neighbour, and so the estimate is too small where they
  are not. It may be negative where the information is near 0. No two points
  may be the same.

  Args:
    points: float[N, Z].
    labels: int[N]; those of fewer than two points are left out.
    neighbours: k.
  """
  from scipy import special
  from scipy.spatial import distance

  counts = np.bincount(labels)
  kept = counts[labels] > 1
  points, labels = np.asarray(points, np.float64)[kept], labels[kept]
  size = counts[labels]
  k = np.minimum(neighbours, size - 1)
  within = np.zeros(len(labels))
  for start in range(0, len(labels), _ROWS):
    block = slice(start, start + _ROWS)
    apart = distance.cdist(points[block], points)
    own = np.arange(len(apart))
    apart[own, own + start] = np.inf  # A point is no neighbour of itself.
    same = np.where(labels[block, None] == labels[None, :], apart, np.inf)
    reach = np.sort(same, axis=1)[own, k[block] - 1]
    within[block] = np.sum(apart <= reach[:, None], axis=1)
  return float(
    special.digamma(len(labels))
    + np.mean(special.digamma(k))
    - np.mean(special.digamma(size))
    - np.mean(special.digamma(within))
  )
