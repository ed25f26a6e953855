"""Pairs of texts: each sentence has a source, another sequence of tokens.

The sentence is what a model writes, the source is what it writes it for: the
same in another language, in another notation, or the sentence itself.

A folder of pairs has two aligned files for each of train, valid and test,
`train.source` and `train.target` (other endings, such as `en` and `de`, may be
named), or one file `train.tsv`, whose lines are a source, a tab and a target.
All may be compressed (`.gz`) and have a prefix (`news.train.en`). Line i of the
one file belongs to line i of the other.
"""

from collections.abc import Sequence
import os
from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import formats, protocols, texts
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import base

FIELD = 'source'  # The field of tasks that read pairs, and a record's key.


@schema.fragment('corpus')
class ParallelConfig:
  """Keys of tasks that read the field 'source'; see `corpora.build`."""

  autoencoder: bool = schema.field(
    False,
    'Whether the source of each sentence is the sentence itself. Then any text '
    'will do.',
  )
  whole_lines: bool = schema.field(
    False,
    'Whether a line is one sentence, however long, as a labelled text is; else '
    'the protocol splits it.',
    only_if=schema.is_set('corpus.autoencoder'),
  )
  source_ending: str = schema.field(
    'source',
    "Ending of a folder's files of sources: train.source, ...",
    only_if=schema.is_unset('corpus.autoencoder'),
    free=schema.Free.OTHER_TEXT,
  )
  target_ending: str = schema.field(
    'target',
    "Ending of a folder's files of what is written: train.target, ...",
    only_if=schema.is_unset('corpus.autoencoder'),
    free=schema.Free.OTHER_TEXT,
  )
  source_vocabulary: bool = schema.field(
    False,
    'Whether sources have a vocabulary of their own; else both share one.',
    only_if=schema.is_unset('corpus.autoencoder'),
  )


class Sources(NamedTuple):
  """The sources of a split's sentences as ids, one after the other."""

  tokens: Any  # int32[sum(lengths)], the ids of each source and EOS.
  offsets: Any  # int32[N], the position of each source's first token.
  lengths: Any  # int32[N], the tokens of each source, EOS counted.

  def sentence(self, i: int) -> np.ndarray:
    """The ids of source i: int32[lengths[i]]."""
    return self.tokens[self.offsets[i] :][: self.lengths[i]]

  def of(self, rows: np.ndarray) -> 'Sources':
    """The sources of some sentences, in the order of `rows`."""
    if not len(rows):
      return sources_of([])
    return sources_of([self.sentence(i) for i in rows])


def sources_of(sentences: Sequence[np.ndarray]) -> Sources:
  """Sources of ids that end with EOS."""
  lengths = np.array([len(ids) for ids in sentences], np.int32)
  ends = np.cumsum(lengths, dtype=np.int32)
  tokens = np.concatenate([np.zeros(0, np.int32), *sentences])
  return Sources(tokens.astype(np.int32), ends - lengths, lengths)


def has_pairs(
  name_or_path: str,
  source_ending: str = 'source',
  target_ending: str = 'target',
) -> bool:
  """Whether a named corpus or a folder has pairs, without reading them."""
  if name_or_path in base.REGISTRY:
    return FIELD in base.get(name_or_path).labels
  if not os.path.isdir(name_or_path):
    return False
  there = os.listdir(name_or_path)
  endings = source_ending, target_ending
  return bool(
    all(_named(there, 'train', ending) for ending in endings)
    or _named(there, 'train', 'tsv')
  )


def read(
  folder: str, source_ending: str = 'source', target_ending: str = 'target'
) -> base.Records:
  """Reads a folder of pairs.

  Args:
    folder: its path.
    source_ending: what the names of the files of sources end with.
    target_ending: what the names of the files of targets end with.

  Returns:
    By split, records with the keys 'source' and 'text'. Lines that are blank on
    both sides are left out.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: the files of a split have different numbers of lines; a line is
      blank on one side alone, or is not two texts with one tab between them; or
      see `formats.read_lines`.
  """
  if not os.path.isdir(folder):
    raise ValueError(
      f'{folder!r} is no folder: pairs are read from a folder of '
      f'train.{source_ending}, train.{target_ending} and so on, or of '
      'train.tsv. config.corpus.autoencoder = True makes pairs of any text.'
    )
  return {
    split: _read_split(folder, split, source_ending, target_ending)
    for split in formats.SPLITS
  }


def _read_split(folder, split, source_ending, target_ending):
  there = sorted(os.listdir(folder))
  paths = []
  for ending in (source_ending, target_ending):
    paths += [os.path.join(folder, f) for f in _named(there, split, ending)[:1]]
  tables = _named(there, split, 'tsv')
  if len(paths) == 2:
    return _read_aligned(*paths)
  if tables and not paths:
    return _read_table(os.path.join(folder, tables[0]))
  listed = ', '.join(there[:10]) or 'nothing'
  raise FileNotFoundError(
    f'{folder} has no pairs of the split {split}: there is neither '
    f'{split}.{source_ending} with {split}.{target_ending} nor {split}.tsv. It '
    f'holds {listed}. config.corpus.source_ending and '
    'config.corpus.target_ending name other endings; '
    'config.corpus.autoencoder = True makes pairs of any text.'
  )


