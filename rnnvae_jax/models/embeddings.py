"""Vectors of words."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.ops import embedding


class Embed(nn.Embed):
  """`nn.Embed` whose gradient repeats bit for bit, on a GPU as well."""

  def __call__(self, inputs: jax.Array) -> jax.Array:
    """int[...] -> float[..., E]."""
    if jax.default_backend() != 'gpu':
      return super().__call__(inputs)
    return embedding.lookup(self.embedding, inputs)


class Scaling(NamedTuple):
  """Word vectors with the same mean and variance throughout training.

  A perturbation of constant norm means little to vectors that may grow. So
  Miyato et al. (arXiv:1605.07725, section 3) give every feature of the vectors
  the mean 0 and the variance 1 over the words of the training text. Here a
  constant linear map then gives them back the mean and the deviation that they
  had at first: layers that were pretrained for the vectors read what they know.

  Attributes:
    frequencies: float[V], the words' shares of the training text.
    mean: float[E], of the vectors at first.
    deviation: float[E], of the vectors at first.
  """

  frequencies: jax.Array
  mean: jax.Array
  deviation: jax.Array

  def standardise(self, x: jax.Array, table: jax.Array) -> jax.Array:
    """Vectors of a table, float[B, T, E], with mean 0 and variance 1."""
    mean, deviation = moments(table, self.frequencies)
    return (x - mean[None, None]) / deviation[None, None]

  def restore(self, x: jax.Array) -> jax.Array:
    """Gives standardised vectors the mean and the deviation of the first."""
    return self.mean[None, None] + self.deviation[None, None] * x


def moments(
  table: jax.Array, frequencies: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Mean and standard deviation of each feature over a text: float[E] each."""
  mean = frequencies @ table
  variance = frequencies @ jnp.square(table - mean[None])
  return mean, jnp.sqrt(variance + _SMALLEST)


_SMALLEST = 1e-6  # Added to variances, as in the paper's program.
