"""Minimum desired rate (Pelsmaeker & Aziz, arXiv:1904.08194).

The constraint is that the KL is at least the target. Its multiplier, which is
never negative, is adapted by RMSprop. In the paper it has no upper bound. Here
the loss uses at most the weight of the KL term at the same step. At an optimum
the distortion falls with the rate, so the multiplier that holds the target is
below that weight. With a larger multiplier the loss would fall without bound as
the KL grows, and training would diverge before the multiplier falls again.

The stored multiplier is bounded by the largest weight so far, not by the
current one: a cyclical schedule resets the weight to its start, often 0, and
the multiplier of the last cycle must survive that. For a weight that never
falls both bounds are the same.
"""

import jax
import jax.numpy as jnp

from rnnvae_jax.objectives.rate_control import base

_SQUARE_DECAY = 0.99  # Decay of RMSprop's running mean of squares.


def _initial():
  return {
    'multiplier': jnp.float32(0),
    'square': jnp.float32(0),
    'largest_weight': jnp.float32(0),
  }


def _bounded(state, weight):
  largest = jnp.maximum(state['largest_weight'], weight)
  multiplier = jnp.minimum(state['multiplier'], largest)
  return state | {'multiplier': multiplier, 'largest_weight': largest}


def _penalty(state, kl, target, weight, scalars):
  del scalars
  multiplier = jnp.minimum(state['multiplier'], weight)
  return jnp.float32(1), multiplier * (target - kl)


def _kl_weight(state, weight):
  return weight - jnp.minimum(state['multiplier'], weight)


def _update(state, kl, target, speed, scalars):
  del scalars
  missing = target - kl
  square = state['square'] * _SQUARE_DECAY
  square = square + (1 - _SQUARE_DECAY) * jnp.square(missing)
  climb = speed * missing * jax.lax.rsqrt(square + 1e-8)
  multiplier = jnp.maximum(state['multiplier'] + climb, 0.0)
  return state | {'multiplier': multiplier, 'square': square}


CONTROL = base.Control(_initial, _penalty, _kl_weight, _update, _bounded)
