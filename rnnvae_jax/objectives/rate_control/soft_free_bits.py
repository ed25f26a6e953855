"""Soft free bits (Chen et al., arXiv:1611.02731).

The KL term's weight is multiplied by a factor of at most 1. In each update the
factor shrinks by the share `speed` if the KL is below the target, and grows by
that share if the KL is more than 5% above the target.
"""

import jax.numpy as jnp

from rnnvae_jax.objectives.rate_control import base

# How far above the target the KL may go before its weight grows.
_TOLERANCE = 0.05
_SMALLEST_WEIGHT = 1e-3  # Above 0: a factor of 0 could not grow again.


def _update(state, kl, target, speed, scalars):
  del scalars
  factor = jnp.where(
    kl < target,
    1.0 - speed,
    jnp.where(kl > (1 + _TOLERANCE) * target, 1.0 + speed, 1.0),
  )
  weight = jnp.clip(state['weight'] * factor, _SMALLEST_WEIGHT, 1.0)
  return {'weight': weight}


CONTROL = base.Control(
  initial=lambda: {'weight': jnp.float32(1)},
  penalty=lambda state, *_: (state['weight'], jnp.float32(0)),
  kl_weight=lambda state, weight: weight * state['weight'],
  update=_update,
)
