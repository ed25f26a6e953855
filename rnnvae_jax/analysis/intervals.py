"""Intervals of shares."""

import math


def wilson(count: int, total: int, z: float = 1.96) -> tuple[float, float]:
  """Bounds of a share, of which `count` of `total` are seen (Wilson, 1927).

  Args:
    count: of what was counted.
    total: at least 1.
    z: quantile of the normal distribution; 1.96 for 95 %.

  Raises:
    ValueError: the counts are no share.
  """
  if not 0 <= count <= total or not total:
    raise ValueError(f'{count} of {total} is no share.')
  share, weight = count / total, z**2 / total
  centre = (share + weight / 2) / (1 + weight)
  half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
  return max(0.0, centre - half), min(1.0, centre + half)
