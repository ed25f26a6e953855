"""The contracts of a cell, and the registry.

A recurrent cell computes one time step. Its input product `x @ W + b` is
computed outside the loop, as one matrix product for all steps. The cell
receives the step's part of it and adds the recurrent part.

The smallest new cell is a module of this package with a subclass of `Cell`
that has `num_gates`, `num_states` and `__call__`, exported as `CELL`. Without
a hand-derived `spec.rule` it trains on the backend 'scan'.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax import registry
from rnnvae_jax.config import schema
from rnnvae_jax.ops import noise, products, rules

REGISTRY = registry.Registry('rnnvae_jax.models.cells', 'config.model.cell')

Carry = rules.State  # float[B, H] each; the output is the first.
# The carry of a stack: by layer, by direction, the cell's states.
StackCarry = tuple[tuple[Carry, ...], ...]


class Cell(nn.Module):
  """A recurrent cell.

  Attributes:
    features: H, the units.
    precision: of matrix products; see `products.PRECISIONS`.
    CONFIG: the fragment of the cell's own config keys, whose fields are the
      module's attributes of the same names; None if it has none.
    num_gates: G, blocks of H columns in the input product.
    num_states: arrays in the carry.
  """

  features: int
  precision: str = 'float32'

  CONFIG: ClassVar[type | None] = None
  num_gates: ClassVar[int]
  num_states: ClassVar[int]

  @classmethod
  def from_config(cls, config: Any, features: int) -> Self:
    """The cell that `config.model` describes, with `features` units."""
    precision = config.model.precision
    return cls(features, precision, **_options(config, cls.CONFIG))

  def setup(self):
    self.weights = {'recurrent_kernel': self.make_kernel()}

  def __call__(
    self, carry: Carry, gates: jax.Array, mask: jax.Array | None = None
  ) -> Carry:
    """One time step.

    Args:
      carry: float[B, H] each.
      gates: float[B, G H], the input product of each gate.
      mask: float[B, H], dropout mask of the states that recurrent products
        read; it multiplies nothing else. None: no dropout.

    Returns:
      The new carry, whose first array is the output.
    """
    raise NotImplementedError

  @property
  def spec(self) -> rules.Spec:
    """The cell's description for the backends; by default it has no rule."""
    return rules.Spec(type(self).__module__.rpartition('.')[2])

  @nn.nowrap
  def bias_init(self, key, shape, dtype=jnp.float32) -> jax.Array:
    """The initial bias of the gates, float[G H]."""
    del key
    return jnp.zeros(shape, dtype)

  @nn.nowrap
  def make_kernel(self) -> jax.Array:
    """The parameter float[H, G H], an orthogonal block for each gate."""
    size = self.features

    def init(key, shape, dtype=jnp.float32):
      blocks = jax.random.split(key, shape[1] // size)
      orthogonal = nn.initializers.orthogonal()
      return jnp.concatenate(
        [orthogonal(block, (size, size), dtype) for block in blocks], axis=1
      )

    return self.param('recurrent_kernel', init, (size, self.num_gates * size))

  @nn.nowrap
  def product(
    self,
    x: jax.Array,
    mask: jax.Array | None,
    columns: slice = slice(None),
  ) -> jax.Array:
    """x float[B, H], masked, times these columns of the recurrent kernel."""
    kernel = self.weights['recurrent_kernel'][:, columns]
    if mask is not None:
      x = x * mask
    return products.dot(x, kernel, self.precision)


class Stack(nn.Module):
  """A module that reads a sequence in place of recurrent layers.

  Attributes:
    features: H, the number of units.
    input_size: F, the number of features of an input.
    precision: of matrix products; see `products.PRECISIONS`.
    CONFIG: see `Cell`.
    backend: name of the backend, for the log.
    backend_reason: what the backend runs, for the log.
  """

  features: int
  input_size: int
  precision: str = 'float32'

  CONFIG: ClassVar[type | None] = None
  backend: ClassVar[str]
  backend_reason: ClassVar[str]

  @classmethod
  def from_config(cls, config: Any, features: int, input_size: int) -> Self:
    """The stack that `config.model` describes."""
    options = _options(config, cls.CONFIG)
    return cls(features, input_size, config.model.precision, **options)

  @property
  def output_size(self) -> int:
    """Number of features of an output."""
    raise NotImplementedError

  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    carry: StackCarry | None = None,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> tuple[StackCarry, jax.Array]:
    """See `recurrent.Recurrent.__call__`."""
    raise NotImplementedError

  @nn.nowrap
  def zero_carry(self, batch_size: int, dtype=jnp.float32) -> StackCarry:
    """The carry before the first input."""
    raise NotImplementedError


def get(name: str) -> type[Cell] | type[Stack]:
  """Returns the cell of that name.

  Raises:
    ValueError: there is no such cell; the message lists the known names.
  """
  try:
    return REGISTRY[name].CELL
  except KeyError as error:
    raise ValueError(error.args[0]) from None


def is_recurrent(name: str) -> bool:
  """Whether a cell has a state that a latent vector could set.

  Raises:
    ValueError: there is no cell of that name.
  """
  return issubclass(get(name), Cell)


def recurrent_names() -> tuple[str, ...]:
  """The cells that have a state."""
  return tuple(filter(is_recurrent, REGISTRY))


def fragments() -> tuple[type, ...]:
  """The config fragments of all cells, each once."""
  found = (get(name).CONFIG for name in REGISTRY)
  return tuple(dict.fromkeys(cls for cls in found if cls is not None))


def _read_by_recurrent_cells(flat: Mapping[str, Any]) -> bool:
  name = flat.get('model.cell')
  return name not in REGISTRY or is_recurrent(str(name))


# The condition of keys that only recurrent layers read.
RECURRENT = schema.Condition(
  _read_by_recurrent_cells,
  lambda flat: (
    f'config.model.cell = {flat["model.cell"]!r} has no recurrent layers'
  ),
  '`model.cell` is recurrent',
)


def _options(config: Any, fragment: type | None) -> dict[str, Any]:
  return {} if fragment is None else {**vars(schema.read(config, fragment))}
