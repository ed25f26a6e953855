"""Attention of a decoder's steps to the outputs of an encoder."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.ops import products

KINDS = ('none', 'additive', 'dot', 'general')


class Memory(NamedTuple):
  """What is attended to; computed once for all steps."""

  keys: jax.Array  # float[B, S, A], what queries are compared with.
  values: jax.Array  # float[B, S, F], 0 where the mask is False.
  mask: jax.Array  # bool[B, S], True on real tokens.


class Attention(nn.Module):
  """Global attention between the recurrent layers and the output layer.

  A step's output h becomes tanh(W [c; h]), where c is the mean of the memory's
  values, weighted by the softmax of their scores (Luong et al.,
  arXiv:1508.04025, equations 5 to 8). Since c does not enter the recurrence,
  that remains one loop, and attention is a few products for all steps at once.

  Scores of an output h and a value s:

    dot        h' s
    general    h' W s
    additive   v' tanh(W h + U s + b) (Bahdanau et al., arXiv:1409.0473), with
               the output in place of the state before it
  """

  kind: str
  features: int  # H, of an output; also of the hidden layer of additive scores.
  precision: str = 'float32'  # See `products.PRECISIONS`.

  def setup(self):
    dense = functools.partial(
      nn.Dense,
      self.features,
      precision=products.lax_precision(self.precision),
      dot_general=products.dense_product(self.precision),
    )
    if self.kind == 'general':
      self.key = dense(use_bias=False)
    if self.kind == 'additive':
      self.key = dense()
      self.query = dense(use_bias=False)
      self.score = self.param(
        'score', nn.initializers.normal(self.features**-0.5), (self.features,)
      )
    self.output = dense(use_bias=False)

  def remember(self, values: jax.Array, mask: jax.Array) -> Memory:
    """The memory of float[B, S, F], undefined where bool[B, S] is False.

    Raises:
      ValueError: the sizes of outputs and values differ, and scores are 'dot'.
    """
    values = jnp.where(mask[:, :, None], values, 0.0)
    if self.kind != 'dot':
      return Memory(self.key(values), values, mask)
    if values.shape[-1] != self.features:
      raise ValueError(
        f"scores 'dot' compare outputs of {self.features} features with values "
        f'of as many, got {values.shape[-1]}.'
      )
    return Memory(values, values, mask)

  def weights(self, outputs: jax.Array, memory: Memory) -> jax.Array:
    """How much each step attends to each value: float[B, T, S], sums are 1."""
    if self.kind == 'additive':
      scores = _additive(self.query(outputs), memory.keys, self.score)
    else:
      scores = self._product('bth,bsh->bts', outputs, memory.keys)
    # Finite, so that a row without real tokens is not nan.
    least = jnp.finfo(scores.dtype).min
    scores = jnp.where(memory.mask[:, None, :], scores, least)
    return jax.nn.softmax(scores, axis=-1)

  def __call__(self, outputs: jax.Array, memory: Memory) -> jax.Array:
    """float[B, T, H] -> float[B, T, H]; the rows are those of the memory."""
    weights = self.weights(outputs, memory)
    context = self._product('bts,bsf->btf', weights, memory.values)
    return nn.tanh(self.output(jnp.concatenate([context, outputs], axis=-1)))

  def _product(self, subscripts, a, b):
    return jnp.einsum(
      subscripts,
      products.rounded(a, self.precision),
      products.rounded(b, self.precision),
      precision=products.lax_precision(self.precision),
      preferred_element_type=jnp.float32,
    )


# Recomputed in the backward pass: the hidden layer has B T S H elements.
@jax.checkpoint
def _additive(queries, keys, score):
  """float[B, T, H], float[B, S, H], float[H] -> float[B, T, S]."""
  hidden = jnp.tanh(queries[:, :, None] + keys[:, None])
  return jnp.sum(hidden * score[None, None, None], axis=-1)
