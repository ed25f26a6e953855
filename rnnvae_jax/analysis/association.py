"""The word embedding association test, WEAT (Caliskan et al. 2017).

A. Caliskan, J. J. Bryson, A. Narayanan, Semantics derived automatically from
language corpora contain human-like biases, Science 356, 183-186.
"""

from collections.abc import Iterator
import itertools
import math
from typing import NamedTuple

import numpy as np

from rnnvae_jax.analysis import word_vectors

# All partitions are counted if there are at most so many: 10 and 10 words.
MOST_EXACT = 200_000
_CHUNK = 2**22  # Numbers of partitions that are in memory at a time.
# Sums that differ by less, relative to what is summed, differ by rounding.
_ROUNDING = 1e-12


class Association(NamedTuple):
  """How two sets of target words differ in their association.

  Attributes:
    effect_size: (mean of s over X - mean of s over Y) / standard deviation of s
      over X and Y, where s(w) = mean cos(w, A) - mean cos(w, B). The deviation
      is that of a sample, with n - 1.
    p_value: of the one-sided permutation test. If exact, the share of all
      partitions of X and Y into sets of these sizes whose test statistic is
      larger than that observed, as in the paper. Otherwise, of m random
      partitions, (those whose statistic is at least the observed one + 1) /
      (m + 1), which is never 0.
    partitions: how many partitions were looked at.
    exact: whether these are all.
    statistic: sum of s over X - sum of s over Y.
  """

  effect_size: float
  p_value: float
  partitions: int
  exact: bool
  statistic: float


def weat(
  first: np.ndarray,
  second: np.ndarray,
  first_attribute: np.ndarray,
  second_attribute: np.ndarray,
  samples: int = 100_000,
  seed: int = 0,
) -> Association:
  """Tests whether X goes with A, and Y with B, more than by chance.

  Args:
    first: float[N, E], vectors of the target words X.
    second: float[M, E], of Y.
    first_attribute: float[I, E], of the attribute words A.
    second_attribute: float[J, E], of B.
    samples: random partitions, where there are more than `MOST_EXACT`.
    seed: of these.

  Raises:
    ValueError: a set is empty, or all target words have the same association.
  """
  sets = first, second, first_attribute, second_attribute
  if not all(map(len, sets)):
    raise ValueError('a set of words is empty.')
  targets = np.concatenate([first, second])
  values = _cosines(targets, first_attribute).mean(axis=1)
  values -= _cosines(targets, second_attribute).mean(axis=1)
  deviation = float(np.std(values, ddof=1))
  if not deviation > 0:
    raise ValueError('all target words have the same association.')
  size = len(first)
  effect = (values[:size].mean() - values[size:].mean()) / deviation
  observed, rounding = values[:size].sum(), _ROUNDING * np.abs(values).sum()
  # The statistic of a partition grows with the sum over its first set.
  count = math.comb(len(values), size)
  exact = count <= MOST_EXACT
  chunks = (
    _all_partitions(len(values), size)
    if exact
    else _random_partitions(len(values), size, samples, seed)
  )
  larger = equal = 0
  for chosen in chunks:
    excess = values[chosen].sum(axis=1) - observed
    larger += int(np.sum(excess > rounding))
    equal += int(np.sum(np.abs(excess) <= rounding))
  partitions = count if exact else samples
  p_value = larger / count if exact else (larger + equal + 1) / (samples + 1)
  statistic = 2 * observed - values.sum()
  return Association(
    float(effect), p_value, partitions, exact, float(statistic)
  )


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Cosines of all pairs: float64[N, M]."""
  return 1 - word_vectors.distances(first[:, None], second[None])


def _all_partitions(count: int, size: int) -> Iterator[np.ndarray]:
  """All choices of `size` of `count`, in chunks of int64[n, size]."""
  choices = itertools.combinations(range(count), size)
  while some := list(itertools.islice(choices, max(1, _CHUNK // size))):
    yield np.array(some)


def _random_partitions(
  count: int, size: int, samples: int, seed: int
) -> Iterator[np.ndarray]:
  """Independent random choices of `size` of `count`."""
  rng = np.random.default_rng(seed)
  step = max(1, _CHUNK // count)
  for first in range(0, samples, step):
    keys = rng.random((min(step, samples - first), count))
    yield np.argpartition(keys, size - 1, axis=1)[:, :size]
