"""Candidates for the blanks of a text: a beam search from left to right."""

from collections.abc import Callable, Sequence

import numpy as np


def candidates(
  segments: Sequence[np.ndarray],
  after: Callable[[list[np.ndarray]], tuple[np.ndarray, np.ndarray]],
  legal: np.ndarray,
  beams: int,
) -> list[tuple[np.ndarray, tuple[int, ...]]]:
  """Sentences with each blank filled by one token.

  Args:
    segments: int[S] each, the ids around the blanks: one more than there are
      blanks; the first begins with the begin mark.
    after: prefixes -> nats float[N], log p(prefix), and float[N, V],
      log-probabilities of what follows on each.
    legal: bool[V], tokens that may fill a blank.
    beams: how many beginnings are kept at each blank, the likeliest ones.

  Returns:
    Whole sentences and their filled tokens, at most `beams` of them.
  """
  kept: list[tuple[np.ndarray, tuple[int, ...]]] = [(segments[0], ())]
  for segment in segments[1:]:
    before, following = after([ids for ids, _ in kept])
    totals = before[:, None] + np.where(legal[None, :], following, -np.inf)
    order = np.argsort(-totals, axis=None, kind='stable')[:beams]
    extended = []
    for row, token in zip(*np.unravel_index(order, totals.shape), strict=True):
      if not np.isfinite(totals[row, token]):
        continue
      ids, words = kept[row]
      sentence = np.concatenate([ids, [token], segment]).astype(np.int32)
      extended.append((sentence, (*words, int(token))))
    kept = extended
  return kept


def insert(pieces: Sequence[str], words: Sequence[str]) -> str:
  """Text with a word between each piece and the next."""
  text = pieces[0]
  for word, piece in zip(words, pieces[1:], strict=True):
    text += word + piece
  return text
