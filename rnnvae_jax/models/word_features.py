"""Features of words that follow from their characters.

Kinds of words by their capitals and digits (Collobert et al., arXiv:1103.0398,
section 3.5), and the hand-made features of linear taggers: the word, its
beginnings, endings and shape, and its neighbours (Ratnaparkhi 1996). These are
hashed: a feature is a number, and two of them may share one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Kinds of characters; digits and letters are Unicode's.
_OTHER, _LOWER, _UPPER, _DIGIT = range(4)
# Kinds of words, the first one that fits: of digits, of more digits than other
# characters, without capitals, without small letters, with one capital at the
# beginning, with others; and words without any letter.
KINDS = (
  *('none', 'numeric', 'mainly numeric', 'lower', 'upper', 'initial'),
  'mixed',
)
_LONGEST = 4  # Characters of the longest beginnings and endings.
_BORDER = 1  # What the words beyond both ends of a sentence are hashed to.


class Alphabet(NamedTuple):
  """What is known of the characters, in the order of their ids."""

  lower: tuple[int, ...]  # A number that a letter and its capital share.
  kinds: tuple[int, ...]


def alphabet(characters: Sequence[str]) -> Alphabet:
  """What is known of characters, whose ids follow those of two marks."""
  kinds = [
    _DIGIT
    if c.isdigit()
    else _UPPER
    if c.isupper()
    else _LOWER
    if c.isalpha()
    else _OTHER
    for c in characters
  ]
  # Of some letters the small one is several characters.
  lower = [2 + ord(c.lower()[0]) for c in characters]
  return Alphabet((0, 1, *lower), (_OTHER, _OTHER, *kinds))


def kinds(chars: jax.Array, mask: jax.Array, known: Alphabet) -> jax.Array:
  """The kind of each word, an index into `KINDS`.

  Args:
    chars: int32[..., W], ids of the characters of each word.
    mask: bool[..., W], True on characters, which come first.
    known: of the characters.

  Returns:
    int32[...].
  """
  kind = jnp.where(mask, jnp.asarray(known.kinds)[chars], _OTHER)
  count = lambda which: jnp.sum(kind == which, axis=-1)
  digits, uppers, lowers = count(_DIGIT), count(_UPPER), count(_LOWER)
  length = jnp.sum(mask, axis=-1)
  rules = (
    (digits == length) & (length > 0),
    2 * digits > length,
    (uppers == 0) & (lowers > 0),
    (uppers > 0) & (lowers == 0),
    (uppers == 1) & (kind[..., 0] == _UPPER),
    uppers > 0,
  )
  numbers = jnp.arange(1, len(KINDS))
  return jnp.select(rules, list(numbers), 0).astype(jnp.int32)


def hashed(
  chars: jax.Array,
  chars_mask: jax.Array,
  mask: jax.Array,
  known: Alphabet,
  size: int,
) -> jax.Array:
  """The features of each word of some sentences.

  Args:
    chars: int32[B, T, W].
    chars_mask: bool[B, T, W], True on characters, which come first.
    mask: bool[B, T], True on words, which come first.
    known: of the characters.
    size: numbers of features.

  Returns:
    int32[B, T, F] in [0, size).
  """
  places = jnp.arange(chars.shape[2])[None, None]
  lengths = jnp.sum(chars_mask, axis=2, keepdims=True)
  kind = jnp.asarray(known.kinds)[chars]
  before = jnp.pad(
    kind[:, :, :-1], [(0, 0), (0, 0), (1, 0)], constant_values=-1
  )
  changes = chars_mask & (kind != before)

  def of(codes, where=chars_mask, positions=places):
    """Of the characters, each at its position, in any order: uint32[B, T]."""
    terms = _mixed(_mixed(codes) + _number(positions))
    terms = jnp.where(where, terms, 0)
    return jnp.where(mask, jnp.sum(terms, axis=2, dtype=jnp.uint32), _BORDER)

  word = of(chars)
  lower = of(jnp.asarray(known.lower)[chars])
  shape = of(kind, changes, jnp.cumsum(changes, axis=2))
  whole_shape = of(kind)
  from_end = lengths - 1 - places
  parts = [
    of(chars, chars_mask & (position < n), position)
    for position in (jnp.broadcast_to(places, chars.shape), from_end)
    for n in range(1, _LONGEST + 1)
  ]
  found = [
    *(_beside(word, by) for by in (-2, -1, 0, 1, 2)),
    *(_beside(lower, by) for by in (-1, 0, 1)),
    *(_beside(shape, by) for by in (-1, 0, 1)),
    whole_shape,
    *parts,
    *(_pair(_beside(word, by), word) for by in (-1, 1)),
    *(_pair(_beside(shape, by), shape) for by in (-1, 1)),
  ]
  templates = _mixed(jnp.arange(len(found)))
  features = _mixed(jnp.stack(found, axis=2) ^ templates[None, None])
  return (features % jnp.uint32(size)).astype(jnp.int32)


def _beside(values: jax.Array, by: int) -> jax.Array:
  """Those of the word so many places later: uint32[B, T]."""
  count = values.shape[1]
  padded = jnp.pad(values, [(0, 0), (2, 2)], constant_values=_BORDER)
  return padded[:, 2 + by : 2 + by + count]


def _pair(a: jax.Array, b: jax.Array) -> jax.Array:
  return _mixed(a) + b


def _mixed(values: jax.Array) -> jax.Array:
  """A permutation of uint32: the last steps of MurmurHash3."""
  x = values.astype(jnp.uint32)
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def _number(positions: jax.Array) -> jax.Array:
  return positions.astype(jnp.uint32) * jnp.uint32(0x9E3779B9)
