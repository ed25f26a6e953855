"""Tags of words: compiled functions, and the mode."""

from collections.abc import Sequence
import functools
import itertools
import os
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnvae_jax.analysis import tagged_text
from rnnvae_jax.data import batches, formats, schemes
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import padding, records
from rnnvae_jax.tasks import base
from rnnvae_jax.training import writers

_ROWS = 64  # Sentences that are read at a time, at most.
_DOCUMENT = '-DOCSTART-'  # A line that begins a document, not a word.


class Tagging(NamedTuple):
  """The tags of a sentence.

  Attributes:
    words: as they were given.
    tags: the best tag of each, in the best sequence.
    probabilities: of each of these tags.
    others: the next best sequences, from the best on.
    log_probs: of all sequences, nats, the best one first.
  """

  words: tuple[str, ...]
  tags: tuple[str, ...]
  probabilities: tuple[float, ...]
  others: tuple[tuple[str, ...], ...] = ()
  log_probs: tuple[float, ...] = ()


class Tagger:
  """The compiled functions of a task that `Tags`.

  Sentences are read in order of length, padded to a few static sizes. A row's
  result does not depend on the other rows.
  """

  def __init__(self, task: Any):
    """`task` fulfils the contract of `Tags`."""
    self._task = task
    self._tag = jax.jit(task.tag, static_argnames='count')

  def tag(
    self,
    params: Any,
    extras: Any,
    vocab: vocab_lib.Vocabulary,
    sentences: Sequence[Sequence[str]],
    count: int,
  ) -> list[base.Tagged]:
    """The rows of `Tags.tag`, of sentences with at least one word."""
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    found: list[Any] = [None] * len(sentences)
    for start in range(0, len(order), _ROWS):
      chosen = order[start : start + _ROWS]
      batch = self._batch(vocab, [sentences[i] for i in chosen])
      tagged = jax.device_get(self._tag(params, batch, extras, count=count))
      for row, i in enumerate(chosen):
        length = len(sentences[i])
        found[i] = base.Tagged(
          tagged.tags[row, :, :length],
          tagged.log_probs[row],
          tagged.shares[row, :length],
        )
    return found

  def _batch(self, vocab, sentences) -> dict[str, np.ndarray]:
    """What a task reads of sentences; see `data.batches.gather`."""
    rows = padding.static_rows(len(sentences))
    longest = max(map(len, sentences)) + 1
    length = padding.static_length(longest)
    ids = [np.append(vocab.encode(words), vocab_lib.EOS) for words in sentences]
    ids += [np.zeros(0, np.int32)] * (rows - len(ids))
    targets, mask = padding.padded(ids, length)
    spelt = self._task.speller.chars(
      list(itertools.chain.from_iterable(sentences))
    )
    index = np.zeros((rows, length), np.int32)
    index[: len(sentences)][_words(sentences, length)] = np.arange(
      1, len(spelt.lengths)
    )
    places = np.arange(spelt.chars.shape[1])[None, None]
    real = np.arange(rows) < len(sentences)
    return {
      'targets': targets,
      'mask': mask,
      'chars': spelt.chars[index],
      'chars_mask': places < spelt.lengths[index][:, :, None],
      'index': np.where(real, np.arange(rows), batches.BLANK).astype(np.int32),
    }


def _words(sentences, length) -> np.ndarray:
  """bool[N, length], True on the words of each sentence."""
  counts = np.array([len(words) for words in sentences])
  return np.arange(length)[None] < counts[:, None]


def of_sentences(
  run: Any, sentences: Sequence[Sequence[str]], count: int
) -> list[Tagging]:
  """See `run.Run.tag`."""
  if isinstance(sentences, str) or any(isinstance(s, str) for s in sentences):
    raise ValueError('sentences are lists of words, not strings.')
  kept = [i for i, words in enumerate(sentences) if len(words)]
  tagged = run.tagger.tag(
    run.params, run.extras, run.vocab, [sentences[i] for i in kept], count
  )
  found = [Tagging(tuple(words), (), ()) for words in sentences]
  names = run.task.labels
  for i, (tags, log_probs, shares) in zip(kept, tagged, strict=True):
    rows = [tuple(names[k] for k in row) for row in tags.tolist()]
    legal = np.flatnonzero(np.isfinite(log_probs)).tolist()
    best = np.take_along_axis(shares, tags[0][:, None], axis=1)[:, 0]
    found[i] = found[i]._replace(
      tags=rows[0],
      probabilities=tuple(best.tolist()),
      others=tuple(rows[n] for n in legal[1:]),
      log_probs=tuple(log_probs[legal].tolist()),
    )
  return found


