"""What a tagger gets wrong in a split, a line each."""

from collections.abc import Iterator, Sequence
import os

from absl import logging
import numpy as np

from rnnvae_jax.data import corpora, schemes, spellings
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import records
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import writers

_HEADER = (
  *('mistake', 'sentence', 'word', 'tagged', 'words', 'predicted'),
  *('predicted words', 'text'),
)


def write(
  run: run_lib.Run,
  values: base.Values,
  split: corpora.Split,
  folder: str,
  name: str,
) -> None:
  """Writes mistakes_NAME.tsv: wrong spans by kind, or wrong tags.

  Kinds are those of `schemes.MISTAKES`, in this order; of tags that mark no
  spans each wrong one is a line. Sentences and words are counted from 1. Of
  unknown words the characters are shown that the tagger has read.

  Args:
    run: of a task that `Tags`.
    values: with 'predicted', int[N, T - 1], as `evaluate` returns them.
    split: the split, with its tags.
    folder: where the file is written.
    name: of the split.
  """
  found = sorted(
    _mistakes(run, values['predicted'], split), key=lambda pair: pair[0]
  )
  path = os.path.join(folder, f'mistakes_{name}.tsv')
  lines = [records.row(*_HEADER), *(records.row(*row) for _, row in found)]
  writers.write_text(path, '\n'.join(lines) + '\n')
  logging.info('Written: %s.', path)


def _mistakes(
  run: run_lib.Run, predicted: np.ndarray, split: corpora.Split
) -> Iterator[tuple[int, Sequence[object]]]:
  """(number of its kind, its line) of each mistake, by sentence."""
  names = (*run.task.labels, *split.unseen)
  tags = split.fields['tags']
  for number in range(len(split)):
    start, count = int(split.offsets[number]), int(split.lengths[number]) - 1
    gold = [names[i] for i in tags[start : start + count]]
    ours = [names[int(i)] for i in predicted[number, :count]]
    if gold == ours:
      continue
    words = _words(run, split, start, count)
    for kind, span, other in _compared(gold, ours, run.task.scheme):
      first = span or other
      assert first is not None
      shown = [
        cell
        for one in (span, other)
        for cell in (
          (one.type, ' '.join(words[one.start : one.stop])) if one else ('', '')
        )
      ]
      line = kind, number + 1, first.start + 1, *shown, ' '.join(words)
      yield _KINDS.index(kind), line


_KINDS = (*schemes.MISTAKES, 'tag')


def _compared(gold, ours, scheme):
  """The mistakes of a sentence, as `schemes.mistakes` has them."""
  if scheme != 'none':
    return schemes.mistakes(schemes.spans(gold), schemes.spans(ours))
  return [
    ('tag', schemes.Span(t, t + 1, a), schemes.Span(t, t + 1, b))
    for t, (a, b) in enumerate(zip(gold, ours, strict=True))
    if a != b
  ]


def _words(run, split, start: int, count: int) -> list[str]:
  """The words of a sentence, of those that are unknown what is read of them."""
  spelt = split.spellings
  assert spelt is not None
  found = []
  for place in range(start, start + count):
    token = int(split.tokens[place])
    if token == vocab_lib.UNK:
      row = split.fields[spellings.INDEX][place]
      found.append(run.task.speller.word(spelt.chars[row]))
    else:
      found.append(run.vocab.tokens[token])
  return found
