"""Writes a text of any size as an index, which training reads from disk.

The text of each split is read in blocks of lines, twice: to count the words,
then to write the ids of each sentence as a record of an array_record file. Each
block is a file of its own, so that blocks are written by several processes, and
an index that was interrupted goes on after its last whole block. At no time is
more than a few blocks in memory.

A folder of an index holds

  vocab.json                    the vocabulary
  train-00000.array_record      a record for each sentence: its ids, EOS last;
                                of a stream of characters or bytes for each
                                line, its line end last, or parts of a long one
  train.lengths.npy             int32[N], tokens of each sentence, EOS counted
  index.json                    the settings and figures; written last

and files of the same form for valid and test.
"""

import collections
from collections.abc import Callable, Iterator, Set
import dataclasses
import functools
import hashlib
import itertools
import json
import os
from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.data import (
  blocks,
  corpora,
  corpus_checks,
  formats,
  texts,
  workers,
)
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import base

INDEX = 'index.json'
VOCABULARY = 'vocab.json'
# Changes whenever the files do.
VERSION = 1
_KEYS = {'settings', 'vocabulary_hash', 'type', 'remarks', 'splits'}
BEGUN = 'begun.json'
_COUNTS = 'counts.json'
# The most different words that are counted; of more, the rarest are dropped.
_MOST_WORDS = 5_000_000
_AT_A_TIME = 4_096  # Sentences that are encoded at a time.
_LONGEST_RECORD = 4_096  # Tokens of a record of a stream without ends.
_LONG_LINE = 100_000  # Tokens of a sentence that is slow to read in windows.
# Blocks between two notes of the counts, each of which takes seconds.
_NOTE_EVERY = 64


class Settings(NamedTuple):
  """What an index depends on besides the text; see `corpora.build`."""

  name: str  # A folder with train.txt, valid.txt and test.txt.
  protocol: str
  max_length: int = 0
  vocab_size: int = 0
  min_count: int = 0
  blank_lines: str = 'skip'
  unknown_token: str = ''
  # Words of a given vocabulary are not taken for marks of unknown words.
  has_vocabulary: bool = False
  stream: bool = False

  @property
  def has_line_ends(self) -> bool:
    """Whether line ends are tokens, and sentences have no other end."""
    return self.stream and (
      corpus_checks.rules_of(self.protocol).kind != 'word'
    )


