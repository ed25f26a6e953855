"""The Elman cell: h = f(W x + b + U h) (Elman 1990)."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import products, rules

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'tanh': jnp.tanh,
  'relu': jax.nn.relu,
  'sigmoid': jax.nn.sigmoid,
}
# Derivatives of the activations as functions of their values.
_SLOPES: dict[str, Callable[[jax.Array], jax.Array]] = {
  'tanh': lambda h: 1.0 - h * h,
  'relu': lambda h: (h > 0.0).astype(h.dtype),
  'sigmoid': lambda h: h * (1.0 - h),
}


@schema.fragment('model.elman', only_if=schema.one_of('model.cell', 'elman'))
class Config:
  """Keys of the Elman cell."""

  activation: str = schema.field(
    'tanh', 'The function f of the Elman cell.', choices=tuple(ACTIVATIONS)
  )


class Elman(base.Cell):
  """h = f(W x + b + U h), f one of `ACTIVATIONS`."""

  activation: str = 'tanh'

  CONFIG = Config
  num_gates = 1
  num_states = 1

  def __call__(
    self,
    carry: base.Carry,
    gates: jax.Array,
    mask: jax.Array | None = None,
  ) -> base.Carry:
    """carry (h,), gates float[B, H] -> (h,)."""
    (h,) = carry
    product = self.product(h, mask)
    return (ACTIVATIONS[self.activation](gates + product),)

  @property
  def spec(self) -> rules.Spec:
    return rules.Spec('elman', rule(self.activation))


CELL = Elman


@functools.cache
def rule(activation: str) -> rules.Rule:
  """The hand-derived rule; it saves no activations except h itself."""

  def forward(weights, gates, products, state, active):
    del weights, state, active
    (x,), (u,) = gates, products
    return (ACTIVATIONS[activation](x + u),), ()

  def coefficients(weights, activations, before, after, mask):
    del weights, activations, before
    return {'slope': _SLOPES[activation](after[0]) * mask, 'mask': mask}

  def backward(now, d_state, handed_back):
    del handed_back
    return (d_state[0] * now['slope'],)

  def before_step(now, d_state, handed_back):
    return (d_state[0] * (1.0 - now['mask']) + handed_back[0],)

  def finish(precision, weights, coefficients, d_states, before, after):
    del after
    (d_gates,) = backward(coefficients, d_states, ())
    read = rules.masked(weights, before[0])
    return d_gates, {
      'recurrent_kernel': products.outer(read, d_gates, precision)
    }

  phase = rules.Phase((0, 1), 0, forward, backward)
  return rules.Rule((phase,), coefficients, before_step, finish)