def write_tags(run: Any) -> None:
  """Writes the tags of the words of `config.generate.input`."""
  settings = run.config.generate
  lines = records.read_lines(settings.input)
  read = _columns if settings.columns else _sentences
  sentences, cells = read(run, lines)
  found = run.tag(sentences, settings.n_best)
  text = []
  for one, rows in zip(found, cells, strict=True):
    tagged = zip(one.tags, one.probabilities, *one.others, strict=True)
    for row in rows:
      if row[0] == _DOCUMENT:
        text.append(records.row(*row))
        continue
      tag, share, *others = next(tagged)
      text.append(records.row(*row, tag, f'{share:.6f}', *others))
    text.append('')
  scheme = run.task.scheme
  records.write(run.config, (_record(one, scheme) for one in found), text)
  if settings.page:
    source = 'standard input' if settings.input == '-' else settings.input
    writers.write_output(
      settings.page,
      tagged_text.page(
        f'Tags of {os.path.basename(source)}',
        (_shown(one, scheme) for one in found),
      ),
    )


def _shown(one: Tagging, scheme: str) -> tagged_text.Sentence:
  """A sentence of the page; a tag that marks no span is one of its word."""
  if scheme == 'none':
    spans = [schemes.Span(t, t + 1, tag) for t, tag in enumerate(one.tags)]
  else:
    spans = schemes.spans(one.tags)
  marked = [
    tagged_text.Marked(*span, min(one.probabilities[span.start : span.stop]))
    for span in spans
  ]
  return tagged_text.Sentence(one.words, marked)


def _record(one: Tagging, scheme: str) -> dict[str, Any]:
  """A sentence as a JSON object."""
  record: dict[str, Any] = {
    'words': list(one.words),
    'tags': list(one.tags),
    'probabilities': list(one.probabilities),
  }
  if scheme != 'none':
    record['spans'] = [
      {'start': start, 'stop': stop, 'type': kind}
      for start, stop, kind in schemes.spans(one.tags)
    ]
  if one.log_probs:
    record['sequences'] = [
      {'tags': list(tags), 'log_prob': log_prob}
      for tags, log_prob in zip(
        (one.tags, *one.others), one.log_probs, strict=True
      )
    ]
  return record


def _sentences(run: Any, lines: Sequence[str]):
  """The words of each line, and the cells that are written of each word."""
  tokenise = run.protocol.tokenise
  if run.config.generate.split_words:
    tokenise = _treebank().tokenize
  sentences = [tokenise(line) if line.strip() else [] for line in lines]
  return sentences, [[[word] for word in words] for words in sentences]


@functools.cache
def _treebank():
  from nltk.tokenize import NLTKWordTokenizer  # Takes a second to import.

  return NLTKWordTokenizer()


def _columns(run: Any, lines: Sequence[str]):
  """The words of each sentence of a text in columns, and all of its cells."""
  config = run.config
  column = config.corpus.word_column
  sentences: list[list[str]] = []
  cells: list[list[list[str]]] = []
  rows: list[list[str]] = []
  for number, line in enumerate((*lines, ''), 1):
    formats.check_line_end(f'{config.generate.input}, line {number}', line)
    row = formats.cells(line)
    if not any(row):
      if rows:
        cells.append(rows)
        rows = []
      continue
    if row[0] != _DOCUMENT and not formats.column(row, column):
      raise ValueError(
        f'{config.generate.input}, line {number}: {line!r} has no column '
        f'{column}, where config.corpus.word_column says that words are.'
      )
    rows.append(row)
  for rows in cells:
    words = [row for row in rows if row[0] != _DOCUMENT]
    sentences.append([formats.column(row, column) for row in words])
  return sentences, cells
