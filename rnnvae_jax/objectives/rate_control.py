"""Controls that hold the KL term at a target rate, adapted as training goes.

Each is a pure function from its own state and the batch's mean KL to the new
state; the state lies in the run's, so that a resumed run goes on bit for bit.
"""

from typing import Any

import jax
import jax.numpy as jnp

from rnnvae_jax import errors

KINDS = ('none', 'lagrangian', 'soft_free_bits')

# How far above the target soft free bits let the KL go before they weigh more.
_TOLERANCE = 0.05
_SQUARE_DECAY = 0.99  # Of the mean square that RMSprop divides by.
_SMALLEST_WEIGHT = 1e-3  # From 0 no factor leads back.


def initial(kind: str) -> dict[str, jax.Array]:
  """The state before the first update.

  Raises:
    ValueError: `kind` is unknown.
  """
  match kind:
    case 'none':
      return {}
    case 'lagrangian':
      return {'multiplier': jnp.float32(0), 'square': jnp.float32(0)}
    case 'soft_free_bits':
      return {'weight': jnp.float32(1)}
  raise ValueError(errors.unknown('rate control', kind, KINDS))


def bounded(kind: str, state: Any, weight: jax.typing.ArrayLike) -> Any:
  """The state with a multiplier that is at most `weight`, the KL term's own.

  Where the distortion falls with the rate, as it does at any optimum, the
  multiplier that holds a target is below that. Above it the loss would pay for
  KL without end, and training diverge before the multiplier has fallen again.

  Args:
    kind: one of KINDS.
    state: of the control.
    weight: float[], of the KL term in the loss.
  """
  if kind != 'lagrangian':
    return state
  return state | {'multiplier': jnp.minimum(state['multiplier'], weight)}


def penalty(
  kind: str, state: Any, kl: jax.Array, target: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """What a control does to the loss.

  Args:
    kind: one of KINDS.
    state: of the control; no gradient flows into it.
    kl: float[], the batch's mean KL, nats per sentence.
    target: float[], the rate to be held, nats per sentence.

  Returns:
    float[], the factor of the loss's own KL term; and float[], nats per
    sentence to be added to the loss.
  """
  one, zero = jnp.float32(1), jnp.float32(0)
  if kind == 'lagrangian':
    return one, state['multiplier'] * (target - kl)
  if kind == 'soft_free_bits':
    return state['weight'], zero
  return one, zero


def update(
  kind: str,
  state: Any,
  kl: jax.Array,
  target: jax.typing.ArrayLike,
  speed: jax.typing.ArrayLike,
) -> Any:
  """The state after a batch whose mean KL was `kl`.

    lagrangian: minimum desired rate (Pelsmaeker & Aziz, arXiv:1904.08194). The
      KL is to be at least the target; the multiplier of that constraint, never
      negative, climbs by RMSprop with rate `speed`. Theirs has no upper bound;
      see `bounded`.
    soft_free_bits: Chen et al., arXiv:1611.02731. The KL term's weight, at most
      1, shrinks by the share `speed` in an update while the KL is below the
      target, and grows by it while the KL is 5% above.

  Args:
    kind: one of KINDS.
    state: before.
    kl: float[], nats per sentence.
    target: float[], nats per sentence.
    speed: float[].
  """
  if kind == 'lagrangian':
    missing = target - kl
    square = state['square'] * _SQUARE_DECAY
    square = square + (1 - _SQUARE_DECAY) * jnp.square(missing)
    climb = speed * missing * jax.lax.rsqrt(square + 1e-8)
    multiplier = jnp.maximum(state['multiplier'] + climb, 0.0)
    return {'multiplier': multiplier, 'square': square}
  if kind == 'soft_free_bits':
    factor = jnp.where(
      kl < target,
      1.0 - speed,
      jnp.where(kl > (1 + _TOLERANCE) * target, 1.0 + speed, 1.0),
    )
    weight = jnp.clip(state['weight'] * factor, _SMALLEST_WEIGHT, 1.0)
    return {'weight': weight}
  return state
