"""What readers of a page type, checked before it reaches a model."""

import math
from typing import Any
import unicodedata

CHARACTERS = 4_000  # Of a text, at most.
# Control characters and lone surrogates, which have no place in a text.
_CATEGORIES = {'Cc', 'Cs'}
# Marks that turn the direction of the text after them, that of a page included.
_TURNS = {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}


def text(value: Any, name: str, lines: bool = False) -> str:
  """A text without characters that no text has; each is a space instead.

  Args:
    value: what was typed; None: nothing.
    name: of the field, for messages.
    lines: whether line ends stay; otherwise they are spaces.

  Returns:
    The text, without white space around it unless line ends stay.

  Raises:
    ValueError: it is no text or too long. The message does not repeat it.
  """
  if value is None:
    return ''
  if not isinstance(value, str):
    raise ValueError(f'{name} is no text.')
  if len(value) > CHARACTERS:
    raise ValueError(
      f'{name} has {len(value):,} characters; at most {CHARACTERS:,} are read.'
    )
  kept = ''.join(
    ' ' if is_strange(c) and not (lines and c == '\n') else c for c in value
  )
  return kept if lines else kept.strip()


def is_strange(character: str) -> bool:
  """Whether a character is none of a text's."""
  return unicodedata.category(character) in _CATEGORIES or character in _TURNS


def number(value: Any, name: str, low: float, high: float) -> float:
  """A number within its limits.

  Raises:
    ValueError: it is none, or outside them.
  """
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if not is_number or not math.isfinite(value) or not low <= value <= high:
    raise ValueError(f'{name} is not a number from {low:g} to {high:g}.')
  return float(value)


def integer(value: Any, name: str, low: int, high: int) -> int:
  """A whole number within its limits.

  Raises:
    ValueError: it is none, or outside them.
  """
  found = number(value, name, low, high)
  if found != int(found):
    raise ValueError(f'{name} is not a whole number.')
  return int(found)
