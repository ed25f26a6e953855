"""Stacks of recurrent layers scanned over time."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models import cells
from rnnvae_jax.ops import noise

# What a stack hands from step to step: per layer, per direction, the states.
Carry = tuple[tuple[cells.Carry, ...], ...]


class _Step(nn.Module):
  """One layer at one time step; a padded row keeps its carry."""

  make_cell: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, carry, inputs):
    gates, valid = inputs  # float[B, G H], bool[B]
    new = self.make_cell(name='cell')(carry, gates)
    carry = jax.tree.map(
      lambda a, b: jnp.where(valid[:, None], a, b), new, carry
    )
    return carry, carry[0]


class Layer(nn.Module):
  """One direction of one layer.

  The input product of all time steps is one matrix product before the loop.
  The carry is frozen where the mask is False, so after the loop it is the one
  after each row's last real token (first, when reversed) at no memory cost.
  """

  make_cell: Callable[..., nn.Module]
  features: int
  num_gates: int
  reverse: bool = False
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, carry: cells.Carry):
    """float[B, T, F], bool[B, T], carry -> carry, float[B, T, H]."""
    gates = nn.Dense(
      self.num_gates * self.features,
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=self.bias_init,
      name='input',
    )(x)
    scan = nn.scan(
      _Step,
      variable_broadcast='params',
      split_rngs={'params': False},
      in_axes=1,
      out_axes=1,
      reverse=self.reverse,
    )
    return scan(self.make_cell, name='scan')(carry, (gates, mask))


class Recurrent(nn.Module):
  """`num_layers` recurrent layers, each in one or both directions.

  A bidirectional layer hands the concatenated outputs of its two directions to
  the next one. Dropout acts between layers, never on the recurrence.
  """

  make_cell: Callable[..., nn.Module]  # (name=...) -> a module of `cells`.
  features: int
  num_gates: int
  num_states: int
  num_layers: int = 1
  bidirectional: bool = False
  locked_dropout: bool = False
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    carry: Carry | None = None,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> tuple[Carry, jax.Array]:
    """Runs the stack.

    Args:
      x: float[B, T, F].
      mask: bool[B, T], True on real tokens.
      carry: the state before the first token; zeros when None.
      rates: drop probabilities.
      keys: key[B]; no dropout when None.

    Returns:
      The carry after each row's last real token, and float[B, T, D H] outputs,
      which mean nothing where the mask is False.
    """
    if carry is None:
      carry = self.zero_carry(x.shape[0], x.dtype)
    after = []
    for number, before in enumerate(carry):
      if number and keys is not None and rates is not None:
        site = f'{self.name}/hidden_{number}'
        x = noise.dropout(x, rates.hidden, keys, site, self.locked_dropout)
      states, outputs = [], []
      for direction, start in enumerate(before):
        layer = Layer(
          self.make_cell,
          self.features,
          self.num_gates,
          reverse=direction == 1,
          bias_init=self.bias_init,
          name=f'layer_{number}' + ('_reverse' if direction else ''),
        )
        state, output = layer(x, mask, start)
        states.append(state)
        outputs.append(output)
      after.append(tuple(states))
      x = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
    return tuple(after), x

  @nn.nowrap
  def zero_carry(self, batch_size: int, dtype=jnp.float32) -> Carry:
    """The carry of a stack that has read nothing."""
    zeros = jnp.zeros((batch_size, self.features), dtype)
    direction = (zeros,) * self.num_states
    layer = (direction,) * (2 if self.bidirectional else 1)
    return (layer,) * self.num_layers
