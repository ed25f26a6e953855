"""The contract between a cell and the backends that run it over time.

A cell with a hand-derived gradient declares its steps as a `Rule`: recurrent
products and pointwise parts, in both directions. `ops.recurrence` runs a rule
over time, `ops.recurrence_pallas` on tiles. The rules themselves stand beside
the cells, in `models.cells`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

State = tuple[jax.Array, ...]  # float[B, H] each; the output is the first.
Weights = dict[str, jax.Array]


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
    phases: the phases of a step, in forward order.
    coefficients: (weights, activations, before, after, mask[T, B, 1]) -> what
      the backward loop reads, a tree of [T, B, H] and of the mask.
    before: (coefficients, gradients of the states after a step, what its
      phases hand back, the last one first) -> gradients of those before it.
    finish: (precision, weights, coefficients, gradients of all states, before,
      after) -> gradients of the gates [T, B, G H] and of the weights.
    vectors: names of the weights that the pointwise parts read, float[H] or
      float[N, H] each.
  """

  phases: tuple[Phase, ...]
  coefficients: Callable
  before: Callable
  finish: Callable
  vectors: tuple[str, ...] = ()


class Spec(NamedTuple):
  """What the backends know of a cell.

  Attributes:
    name: for messages.
    rule: its hand-derived forward and backward steps; None if there are none,
      so that only `nn.scan` of the cell's module can run it.
    is_cudnn_lstm: whether cuDNN's LSTM computes the same function.
  """

  name: str
  rule: Rule | None = None
  is_cudnn_lstm: bool = False

  def require_rule(self) -> Rule:
    """The rule.

    Raises:
      ValueError: the cell has none.
    """
    if self.rule is None:
      raise ValueError(
        f'cell = {self.name!r} has no hand-derived rule. Only the backend '
        "'scan' runs it."
      )
    return self.rule


def aligned(weights: jax.Array, x: jax.Array) -> jax.Array:
  """float[..., H], given the axes before them that `x` has and they lack."""
  return jnp.expand_dims(weights, tuple(range(x.ndim - weights.ndim)))


def split(x: jax.Array, count: int) -> list[jax.Array]:
  """float[..., N H] -> N of float[..., H]: gates, products or activations."""
  return jnp.split(x, count, axis=-1)


def join(*parts: jax.Array) -> jax.Array:
  """N of float[..., H] -> float[..., N H], the inverse of `split`."""
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
  """The same part of the transposed kernel, for the backward pass."""
  kernel = weights['recurrent_kernel_transposed']
  first, stop = phase.gates
  return kernel[first * kernel.shape[1] : stop * kernel.shape[1]]
