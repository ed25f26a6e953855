"""The sequential loops of `recurrence` as one GPU kernel each way.

A program of the kernel computes all time steps of `ROWS` rows of the batch.
Rows never exchange data, so programs never wait for each other. A step
processes the hidden units in tiles of `TILE` columns of every gate: first the
products, whose weights are read from the L2 cache, then the pointwise part.
Tiles exchange data through memory; barriers inside the program order reads
after writes. The equations are those of the cell's `rules.Rule`.

The kernel is lowered through Triton, and can also be interpreted on a CPU. Rows
and hidden units are padded with zeros to whole programs and tiles. Their
numbers are not limited, because the on-chip memory of a program does not depend
on them. A step takes at least the time in which one multiprocessor reads all
recurrent weights, even for few rows. Not yet measured on a GPU.
"""

from collections.abc import Callable
import functools

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
import jax.numpy as jnp

from rnnvae_jax.ops import products

ROWS = 16  # Rows of a program: the fewest that a matrix unit multiplies.
TILE = 64  # Hidden units of a tile: `_NUM_WARPS` products of 8 columns.
_DEPTH_BYTES = 128  # Bytes of a column of weights that are read at once.
_NUM_WARPS = 8
_NUM_STAGES = 3  # The weights of two products are loaded during a third.


def forward(cell, options, weights, gates, mask, state, count):
  """See `recurrence.Loops`. Also runs the steps after `count`, all masked."""
  del count
  rule = cell.require_rule()
  (steps, rows, _), size = gates.shape, state[0].shape[-1]
  padded_rows, padded_size = _up(rows, ROWS), _up(size, TILE)
  pad = functools.partial(_pad, rows=padded_rows, size=size)
  vectors = {
    name: tuple(vector) if vector.ndim == 2 else vector
    for name, vector in weights.items()
    if name in rule.vectors
  }
  shared = {
    'kernel': _pad(weights['recurrent_kernel'], padded_size, size),
    'vectors': jax.tree.map(lambda v: _pad(v[None], 1, size), vectors),
  }
  valid = mask[:, :, None].astype(gates.dtype)
  inputs = {
    'gates': pad(gates),
    'valid': jnp.pad(valid, [(0, 0), (0, padded_rows - rows), (0, 0)]),
    'state': jax.tree.map(pad, state),
  }
  room = functools.partial(_room, gates.dtype, padded_rows)
  num_active = sum(phase.num_activations for phase in rule.phases)
  outputs = {
    # states[t] is the state before token t, reversed after it.
    'states': [room(padded_size, steps + 1) for _ in state],
    'active': [room(num_active * padded_size, steps)] * bool(num_active),
    'follows': [room(padded_size) for _ in rule.phases[1:]],
  }
  kernel = functools.partial(_forward_kernel, rule, options)
  outputs = _call(kernel, options, shared, inputs, outputs)
  cut = functools.partial(_cut, rows=rows, size=size)
  states = tuple(cut(all_) for all_ in outputs['states'])
  active = [cut(all_) for all_ in outputs['active']]
  after = slice(0, steps) if options.reverse else slice(1, steps + 1)
  return (
    tuple(all_[0 if options.reverse else steps] for all_ in states),
    tuple(all_[after] for all_ in states),
    active[0] if active else gates[:, :, :0],
  )


def _forward_kernel(rule, options, shared, inputs, outputs):
  states, reverse = outputs['states'], options.reverse
  steps, size = inputs['gates'].shape[0], shared['kernel'].shape[0]

  def start(tile):
    columns = pl.ds(tile, TILE)
    for all_, first in zip(states, inputs['state'], strict=True):
      all_[steps * reverse, :, columns] = first[:, columns]

  def compute(time, number, tile):
    before, after = time + reverse, time + (not reverse)
    phase = rule.phases[number]
    columns = pl.ds(tile, TILE)
    gate_parts = [_part(gate, size, tile) for gate in range(*phase.gates)]
    if number:
      left = lambda depth: outputs['follows'][number - 1][:, depth]
    else:
      left = lambda depth: states[0][before, :, depth]
    sums = _products(
      left,
      [functools.partial(_rows, shared['kernel'], part) for part in gate_parts],
      (0, size),
      options.precision,
    )
    seen = sum(p.num_activations for p in rule.phases[:number])
    old = tuple(all_[before, :, columns] for all_ in states)
    new, active = phase.forward(
      jax.tree.map(lambda vector: vector[0, columns], shared['vectors']),
      tuple(inputs['gates'][time, :, part] for part in gate_parts),
      sums,
      old,
      tuple(
        outputs['active'][0][time, :, _part(n, size, tile)] for n in range(seen)
      ),
    )
    for n, value in enumerate(active, seen):
      outputs['active'][0][time, :, _part(n, size, tile)] = value
    if phase is not rule.phases[-1]:
      outputs['follows'][number][:, columns] = new
      return
    valid = inputs['valid'][time] > 0.0
    for all_, a, b in zip(states, new, old, strict=True):
      all_[after, :, columns] = jnp.where(valid, a, b)

  def step(number):
    time = steps - 1 - number if reverse else number
    for phase in range(len(rule.phases)):
      _over_tiles(functools.partial(compute, time, phase), size, options)

  _over_tiles(start, size, options)
  _loop(step, steps)


