"""A recurrent layer as one call of cuDNN's LSTM, gradients included.

It runs LSTMs without peepholes and clipping, in float32 or tf32, on an NVIDIA
GPU. The GPU is also needed for tracing, since it reports the sizes of cuDNN's
buffers. `vmap` is not supported: `jax.experimental.rnn` has no rule for it.
"""

import jax
from jax.experimental import rnn
import jax.numpy as jnp

from rnnvae_jax.ops import rules

# The precision that `rnn.lstm` is given: HIGH lets cuDNN round to tf32.
_PRECISIONS = {
  'float32': jax.lax.Precision.HIGHEST,
  'tf32': jax.lax.Precision.HIGH,
}


def run(
  weights: rules.Weights,
  x: jax.Array,
  mask: jax.Array,
  state: rules.State,
  reverse: bool,
  precision: str,
) -> tuple[rules.State, jax.Array]:
  """Runs one direction of one layer over all time steps, as `recurrence.run`.

  Args:
    weights: kernel float[F, 4 H], recurrent_kernel float[H, 4 H] and bias
      float[4 H], gates in the order i, f, g, o.
    x: float[T, B, F].
    mask: bool[T, B], True on real tokens, which come first in a row.
    state: (h, c), float[B, H] each, before the first token.
    reverse: from each row's last token to its first.
    precision: 'float32' or 'tf32'.

  Returns:
    The state after each row's last token (first, when reversed), and the
    outputs float[T, B, H], which are undefined where the mask is False.

  Raises:
    ValueError: cuDNN does not compute at this precision.
  """
  if precision not in _PRECISIONS:
    raise ValueError(
      f'precision = {precision!r} is not supported by cuDNN. Legal: '
      f'{", ".join(_PRECISIONS)}.'
    )
  lengths = jnp.sum(mask, axis=0, dtype=jnp.int32)
  if reverse:
    x = _flip(x, lengths)
  outputs, *last = rnn.lstm(
    jnp.swapaxes(x, 0, 1),
    *(s[None] for s in state),
    _pack(weights),
    jnp.maximum(lengths, 1),  # cuDNN rejects rows without a token.
    input_size=x.shape[2],
    hidden_size=state[0].shape[1],
    num_layers=1,
    dropout=0.0,
    bidirectional=False,
    precision=_PRECISIONS[precision],
  )
  outputs = jnp.swapaxes(outputs, 0, 1)
  if reverse:
    outputs = _flip(outputs, lengths)
  read = (lengths > 0)[:, None]
  after = tuple(
    jnp.where(read, new[0], old) for new, old in zip(last, state, strict=True)
  )
  return after, outputs


def _pack(weights: rules.Weights) -> jax.Array:
  """The weights as cuDNN's flat vector; its second bias is set to 0."""
  kernels = weights['kernel'], weights['recurrent_kernel']
  biases = weights['bias'], jnp.zeros_like(weights['bias'])
  return jnp.concatenate([*(k.T.reshape(-1) for k in kernels), *biases])


def _flip(x: jax.Array, lengths: jax.Array) -> jax.Array:
  """Reverses the tokens of each row of float[T, B, F]; padding stays."""
  time, lengths = jnp.arange(x.shape[0])[:, None], lengths[None]
  source = jnp.where(time < lengths, lengths - 1 - time, time)
  # A permutation, so that its gradient needs no atomic additions.
  return x.at[source, jnp.arange(x.shape[1])[None]].get(
    mode='promise_in_bounds', unique_indices=True
  )
