"""Long short-term memory (Hochreiter & Schmidhuber 1997; Gers et al. 2000)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import products, rules


@schema.fragment(
  'model.lstm', only_if=schema.one_of('model.cell', 'lstm', 'mlstm')
)
class Config:
  """Keys of the LSTM and of the multiplicative LSTM."""

  peepholes: bool = schema.field(False, 'The gates read the cell state.')
  forget_bias: float = schema.field(
    1.0, 'Initial bias of the forget gate, so that a new LSTM remembers.'
  )
  cell_clip: float = schema.field(
    0.0,
    'The cell state is clipped to [-cell_clip, cell_clip]; 0: not at all.',
    low=0,
  )


class LSTM(base.Cell):
  """Long short-term memory.

    i = sigmoid(W_i x + b_i + U_i h + p_i * c)
    f = sigmoid(W_f x + b_f + U_f h + p_f * c)
    g = tanh(W_g x + b_g + U_g h)
    c = f * c + i * g, clipped to [-cell_clip, cell_clip]
    o = sigmoid(W_o x + b_o + U_o h + p_o * c)   reads the new c
    h = o * tanh(c)

  The peepholes p are those of Greff et al., arXiv:1503.04069; without them p
  is 0. The carry is (h, c).
  """

  peepholes: bool = False
  forget_bias: float = 0.0
  cell_clip: float = 0.0  # 0: not clipped.

  CONFIG = Config
  num_gates = 4
  num_states = 2

  def setup(self):
    weights = {'recurrent_kernel': self.make_kernel()}
    if self.peepholes:
      zeros = nn.initializers.zeros_init()
      shape = (3, self.features)
      weights['peepholes'] = self.param('peepholes', zeros, shape)
    self.weights = weights

  def __call__(
    self,
    carry: base.Carry,
    gates: jax.Array,
    mask: jax.Array | None = None,
  ) -> base.Carry:
    """carry (h, c), gates float[B, 4 H] in the order i, f, g, o -> (h, c)."""
    h, c = carry
    return self.update(c, gates + self.product(h, mask))

  @nn.nowrap
  def update(self, c: jax.Array, gates: jax.Array) -> base.Carry:
    """The new states from the old c and the gates, products included.

    Args:
      c: float[B, H].
      gates: float[B, 4 H] in the order i, f, g, o.
    """
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    if self.peepholes:
      p_i, p_f, p_o = self.weights['peepholes'][:, None]
      i, f = i + p_i * c, f + p_f * c
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    if self.cell_clip:
      c = jnp.clip(c, -self.cell_clip, self.cell_clip)
    if self.peepholes:
      o = o + p_o * c
    return jax.nn.sigmoid(o) * jnp.tanh(c), c

  @property
  def spec(self) -> rules.Spec:
    is_plain = not self.peepholes and not self.cell_clip
    return rules.Spec(
      'lstm',
      rule(self.peepholes, self.cell_clip),
      kernel='lstm' if is_plain else '',
    )

  @nn.nowrap
  def bias_init(self, key, shape, dtype=jnp.float32) -> jax.Array:
    """Zeros, except `forget_bias` for the forget gate."""
    del key
    gates = jnp.split(jnp.zeros(shape, dtype), self.num_gates)
    *others, f, g, o = gates
    return jnp.concatenate([*others, f + self.forget_bias, g, o])


CELL = LSTM


@functools.cache
def rule(peepholes: bool, cell_clip: float) -> rules.Rule:
  """The hand-derived rule, with states (h, c)."""

  def forward(weights, gates, products, state, active):
    del active
    i, f, g, o = (x + u for x, u in zip(gates, products, strict=True))
    _, c = state
    if peepholes:
      p_i, p_f, p_o = (rules.aligned(p, c) for p in weights['peepholes'])
      i, f = i + p_i * c, f + p_f * c
    i, f, g = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g)
    c = f * c + i * g
    if cell_clip:
      c = jnp.clip(c, -cell_clip, cell_clip)
    if peepholes:
      o = o + p_o * c
    o = jax.nn.sigmoid(o)
    return (o * jnp.tanh(c), c), (i, f, g, o)

  def coefficients(weights, activations, before, after, mask):
    i, f, g, o = rules.split(activations, 4)
    c_before, c = before[1], after[1]
    slope_i, slope_f = i * (1.0 - i) * g, f * (1.0 - f) * c_before
    slope_g = i * (1.0 - g * g)
    keep = f
    squashed = jnp.tanh(c)
    to_o = squashed * o * (1.0 - o) * mask
    h_to_c = o * (1.0 - squashed * squashed) * mask
    if peepholes:
      p_i, p_f, p_o = (rules.aligned(p, c) for p in weights['peepholes'])
      keep = f + p_i * slope_i + p_f * slope_f
      h_to_c = h_to_c + p_o * to_o
    through = mask
    if cell_clip:
      through = mask * (jnp.abs(c) < cell_clip)
    return {
      'from_c': tuple(x * through for x in (slope_i, slope_f, slope_g)),
      'to_o': to_o,
      'h_to_c': h_to_c,
      'keep': keep * through + (1.0 - mask),
      'mask': mask,
    }

  def cell_gradient(now, d_state):
    """The gradient of c: the direct one, and the one through h."""
    return d_state[1] + d_state[0] * now['h_to_c']

  def backward(now, d_state, handed_back):
    del handed_back
    d_c = cell_gradient(now, d_state)
    return *(d_c * slope for slope in now['from_c']), d_state[0] * now['to_o']

  def before_step(now, d_state, handed_back):
    d_h = d_state[0] * (1.0 - now['mask']) + handed_back[0]
    return d_h, cell_gradient(now, d_state) * now['keep']

  def finish(precision, weights, coefficients, d_states, before, after):
    d_i, d_f, d_g, d_o = backward(coefficients, d_states, ())
    d_gates = rules.join(d_i, d_f, d_g, d_o)
    read = rules.masked(weights, before[0])
    grads = {'recurrent_kernel': products.outer(read, d_gates, precision)}
    if peepholes:
      d_peepholes = d_i * before[1], d_f * before[1], d_o * after[1]
      grads['peepholes'] = jnp.sum(jnp.stack(d_peepholes), axis=(1, 2))
    return d_gates, grads

  phase = rules.Phase((0, 4), 4, forward, backward)
  vectors = ('peepholes',) if peepholes else ()
  return rules.Rule((phase,), coefficients, before_step, finish, vectors)
