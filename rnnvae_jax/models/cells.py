"""Recurrent cells: one time step, input product taken out of the loop.

A cell receives the gates' input contributions `x @ W + b` already computed for
all time steps (one matrix product before the loop instead of T inside it) and
adds the recurrent part. `num_gates` says how many blocks of H it wants.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

Carry = tuple[jax.Array, ...]  # float[B, H] each; the output is the first.

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'tanh': jnp.tanh,
  'relu': jax.nn.relu,
  'sigmoid': jax.nn.sigmoid,
}


class Elman(nn.Module):
  """h = f(W x + b + U h) (Elman 1990), f one of `ACTIVATIONS`."""

  features: int
  activation: str = 'tanh'

  num_gates = 1
  num_states = 1

  @nn.compact
  def __call__(self, carry: Carry, gates: jax.Array) -> Carry:
    """carry (h,), gates float[B, H] -> (h,)."""
    (h,) = carry
    recurrent = _recurrent(self, self.features)
    return (ACTIVATIONS[self.activation](gates + h @ recurrent),)


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

  num_gates = 3
  num_states = 1

  @nn.compact
  def __call__(self, carry: Carry, gates: jax.Array) -> Carry:
    """carry (h,), gates float[B, 3 H] in the order r, z, n -> (h,)."""
    (h,) = carry
    size = self.features
    recurrent = _recurrent(self, 3 * size)
    x_rz, x_n = gates[:, : 2 * size], gates[:, 2 * size :]
    if self.reset_after:
      bias = self.param('recurrent_bias', nn.initializers.zeros_init(), (size,))
      product = h @ recurrent
      rz = jax.nn.sigmoid(x_rz + product[:, : 2 * size])
      r, z = jnp.split(rz, 2, axis=-1)
      n = jnp.tanh(x_n + r * (product[:, 2 * size :] + bias[None, :]))
    else:
      rz = jax.nn.sigmoid(x_rz + h @ recurrent[:, : 2 * size])
      r, z = jnp.split(rz, 2, axis=-1)
      n = jnp.tanh(x_n + (r * h) @ recurrent[:, 2 * size :])
    return (n + z * (h - n),)


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

  num_gates = 4
  num_states = 2

  @nn.compact
  def __call__(self, carry: Carry, gates: jax.Array) -> Carry:
    """carry (h, c), gates float[B, 4 H] in the order i, f, g, o -> (h, c)."""
    h, c = carry
    gates = gates + h @ _recurrent(self, 4 * self.features)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    if self.peepholes:
      init = nn.initializers.zeros_init()
      p_i, p_f, p_o = self.param('peepholes', init, (3, self.features))[:, None]
      i, f = i + p_i * c, f + p_f * c
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    if self.cell_clip:
      c = jnp.clip(c, -self.cell_clip, self.cell_clip)
    if self.peepholes:
      o = o + p_o * c
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _recurrent(cell: nn.Module, columns: int) -> jax.Array:
  """The recurrent kernel float[H, columns], an orthogonal block a gate."""
  size = cell.features

  def init(key, shape, dtype=jnp.float32):
    blocks = jax.random.split(key, shape[1] // size)
    orthogonal = nn.initializers.orthogonal()
    return jnp.concatenate(
      [orthogonal(block, (size, size), dtype) for block in blocks], axis=1
    )

  return cell.param('recurrent_kernel', init, (size, columns))
