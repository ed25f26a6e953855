"""A recurrent layer, input product included, as one differentiable function.

What `models.cells` says step by step, arranged for speed:

- Time is cut into blocks. A block's input products are one matrix product; its
  steps hold one recurrent product and one pointwise part each.
- The backward loop computes no weight gradients. The gradient of a step is
  linear in the gradient of its state, with coefficients known for a whole
  block beforehand; the weights' gradients are one product a block after it.
- The loops stop after the last block with a real token, so one compiled
  program serves all lengths at the cost of the actual one.

Time-major throughout: T, B, features. Rows freeze where the mask is False.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax import errors
from rnnvae_jax.ops import members, products

BACKENDS = ('auto', 'scan', 'fused', 'pallas', 'cudnn')

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


class Options(NamedTuple):
  """How a layer runs; none changes what it computes, rounding apart."""

  reverse: bool = False  # From the last token to the first.
  precision: str = 'float32'  # See `products.PRECISIONS`.
  recompute: bool = False  # Activations again from the states, or keep them.
  block: int = 4  # Time steps a block; 0: all, loops of a known length.
  kernels: bool = False  # The loops as Pallas kernels for an NVIDIA GPU.
  interpret: bool = False  # Kernels interpreted, on any platform, for tests.


def choose(
  backend: str,
  cell: Cell,
  precision: str,
  platform: str,
  drops_states: bool = False,
) -> str:
  """The backend that runs a cell on a platform, 'auto' resolved.

  Args:
    backend: one of `BACKENDS`.
    cell: to be run.
    precision: one of `products.PRECISIONS`.
    platform: 'cpu', 'gpu' or 'tpu'.
    drops_states: whether the recurrent products read states through a mask.

  Returns:
    'scan', 'fused', 'pallas' or 'cudnn'.

  Raises:
    ValueError: the backend cannot run this cell here.
  """
  plain_lstm = cell.kind == 'lstm' and not cell.peepholes and not cell.cell_clip
  obstacles = {
    'auto': '',
    'scan': '',
    'fused': '',
    'pallas': 'its kernels need an NVIDIA GPU'
    if platform != 'gpu'
    else 'its kernels know no config.dropout.recurrent'
    if drops_states
    else '',
    'cudnn': 'it needs an NVIDIA GPU'
    if platform != 'gpu'
    else 'it knows LSTMs without peepholes and clipping only'
    if not plain_lstm
    else 'it computes in float32 or tf32 only'
    if precision == 'bfloat16'
    else 'it knows no config.dropout.recurrent'
    if drops_states
    else '',
  }
  if backend not in obstacles:
    raise ValueError(errors.unknown('config.model.backend', backend, obstacles))
  if obstacles[backend]:
    legal = ', '.join(name for name, why in obstacles.items() if not why)
    raise ValueError(
      f'config.model.backend = {backend!r} does not fit: '
      f'{obstacles[backend]}. Legal here: {legal}.'
    )
  if backend != 'auto':
    return backend
  return 'fused' if obstacles['cudnn'] else 'cudnn'


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


def run(
  cell: Cell,
  weights: Weights,
  x: jax.Array,
  mask: jax.Array,
  state: State,
  options: Options = Options(),  # noqa: B008  A constant.
  state_mask: jax.Array | None = None,
) -> tuple[State, jax.Array]:
  """One direction of one layer over all time steps.

  Args:
    cell: what to compute.
    weights: kernel float[F, G H], bias float[G H], or float[B, G H] of each
      row, recurrent_kernel float[H, G H], and of some cells recurrent_bias
      float[H] or peepholes float[3, H].
    x: float[T, B, F].
    mask: bool[T, B], True on real tokens, which come first in a row.
    state: float[B, H] each, before the first token.
    options: how.
    state_mask: float[B, H], times which the recurrent products read states, a
      constant.

  Raises:
    ValueError: a `state_mask` with `options.kernels`, which know none.

  Returns:
    The state after each row's last token (first, when reversed), and the
    outputs float[T, B, H], which mean nothing where the mask is False.
  """
  if options.kernels and state_mask is not None:
    raise ValueError(
      "config.model.backend = 'pallas' knows no config.dropout.recurrent."
    )
  length = x.shape[0]
  block = options.block or length
  if length % block:
    pad = lambda array: jnp.pad(
      array, [(0, -length % block)] + [(0, 0)] * (array.ndim - 1)
    )
    x, mask = pad(x), pad(mask)
  steps = num_steps(mask) if options.block else length
  options = options._replace(block=block)
  after, outputs = _run(
    cell, options, weights, state_mask, x, mask, state, steps
  )
  return after, outputs[:length]


def num_steps(mask: jax.Array) -> jax.Array:
  """Steps until no row has a real token: bool[T, B] -> int32[]."""
  return members.largest(jnp.max(jnp.sum(mask, axis=0, dtype=jnp.int32)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(cell, options, weights, state_mask, x, mask, state, steps):
  return _forward(cell, options, weights, state_mask, x, mask, state, steps)[0]


def _forward(cell, options, weights, state_mask, x, mask, state, steps):
  """((last states, outputs), what the backward pass needs)."""
  rule, precision = rule_of(cell), options.precision
  length, size, reverse = x.shape[0], options.block, options.reverse
  rounded = _rounded(weights, options) | {'state_mask': state_mask}
  loops = _loops(options)
  # states[t] is the state before token t, reversed after it; what the loop
  # never reaches holds the first state.
  states = jax.tree.map(
    lambda first: jnp.broadcast_to(first, (length + 1, *first.shape)), state
  )
  kept_steps = 0 if options.recompute else length

  def block(number, loop):
    state, states, activations = loop
    first, count = _extent(number, size, steps, reverse)
    state, now, active = loops.forward(
      cell,
      options,
      rounded,
      _gates(precision, rounded, _slice(x, first, size)),
      _slice(mask, first, size),
      state,
      count,
    )
    put = lambda all_, part: jax.lax.dynamic_update_slice_in_dim(
      all_, part, first + (not reverse), 0
    )
    states = jax.tree.map(put, states, now)
    if not options.recompute:
      activations = jax.lax.dynamic_update_slice_in_dim(
        activations, active, first, 0
      )
    return state, states, activations

  loop = state, states, _no_activations(rule, state, kept_steps)
  after, states, activations = _over_blocks(size, length, steps, block, loop)
  outputs = states[0][:-1] if reverse else states[0][1:]
  saved = weights, state_mask, x, mask, steps, states, activations
  return (after, outputs), saved


def _backward(cell, options, saved, cotangents):
  weights, state_mask, x, mask, steps, states, activations = saved
  d_after, d_outputs = cotangents
  rule, precision = rule_of(cell), options.precision
  size, reverse = options.block, options.reverse
  rounded = _rounded(weights, options)
  # The backward products' right operands, once and not at every step.
  rounded |= {
    f'{name}_transposed': products.transposed(rounded[name])
    for name in ('kernel', 'recurrent_kernel')
  }
  rounded['state_mask'] = state_mask
  loops = _loops(options)

  def block(number, loop):
    d_state, d_x, d_weights = loop
    first, count = _extent(number, size, steps, not reverse)
    part = functools.partial(_slice, first=first, size=size)
    x_now = part(x)
    before = jax.tree.map(lambda s: _slice(s, first + reverse, size), states)
    after = jax.tree.map(
      lambda s: _slice(s, first + (not reverse), size), states
    )
    if options.recompute:
      gates = _gates(precision, rounded, x_now)
      _, active = _step(rule, precision, rounded, gates, before)
    else:
      active = part(activations)
    valid = part(mask)[:, :, None].astype(x.dtype)
    coefficients = rule.coefficients(rounded, active, before, after, valid)
    d_state, d_states = loops.backward(
      cell, options, rounded, coefficients, part(d_outputs), d_state, count
    )
    d_gates, d_now = rule.finish(
      precision, rounded, coefficients, d_states, before, after
    )
    d_now['kernel'] = products.outer(x_now, d_gates, precision)
    shared = range(d_gates.ndim - weights['bias'].ndim)
    d_now['bias'] = jnp.sum(d_gates, axis=tuple(shared))
    d_weights = jax.tree.map(jnp.add, d_weights, d_now)
    d_x_now = products.dot(d_gates, rounded['kernel_transposed'], precision)
    d_x_now = d_x_now.astype(x.dtype)
    d_x = jax.lax.dynamic_update_slice_in_dim(d_x, d_x_now, first, 0)
    return d_state, d_x, d_weights

  loop = d_after, jnp.zeros_like(x), jax.tree.map(jnp.zeros_like, weights)
  d_state, d_x, d_weights = _over_blocks(size, x.shape[0], steps, block, loop)
  return d_weights, None, d_x, None, d_state, None


_run.defvjp(_forward, _backward)


class Loops(NamedTuple):
  """The part of a block that is sequential, in both directions.

  Attributes:
    forward: (cell, options, weights, gates[S, B, G H], mask[S, B], state,
      count) -> the state after the first `count` steps, all states
      [S, B, H], activations [S, B, A H]; rows of later steps are anything
      finite.
    backward: (cell, options, weights, coefficients, d_outputs[S, B, H],
      d_state, count) -> the gradient of the state before the block, and of
      all states, [S, B, H] each; 0 at later steps.
  """

  forward: Callable
  backward: Callable


def _loop_forward(cell, options, weights, gates, mask, state, count):
  rule, precision = rule_of(cell), options.precision

  def step(number, loop):
    state, states, activations = loop
    time = count - 1 - number if options.reverse else number
    new, active = _step(rule, precision, weights, gates[time], state)
    valid = mask[time][:, None]
    state = jax.tree.map(lambda a, b: jnp.where(valid, a, b), new, state)
    put = lambda all_, x: all_.at[time].set(x)
    return state, jax.tree.map(put, states, state), put(activations, active)

  spread = lambda x: jnp.broadcast_to(x, (gates.shape[0], *x.shape))
  activations = _no_activations(rule, state, gates.shape[0])
  loop = state, jax.tree.map(spread, state), activations
  return jax.lax.fori_loop(0, count, step, loop)


def _loop_backward(
  cell, options, weights, coefficients, d_outputs, d_state, count
):
  rule, precision = rule_of(cell), options.precision

  def step(number, loop):
    d_state, d_states = loop
    time = number if options.reverse else count - 1 - number
    d_state = (d_state[0] + d_outputs[time], *d_state[1:])
    put = lambda all_, d: all_.at[time].set(d)
    d_states = jax.tree.map(put, d_states, d_state)
    now = jax.tree.map(lambda c: c[time], coefficients)
    return _step_back(rule, precision, weights, now, d_state), d_states

  steps = d_outputs.shape[0]
  zeros = jax.tree.map(lambda d: jnp.zeros((steps, *d.shape)), d_state)
  return jax.lax.fori_loop(0, count, step, (d_state, zeros))


def _step(rule, precision, weights, gates, state):
  """The new state, and the activations [..., A H]."""
  follows = state[0]
  active: State = ()
  all_gates = _split(gates, rule.phases[-1].gates[1])
  for phase in rule.phases:
    product = products.dot(
      _masked(weights, follows), _columns(weights, phase), precision
    )
    follows, more = phase.forward(
      weights,
      all_gates[slice(*phase.gates)],
      _split(product, phase.gates[1] - phase.gates[0]),
      state,
      active,
    )
    active += more
  return follows, _join(*active) if active else state[0][..., :0]


def _step_back(rule, precision, weights, now, d_state):
  """The gradient of the state before a step from that of the one after it."""
  handed_back: State = ()
  for phase in reversed(rule.phases):
    d_product = _join(*phase.backward(now, d_state, handed_back))
    d_follows = products.dot(d_product, _rows(weights, phase), precision)
    handed_back += (_masked(weights, d_follows),)
  return rule.before(now, d_state, handed_back)


def _masked(weights, state):
  """What a recurrent product reads of float[..., B, H]."""
  mask = weights['state_mask']
  if mask is None:
    return state
  return state * jnp.expand_dims(mask, tuple(range(state.ndim - 2)))


def _columns(weights, phase):
  """The part of the recurrent kernel that a phase multiplies with."""
  kernel = weights['recurrent_kernel']
  first, stop = phase.gates
  return kernel[:, first * kernel.shape[0] : stop * kernel.shape[0]]


def _rows(weights, phase):
  """The same part of the transposed kernel, for the way back."""
  kernel = weights['recurrent_kernel_transposed']
  first, stop = phase.gates
  return kernel[first * kernel.shape[1] : stop * kernel.shape[1]]


def _no_activations(rule, state, steps):
  """Room for those of some steps."""
  rows, size = state[0].shape
  columns = size * sum(phase.num_activations for phase in rule.phases)
  return jnp.zeros((steps, rows, columns), state[0].dtype)


def _loops(options: Options) -> Loops:
  if not options.kernels:
    return Loops(_loop_forward, _loop_backward)
  from rnnvae_jax.ops import recurrence_pallas  # It imports this module.

  return Loops(recurrence_pallas.forward, recurrence_pallas.backward)


def _over_blocks(size, length, steps, block, loop):
  """Runs the blocks that hold real tokens; a single one needs no loop."""
  if size == length:
    return block(0, loop)  # `steps` is `length`: a number, no array.
  return jax.lax.fori_loop(0, -(-steps // size), block, loop)


def _extent(number, size, steps, reverse):
  """First time step, and number of steps, of the block done as this number."""
  if reverse:
    number = -(-steps // size) - 1 - number
  first = size * number
  return first, jnp.minimum(size, steps - first)


def _slice(array, first, size):
  return jax.lax.dynamic_slice_in_dim(array, first, size)


def _gates(precision, weights, x):
  bias = weights['bias']
  return products.dot(x, weights['kernel'], precision) + aligned(bias, x)


def _rounded(weights: Weights, options: Options) -> Weights:
  """The kernels as the products read them: once, not at every step."""
  kernels = {
    name: products.rounded(weights[name], options.precision)
    for name in ('kernel', 'recurrent_kernel')
  }
  return weights | kernels


def rule_of(cell: Cell) -> Rule:
  """The equations of a cell."""
  if cell.kind == 'elman':
    return _elman(cell)
  if cell.kind == 'lstm':
    return _lstm(cell)
  if cell.kind == 'mlstm':
    return _multiplicative(_lstm(cell))
  return _gru_after() if cell.reset_after else _gru_before()


def aligned(weights: jax.Array, x: jax.Array) -> jax.Array:
  """float[..., H], given the axes before them that `x` has and they lack."""
  return jnp.expand_dims(weights, tuple(range(x.ndim - weights.ndim)))


def _split(x, count):
  return jnp.split(x, count, axis=-1)


def _join(*parts):
  return jnp.concatenate(parts, axis=-1)


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
    read = _masked(weights, before[0])
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
    r, z, n, m = _split(activations, 4)
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
    d_product = _join(d_r, d_z, d_m)
    read = _masked(weights, before[0])
    return _join(d_r, d_z, d_states[0] * coefficients['to_n']), {
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
    r, z, n = _split(activations, 3)
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
    d_reset = products.dot(d_n, _rows(weights, of_n), precision)
    d_reset = _masked(weights, d_reset)
    d_rz = _join(*backward_rz(coefficients, d_states, (d_reset,)))
    read = _masked(weights, before[0])
    kernel = _join(
      products.outer(read, d_rz, precision),
      products.outer(coefficients['r'] * read, d_n, precision),
    )
    return _join(d_rz, d_n), {'recurrent_kernel': kernel}

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
    i, f, g, o = _split(activations, 4)
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
    d_gates = _join(d_i, d_f, d_g, d_o)
    read = _masked(weights, before[0])
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
    x, u, *others = _split(activations, 2 + num_inner)
    of_others = inner.coefficients(weights, _join(*others), before, after, mask)
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
    d_m = products.dot(d_gates, _rows(weights, of_gates), precision)
    d_m = _masked(weights, d_m)
    of_m = products.outer(_masked(weights, before[0]), d_m * x, precision)
    kernel = _join(of_m, grads['recurrent_kernel'])
    return _join(d_m * u, d_gates), grads | {'recurrent_kernel': kernel}

  of_m = Phase((0, 1), 2, forward_m, backward_m)
  first, stop = of_inner.gates
  of_gates = Phase((first + 1, stop + 1), num_inner, forward, of_inner.backward)
  return Rule((of_m, of_gates), coefficients, before_step, finish)
