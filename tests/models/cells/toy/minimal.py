"""A cell in one file, without a hand-derived rule: all that a new one needs."""

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.cells import base


@schema.fragment(
  'model.minimal', only_if=schema.one_of('model.cell', 'minimal')
)
class Config:
  """Keys of the minimal gated unit."""

  gate_bias: float = schema.field(1.0, 'Initial bias of the gate.', low=0)


class Minimal(base.Cell):
  """The minimal gated unit (Zhou et al., arXiv:1603.09420).

  z = sigmoid(W_z x + b_z + U_z h)
  n = tanh(W_n x + b_n + U_n (z * h))
  h = (1 - z) * h + z * n
  """

  gate_bias: float = 0.0

  CONFIG = Config
  num_gates = 2
  num_states = 1

  def __call__(self, carry, gates, mask=None):
    (h,) = carry
    size = self.features
    z = jax.nn.sigmoid(gates[:, :size] + self.product(h, mask, slice(size)))
    product = self.product(z * h, mask, slice(size, None))
    n = jnp.tanh(gates[:, size:] + product)
    return (h + z * (n - h),)

  def bias_init(self, key, shape, dtype=jnp.float32):
    del key
    z, n = jnp.split(jnp.zeros(shape, dtype), 2)
    return jnp.concatenate([z + self.gate_bias, n])


CELL = Minimal
