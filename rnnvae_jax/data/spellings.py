"""The characters of words, as a table of a split's different words.

A word that the vocabulary does not know is `<unk>` in a split's tokens, but its
characters are still there to be read. So each split has the spellings of its
own words, and the index of its spelling for each token.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rnnvae_jax.data import vocab as vocab_lib

FIELD = 'chars'  # What a task's FIELDS call it.
INDEX = 'spelling'  # The field of a split that has the index.
PAD, UNKNOWN = 0, 1  # Ids of characters; others follow in code point order.


class Spellings(NamedTuple):
  """The different words of a split; the first one is blank."""

  chars: np.ndarray  # int32[U, W], padded with `PAD`.
  lengths: np.ndarray  # int32[U], characters of each.


class Speller:
  """Turns words into ids of characters.

  Attributes:
    characters: those that are known, in the order of their ids.
    size: number of ids, those of padding and of unknown characters counted.
  """

  def __init__(self, vocab: vocab_lib.Vocabulary, max_characters: int):
    """Reads the characters of a vocabulary's words.

    Args:
      vocab: of words.
      max_characters: W, characters of a word that are read.
    """
    words = vocab.tokens[len(vocab_lib.SPECIALS) :]
    self.characters = tuple(sorted(set().union(*words)))
    self._ids = {c: 2 + i for i, c in enumerate(self.characters)}
    self.size = 2 + len(self.characters)
    self.width = max_characters

  def chars(self, words: Sequence[str]) -> Spellings:
    """The characters of words, in their order, after a blank one."""
    table = np.zeros((1 + len(words), self.width), np.int32)
    lengths = np.zeros(1 + len(words), np.int32)
    head = -(-self.width // 2)
    for row, word in enumerate(words, 1):
      if len(word) > self.width:
        word = word[:head] + word[head - self.width :]
      lengths[row] = len(word)
      table[row, : len(word)] = [self._ids.get(c, UNKNOWN) for c in word]
    return Spellings(table, lengths)

  def word(self, chars: np.ndarray) -> str:
    """The characters of int[N] as text; unknown ones are question marks."""
    known = ('', '?', *self.characters)
    return ''.join(known[i] for i in chars.tolist())

  def split(
    self, sentences: Iterable[Sequence[str]], lengths: np.ndarray
  ) -> tuple[Spellings, np.ndarray]:
    """The spellings of a split's words, and the index of each token.

    Args:
      sentences: the words of each sentence.
      lengths: int[N], how many tokens of each are kept, eos counted.

    Returns:
      The spellings, and int32[sum(lengths)], 0 at eos.
    """
    rows: dict[str, int] = {}
    index = []
    for words, length in zip(sentences, lengths.tolist(), strict=True):
      kept = words[: length - 1]
      index += [rows.setdefault(word, 1 + len(rows)) for word in kept]
      index.append(0)
    return self.chars(list(rows)), np.array(index, np.int32)
