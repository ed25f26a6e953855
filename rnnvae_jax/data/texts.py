"""Tokenised sentences of a split, before tokens become ids."""

import collections
from collections.abc import Sequence
import dataclasses
import re

import numpy as np

from rnnvae_jax.data import formats, labels, protocols
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import base


@dataclasses.dataclass(frozen=True)
class Text:
  """The tokenised sentences of a split.

  Attributes:
    sentences: the tokens of each sentence.
    num_empty: number of blank lines.
    columns: labels and other values of each sentence, by name.
    tags: the tags of each sentence's tokens; () if they were not requested.
    ends: whether each sentence is followed by EOS.
  """

  sentences: list[list[str]]
  num_empty: int
  columns: dict[str, tuple[str, ...]]
  tags: Sequence[list[str]] = ()
  ends: bool = True

  def lengths(self) -> np.ndarray:
    """int32[N], EOS counted, before any cut."""
    return np.fromiter((len(s) + self.ends for s in self.sentences), np.int32)

  def joined(self, other: 'Text') -> 'Text':
    """This text and then another one, whose columns have the same names."""
    columns = {
      name: (*values, *other.columns[name])
      for name, values in self.columns.items()
    }
    return dataclasses.replace(
      self,
      sentences=self.sentences + other.sentences,
      num_empty=self.num_empty + other.num_empty,
      columns=columns,
    )

  def values(self, column: str) -> Sequence[Sequence[str]]:
    """The tags of each sentence, or a tuple of its label."""
    if column == 'tags':
      return self.tags
    return [(label,) for label in self.columns[column]]


def tokenise(
  where: str,
  records: Sequence[base.Record],
  rules: protocols.Protocol,
  fields: Sequence[str] = (),
  blank_lines: str = 'skip',
  whole_lines: bool = False,
) -> Text:
  """Splits records into sentences and these into tokens.

  A record with a label is one sentence, however long: the label is that of the
  whole. With `whole_lines` every record is.

  Raises:
    ValueError: there is no sentence, or the numbers of tags and tokens differ.
  """
  sentences: list[list[str]] = []
  sources: list[base.Record] = []  # The record of each sentence.
  tags: list[list[str]] = []
  num_empty = 0
  is_whole = whole_lines or 'label' in fields
  for record in records:
    found = sentences_of(record['text'], rules, is_whole)
    num_empty += not found
    if not found and blank_lines == 'sentence':
      found = [[]]
    sentences.extend(found)
    sources.extend([record] * len(found))
    if 'tags' in fields and found:
      record_tags = record['tags'].split()
      if list(map(len, found)) != [len(record_tags)]:
        raise ValueError(
          f'{where}: {record["text"]!r} has {len(record_tags)} tags, but the '
          f'protocol {rules.name!r} makes {sum(map(len, found))} tokens of it. '
          "Legal protocol: 'mikolov', which leaves tokens as they are."
        )
      tags.append(record_tags)
  if not sentences:
    raise ValueError(
      f'{where}: no sentence is left of {len(records)} lines under the '
      f'protocol {rules.name!r}.'
    )
  names = [
    name for name in records[0] if name not in ('text', *labels.PER_TOKEN)
  ]
  columns = {name: tuple(r[name] for r in sources) for name in names}
  return Text(sentences, num_empty, columns, tags)


def sentences_of(
  line: str, rules: protocols.Protocol, is_whole: bool = False
) -> list[list[str]]:
  """The tokens of a line's sentences, of which one may be the whole line."""
  whole = rules.line(line)
  parts = [whole] if is_whole else rules.split(whole)
  return [tokens for part in parts if (tokens := rules.tokenise(part))]


def one_text(records: Sequence[base.Record], rules: protocols.Protocol) -> Text:
  """Joins all lines, with line ends, into one sentence without EOS."""
  text = '\n'.join(rules.line(record['text']) for record in records)
  return Text([rules.tokenise(text)], 0, {}, ends=False)


def unknown_pattern(
  unknown_token: str, vocab: vocab_lib.Vocabulary | None
) -> re.Pattern[str]:
  """Returns a pattern of the marks of unknown words in a text.

  Marks that a given vocabulary has as words are not matched.
  """
  if len(unknown_token.split()) > 1:
    raise ValueError(f'unknown_token = {unknown_token!r} is not one word.')
  markers = [unknown_token] if unknown_token else protocols.UNKNOWN_MARKERS
  if vocab is not None:
    markers = [mark for mark in markers if mark not in vocab.tokens]
  return protocols.unknown_pattern(markers)


def mark_unknown(
  records: base.Records,
  unknown_token: str,
  vocab: vocab_lib.Vocabulary | None,
) -> tuple[base.Records, collections.Counter[str]]:
  """Replaces marks of unknown words by '<unk>', and counts them.

  Raises:
    ValueError: `unknown_token` does not occur in the text.
  """
  pattern = unknown_pattern(unknown_token, vocab)
  counts: collections.Counter[str] = collections.Counter()

  def mark(match):
    counts[match[0]] += 1
    return '<unk>'

  def marked_in(record):
    sides = [side for side in ('text', 'source') if side in record]
    return record | {side: pattern.sub(mark, record[side]) for side in sides}

  marked = {
    split: list(map(marked_in, split_records))
    for split, split_records in records.items()
  }
  if unknown_token and not counts and vocab is None:
    raise ValueError(
      f'unknown_token = {unknown_token!r} is not a word of the text.'
    )
  return (marked if counts else records), counts


def marks_remark(name: str, counts: collections.Counter[str]) -> str:
  """The remark on marks of unknown words that a text brings along."""
  listed = ', '.join(f'{n:,} {mark}' for mark, n in sorted(counts.items()))
  return f'In {name}, {listed} are read as <unk>.'


def forgotten_labels(
  name: str, records: Sequence[base.Record], labelled: bool
) -> list[str]:
  """A remark if lines seem to begin with labels, which are read as words."""
  if name in base.REGISTRY or labelled or set(records[0]) != {'text'}:
    return []
  found = formats.prefixes(records)
  if not found:
    return []
  return [
    f'Each line of {name}, train, has one tab, and before it stands one of '
    f'{found} texts: labels? They are read as words; labelled = True reads '
    'them as labels.'
  ]
