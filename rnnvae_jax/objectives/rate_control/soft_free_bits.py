"""Soft free bits (Chen et al., arXiv:1611.02731).

The KL term's weight gets a factor, at most 1, that shrinks by the share `speed`
in an update while the KL is below the target, and grows by it while the KL is
5% above.
"""

import jax.numpy as jnp

from rnnvae_jax.objectives.rate_control import base

# How far above the target the KL may go before its weight grows.
_TOLERANCE = 0.05
_SMALLEST_WEIGHT = 1e-3  # From 0 no factor leads back.


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
