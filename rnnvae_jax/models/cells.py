"""Recurrent cells: one time step, input product taken out of the loop.

A cell receives the gates' input contributions `x @ W + b` already computed for
all time steps (one matrix product before the loop instead of T inside it) and
adds the recurrent part. `num_gates` says how many blocks of H it wants. A mask
float[B, H] multiplies what the recurrent products read of the state (dropout on
states), and nothing else.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.ops import products, rules

Carry = rules.State  # float[B, H] each; the output is the first.
ACTIVATIONS = rules.ACTIVATIONS


class Elman(nn.Module):
  """h = f(W x + b + U h) (Elman 1990), f one of `ACTIVATIONS`."""

  features: int
  activation: str = 'tanh'
  precision: str = 'float32'  # See `products.PRECISIONS`.

  num_gates = 1
  num_states = 1

  def setup(self):
    self.weights = {'recurrent_kernel': _recurrent(self)}

  def __call__(
    self, carry: Carry, gates: jax.Array, mask: jax.Array | None = None
  ) -> Carry:
    """carry (h,), gates float[B, H] -> (h,)."""
    (h,) = carry
    product = _product(self, h, mask)
    return (ACTIVATIONS[self.activation](gates + product),)

  @property
  def spec(self) -> rules.Cell:
    return rules.Cell('elman', activation=self.activation)


class GRU(nn.Module):
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

  features: int
  reset_after: bool = True
  precision: str = 'float32'  # See `products.PRECISIONS`.

  num_gates = 3
  num_states = 1

  def setup(self):
    weights = {'recurrent_kernel': _recurrent(self)}
    if self.reset_after:
      zeros = nn.initializers.zeros_init()
      shape = (self.features,)
      weights['recurrent_bias'] = self.param('recurrent_bias', zeros, shape)
    self.weights = weights

  def __call__(
    self, carry: Carry, gates: jax.Array, mask: jax.Array | None = None
  ) -> Carry:
    """carry (h,), gates float[B, 3 H] in the order r, z, n -> (h,)."""
    (h,) = carry
    rz_columns, n_columns = (
      slice(2 * self.features),
      slice(2 * self.features, None),
    )
    x_rz, x_n = gates[:, rz_columns], gates[:, n_columns]
    if self.reset_after:
      product = _product(self, h, mask)
      rz = jax.nn.sigmoid(x_rz + product[:, rz_columns])
      r, z = jnp.split(rz, 2, axis=-1)
      bias = self.weights['recurrent_bias'][None, :]
      n = jnp.tanh(x_n + r * (product[:, n_columns] + bias))
    else:
      rz = jax.nn.sigmoid(x_rz + _product(self, h, mask, rz_columns))
      r, z = jnp.split(rz, 2, axis=-1)
      n = jnp.tanh(x_n + _product(self, r * h, mask, n_columns))
    return (n + z * (h - n),)

  @property
  def spec(self) -> rules.Cell:
    return rules.Cell('gru', reset_after=self.reset_after)


class LSTM(nn.Module):
  """Long short-term memory (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    i = sigmoid(W_i x + b_i + U_i h + p_i * c)
    f = sigmoid(W_f x + b_f + U_f h + p_f * c)
    g = tanh(W_g x + b_g + U_g h)
    c = f * c + i * g, clipped to [-cell_clip, cell_clip]
    o = sigmoid(W_o x + b_o + U_o h + p_o * c)   looks at the new c
    h = o * tanh(c)

  The peepholes p are those of Greff et al., arXiv:1503.04069; without them p
  is 0. The carry is (h, c).
  """

  features: int
  peepholes: bool = False
  cell_clip: float = 0.0  # 0: not clipped.
  precision: str = 'float32'  # See `products.PRECISIONS`.

  num_gates = 4
  num_states = 2

  def setup(self):
    weights = {'recurrent_kernel': _recurrent(self)}
    if self.peepholes:
      zeros = nn.initializers.zeros_init()
      shape = (3, self.features)
      weights['peepholes'] = self.param('peepholes', zeros, shape)
    self.weights = weights

  def __call__(
    self, carry: Carry, gates: jax.Array, mask: jax.Array | None = None
  ) -> Carry:
    """carry (h, c), gates float[B, 4 H] in the order i, f, g, o -> (h, c)."""
    h, c = carry
    return self._update(c, gates + _product(self, h, mask))

  def _update(self, c: jax.Array, gates: jax.Array) -> Carry:
    """The states from the cell state before and the gates, products added."""
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
  def spec(self) -> rules.Cell:
    return rules.Cell(
      'lstm', peepholes=self.peepholes, cell_clip=self.cell_clip
    )


class MultiplicativeLSTM(LSTM):
  """An LSTM whose recurrent products read, instead of h,

    m = (W_m x + b_m) * (U_m h)

  so that the input chooses the transition (Krause et al., arXiv:1609.07959, as
  in Radford et al., arXiv:1704.01444, b_m apart). The recurrent products are
  two in sequence; a mask of the state multiplies h and m.
  """

  num_gates = 5

  def __call__(
    self, carry: Carry, gates: jax.Array, mask: jax.Array | None = None
  ) -> Carry:
    """carry (h, c), gates float[B, 5 H] in the order m, i, f, g, o."""
    size = self.features
    product = _product(self, carry[0], mask, slice(size))
    read = gates[:, :size] * product
    inner = gates[:, size:] + _product(self, read, mask, slice(size, None))
    return self._update(carry[1], inner)

  @property
  def spec(self) -> rules.Cell:
    return super().spec._replace(kind='mlstm')


Cell = Elman | GRU | LSTM


def _recurrent(cell: Cell) -> jax.Array:
  """The recurrent kernel float[H, G H], an orthogonal block a gate."""
  size = cell.features

  def init(key, shape, dtype=jnp.float32):
    blocks = jax.random.split(key, shape[1] // size)
    orthogonal = nn.initializers.orthogonal()
    return jnp.concatenate(
      [orthogonal(block, (size, size), dtype) for block in blocks], axis=1
    )

  return cell.param('recurrent_kernel', init, (size, cell.num_gates * size))


def _product(cell: Cell, x: jax.Array, mask, columns: slice = slice(None)):
  """x float[B, H], masked, times these columns of the recurrent kernel."""
  kernel = cell.weights['recurrent_kernel'][:, columns]
  if mask is not None:
    x = x * mask
  return products.dot(x, kernel, cell.precision)
