"""Sequences of letters and the same letters in reverse: pairs with one answer.

A source has 1 to 12 letters out of 16, of a length and with letters that are
drawn uniformly. Its target is those letters from the last to the first. No two
pairs of the corpus have the same source, so what is tested has not been trained
on; about the 16 one-letter and 256 two-letter sources a model still learns from
the longer ones.
"""

import string

import numpy as np

from rnnvae_jax.data.sources import base

LETTERS = string.ascii_lowercase[:16]
LONGEST = 12
SIZES = {'train': 12_000, 'valid': 500, 'test': 1_000}


def reverse(source: str) -> str:
  """The words of a source in reverse: the right answer."""
  return ' '.join(reversed(source.split()))


def splits() -> base.Records:
  """The corpus, always the same."""
  rng = np.random.default_rng(0)
  wanted = sum(SIZES.values())
  drawn: dict[str, None] = {}  # In the order of the draws.
  while len(drawn) < wanted:
    length = rng.integers(1, LONGEST + 1)
    letters = rng.integers(len(LETTERS), size=length)
    drawn[' '.join(LETTERS[i] for i in letters)] = None
  # Short sources are drawn early, since there are few of them, so the splits
  # are cut from a permutation.
  sources = list(drawn)
  order = rng.permutation(wanted)
  records: base.Records = {}
  start = 0
  for split, size in SIZES.items():
    some = [sources[i] for i in order[start : start + size]]
    records[split] = [{'text': reverse(s), 'source': s} for s in some]
    start += size
  return records


class _Reversal(base.Source):
  """The pairs, drawn each time they are read."""

  def read(self, data_dir: str | None = None) -> base.Records:
    """Draws the pairs, always the same; `data_dir` is unused."""
    del data_dir
    return splits()


SOURCE = _Reversal(
  name='reversal',
  summary='synthetic; pairs of a sequence and its reverse',
  protocol='mikolov',
  labels=('source',),
)
