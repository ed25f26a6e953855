"""Counts of tags, words and endings, as log-probabilities.

Transitions are interpolated with the frequencies of tags, with the weights of
deleted interpolation; tags of unknown words follow from their last characters,
by successive abstraction (Brants, 'TnT - a statistical part-of-speech tagger',
arXiv:cs/0003055, sections 2.2 and 2.3).
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from rnnvae_jax.data import vocab as vocab_lib


class Endings(NamedTuple):
  """The shares of tags of words with an ending, from the longest known on."""

  longest: int  # Characters of the longest ending.
  keys: dict[tuple[int, ...], int]  # By an ending, its row.
  shares: np.ndarray  # float64[R, K]; the first row is that of the empty one.


@dataclasses.dataclass(frozen=True)
class HiddenMarkov:
  """A hidden Markov model of tags and words.

  Attributes:
    transitions: float32[K, K], nats of the column's tag after the row's.
    start: float32[K], nats of the first tag.
    end: float32[K], nats of the end after a tag.
    words: float32[V, K], log p(tag | word) - log p(tag).
    endings: of words that the vocabulary does not know.
    prior: float64[K], shares of the tags.
  """

  transitions: np.ndarray
  start: np.ndarray
  end: np.ndarray
  words: np.ndarray
  endings: Endings
  prior: np.ndarray

  @classmethod
  def fit(
    cls,
    tokens: np.ndarray,
    tags: np.ndarray,
    chars: np.ndarray,
    lengths: np.ndarray,
    num_tags: int,
    vocab_size: int,
    *,
    smoothing: float,
    longest_ending: int,
    rare: int,
  ) -> 'HiddenMarkov':
    """Counts.

    Args:
      tokens: int[T], sentences one after the other, each ended by eos.
      tags: int[T], of the tokens.
      chars: int[T, W], characters of the tokens, padded with 0.
      lengths: int[T], how many characters each has.
      num_tags: K.
      vocab_size: V.
      smoothing: how many occurrences with the shares of all tags are added to
        those of each word.
      longest_ending: most characters of an ending.
      rare: endings are counted of words that occur at most so often.
    """
    is_word = tokens != vocab_lib.EOS
    words, kept = tokens[is_word], tags[is_word]
    count = np.bincount(kept, minlength=num_tags).astype(np.float64)
    prior = (count + 0.5) / (count + 0.5).sum()  # Each tag is possible.
    pairs = np.zeros((num_tags + 1, num_tags + 1))  # The last is the border.
    states = np.where(is_word, tags, num_tags)
    before = np.concatenate([[num_tags], states[:-1]])
    np.add.at(pairs, (before, states), 1.0)
    logs = np.log(_interpolated(pairs))
    seen = np.zeros((vocab_size, num_tags))
    np.add.at(seen, (words, kept), 1.0)
    occurrences = seen.sum(axis=1, keepdims=True)
    shares = (seen + smoothing * prior) / (occurrences + smoothing)
    is_rare = occurrences[words, 0] <= rare
    endings = _endings(
      chars[is_word][is_rare],
      lengths[is_word][is_rare],
      kept[is_rare],
      prior,
      longest_ending,
    )
    return cls(
      logs[:-1, :-1].astype(np.float32),
      logs[-1, :-1].astype(np.float32),
      logs[:-1, -1].astype(np.float32),
      (np.log(shares) - np.log(prior)).astype(np.float32),
      endings,
      prior,
    )

  def emissions(
    self, tokens: np.ndarray, chars: np.ndarray, lengths: np.ndarray
  ) -> np.ndarray:
    """log p(word | tag) of words, up to a constant of each: float32[N, K].

    Args:
      tokens: int[N].
      chars: int[N, W].
      lengths: int[N].
    """
    found = self.words[tokens]
    for row in np.flatnonzero(tokens == vocab_lib.UNK).tolist():
      ending = _key(chars[row], int(lengths[row]), self.endings.longest)
      while ending not in self.endings.keys:
        ending = ending[1:]
      shares = self.endings.shares[self.endings.keys[ending]]
      found[row] = np.log(shares) - np.log(self.prior)
    return found


def _interpolated(pairs: np.ndarray) -> np.ndarray:
  """p(column | row) from counts, interpolated with p(column).

  Deleted interpolation: each pair speaks for the estimate that predicts it
  better when it is left out of the counts itself.
  """
  rows, columns, total = pairs.sum(axis=1), pairs.sum(axis=0), pairs.sum()
  by_pair = (pairs - 1) / np.maximum(rows - 1, 1)[:, None]
  by_column = np.broadcast_to((columns - 1) / max(total - 1, 1), pairs.shape)
  is_pair = pairs > 0
  votes = pairs[is_pair & (by_pair > by_column)].sum()
  weight = (votes + 0.5) / (total + 1.0)  # Both estimates are used.
  frequency = (columns + 0.5) / (columns + 0.5).sum()
  relative = pairs / np.maximum(rows, 1)[:, None]
  mixed = weight * relative + (1 - weight) * frequency[None]
  return mixed / mixed.sum(axis=1, keepdims=True)


def _key(chars: np.ndarray, length: int, longest: int) -> tuple[int, ...]:
  return tuple(chars[max(length - longest, 0) : length].tolist())


def _endings(chars, lengths, tags, prior, longest) -> Endings:
  """Shares of tags by ending, each drawn towards those of the shorter one."""
  counts: dict[tuple[int, ...], np.ndarray] = {(): np.zeros(len(prior))}
  for row, (length, tag) in enumerate(
    zip(lengths.tolist(), tags.tolist(), strict=True)
  ):
    whole = _key(chars[row], length, longest)
    for first in range(len(whole) + 1):
      counts.setdefault(whole[first:], np.zeros(len(prior)))[tag] += 1
  # TnT's weight of the shorter ending: the deviation of the shares of tags.
  weight = max(float(np.std(prior, ddof=1)), 1e-3)
  keys: dict[tuple[int, ...], int] = {}
  shares = np.zeros((len(counts), len(prior)))
  for row, ending in enumerate(sorted(counts, key=len)):
    shorter = shares[keys[ending[1:]]] if ending else prior
    total = max(counts[ending].sum(), 1.0)
    mixed = (counts[ending] / total + weight * shorter) / (1.0 + weight)
    keys[ending] = row
    shares[row] = mixed / mixed.sum()
  return Endings(longest, keys, shares)