def backward(cell, options, weights, coefficients, d_outputs, d_state, count):
  """See `recurrence.Loops`. Also runs the steps after `count`, all masked."""
  del count
  rule = cell.require_rule()
  steps, rows, size = d_outputs.shape
  padded_rows, padded_size = _up(rows, ROWS), _up(size, TILE)
  pad = functools.partial(_pad, rows=padded_rows, size=size)
  shared = {'kernel': _pad(weights['recurrent_kernel'], padded_size, size).T}
  inputs = {
    # One of them is the mask, which has a single column for all units.
    'coefficients': jax.tree.map(
      lambda c: pad(jnp.broadcast_to(c, d_outputs.shape)), coefficients
    ),
    'd_outputs': pad(d_outputs),
    'd_state': jax.tree.map(pad, d_state),
  }
  room = functools.partial(_room, d_outputs.dtype, padded_rows)
  num_gates = rule.phases[-1].gates[1]
  outputs = {
    'd_states': [room(padded_size, steps) for _ in d_state],
    'd_before': [room(padded_size) for _ in d_state],
    'd_products': room(num_gates * padded_size),
    'handed_back': [room(padded_size) for _ in rule.phases[1:]],
  }
  kernel = functools.partial(_backward_kernel, rule, options)
  outputs = _call(kernel, options, shared, inputs, outputs)
  cut = functools.partial(_cut, rows=rows, size=size)
  return (
    tuple(cut(d) for d in outputs['d_before']),
    tuple(cut(d) for d in outputs['d_states']),
  )


def _backward_kernel(rule, options, shared, inputs, outputs):
  steps, size = inputs['d_outputs'].shape[0], shared['kernel'].shape[1]
  phases = rule.phases[::-1]

  def start(tile):
    columns = pl.ds(tile, TILE)
    for d, last in zip(outputs['d_before'], inputs['d_state'], strict=True):
      d[:, columns] = last[:, columns]

  def enter(time, tile):
    columns = pl.ds(tile, TILE)
    d_h, *others = (d[:, columns] for d in outputs['d_before'])
    d_state = (d_h + inputs['d_outputs'][time, :, columns], *others)
    for all_, d in zip(outputs['d_states'], d_state, strict=True):
      all_[time, :, columns] = d
    prepare(time, 0, tile, d_state, ())

  def prepare(time, number, tile, d_state, handed_back):
    """Writes the left operand of a phase's product."""
    phase, now = phases[number], coefficients(time, tile)
    d_products = phase.backward(now, d_state, handed_back)
    for gate, d in zip(range(*phase.gates), d_products, strict=True):
      outputs['d_products'][:, _part(gate, size, tile)] = d

  def compute(time, number, tile):
    columns = pl.ds(tile, TILE)
    first, stop = phases[number].gates
    (product,) = _products(
      lambda depth: outputs['d_products'][:, depth],
      [functools.partial(_rows, shared['kernel'], columns)],
      (first * size, stop * size),
      options.precision,
    )
    earlier = (d[:, columns] for d in outputs['handed_back'][:number])
    handed_back = (*earlier, product)
    d_state = tuple(d[time, :, columns] for d in outputs['d_states'])
    if number + 1 < len(phases):
      outputs['handed_back'][number][:, columns] = product
      prepare(time, number + 1, tile, d_state, handed_back)
      return
    before = rule.before(coefficients(time, tile), d_state, handed_back)
    for running, d in zip(outputs['d_before'], before, strict=True):
      running[:, columns] = d

  def coefficients(time, tile):
    columns = pl.ds(tile, TILE)
    return jax.tree.map(lambda c: c[time, :, columns], inputs['coefficients'])

  def step(number):
    time = number if options.reverse else steps - 1 - number
    _over_tiles(functools.partial(enter, time), size, options)
    for phase in range(len(phases)):
      _over_tiles(functools.partial(compute, time, phase), size, options)

  _over_tiles(start, size, options)
  _loop(step, steps)