def build(
  settings: Settings,
  folder: str,
  vocab: vocab_lib.Vocabulary | None = None,
  report: Callable[[int, int], None] = lambda done, total: None,
  processes: int = 0,
  block: int = blocks.SIZE,
) -> dict[str, Any]:
  """Writes the index of a text, or goes on with one that was interrupted.

  Args:
    settings: where the text is, and how it becomes ids.
    folder: where the index is written; it is created.
    vocab: the vocabulary to use; None: it is built from the training text.
    report: (bytes done, bytes of both passes), called after each block.
    processes: how many work at a time; 0: one for each core.
    block: bytes of text that are worked on at a time.

  Returns:
    The content of `index.json`.

  Raises:
    FileNotFoundError: the text of a split is missing.
    ValueError: a setting is illegal, a file is not text, a split has no
      sentence, or the folder has the index of another text.
  """
  paths = _paths(settings)
  rules = corpus_checks.rules_of(settings.protocol)
  corpus_checks.check(rules, settings.max_length, vocab)
  corpus_checks.check_blank_lines(
    settings.blank_lines, settings.has_line_ends, False
  )
  corpus_checks.check_unknown_token(settings.unknown_token, rules)
  settings = settings._replace(has_vocabulary=vocab is not None)
  begun = {
    'version': VERSION,
    'settings': settings._asdict(),
    'vocabulary': vocab.content_hash if vocab else '',
    'block': block,
    'files': {
      name: [os.path.getsize(path), os.stat(path).st_mtime_ns]
      for name, path in paths.items()
    },
  }
  os.makedirs(folder, exist_ok=True)
  _check_begun(folder, begun)
  done = read(folder)
  if done is not None:
    return done
  write_json(os.path.join(folder, BEGUN), begun)

  work = _Work(settings, folder, block, processes or workers.cores())
  sizes = {name: os.path.getsize(path) for name, path in paths.items()}
  is_counted = vocab is None and rules.kind != 'byte'
  before = is_counted * sizes['train']
  total = before + sum(sizes.values())
  remarks = _remarks(settings, paths['train'], block)
  vocab_path = os.path.join(folder, VOCABULARY)
  if not os.path.exists(vocab_path):
    if vocab is None:
      limit = settings.min_count or rules.min_count
      counts: collections.Counter[str] = collections.Counter()
      if is_counted:
        counts = work.count(paths['train'], lambda done: report(done, total))
        if settings.has_line_ends:
          counts -= collections.Counter({'\n': 1})  # The last one is no token.
      vocab = vocab_lib.Vocabulary.from_counts(
        rules.kind, counts, limit, settings.vocab_size
      )
      corpus_checks.check_vocabulary(settings.name, vocab, [[*counts]], limit)
    vocab.save(vocab_path)

  splits = {}
  marks: collections.Counter[str] = collections.Counter()
  for name, path in paths.items():
    summaries = []
    for position, summary in work.write(name, path):
      marks.update(summary['marks'])
      summaries.append(summary)
      report(before + position, total)
    before += sizes[name]
    splits[name] = _joined(folder, name, summaries)
    has_text = splits[name].pop('has_text')
    if not splits[name]['sentences'] or not has_text:
      raise ValueError(
        f'{settings.name}, {name}: no sentence is left under the protocol '
        f'{rules.name!r}.'
      )
  if settings.unknown_token and not marks:
    raise ValueError(
      f'unknown_token = {settings.unknown_token!r} is not a word of the text.'
    )
  if marks and not settings.unknown_token:
    remarks.append(texts.marks_remark(settings.name, marks))
  longest = splits['train']['lengths'][-1][0]
  if settings.stream and longest > _LONG_LINE:
    remarks.append(
      f'{settings.name}, train: a sentence has {longest:,} tokens, and is read '
      'whole for each of its windows. Shorter lines are faster.'
    )
  vocab = vocab_lib.Vocabulary.load(vocab_path)
  described = {
    **begun,
    'vocabulary_hash': vocab.content_hash,
    'type': _type(len(vocab)),
    'remarks': remarks,
    'splits': splits,
  }
  write_json(os.path.join(folder, INDEX), described)
  _drop_leftovers(folder)
  return described


def read(folder: str) -> dict[str, Any] | None:
  """Reads `index.json`; None if the folder has no complete index.

  Raises:
    ValueError: the file is damaged, or of another version of this library.
  """
  path = os.path.join(folder, INDEX)
  if not os.path.exists(path):
    return None
  described = _read_json(path, {'version'})
  if described['version'] != VERSION:
    raise ValueError(
      f'{path} has version {described["version"]}, this library reads '
      f'{VERSION}: index the text again, in another folder.'
    )
  _check_keys(path, described, _KEYS)
  return described


def _read_json(path: str, keys: Set[str]) -> dict[str, Any]:
  """Reads an object with these keys; raises ValueError if it is none."""
  with open(path, 'rb') as file:
    data = file.read()
  try:
    content = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is not of an index: {error}.') from error
  if not isinstance(content, dict):
    raise ValueError(f'{path} is not of an index: it holds no JSON object.')
  _check_keys(path, content, keys)
  return content


def _check_keys(path: str, content: dict[str, Any], keys: Set[str]) -> None:
  missing = keys - content.keys()
  if missing:
    raise ValueError(f'{path} is not of an index: it has no {min(missing)!r}.')


def write_json(path: str, value: Any) -> None:
  """Writes JSON; a kill leaves either the old or the new file."""
  with open(f'{path}.partial', 'w', encoding='utf-8') as file:
    json.dump(value, file, ensure_ascii=False)
  os.replace(f'{path}.partial', path)


def _paths(settings: Settings) -> dict[str, str]:
  """The file of each split."""
  if settings.name in base.REGISTRY or not os.path.isdir(settings.name):
    raise ValueError(
      f'corpus.name = {settings.name!r}: an index is made of a folder with '
      'train.txt, valid.txt and test.txt, each plain or .gz.'
    )
  paths = formats.split_paths(settings.name)
  for path in paths.values():
    if path.removesuffix('.gz').endswith(('.csv', '.conll')):
      raise ValueError(
        f'{path} is a table or a text in columns. An index is made of '
        'text alone, in .txt files.'
      )
  return paths


