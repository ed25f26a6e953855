"""Stacks of recurrent layers scanned over time."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import (
  backends,
  noise,
  products,
  recurrence,
  rules,
)

Carry = base.StackCarry


def _step(cell, carry, inputs, state_mask):
  """One layer at one time step; a padded row keeps its carry."""
  gates, valid = inputs  # float[B, G H], bool[B]
  new = cell(carry, gates, state_mask)
  carry = jax.tree.map(lambda a, b: jnp.where(valid[:, None], a, b), new, carry)
  return carry, carry[0]


class Layer(nn.Module):
  """One direction of one layer, on any of the backends.

  All backends share these parameters. The carry is frozen where the mask is
  False, so the final carry is the one after each row's last real token (the
  first, when reversed).
  """

  cell: base.Cell
  reverse: bool = False
  backend: str = 'fused'
  options: recurrence.Options = recurrence.Options()

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    carry: base.Carry,
    state_mask: jax.Array | None = None,
    context: jax.Array | None = None,
  ):
    """float[B, T, F], bool[B, T], carry -> carry, float[B, T, H].

    `state_mask` float[B, H] multiplies the states that recurrent products read;
    `context` float[B, C] is read at every step, as if it were appended to x.
    """
    cell = self.cell
    columns = cell.num_gates * cell.features
    inputs = x.shape[-1] + (0 if context is None else context.shape[-1])
    shape = (inputs, columns)
    kernel = self.param('kernel', nn.initializers.xavier_uniform(), shape)
    bias = self.param('bias', cell.bias_init, (columns,))
    if context is not None:
      # The context is multiplied once per row instead of once per token. Where
      # many contexts share their tokens, as a VAE's posterior samples do, the
      # tokens' products are computed once for all of them.
      kernel, context_kernel = jnp.split(kernel, [x.shape[-1]])
      bias = bias[None] + products.dot(
        context, context_kernel, self.options.precision
      )
    x, mask = jnp.swapaxes(x, 0, 1), jnp.swapaxes(mask, 0, 1)  # Time-major.
    weights = {'kernel': kernel, 'bias': bias, **cell.weights}
    options = self.options._replace(
      reverse=self.reverse,
      loops=self.backend if self.backend in recurrence.HANDWRITTEN else 'xla',
    )
    if self.backend == 'scan':
      carry, outputs = self._scan(cell, weights, x, mask, carry, state_mask)
    else:
      carry, outputs = recurrence.run(
        cell.spec, weights, x, mask, carry, options, state_mask
      )
    return carry, jnp.swapaxes(outputs, 0, 1)

  def _scan(self, cell, weights, x, mask, carry, state_mask):
    """Runs the cell's equations under `nn.scan`, with automatic gradients."""
    gates = products.dot(x, weights['kernel'], self.options.precision)
    scan = nn.scan(
      _step,
      variable_broadcast='params',
      split_rngs={'params': False},
      in_axes=(0, nn.broadcast),
      reverse=self.reverse,
    )
    gates += rules.aligned(weights['bias'], gates)
    return scan(cell, carry, (gates, mask), state_mask)


class Recurrent(nn.Module):
  """`num_layers` recurrent layers, each in one or both directions.

  A bidirectional layer passes the concatenated outputs of its two directions to
  the next layer. Dropout acts between layers, and on the states that recurrent
  products read, with one mask for all steps. `last_cell` may give the last
  layer another size.
  """

  cell: base.Cell  # Each layer and direction has its own copy.
  num_layers: int = 1
  bidirectional: bool = False
  locked_dropout: bool = False
  backend: str = 'fused'
  options: recurrence.Options = recurrence.Options()
  last_cell: base.Cell | None = None  # None: the same as the others.

  @property
  def _cells(self) -> tuple[base.Cell, ...]:
    """The cell of each layer."""
    last = self.cell if self.last_cell is None else self.last_cell
    return (*[self.cell] * (self.num_layers - 1), last)

  @property
  def sizes(self) -> tuple[int, ...]:
    """Units of each layer."""
    return tuple(cell.features for cell in self._cells)

  @property
  def output_size(self) -> int:
    """Number of features of an output."""
    return self.sizes[-1] * (2 if self.bidirectional else 1)

  @property
  def backend_reason(self) -> str:
    """Describes what the backend runs, for the log."""
    return backends.reason(self.backend, self.cell.spec)

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    carry: Carry | None = None,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
    context: jax.Array | None = None,
  ) -> tuple[Carry, jax.Array]:
    """Runs the stack.

    Args:
      x: float[B, T, F].
      mask: bool[B, T], True on real tokens.
      carry: the states before the first token; None: zeros.
      rates: drop probabilities.
      keys: key[B]; no dropout when None.
      context: float[B, C], appended to x at every step; None for none.

    Returns:
      The carry after each row's last real token, and float[B, T, D H] outputs,
      which are undefined where the mask is False.
    """
    if carry is None:
      carry = self.zero_carry(x.shape[0], x.dtype)
    if keys is None or rates is None:
      rates = noise.Rates()
    after = []
    for number, (before, cell) in enumerate(
      zip(carry, self._cells, strict=True)
    ):
      if number:
        site = f'{self.name}/hidden_{number}'
        x = noise.dropout(x, rates.hidden, keys, site, self.locked_dropout)
      states, outputs = [], []
      for direction, start in enumerate(before):
        layer = Layer(
          cell.clone(parent=None, name=None),
          reverse=direction == 1,
          backend=self.backend,
          options=self.options,
          name=f'layer_{number}' + ('_reverse' if direction else ''),
        )
        state_mask = None
        if rates.recurrent is not None:
          site = f'{self.name}/{layer.name}/recurrent'
          ones = jnp.ones((x.shape[0], 1, cell.features))
          state_mask = noise.dropout(ones, rates.recurrent, keys, site, True)
          state_mask = state_mask[:, 0]
        beside_inputs = context if number == 0 else None
        state, output = layer(x, mask, start, state_mask, beside_inputs)
        states.append(state)
        outputs.append(output)
      after.append(tuple(states))
      x = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
    return tuple(after), x

  @nn.nowrap
  def zero_carry(self, batch_size: int, dtype=jnp.float32) -> Carry:
    """The carry before the first token."""

    def layer_carry(size):
      zeros = jnp.zeros((batch_size, size), dtype)
      direction = (zeros,) * self.cell.num_states
      return (direction,) * (2 if self.bidirectional else 1)

    return tuple(map(layer_carry, self.sizes))


def beside(x: jax.Array, context: jax.Array) -> jax.Array:
  """Appends float[B, C] to every step of float[B, T, F]."""
  context = jnp.broadcast_to(
    context[:, None], (*x.shape[:2], context.shape[-1])
  )
  return jnp.concatenate([x, context], axis=-1)
