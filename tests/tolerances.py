"""Bounds for tests that hold on every CPU, whatever its order of summation.

A sum of n terms may be computed in any order, in parts and with fused
multiplications; each of these is the exact sum of terms that are off by less
than n roundings each. Hence three bounds: for one sum, n roundings of the sum
of its terms' magnitudes (`one_sum`); for sums that feed other sums and lose
nothing by cancellation, the roundings of all of them (`chain`); for any other
function, how far its results move when its parameters are off by as many
roundings (`spread`).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

EPS = float(np.finfo(np.float32).eps)


def chain(*terms: int) -> float:
  """A relative tolerance for sums of so many terms, each read by the next.

  It is that of the last sum's magnitudes, not of what cancellation leaves.
  """
  return EPS * sum(terms)


def one_sum(terms: np.ndarray, axis: Any = None) -> np.ndarray:
  """What two orders of summing float32 terms over `axis` may differ by."""
  magnitudes = np.sum(np.abs(terms), axis=axis, dtype=np.float64)
  count = np.size(terms) // np.size(magnitudes)
  return 2 * count * EPS * magnitudes


def spread(
  function: Callable[[Any], Any], parameters: Any, terms: int, draws: int = 4
) -> Any:
  """What two ways to round float32 products and sums may change a result by.

  The largest change of any element, over some random relative errors of the
  parameters, and as many roundings of the largest element, for what is computed
  without them.

  Args:
    function: parameters -> a tree of arrays.
    parameters: a tree of float32 arrays.
    terms: of the longest sum, n: a product of matrices is then exact for
      operands that are off by up to n roundings, on each side of a comparison.
    draws: of the errors.

  Returns:
    A float for each array of the result.
  """
  exact = function(parameters)
  relative = 2 * terms * EPS
  widest = jax.tree.map(
    lambda x: relative * float(np.max(np.abs(x), initial=0)), exact
  )
  for seed in range(draws):
    rng = np.random.default_rng(seed)
    moved = function(
      jax.tree.map(
        lambda x, rng=rng: np.float32(
          x * (1 + relative * rng.uniform(-1, 1, np.shape(x)))
        ),
        parameters,
      )
    )
    widest = jax.tree.map(
      lambda most, x, y: max(
        most, float(np.max(np.abs(np.float64(x) - np.float64(y)), initial=0))
      ),
      widest,
      exact,
      moved,
    )
  return widest


def assert_close(got: Any, want: Any, allowed: Any) -> None:
  """Compares trees of arrays, whose bounds are a tree of floats (`spread`)."""
  jax.tree.map(
    lambda x, y, bound: np.testing.assert_allclose(x, y, rtol=0, atol=bound),
    got,
    want,
    allowed,
  )