def _check_begun(folder: str, begun: dict[str, Any]) -> None:
  """Raises ValueError if the folder has files of something else."""
  path = os.path.join(folder, BEGUN)
  if not os.path.exists(path):
    there = [name for name in os.listdir(folder) if not name.startswith('.')]
    if there:
      raise ValueError(
        f'{folder} has other files: {", ".join(sorted(there)[:5])}. An index '
        'is written into a folder of its own.'
      )
    return
  before = _read_json(path, {'settings'})
  if isinstance(before['settings'], dict):
    # Indexes of this version may have been begun before there was this setting.
    before['settings'].setdefault('stream', False)
  for key in sorted({*before, *begun}):
    # JSON has no tuples.
    if before.get(key) != json.loads(json.dumps(begun.get(key))):
      raise ValueError(
        f'{folder} has the index of another text or of other settings: {key} '
        f'is {begun.get(key)} now, it was {before.get(key)}. Choose another '
        'folder, or delete this one.'
      )


def _remarks(settings: Settings, path: str, size: int) -> list[str]:
  """Checks the first lines of the training text; returns what is odd there."""
  first = next(blocks.read(path, size), None)
  if first is None:
    raise ValueError(f'{path} is empty.')
  start = blocks.lines(first)
  formats.check_no_table(path, start)
  records = [{'text': line} for line in start]
  return texts.forgotten_labels(settings.name, records, False)


