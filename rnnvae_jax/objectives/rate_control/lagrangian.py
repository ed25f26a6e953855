"""Minimum desired rate (Pelsmaeker & Aziz, arXiv:1904.08194).

The KL is to be at least the target; the multiplier of that constraint, never
negative, climbs by RMSprop. Theirs has no upper bound. Here the loss reads at
most the KL term's weight of the same step: where the distortion falls with the
rate, as it does at any optimum, the multiplier that holds a target is below
that, and above it the loss would pay for KL without end, and training diverge
before the multiplier has fallen again.

What is stored is bounded by the largest weight so far, not by that of the step.
A cyclical schedule sets the weight back to its start, often 0, and the
multiplier that the last cycle found has to outlive that. Under a weight that
never falls the two bounds are the same.
"""

import jax
import jax.numpy as jnp

from rnnvae_jax.objectives.rate_control import base

_SQUARE_DECAY = 0.99  # Of the mean square that RMSprop divides by.


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
