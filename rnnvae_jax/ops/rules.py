"""The cells as steps: recurrent products and pointwise parts, both ways.

What `models.cells` says as modules, and the gradients of that by hand: what
`ops.recurrence` runs over time, and `ops.recurrence_pallas` on tiles.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax.ops import products

State = tuple[jax.Array, ...]  # float[B, H] each; the output is the first.
Weights = dict[str, jax.Array]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'tanh': jnp.tanh,
  'relu': jax.nn.relu,
  'sigmoid': jax.nn.sigmoid,
}
# Their derivatives as functions of their values.
_SLOPES: dict[str, Callable[[jax.Array], jax.Array]] = {
  'tanh': lambda h: 1.0 - h * h,
  'relu': lambda h: (h > 0.0).astype(h.dtype),
  'sigmoid': lambda h: h * (1.0 - h),
}


class Cell(NamedTuple):
  """Which cell, and its static options; see `models.cells` for equations."""

  kind: str  # 'elman', 'gru', 'lstm' or 'mlstm'.
  activation: str = 'tanh'  # Of the Elman cell.
  reset_after: bool = True  # Of the GRU.
  peepholes: bool = False  # Of the LSTM.
  cell_clip: float = 0.0  # Of the LSTM; 0: not clipped.


class Phase(NamedTuple):
  """One recurrent product of a step, and the pointwise part that follows it.

  Every array is of one gate or state, so that a kernel can call these on tiles.

  Attributes:
    gates: the first, and the one after the last, of the gates it computes.
    num_activations: how many it adds to those that are kept for the gradient.
    forward: (weights, gates, products, state, activations so far) -> what the
      next phase multiplies, of the last one the new state; more activations.
    backward: (coefficients, gradients of the states, what the phases after
      this one hand back) -> gradients of this one's products.
  """

  gates: tuple[int, int]
  num_activations: int
  forward: Callable
  backward: Callable


class Rule(NamedTuple):
  """A cell as pure functions; G H are its gates' columns.

  Attributes:
    phases: of a step, forward.
    coefficients: (weights, activations, before, after, mask[T, B, 1]) -> what
      the backward loop reads, a tree of [T, B, H] and of the mask.
    before: (coefficients, gradients of the states after a step, what its
      phases hand back, the last one first) -> gradients of those before it.
    finish: (precision, weights, coefficients, gradients of all states, before,
      after) -> gradients of the gates [T, B, G H] and of the weights.
  """

  phases: tuple[Phase, ...]
  coefficients: Callable
  before: Callable
  finish: Callable


def rule_of(cell: Cell) -> Rule:
  """The equations of a cell."""
  if cell.kind == 'elman':
    return _elman(cell)
  if cell.kind == 'lstm':
    return _lstm(cell)
  if cell.kind == 'mlstm':
    return _multiplicative(_lstm(cell))
  return _gru_after() if cell.reset_after else _gru_before()


def _elman(cell: Cell) -> Rule:
  """h = f(gates + h U): nothing to keep but h itself."""

  def forward(weights, gates, products, state, active):
    del weights, state, active
    (x,), (u,) = gates, products
    return (ACTIVATIONS[cell.activation](x + u),), ()

  def coefficients(weights, activations, before, after, mask):
    del weights, activations, before
    return {'slope': _SLOPES[cell.activation](after[0]) * mask, 'mask': mask}

  def backward(now, d_state, handed_back):
    del handed_back
    return (d_state[0] * now['slope'],)

  def before_step(now, d_state, handed_back):
    return (d_state[0] * (1.0 - now['mask']) + handed_back[0],)

  def finish(precision, weights, coefficients, d_states, before, after):
    del after
    (d_gates,) = backward(coefficients, d_states, ())
    read = masked(weights, before[0])
    return d_gates, {
      'recurrent_kernel': products.outer(read, d_gates, precision)
    }

  phase = Phase((0, 1), 0, forward, backward)
  return Rule((phase,), coefficients, before_step, finish)


def _gru_after() -> Rule:
  """The reset gate scales the recurrent product: one product a step."""

  def forward(weights, gates, products, state, active):
    del active
    (x_r, x_z, x_n), (u_r, u_z, u_n), (h,) = gates, products, state
    r, z = jax.nn.sigmoid(x_r + u_r), jax.nn.sigmoid(x_z + u_z)
    m = u_n + aligned(weights['recurrent_bias'], u_n)
    n = jnp.tanh(x_n + r * m)
    return (n + z * (h - n),), (r, z, n, m)

  def coefficients(weights, activations, before, after, mask):
    del weights, after
    r, z, n, m = split(activations, 4)
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
    d_product = join(d_r, d_z, d_m)
    read = masked(weights, before[0])
    return join(d_r, d_z, d_states[0] * coefficients['to_n']), {
      'recurrent_kernel': products.outer(read, d_product, precision),
      'recurrent_bias': jnp.sum(d_m, axis=(0, 1)),
    }

  phase = Phase((0, 3), 4, forward, backward)
  return Rule((phase,), coefficients, before_step, finish)


def _gru_before() -> Rule:
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
    r, z, n = split(activations, 3)
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
    d_reset = products.dot(d_n, rows(weights, of_n), precision)
    d_reset = masked(weights, d_reset)
    d_rz = join(*backward_rz(coefficients, d_states, (d_reset,)))
    read = masked(weights, before[0])
    kernel = join(
      products.outer(read, d_rz, precision),
      products.outer(coefficients['r'] * read, d_n, precision),
    )
    return join(d_rz, d_n), {'recurrent_kernel': kernel}

  of_rz = Phase((0, 2), 2, forward_rz, backward_rz)
  of_n = Phase((2, 3), 1, forward_n, backward_n)
  return Rule((of_rz, of_n), coefficients, before_step, finish)


def _lstm(cell: Cell) -> Rule:
  """States (h, c); the gradient of h reaches c through the output gate."""

  def forward(weights, gates, products, state, active):
    del active
    i, f, g, o = (x + u for x, u in zip(gates, products, strict=True))
    _, c = state
    if cell.peepholes:
      p_i, p_f, p_o = (aligned(p, c) for p in weights['peepholes'])
      i, f = i + p_i * c, f + p_f * c
    i, f, g = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g)
    c = f * c + i * g
    if cell.cell_clip:
      c = jnp.clip(c, -cell.cell_clip, cell.cell_clip)
    if cell.peepholes:
      o = o + p_o * c
    o = jax.nn.sigmoid(o)
    return (o * jnp.tanh(c), c), (i, f, g, o)

  def coefficients(weights, activations, before, after, mask):
    i, f, g, o = split(activations, 4)
    c_before, c = before[1], after[1]
    slope_i, slope_f = i * (1.0 - i) * g, f * (1.0 - f) * c_before
    slope_g = i * (1.0 - g * g)
    keep = f
    squashed = jnp.tanh(c)
    to_o = squashed * o * (1.0 - o) * mask
    h_to_c = o * (1.0 - squashed * squashed) * mask
    if cell.peepholes:
      p_i, p_f, p_o = (aligned(p, c) for p in weights['peepholes'])
      keep = f + p_i * slope_i + p_f * slope_f
      h_to_c = h_to_c + p_o * to_o
    through = mask
    if cell.cell_clip:
      through = mask * (jnp.abs(c) < cell.cell_clip)
    return {
      'from_c': tuple(x * through for x in (slope_i, slope_f, slope_g)),
      'to_o': to_o,
      'h_to_c': h_to_c,
      'keep': keep * through + (1.0 - mask),
      'mask': mask,
    }

  def of_cell(now, d_state):
    """Gradient of c through both of its ways."""
    return d_state[1] + d_state[0] * now['h_to_c']

  def backward(now, d_state, handed_back):
    del handed_back
    d_c = of_cell(now, d_state)
    return *(d_c * slope for slope in now['from_c']), d_state[0] * now['to_o']

  def before_step(now, d_state, handed_back):
    d_h = d_state[0] * (1.0 - now['mask']) + handed_back[0]
    return d_h, of_cell(now, d_state) * now['keep']

  def finish(precision, weights, coefficients, d_states, before, after):
    d_i, d_f, d_g, d_o = backward(coefficients, d_states, ())
    d_gates = join(d_i, d_f, d_g, d_o)
    read = masked(weights, before[0])
    grads = {'recurrent_kernel': products.outer(read, d_gates, precision)}
    if cell.peepholes:
      looked_at = d_i * before[1], d_f * before[1], d_o * after[1]
      grads['peepholes'] = jnp.sum(jnp.stack(looked_at), axis=(1, 2))
    return d_gates, grads

  phase = Phase((0, 4), 4, forward, backward)
  return Rule((phase,), coefficients, before_step, finish)


def _multiplicative(inner: Rule) -> Rule:
  """A rule whose products read m = x_m * (h U_m) in the place of h."""
  (of_inner,) = inner.phases
  num_inner = of_inner.num_activations

  def forward_m(weights, gates, products, state, active):
    del weights, state, active
    (x,), (u,) = gates, products
    return x * u, (x, u)

  def forward(weights, gates, products, state, active):
    del active
    return of_inner.forward(weights, gates, products, state, ())

  def coefficients(weights, activations, before, after, mask):
    x, u, *others = split(activations, 2 + num_inner)
    of_others = inner.coefficients(weights, join(*others), before, after, mask)
    return of_others | {'x': x, 'u': u}

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
    d_m = products.dot(d_gates, rows(weights, of_gates), precision)
    d_m = masked(weights, d_m)
    of_m = products.outer(masked(weights, before[0]), d_m * x, precision)
    kernel = join(of_m, grads['recurrent_kernel'])
    return join(d_m * u, d_gates), grads | {'recurrent_kernel': kernel}

  of_m = Phase((0, 1), 2, forward_m, backward_m)
  first, stop = of_inner.gates
  of_gates = Phase((first + 1, stop + 1), num_inner, forward, of_inner.backward)
  return Rule((of_m, of_gates), coefficients, before_step, finish)


def aligned(weights: jax.Array, x: jax.Array) -> jax.Array:
  """float[..., H], given the axes before them that `x` has and they lack."""
  return jnp.expand_dims(weights, tuple(range(x.ndim - weights.ndim)))


def split(x: jax.Array, count: int) -> list[jax.Array]:
  """float[..., N H] -> N of float[..., H]: gates, products or activations."""
  return jnp.split(x, count, axis=-1)


def join(*parts: jax.Array) -> jax.Array:
  """The way back."""
  return jnp.concatenate(parts, axis=-1)


def masked(weights: Weights, state: jax.Array) -> jax.Array:
  """What a recurrent product reads of float[..., B, H]."""
  mask = weights['state_mask']
  if mask is None:
    return state
  return state * jnp.expand_dims(mask, tuple(range(state.ndim - 2)))


def columns(weights: Weights, phase: Phase) -> jax.Array:
  """The part of the recurrent kernel that a phase multiplies with."""
  kernel = weights['recurrent_kernel']
  first, stop = phase.gates
  return kernel[:, first * kernel.shape[0] : stop * kernel.shape[0]]


def rows(weights: Weights, phase: Phase) -> jax.Array:
  """The same part of the transposed kernel, for the way back."""
  kernel = weights['recurrent_kernel_transposed']
  first, stop = phase.gates
  return kernel[first * kernel.shape[1] : stop * kernel.shape[1]]
