"""The contract of an encoder, and the registry.

An encoder reads the word vectors of a text and returns one vector for it. A new
one is a module of this package with a subclass of `Encoder`, exported as
`ENCODER`.
"""

from typing import Any, ClassVar, Self

import flax.linen as nn
import jax

from rnnvae_jax import registry
from rnnvae_jax.config import schema
from rnnvae_jax.ops import noise

REGISTRY = registry.Registry(
  'rnnvae_jax.models.encoders', 'config.model.encoder'
)


def chosen(name: str) -> schema.Condition:
  """The condition of keys that only the encoder of this name reads."""
  return schema.one_of('model.encoder', name)


class Encoder(nn.Module):
  """Turns the word vectors of a text into one vector.

  Attributes:
    CONFIG: the fragment of the encoder's own config keys; None if it has none.
    ORDERED: whether the result depends on the order of the words. Words that
      are not to be read are then taken out before, so that their neighbours
      are adjacent.
    READS_BOS: whether the vector of bos comes before those of the words.
    DROPS_WORDS: whether the encoder itself leaves out words with the
      probability `rates.word`. Otherwise the unknown word replaces them before
      they are embedded.
    backend: name of the backend that runs a recurrence; '' if there is none.
    backend_reason: what the backend runs, for the log.
  """

  CONFIG: ClassVar[type | None] = None
  ORDERED: ClassVar[bool] = True
  READS_BOS: ClassVar[bool] = False
  DROPS_WORDS: ClassVar[bool] = False

  @classmethod
  def from_config(cls, config: Any) -> Self:
    """The encoder that `config.model` describes."""
    if cls.CONFIG is None:
      return cls()
    return cls(**vars(schema.read(config, cls.CONFIG)))

  @property
  def backend(self) -> str:
    return ''

  @property
  def backend_reason(self) -> str:
    return ''

  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    rates: noise.Rates,
    keys: jax.Array | None,
  ) -> jax.Array:
    """The vector of each text.

    Args:
      x: float[B, T, E], the vectors of the words.
      mask: bool[B, T], True on words that are read. If the encoder is
        `ORDERED`, they are the first of their row.
      rates: drop probabilities.
      keys: key[B]; None: nothing is dropped.

    Returns:
      float[B, F]. Where nothing is read it is finite.
    """
    raise NotImplementedError


def get(name: str) -> type[Encoder]:
  """Returns the encoder of that name.

  Raises:
    ValueError: there is no such encoder; the message lists the known names.
  """
  try:
    return REGISTRY[name].ENCODER
  except KeyError as error:
    raise ValueError(error.args[0]) from None


def fragments() -> tuple[type, ...]:
  """The config fragments of all encoders."""
  found = (get(name).CONFIG for name in REGISTRY)
  return tuple(cls for cls in found if cls is not None)