def _named(there: Sequence[str], split: str, ending: str) -> list[str]:
  """The files of a split with an ending, the one of that very name first."""
  names = [f'{split}.{ending}', f'{split}.{ending}.gz']
  exact = [name for name in names if name in there]
  ends = tuple(f'.{name}' for name in names)
  return exact + [name for name in there if name.endswith(ends)]


def _read_aligned(source_path: str, target_path: str) -> list[base.Record]:
  sources = formats.read_lines(source_path)
  targets = formats.read_lines(target_path)
  if len(sources) != len(targets):
    raise ValueError(
      f'{source_path} has {len(sources):,} lines, {target_path} has '
      f'{len(targets):,}: line i of the one belongs to line i of the other.'
    )
  records = []
  for number, pair in enumerate(zip(sources, targets, strict=True), 1):
    blank = [
      path
      for path, line in zip((source_path, target_path), pair, strict=True)
      if not line.strip()
    ]
    if len(blank) == 1:
      raise ValueError(
        f'{blank[0]}, line {number} is blank, and line {number} of the other '
        f'file is not: {max(pair, key=len)!r}.'
      )
    if not blank:
      records.append({FIELD: pair[0], 'text': pair[1]})
  return records


def _read_table(path: str) -> list[base.Record]:
  records = []
  for number, line in enumerate(formats.read_lines(path), 1):
    if not line.strip():
      continue
    parts = line.split('\t')
    if len(parts) != 2 or not all(part.strip() for part in parts):
      raise ValueError(
        f'{path}, line {number}: {line!r} is not a source, one tab and a '
        'target.'
      )
    records.append({FIELD: parts[0], 'text': parts[1]})
  return records


class Pairs(NamedTuple):
  """A split's pairs, tokenised: sentence i belongs to source i."""

  text: texts.Text
  source: texts.Text
  raw: tuple[str, ...]  # The sentences as they were given.


def tokenise(
  where: str, records: Sequence[base.Record], rules: protocols.Protocol
) -> Pairs:
  """Tokenises pairs; a side is one sentence, however long.

  Raises:
    ValueError: there is no pair, or one side of a pair has no token.
  """
  sides: dict[str, list[list[str]]] = {FIELD: [], 'text': []}
  kept: list[base.Record] = []
  for number, record in enumerate(records, 1):
    tokens = {
      side: rules.tokenise(record[side]) if record[side].strip() else []
      for side in sides
    }
    if not any(tokens.values()):
      continue
    for side, found in tokens.items():
      if not found:
        raise ValueError(
          f'{where}: pair {number} has no token in its {side}, {record[side]!r}'
          f', under the protocol {rules.name!r}; the other side has some.'
        )
      sides[side].append(found)
    kept.append(record)
  if not kept:
    raise ValueError(f'{where}: there is no pair of sentences.')
  names = [name for name in records[0] if name not in sides]
  columns = {name: tuple(r[name] for r in kept) for name in names}
  blank = len(records) - len(kept)
  return Pairs(
    texts.Text(sides['text'], blank, columns),
    texts.Text(sides[FIELD], blank, {}),
    tuple(record['text'].strip() for record in kept),
  )


def pairs_of(
  name: str,
  records: base.Records,
  rules: protocols.Protocol,
  autoencoder: bool,
  blank_lines: str = 'skip',
  whole_lines: bool = False,
) -> dict[str, Pairs]:
  """The pairs of each split.

  Args:
    name: the corpus, for messages.
    records: by split; those of an autoencoder have no source.
    rules: the protocol.
    autoencoder: whether each sentence is its own source.
    blank_lines: see `texts.tokenise`.
    whole_lines: of an autoencoder; see `texts.tokenise`.

  Raises:
    ValueError: the records have no sources; or see `tokenise`.
  """
  found = {}
  for split, some in records.items():
    where = f'{name}, {split}'
    if autoencoder:
      own = texts.tokenise(where, some, rules, (), blank_lines, whole_lines)
      found[split] = Pairs(own, own, tuple(map(rules.join, own.sentences)))
      continue
    if FIELD not in some[0]:
      raise ValueError(
        f'{where}: the sentences have no sources. Legal: a corpus of pairs, or '
        'config.corpus.autoencoder = True, each sentence its own source.'
      )
    found[split] = tokenise(where, some, rules)
  return found


def source_vocabulary(vocab: vocab_lib.Vocabulary) -> vocab_lib.Vocabulary:
  """The vocabulary of source texts."""
  return getattr(vocab, 'source', None) or vocab
