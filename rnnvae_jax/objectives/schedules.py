"""Scalars as pure functions of the step: KL weights and learning rates."""

import jax
import jax.numpy as jnp

from rnnvae_jax import errors

KINDS = ('constant', 'linear', 'sigmoid', 'cosine', 'cyclical')


def anneal(
  kind: str,
  step: jax.typing.ArrayLike,
  *,
  start: jax.typing.ArrayLike,
  end: jax.typing.ArrayLike,
  steps: jax.typing.ArrayLike,
  cycles: jax.typing.ArrayLike = 1,
) -> jax.Array:
  """The weight at a step, on its way from `start` to `end` in `steps` steps.

  With x = step / steps:

    constant: `end`.
    linear: a straight ramp over x in [0, 1], then `end`.
    sigmoid: the logistic function of 10 x - 5 (the kind of curve of Bowman et
      al., arXiv:1511.06349, figure 2). It is .0067 of the way at x = 0, .9933
      at x = 1, and tends to `end` after that.
    cosine: half a period of a cosine over x in [0, 1], then `end`.
    cyclical: `cycles` equal cycles over x in [0, 1], each a straight ramp in
      its first half and `end` in its second, then `end` (Fu et al.,
      arXiv:1903.10145, with R = 0.5).

  Only `kind` is static. Every other argument may be traced.

  Args:
    kind: one of KINDS.
    step: number of updates done, from 0.
    start: value that the ramp leaves.
    end: value that it reaches; larger or smaller than `start`.
    steps: length of the ramp. 0 is no ramp: `end` at every step.
    cycles: number of ramps, read by 'cyclical' alone.

  Returns:
    float32[].

  Raises:
    ValueError: `kind` is unknown.
  """
  step = jnp.asarray(step, jnp.float32)
  steps = jnp.asarray(steps, jnp.float32)
  # Also where it is not selected, a division by 0 would make gradients NaN.
  divisor = jnp.where(steps > 0, steps, 1.0)
  progress = jnp.where(steps > 0, _progress(kind, step, divisor, cycles), 1.0)
  # Exact at both ends, which start + (end - start) * progress is not.
  return (1.0 - progress) * start + progress * end


def staircase(
  step: jax.typing.ArrayLike,
  *,
  start: jax.typing.ArrayLike,
  every: jax.typing.ArrayLike,
  factor: jax.typing.ArrayLike,
) -> jax.Array:
  """1 up to a step, then one factor more at it and every so many steps.

  Zaremba et al., arXiv:1409.2329, section 4.1, with steps for epochs.

  Args:
    step: number of updates done, from 0.
    start: the first step with a factor.
    every: steps from one factor to the next.
    factor: what the value is multiplied with.

  Returns:
    float32[].
  """
  since = jnp.asarray(step, jnp.float32) - start
  factors = jnp.maximum(jnp.floor(since / every) + 1.0, 0.0)
  return jnp.power(factor, factors)


def _progress(
  kind: str,
  step: jax.Array,
  steps: jax.Array,
  cycles: jax.typing.ArrayLike,
) -> jax.Array:
  """The part of the way that is done, in [0, 1]."""
  x = step / steps
  match kind:
    case 'constant':
      return jnp.ones_like(x)
    case 'linear':
      return jnp.clip(x, 0.0, 1.0)
    case 'sigmoid':
      return jax.nn.sigmoid(10.0 * x - 5.0)
    case 'cosine':
      return 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.clip(x, 0.0, 1.0))
    case 'cyclical':
      # The remainder of whole numbers is exact, so that every cycle starts on
      # its step; that of x * cycles may round to the end of the one before.
      cycle = jnp.mod(step * cycles, steps) / steps
      return jnp.where(step < steps, jnp.minimum(2.0 * cycle, 1.0), 1.0)
  raise ValueError(errors.unknown('schedule', kind, KINDS))
