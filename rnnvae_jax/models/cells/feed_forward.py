"""A feed-forward language model over a window of words (Bengio et al. 2003)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import noise, products


@schema.fragment(
  'model.feed_forward', only_if=schema.one_of('model.cell', 'feed_forward')
)
class Config:
  """Keys of the feed-forward model."""

  window: int = schema.field(
    4, 'Number of previous words that an output depends on.', low=1
  )
  direct: bool = schema.field(
    False, 'The output layer reads the words of the window, too.'
  )


class FeedForward(base.Stack):
  """h = tanh(b + W [x_t, x_t-1, ..., x_t-N+1]) (Bengio et al. 2003, eq. 1).

  The carry is the last N - 1 inputs, zeros before the first. With `direct`
  connections the inputs of the window are appended to h in the outputs, so that
  the output layer reads them as well.
  """

  window: int = 4  # N, the number of inputs that an output depends on.
  direct: bool = False

  CONFIG = Config
  backend = 'feed_forward'
  backend_reason = 'a window of words has no recurrence'

  @property
  def output_size(self) -> int:
    """Number of features of an output."""
    return self.features + self.direct * self.window * self.input_size

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    carry: base.StackCarry | None = None,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> tuple[base.StackCarry, jax.Array]:
    """Runs the window over the inputs; see `Recurrent.__call__`."""
    del rates, keys  # Their dropout is between layers and on states.
    if carry is None:
      carry = self.zero_carry(x.shape[0])
    rows, length, size = x.shape
    (((flat,),),) = carry
    before = flat.reshape(rows, self.window - 1, size)
    padded = jnp.concatenate([before, x], axis=1)
    seen = jnp.concatenate(
      [padded[:, n : n + length] for n in range(self.window)], axis=-1
    )
    hidden = nn.tanh(
      nn.Dense(
        self.features,
        precision=products.lax_precision(self.precision),
        dot_general=products.dense_product(self.precision),
        name='hidden',
      )(seen)
    )
    # The last real inputs of each row; if they are too few, older ones as well.
    ends = jnp.sum(mask, axis=1)[:, None]
    places = ends + jnp.arange(self.window - 1)[None, :]
    after = jnp.take_along_axis(padded, places[:, :, None], axis=1)
    outputs = jnp.concatenate([hidden, seen], -1) if self.direct else hidden
    return (((after.reshape(rows, -1),),),), outputs

  @nn.nowrap
  def zero_carry(self, batch_size: int, dtype=jnp.float32) -> base.StackCarry:
    """The carry before the first input."""
    size = (self.window - 1) * self.input_size
    return (((jnp.zeros((batch_size, size), dtype),),),)


CELL = FeedForward
