"""The multiplicative LSTM (Krause et al., arXiv:1609.07959)."""

import functools

import jax

from rnnvae_jax.models.cells import base, lstm
from rnnvae_jax.ops import products, rules


class MultiplicativeLSTM(lstm.LSTM):
  """An LSTM whose recurrent products read, instead of h,

    m = (W_m x + b_m) * (U_m h)

  so that the input chooses the transition (as in Radford et al.,
  arXiv:1704.01444, which has no b_m). A step has two recurrent products in
  sequence; a dropout mask of states multiplies h and m.
  """

  num_gates = 5

  def __call__(
    self,
    carry: base.Carry,
    gates: jax.Array,
    mask: jax.Array | None = None,
  ) -> base.Carry:
    """carry (h, c), gates float[B, 5 H] in the order m, i, f, g, o."""
    size = self.features
    product = self.product(carry[0], mask, slice(size))
    read = gates[:, :size] * product
    inner = gates[:, size:] + self.product(read, mask, slice(size, None))
    return self.update(carry[1], inner)

  @property
  def spec(self) -> rules.Spec:
    return rules.Spec('mlstm', rule(self.peepholes, self.cell_clip))


CELL = MultiplicativeLSTM


@functools.cache
def rule(peepholes: bool, cell_clip: float) -> rules.Rule:
  """The LSTM's rule, whose products read m = x_m * (h U_m) instead of h."""
  inner = lstm.rule(peepholes, cell_clip)
  (lstm_phase,) = inner.phases
  num_inner = lstm_phase.num_activations

  def forward_m(weights, gates, products, state, active):
    del weights, state, active
    (x,), (u,) = gates, products
    return x * u, (x, u)

  def forward(weights, gates, products, state, active):
    del active
    return lstm_phase.forward(weights, gates, products, state, ())

  def coefficients(weights, activations, before, after, mask):
    x, u, *inner_activations = rules.split(activations, 2 + num_inner)
    joined = rules.join(*inner_activations)
    found = inner.coefficients(weights, joined, before, after, mask)
    return found | {'x': x, 'u': u}

  def backward_m(now, d_state, handed_back):
    del d_state
    return (handed_back[0] * now['x'],)

  def before_step(now, d_state, handed_back):
    return inner.before(now, d_state, handed_back[1:])

  def finish(precision, weights, coefficients, d_states, before, after):
    x, u = coefficients['x'], coefficients['u']
    d_gates, grads = inner.finish(
      precision, weights, coefficients, d_states, (x * u, *before[1:]), after
    )
    d_m = products.dot(d_gates, rules.rows(weights, gates_phase), precision)
    d_m = rules.masked(weights, d_m)
    read = rules.masked(weights, before[0])
    kernel = rules.join(
      products.outer(read, d_m * x, precision), grads['recurrent_kernel']
    )
    return rules.join(d_m * u, d_gates), grads | {'recurrent_kernel': kernel}

  m_phase = rules.Phase((0, 1), 2, forward_m, backward_m)
  first, stop = lstm_phase.gates
  gates_phase = rules.Phase(
    (first + 1, stop + 1), num_inner, forward, lstm_phase.backward
  )
  return rules.Rule(
    (m_phase, gates_phase), coefficients, before_step, finish, inner.vectors
  )
