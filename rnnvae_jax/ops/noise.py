"""Random draws keyed by sentence, so that they do not depend on the batches.

Every row of a batch has its own key. The bits of an element depend only on the
row's key, the name of the use ('site') and the position of the element (JAX's
threefry counts elements from the first). So padding, batch order and batch
composition do not change them.
"""

from typing import Any, NamedTuple
import zlib

import jax
import jax.numpy as jnp


class Rates(NamedTuple):
  """Probabilities of dropping, float[] each; None: nothing is dropped.

  They are traced, so they can change without recompilation. A use whose rate is
  None draws no random numbers.
  """

  embedding: jax.Array | None = None  # Elements of embedded inputs.
  hidden: jax.Array | None = None  # Elements passed from layer to layer.
  output: jax.Array | None = None  # Elements that the output layer reads.
  word: jax.Array | None = None  # Decoder inputs, which unk replaces.
  word_type: jax.Array | None = None  # All of a row's inputs with one id.
  recurrent: jax.Array | None = None  # States that recurrent products read.
  weight: jax.Array | None = None  # Elements of recurrent kernels.


def rates(scalars: Any) -> Rates:
  """Copies the rates that `scalars` has as attributes; the others are None."""
  return Rates(*(getattr(scalars, name, None) for name in Rates._fields))


def row_keys(key: jax.Array, index: jax.Array) -> jax.Array:
  """The key of each row, from its sentence's index: key[], int[B] -> key[B]."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def site_keys(keys: jax.Array, site: str) -> jax.Array:
  """The rows' keys for the use `site`, independent of all other uses."""
  number = zlib.crc32(site.encode()) & 0x7FFFFFFF
  return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def normal(keys: jax.Array, site: str, shape: tuple[int, ...]) -> jax.Array:
  """Standard normal noise of each row: key[B] -> float[B, *shape]."""
  draw = lambda key: jax.random.normal(key, shape)
  return jax.vmap(draw)(site_keys(keys, site))


def dropout(
  x: jax.Array,
  rate: jax.Array | None,
  keys: jax.Array | None,
  site: str,
  locked: bool,
) -> jax.Array:
  """Drops features with probability `rate` and scales up the others.

  Args:
    x: float[B, T, F].
    rate: float[], in [0, 1), or None.
    keys: key[B]; None: nothing is dropped.
    site: name of the use; draws of two sites are independent.
    locked: whether a row has one mask for all time steps (variational dropout,
      Gal & Ghahramani, arXiv:1512.05287) instead of one mask a step.

  Returns:
    float[B, T, F].
  """
  if rate is None or keys is None:
    return x
  _, length, features = x.shape
  shape = (1 if locked else length, features)
  draw = lambda key: jax.random.bernoulli(key, 1.0 - rate, shape)
  keep = jax.vmap(draw)(site_keys(keys, site))
  keep = jnp.broadcast_to(keep, x.shape)
  return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))


def drop_words(
  tokens: jax.Array,
  rate: jax.Array | None,
  keys: jax.Array,
  replacement: int,
  bos: int,
) -> jax.Array:
  """Replaces each token except bos with probability `rate`.

  Word dropout of the decoder's inputs (Bowman et al., arXiv:1511.06349). bos is
  kept because it is the same in all sentences.

  Args:
    tokens: int[B, T].
    rate: float[], or None.
    keys: key[B].
    replacement: the id of unk, which replaces dropped tokens.
    bos: the id that is kept.

  Returns:
    int[B, T].
  """
  if rate is None:
    return tokens
  draw = lambda key: jax.random.bernoulli(key, rate, tokens.shape[1:])
  drop = jax.vmap(draw)(site_keys(keys, 'word'))
  return jnp.where(drop & (tokens != bos), replacement, tokens)


def drop_word_types(
  x: jax.Array, tokens: jax.Array, rate: jax.Array | None, keys: jax.Array
) -> jax.Array:
  """Drops some words of a row: the embeddings of all their occurrences.

  Embedding dropout (Gal & Ghahramani, arXiv:1512.05287, section 4.2).

  Args:
    x: float[B, T, F], the embedded tokens.
    tokens: int[B, T].
    rate: float[], in [0, 1), or None.
    keys: key[B].

  Returns:
    float[B, T, F].
  """
  if rate is None:
    return x
  keep_token = lambda key, token: jax.random.bernoulli(
    jax.random.fold_in(key, token), 1.0 - rate
  )
  keep_row = jax.vmap(keep_token, (None, 0))
  keep = jax.vmap(keep_row)(site_keys(keys, 'word_type'), tokens)
  return jnp.where(keep[:, :, None], x / (1.0 - rate), jnp.zeros_like(x))


def drop_weights(
  params: Any, rate: jax.Array | None, key: jax.Array, *within: str
) -> Any:
  """Drops elements of recurrent kernels with probability `rate`.

  Weight drop (Merity et al., arXiv:1708.02182): the mask is the same for all
  sentences and steps of an update, and the other elements are scaled up.

  Args:
    params: a tree of parameters.
    rate: float[], in [0, 1), or None.
    key: key[] of the update.
    *within: names of the modules whose 'recurrent_kernel's lose elements.

  Returns:
    The tree with those leaves replaced.
  """
  if rate is None:
    return params

  def drop(path, leaf):
    names = [getattr(part, 'key', '') for part in path]
    if not set(within) & set(names) or names[-1] != 'recurrent_kernel':
      return leaf
    number = zlib.crc32('/'.join(names).encode()) & 0x7FFFFFFF
    keep = jax.random.bernoulli(
      jax.random.fold_in(key, number), 1.0 - rate, leaf.shape
    )
    return jnp.where(keep, leaf / (1.0 - rate), 0.0)

  return jax.tree_util.tree_map_with_path(drop, params)