def _call(kernel, options, shared, inputs, outputs):
  """Runs the kernel on the rows of each program.

  Args:
    kernel: (shared, inputs, outputs), trees of references, writes the outputs.
    options: options of the layer.
    shared: arrays that every program reads as a whole.
    inputs: float[..., B, .] each; a program reads only its own rows.
    outputs: shapes of the outputs. They include all intermediate results that a
      program reads back, since this lowering has no other memory.

  Returns:
    The outputs.
  """

  def by_rows(x):
    lead = (0,) * (len(x.shape) - 2)
    shape = (*x.shape[:-2], ROWS, x.shape[-1])
    return pl.BlockSpec(shape, lambda program: (*lead, program, 0))

  whole = lambda x: pl.BlockSpec(x.shape, lambda program: (0,) * x.ndim)
  rows = jax.tree.leaves(inputs)[0].shape[-2]
  return pl.pallas_call(
    kernel,
    out_shape=outputs,
    grid=(rows // ROWS,),
    in_specs=(jax.tree.map(whole, shared), jax.tree.map(by_rows, inputs)),
    out_specs=jax.tree.map(by_rows, outputs),
    compiler_params=plgpu.CompilerParams(
      num_warps=_NUM_WARPS, num_stages=_NUM_STAGES
    ),
    interpret=options.interpret,
  )(shared, inputs)


def _products(left, rights, extent, precision):
  """left @ right for each right; operands are read slice by slice.

  Args:
    left: slice -> float[ROWS, slice].
    rights: slice -> float[slice, TILE] each.
    extent: first and last + 1 index of the axis that is summed over.
    precision: one of `products.PRECISIONS`.

  Returns:
    float[ROWS, TILE] each.
  """
  first, stop = extent
  depth = _DEPTH_BYTES // (2 if precision == 'bfloat16' else 4)
  # At least two iterations: Triton removes a loop of one iteration and
  # prefetches in the loop around it instead, so that states would be read
  # before they are written.
  depth = min(depth, (stop - first) // 2)

  def add(number, sums):
    part = pl.ds(first + number * depth, depth)
    read = left(part)
    return tuple(
      total + products.dot(read, right(part), precision)
      for total, right in zip(sums, rights, strict=True)
    )

  zeros = tuple(jnp.zeros((ROWS, TILE), jnp.float32) for _ in rights)
  return jax.lax.fori_loop(0, (stop - first) // depth, add, zeros)


def _over_tiles(function: Callable, size: int, options) -> None:
  """Calls `function` with the first column of each tile, then synchronises.

  After it returns, all threads of the program see what was written.
  """
  _loop(lambda number: function(number * TILE), size // TILE)
  if not options.interpret:
    plgpu.debug_barrier()


def _loop(function: Callable, count: int) -> None:
  def body(number, nothing):
    function(number)
    return nothing

  jax.lax.fori_loop(0, count, body, None)


def _part(number, size, tile):
  """The tile's columns in the block of gate or activation `number`."""
  return pl.ds(number * size + tile, TILE)


def _rows(kernel, columns, rows):
  return kernel[rows, columns]


def _up(count, multiple):
  return -(-count // multiple) * multiple


def _room(dtype, rows, columns, *lead):
  return jax.ShapeDtypeStruct((*lead, rows, columns), dtype)


def _pad(x, rows, size):
  """Pads [..., B, n H] to `rows` rows, and each block of H to whole tiles."""
  *lead, old_rows, columns = x.shape
  blocks = x.reshape(*lead, old_rows, columns // size, size)
  ends = (0,) * len(lead) + (rows - old_rows, 0, _up(size, TILE) - size)
  return jnp.pad(blocks, [(0, end) for end in ends]).reshape(*lead, rows, -1)


def _cut(x, rows, size):
  """Undoes `_pad`."""
  *lead, _, columns = x.shape
  padded_size = _up(size, TILE)
  blocks = x.reshape(*lead, -1, columns // padded_size, padded_size)
  return blocks[..., :rows, :, :size].reshape(*lead, rows, -1)
