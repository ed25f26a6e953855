"""The contract between a cell and the backends that run it over time.

A cell with a hand-derived gradient declares its steps as a `Rule`: recurrent
products and pointwise parts, in both directions. `ops.recurrence` runs a rule
over time. The rules themselves stand beside
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

  The functions get one array for each gate or state, so that a kernel can call
  them on tiles.

  Attributes:
    gates: index of the first gate that the phase computes, and of the last + 1.
    num_activations: number of arrays that `forward` saves for the gradient.
    forward: (weights, gates, products, state, activations of earlier phases) ->
      the operand of the next phase's product, or in the last phase the new
      state; and the activations to save.
    backward: (coefficients, gradients of the states, gradients of the operands
      of later phases' products) -> gradients of this phase's products.
  """

  gates: tuple[int, int]
  num_activations: int
  forward: Callable
  backward: Callable


class Rule(NamedTuple):
  """A cell as pure functions; its G gates have G H columns.

  `before` and `after` stand for the states before and after each step.

  Attributes:
    phases: the phases of a step, in forward order.
    coefficients: (weights, activations, before, after, mask[T, B, 1]) -> the
      factors that the backward loop reads, a tree of [T, B, H] and of the mask.
    before: (coefficients, gradients of the states after a step, gradients of
      the operands of its phases' products, last phase first) -> gradients of
      the states before the step.
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
  """The description of a cell for the backends.

  Attributes:
    name: the cell's name, for messages.
    rule: hand-derived forward and backward steps; None if the cell has none, so
      that only `nn.scan` can run it.
    kernel: 'gru' or 'lstm', whose handwritten loops (`ops.native`,
      `ops.cluster`) compute the rule; '' if none do.
  """

  name: str
  rule: Rule | None = None
  kernel: str = ''

  def require_rule(self) -> Rule:
    """Returns the rule.

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
  """Adds leading axes to float[..., H] until it has as many axes as `x`."""
  return jnp.expand_dims(weights, tuple(range(x.ndim - weights.ndim)))


def split(x: jax.Array, count: int) -> list[jax.Array]:
  """float[..., N H] -> N of float[..., H]: gates, products or activations."""
  return jnp.split(x, count, axis=-1)


def join(*parts: jax.Array) -> jax.Array:
  """N of float[..., H] -> float[..., N H], the inverse of `split`."""
  return jnp.concatenate(parts, axis=-1)


def masked(weights: Weights, state: jax.Array) -> jax.Array:
  """Applies the dropout mask of states to float[..., B, H], if there is one."""
  mask = weights['state_mask']
  if mask is None:
    return state
  return state * jnp.expand_dims(mask, tuple(range(state.ndim - 2)))


def columns(weights: Weights, phase: Phase) -> jax.Array:
  """The columns of the recurrent kernel that belong to a phase."""
  kernel = weights['recurrent_kernel']
  first, stop = phase.gates
  return kernel[:, first * kernel.shape[0] : stop * kernel.shape[0]]


def rows(weights: Weights, phase: Phase) -> jax.Array:
  """The rows of the transposed recurrent kernel that belong to a phase."""
  kernel = weights['recurrent_kernel_transposed']
  first, stop = phase.gates
  return kernel[first * kernel.shape[1] : stop * kernel.shape[1]]
