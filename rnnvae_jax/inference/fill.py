"""Fills the blanks of a text: a beam search from left to right."""

from collections.abc import Callable, Sequence
import re
from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks import base

BLANK = re.compile('_{3,}')  # What is filled.
# Words that are tried in a blank, the likeliest ones after its left context.
SHORTLIST = 64


class Filled(NamedTuple):
  """A text with its blanks filled.

  Attributes:
    text: all of it.
    words: what was filled in, from left to right.
    nats: of the whole text; see `inference.run.Score`.
  """

  text: str
  words: tuple[str, ...]
  nats: float


def fill_in(run: Any, text: str, count: int, shortlist: int) -> list[Filled]:
  """Fills the blanks of a text; see `inference.run.Run.fill_in`.

  Args:
    run: an `inference.run.Run` that scores and writes.
    text: with blanks.
    count: how many candidates are returned.
    shortlist: how many candidates are scored.
  """
  pieces = BLANK.split(text)
  if len(pieces) < 2:
    raise ValueError(f'{text!r} has no blank: write ___ for a missing word.')
  segments = [run.encoded(piece) for piece in pieces]
  segments[0] = np.concatenate([[run.begin_mark], segments[0]])
  if run.ends:
    segments[-1] = np.append(segments[-1], vocab_lib.EOS)
  latents = None
  if isinstance(run.task, base.HasLatents):
    unknown = np.array([vocab_lib.UNK])
    read = [segments[0][1:]]
    for segment in segments[1:]:
      read += [unknown, segment]
    latents = run._means([np.concatenate(read).astype(np.int32)])

  def after(prefixes):
    tiled = None
    if latents is not None:
      tiled = np.repeat(latents, len(prefixes), axis=0)
    return run.programs.next_log_probs(run.params, prefixes, tiled)

  legal = ~run.forbidden(forbid_unk=True)
  legal[vocab_lib.EOS] = False
  found = candidates(segments, after, legal, shortlist)
  # The same noise for all of them, where there is any, compares them better.
  nats = run._nats(
    [ids[1:] for ids, _ in found], np.zeros(len(found), np.int32)
  )
  filled = []
  for i in np.argsort(nats, kind='stable')[:count]:
    words = tuple(run.protocol.join([run.vocab.tokens[w]]) for w in found[i][1])
    filled.append(Filled(insert(pieces, words), words, float(nats[i])))
  return filled


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
