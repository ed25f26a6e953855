"""Confidence intervals of shares."""

import math
from typing import NamedTuple

Z_95 = 1.959963984540054  # The 97.5 % quantile of the standard normal.


class Share(NamedTuple):
  """A share with its interval: value, low and high in [0, 1]."""

  value: float
  low: float
  high: float


def wilson(successes: int, count: int, z: float = Z_95) -> Share:
  """Wilson's score interval of a binomial share (Wilson 1927).

  Its ends are the shares p that the observed one is z standard errors from,
  the standard error being that of p.

  Args:
    successes: observations that count.
    count: all observations.
    z: standard errors; the default gives 95 %.

  Raises:
    ValueError: there are no observations, or more successes than observations.
  """
  if not 0 <= successes <= count or not count:
    raise ValueError(f'{successes} of {count} is no share.')
  share = successes / count
  centre = share + z * z / (2 * count)
  spread = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
  scale = 1 + z * z / count
  # At 0 and at 1 an end is exact, which rounding would miss.
  low = 0.0 if not successes else (centre - spread) / scale
  high = 1.0 if successes == count else (centre + spread) / scale
  return Share(share, low, high)


def difference(first: Share, second: Share) -> Share:
  """`first` - `second` of two independent samples, with Newcombe's interval.

  Newcombe 1998, method 10: from Wilson's intervals of both, which must have
  the same z.
  """
  value = first.value - second.value
  below = math.hypot(first.value - first.low, second.high - second.value)
  above = math.hypot(first.high - first.value, second.value - second.low)
  return Share(value, value - below, value + above)
