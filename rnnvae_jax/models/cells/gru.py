"""The gated recurrent unit, in both published forms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import products, rules


@schema.fragment('model.gru', only_if=schema.one_of('model.cell', 'gru'))
class Config:
  """Keys of the GRU."""

  reset_after: bool = schema.field(
    True,
    'Reset the recurrent product (as cuDNN) instead of the state (Cho et al. '
    '2014).',
  )


class GRU(base.Cell):
  """Gated recurrent unit, in both published forms.

    r = sigmoid(W_r x + b_r + U_r h)
    z = sigmoid(W_z x + b_z + U_z h)
    n = tanh(W_n x + b_n + r * (U_n h + c))     reset after, as cuDNN
    n = tanh(W_n x + b_n + U_n (r * h))         reset before
    h = (1 - z) * n + z * h

  Reset before is Cho et al., arXiv:1406.1078, equation 8; reset after is
  arXiv:1406.1078v1, which cuDNN and PyTorch compute: one recurrent product a
  step instead of two in sequence.
  """

  reset_after: bool = True

  CONFIG = Config
  num_gates = 3
  num_states = 1

  def setup(self):
    weights = {'recurrent_kernel': self.make_kernel()}
    if self.reset_after:
      zeros = nn.initializers.zeros_init()
      shape = (self.features,)
      weights['recurrent_bias'] = self.param('recurrent_bias', zeros, shape)
    self.weights = weights

  def __call__(
    self,
    carry: base.Carry,
    gates: jax.Array,
    mask: jax.Array | None = None,
  ) -> base.Carry:
    """carry (h,), gates float[B, 3 H] in the order r, z, n -> (h,)."""
    (h,) = carry
    rz_columns, n_columns = (
      slice(2 * self.features),
      slice(2 * self.features, None),
    )
    x_rz, x_n = gates[:, rz_columns], gates[:, n_columns]
    if self.reset_after:
      product = self.product(h, mask)
      rz = jax.nn.sigmoid(x_rz + product[:, rz_columns])
      r, z = jnp.split(rz, 2, axis=-1)
      bias = self.weights['recurrent_bias'][None, :]
      n = jnp.tanh(x_n + r * (product[:, n_columns] + bias))
    else:
      rz = jax.nn.sigmoid(x_rz + self.product(h, mask, rz_columns))
      r, z = jnp.split(rz, 2, axis=-1)
      n = jnp.tanh(x_n + self.product(r * h, mask, n_columns))
    return (n + z * (h - n),)

  @property
  def spec(self) -> rules.Spec:
    if self.reset_after:
      return rules.Spec('gru', rule_after(), kernel='gru')
    return rules.Spec('gru', rule_before())


CELL = GRU


@functools.cache
def rule_after() -> rules.Rule:
  """The reset gate scales the recurrent product: one product a step."""

  def forward(weights, gates, products, state, active):
    del active
    (x_r, x_z, x_n), (u_r, u_z, u_n), (h,) = gates, products, state
    r, z = jax.nn.sigmoid(x_r + u_r), jax.nn.sigmoid(x_z + u_z)
    m = u_n + rules.aligned(weights['recurrent_bias'], u_n)
    n = jnp.tanh(x_n + r * m)
    return (n + z * (h - n),), (r, z, n, m)

  def coefficients(weights, activations, before, after, mask):
    del weights, after
    r, z, n, m = rules.split(activations, 4)
    to_n = (1.0 - z) * (1.0 - n * n) * mask
    to_r = to_n * m * r * (1.0 - r)
    to_z = (before[0] - n) * z * (1.0 - z) * mask
    return {
      'products': (to_r, to_z, to_n * r),
      'keep': 1.0 - (1.0 - z) * mask,
      'to_n': to_n,
    }

  def backward(now, d_state, handed_back):
    del handed_back
    return tuple(d_state[0] * to_product for to_product in now['products'])

  def before_step(now, d_state, handed_back):
    return (d_state[0] * now['keep'] + handed_back[0],)

  def finish(precision, weights, coefficients, d_states, before, after):
    del after
    d_r, d_z, d_m = backward(coefficients, d_states, ())
    d_product = rules.join(d_r, d_z, d_m)
    read = rules.masked(weights, before[0])
    return rules.join(d_r, d_z, d_states[0] * coefficients['to_n']), {
      'recurrent_kernel': products.outer(read, d_product, precision),
      'recurrent_bias': jnp.sum(d_m, axis=(0, 1)),
    }

  phase = rules.Phase((0, 3), 4, forward, backward)
  return rules.Rule(
    (phase,), coefficients, before_step, finish, ('recurrent_bias',)
  )


@functools.cache
def rule_before() -> rules.Rule:
  """The reset gate scales the state: two products a step, in sequence."""

  def forward_rz(weights, gates, products, state, active):
    del weights, active
    (x_r, x_z), (u_r, u_z), (h,) = gates, products, state
    r, z = jax.nn.sigmoid(x_r + u_r), jax.nn.sigmoid(x_z + u_z)
    return r * h, (r, z)

  def forward_n(weights, gates, products, state, active):
    del weights
    (x_n,), (u_n,), (h,), (_, z) = gates, products, state, active
    n = jnp.tanh(x_n + u_n)
    return (n + z * (h - n),), (n,)

  def coefficients(weights, activations, before, after, mask):
    del weights, after
    r, z, n = rules.split(activations, 3)
    return {
      'to_n': (1.0 - z) * (1.0 - n * n) * mask,
      'to_r': before[0] * r * (1.0 - r),
      'to_z': (before[0] - n) * z * (1.0 - z) * mask,
      'keep': 1.0 - (1.0 - z) * mask,
      'r': r,
    }

  def backward_n(now, d_state, handed_back):
    del handed_back
    return (d_state[0] * now['to_n'],)

  def backward_rz(now, d_state, handed_back):
    (d_reset,) = handed_back  # Gradient of r * h.
    return d_reset * now['to_r'], d_state[0] * now['to_z']

  def before_step(now, d_state, handed_back):
    d_reset, d_h = handed_back
    return (d_state[0] * now['keep'] + d_reset * now['r'] + d_h,)

  def finish(precision, weights, coefficients, d_states, before, after):
    del after
    (d_n,) = backward_n(coefficients, d_states, ())
    d_reset = products.dot(d_n, rules.rows(weights, n_phase), precision)
    d_reset = rules.masked(weights, d_reset)
    d_rz = rules.join(*backward_rz(coefficients, d_states, (d_reset,)))
    read = rules.masked(weights, before[0])
    kernel = rules.join(
      products.outer(read, d_rz, precision),
      products.outer(coefficients['r'] * read, d_n, precision),
    )
    return rules.join(d_rz, d_n), {'recurrent_kernel': kernel}

  rz_phase = rules.Phase((0, 2), 2, forward_rz, backward_rz)
  n_phase = rules.Phase((2, 3), 1, forward_n, backward_n)
  return rules.Rule((rz_phase, n_phase), coefficients, before_step, finish)
