"""The stack of a feed-forward language model: a window of words, no state."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.models import recurrent
from rnnvae_jax.ops import noise, products


class FeedForward(nn.Module):
  """h = tanh(b + W [x_t, x_t-1, ..., x_t-N+1]) (Bengio et al. 2003, eq. 1).

  In the place of a `recurrent.Recurrent`: its carry is the N - 1 inputs before,
  zeros where there are none. With `direct` connections the inputs of the window
  stand behind h in the outputs, so that the output layer reads them as well.
  """

  features: int
  input_size: int
  window: int = 4  # N, inputs that an output sees: one less than its n-grams.
  direct: bool = False
  precision: str = 'float32'  # See `products.PRECISIONS`.
  backend: str = 'feed_forward'

  @property
  def output_size(self) -> int:
    """Of the outputs' features."""
    return self.features + self.direct * self.window * self.input_size

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    mask: jax.Array,
    carry: recurrent.Carry | None = None,
    rates: noise.Rates | None = None,
    keys: jax.Array | None = None,
  ) -> tuple[recurrent.Carry, jax.Array]:
    """Runs the window over the inputs; see `Recurrent.__call__`."""
    del rates, keys  # There is nothing between layers, and no state.
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
        name='hidden',
      )(seen)
    )
    # The last inputs of each row that are real, or older ones.
    ends = jnp.sum(mask, axis=1)[:, None]
    places = ends + jnp.arange(self.window - 1)[None, :]
    after = jnp.take_along_axis(padded, places[:, :, None], axis=1)
    outputs = jnp.concatenate([hidden, seen], -1) if self.direct else hidden
    return (((after.reshape(rows, -1),),),), outputs

  @nn.nowrap
  def zero_carry(self, batch_size: int, dtype=jnp.float32) -> recurrent.Carry:
    """The carry of a stack that has read nothing."""
    size = (self.window - 1) * self.input_size
    return (((jnp.zeros((batch_size, size), dtype),),),)