# -- Two passes ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Work:
  """What both passes need."""

  settings: Settings
  folder: str
  block: int
  processes: int

  def count(
    self, path: str, report: Callable[[int], None]
  ) -> collections.Counter[str]:
    """How often the text has each token; reports the bytes that are read."""
    note = os.path.join(self.folder, _COUNTS)
    counts: collections.Counter[str] = collections.Counter()
    done = 0
    if os.path.exists(note):
      before = _read_json(note, {'counts', 'blocks'})
      counts.update(before['counts'])
      done = before['blocks']
    jobs = (job for job in blocks.read(path, self.block) if job.number >= done)
    count = functools.partial(_count_block, self.settings)
    for position, found in workers.mapped(count, jobs, self._processes(path)):
      done += 1
      counts.update(found)
      if len(counts) > _MOST_WORDS:
        # What is dropped here and occurs again has lost a few occurrences: its
        # place among the rarest words is not exact.
        counts = collections.Counter(dict(counts.most_common(_MOST_WORDS // 2)))
      if done % _NOTE_EVERY == 0:
        write_json(note, {'blocks': done, 'counts': counts})
      report(position)
    return counts

  def write(self, split: str, path: str) -> Iterator[tuple[int, dict]]:
    """Writes a split; yields the bytes read, and a block's summary."""
    write = functools.partial(_write_block, self.settings, self.folder, split)
    jobs = blocks.read(path, self.block)
    return workers.mapped(write, jobs, self._processes(path))

  def _processes(self, path: str) -> int:
    """A single block is read before another process has started."""
    return 1 if os.path.getsize(path) <= self.block else self.processes


def _count_block(
  settings: Settings, block: blocks.Block
) -> tuple[int, collections.Counter[str]]:
  counts: collections.Counter[str] = collections.Counter()
  for sentence in _sentences(settings, block, None, _Sums()):
    counts.update(sentence)
  return block.position, counts


@dataclasses.dataclass
class _Sums:
  """What is counted while sentences are read."""

  empty: int = 0
  has_text: bool = False  # Of streams without ends, other than white space.
  marks: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )


def _write_block(
  settings: Settings, folder: str, split: str, block: blocks.Block
) -> tuple[int, dict[str, Any]]:
  """Writes the sentences of a block, unless that is done already."""
  stem = os.path.join(folder, f'{split}-{block.number:05d}')
  if os.path.exists(f'{stem}.json'):
    return block.position, _read_json(f'{stem}.json', {'sentences', 'hash'})
  from array_record.python import array_record_module as array_record

  vocab = _vocabulary(os.path.join(folder, VOCABULARY))
  kind = _type(len(vocab))
  sums = _Sums()
  found: collections.Counter[str] = collections.Counter()
  lengths = [np.zeros(0, np.int32)]
  digest = hashlib.sha256()
  # Each record can be read on its own; ids of words hardly compress.
  writer = array_record.ArrayRecordWriter(
    f'{stem}.array_record', 'group_size:1,uncompressed'
  )
  sentences = _sentences(settings, block, vocab, sums)
  while some := list(itertools.islice(sentences, _AT_A_TIME)):
    text = texts.Text(some, 0, {}, ends=not settings.has_line_ends)
    part = corpora.encode(text, vocab, settings.max_length, stream=False)
    ids = part.tokens.astype(kind)
    for begin, length in zip(part.offsets, part.lengths, strict=True):
      writer.write(ids[begin : begin + length].tobytes())
    lengths.append(part.lengths)
    digest.update(part.tokens.astype('<i4').tobytes())
    found['truncated'] += part.num_truncated
    found['truncated_tokens'] += part.truncated_tokens
    found['unknown'] += int(np.sum(part.tokens == vocab_lib.UNK))
  writer.close()
  array = np.concatenate(lengths)
  np.save(f'{stem}.lengths.npy', array)
  digest.update(array.astype('<i4').tobytes())
  summary = {
    'sentences': len(array),
    'tokens': int(array.sum()),
    'empty': sums.empty,
    'has_text': sums.has_text,
    **{k: found[k] for k in ('truncated', 'truncated_tokens', 'unknown')},
    'hash': digest.hexdigest(),
    'marks': sums.marks,
  }
  write_json(f'{stem}.json', summary)  # Last: it says that the block is whole.
  return block.position, summary


def _sentences(
  settings: Settings,
  block: blocks.Block,
  vocab: vocab_lib.Vocabulary | None,
  sums: _Sums,
) -> Iterator[list[str]]:
  """Yields the tokens of each sentence of a block, and counts the rest."""
  rules = corpus_checks.rules_of(settings.protocol)
  pattern = None
  if rules.kind == 'word':
    given = vocab if settings.has_vocabulary else None
    pattern = texts.unknown_pattern(settings.unknown_token, given)

  def mark(match):
    sums.marks[match[0]] += 1
    return '<unk>'

  for line in blocks.lines(block, as_given=settings.has_line_ends):
    if settings.has_line_ends:
      sums.has_text = sums.has_text or bool(line.strip())
      tokens = rules.tokenise(f'{rules.line(line)}\n')
      # A window reads whole records, and a text may be a single line.
      for begin in range(0, len(tokens), _LONGEST_RECORD):
        yield tokens[begin : begin + _LONGEST_RECORD]
      continue
    sums.has_text = True
    if pattern is not None:
      line = pattern.sub(mark, line)
    found = texts.sentences_of(line, rules)
    if not found:
      sums.empty += 1
      if settings.blank_lines == 'sentence':
        found = [[]]
    yield from found


def _joined(
  folder: str, name: str, summaries: list[dict[str, Any]]
) -> dict[str, Any]:
  """Joins the lengths of a split's blocks in a file, and their figures."""
  path = os.path.join(folder, f'{name}.lengths.npy')
  total = sum(summary['sentences'] for summary in summaries)
  counts: collections.Counter[int] = collections.Counter()
  if total:
    joined = np.lib.format.open_memmap(
      f'{path}.partial', 'w+', np.int32, (total,)
    )
    begin = 0
    for number, summary in enumerate(summaries):
      part = np.load(
        os.path.join(folder, f'{name}-{number:05d}.lengths.npy'),
        allow_pickle=False,
      )
      end = begin + summary['sentences']
      joined[begin:end] = part
      begin = end
      values, times = np.unique(part, return_counts=True)
      counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    joined.flush()
    os.replace(f'{path}.partial', path)
  keys = ('tokens', 'empty', 'truncated', 'truncated_tokens', 'unknown')
  hashes = [summary['hash'] for summary in summaries]
  return {
    'sentences': total,
    **{key: sum(summary[key] for summary in summaries) for key in keys},
    'hash': hashlib.sha256(' '.join(hashes).encode()).hexdigest(),
    'has_text': any(summary.get('has_text', True) for summary in summaries),
    'blocks': [summary['sentences'] for summary in summaries],
    'lengths': [[*pair] for pair in sorted(counts.items())],
  }


def _drop_leftovers(folder: str) -> None:
  """Deletes what only an interrupted index needs."""
  for name in os.listdir(folder):
    is_of_block = '-' in name and name.endswith(('.json', '.lengths.npy'))
    if name == _COUNTS or is_of_block:
      os.remove(os.path.join(folder, name))


def _type(size: int) -> str:
  """The smallest type of ids of a vocabulary."""
  return '<u2' if size <= 2**16 else '<i4'


@functools.lru_cache(maxsize=1)
def _vocabulary(path: str) -> vocab_lib.Vocabulary:
  return vocab_lib.Vocabulary.load(path)
