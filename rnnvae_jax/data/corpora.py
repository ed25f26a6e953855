"""Corpora as arrays of token ids, ready to be batched.

text --sources, formats--> records --protocols--> tokens --vocab--> ids
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import itertools

import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.config import schema
from rnnvae_jax.data import formats, protocols
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import base

FIELDS = ('label', 'tags')  # What a batch may hold beside tokens.
PER_TOKEN = frozenset({'tags'})  # Those with an entry for each token.

read_lines = formats.read_lines


@schema.fragment('corpus')
class CorpusConfig:
  """The text, and how it becomes tokens."""

  name: str = schema.field(
    'wikipedia_sample',
    'A named corpus, a folder with train.txt, valid.txt and test.txt, or a '
    'text file.',
    free=schema.Free.TRAINED,
  )
  stream: bool = schema.field(
    False,
    'Whether the lines of a split are one text, read with the state carried '
    'from line to line. Line ends are tokens; a stream of characters or bytes '
    'has no end marks.',
  )
  valid_share: float = schema.field(
    0.1,
    'Share of a single file that validates.',
    low=0,
    high=0.9,
    free=schema.Free.OTHER_TEXT,
  )
  test_share: float = schema.field(
    0.0,
    'Share of a single file, the last part, that tests; 0: no test split.',
    low=0,
    high=0.9,
    free=schema.Free.OTHER_TEXT,
  )
  labelled: bool = schema.field(
    False,
    'Whether each line of a folder is a label, a tab and the text.',
    free=schema.Free.OTHER_TEXT,
  )
  protocol: str = schema.field(
    '',
    "Tokenisation; '': the corpus' own.",
    choices=('', *protocols.PROTOCOLS),
  )
  max_length: int = schema.field(
    60,
    'Tokens of the longest sentence, end mark counted; longer ones are cut.',
    low=2,
    tiny=12,
  )
  vocab_size: int = schema.field(
    0,
    'Largest vocabulary, the 4 marks counted; 0: no limit.',
    low=0,
    tiny=200,
  )
  min_count: int = schema.field(
    0,
    "Words seen less often in the training text are unknown; 0: the protocol's "
    'own.',
    low=0,
  )


@dataclasses.dataclass(frozen=True)
class Split:
  """Sentences of a split, one after the other.

  A stream of characters or bytes is one long sentence without EOS.

  Attributes:
    tokens: int32[sum(lengths)], the ids of each sentence and EOS.
    offsets: int32[N], where each sentence starts.
    lengths: int32[N], its number of tokens, EOS counted.
    num_truncated: sentences that were cut to the maximal length.
    num_empty: blank lines, which are no sentences.
    labels: what is known of each sentence besides its text, such as its author:
      N values each.
    bos: the id that is read before the first token; see `begin_mark`.
    truncated_tokens: tokens that were cut off.
    fields: by name in `FIELDS`, ids in `Corpus.labels`: int32[N], or for those
      in `PER_TOKEN` int32[sum(lengths)], which are 0 at EOS.
  """

  tokens: np.ndarray
  offsets: np.ndarray
  lengths: np.ndarray
  num_truncated: int
  num_empty: int
  labels: Mapping[str, tuple[str, ...]]
  bos: int = vocab_lib.BOS
  truncated_tokens: int = 0
  fields: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    return len(self.lengths)

  @property
  def ends(self) -> bool:
    """Whether EOS is behind each sentence."""
    return bool(self.tokens[-1] == vocab_lib.EOS)

  @functools.cached_property
  def unknown_share(self) -> float:
    """Share of the tokens, EOS counted, that are UNK."""
    return float(np.mean(self.tokens == vocab_lib.UNK))

  @property
  def truncated_share(self) -> float:
    """Share of the text's tokens, EOS counted, that were cut off."""
    return self.truncated_tokens / (self.truncated_tokens + len(self.tokens))

  @functools.cached_property
  def content_hash(self) -> str:
    """SHA-256 over ids, lengths and fields: equal hashes, equal text."""
    digest = hashlib.sha256()
    for name, array in (
      ('tokens', self.tokens),
      ('lengths', self.lengths),
      *sorted(self.fields.items()),
    ):
      digest.update(f'{name} {len(array)} '.encode())
      digest.update(np.ascontiguousarray(array, '<i4').tobytes())
    return digest.hexdigest()

  def sentence(self, i: int) -> np.ndarray:
    """The ids of sentence i: int32[lengths[i]]."""
    return self.tokens[self.offsets[i] :][: self.lengths[i]]


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A corpus under a protocol.

  Attributes:
    name: of the corpus, or its folder.
    protocol: its name in `protocols.PROTOCOLS`.
    vocab: of the training text, unless it was given.
    splits: 'train', 'valid' and mostly 'test'.
    labels: names of the classes or tags, in the order of the ids in
      `Split.fields`.
  """

  name: str
  protocol: str
  vocab: vocab_lib.Vocabulary
  splits: dict[str, Split]
  labels: tuple[str, ...] = ()

  def summary(self) -> str:
    """A line on the corpus and one on each split."""
    lines = [
      f'{self.name} ({self.protocol}): {len(self.vocab):,} {self.vocab.kind}s '
      'in the vocabulary'
    ]
    for name, split in self.splits.items():
      lines.append(
        f'  {name:5} {len(split):7,} sentences {len(split.tokens):10,} tokens '
        f'({len(split.tokens) / len(split):.3f} a sentence, '
        f'{split.unknown_share:.2%} unknown), {split.num_truncated:,} cut, '
        f'{split.num_empty:,} blank'
      )
    return '\n'.join(lines)


def read(
  corpus_name: str,
  data_dir: str | None = None,
  labelled: bool = False,
  valid_share: float = 0.1,
  test_share: float = 0.0,
) -> base.Records:
  """The records of each split of a corpus, a name before a folder or file.

  Args:
    corpus_name: a named corpus, a folder or a file.
    data_dir: where raw files of named corpora lie; $RNNVAE_DATA_DIR if None.
    labelled: see `formats.read`.
    valid_share: likewise.
    test_share: likewise.

  Raises:
    FileNotFoundError, ImportError, PermissionError: see `sources.base.Source`.
    ValueError: an unknown name, or a file that is not the expected text.
  """
  base.check_name(corpus_name)
  if corpus_name not in base.REGISTRY:
    return formats.read(corpus_name, labelled, valid_share, test_share)
  if labelled:
    raise ValueError(
      f'labelled = True is for folders; {corpus_name!r} has labels of its own, '
      'or none. Legal: False.'
    )
  return base.get(corpus_name).read(data_dir)


def build(
  corpus_name: str,
  protocol: str = '',
  max_length: int = 0,
  vocab_size: int = 0,
  min_count: int = 0,
  data_dir: str | None = None,
  vocab: vocab_lib.Vocabulary | None = None,
  labelled: bool = False,
  stream: bool = False,
  valid_share: float = 0.1,
  test_share: float = 0.0,
  *,
  fields: Sequence[str] = (),
  label_column: str = 'label',
  labels: Sequence[str] = (),
) -> Corpus:
  """Reads, tokenises and encodes a corpus.

  Args:
    corpus_name: one of `sources.base.names()`, a folder or a file.
    protocol: a key of `protocols.PROTOCOLS`; '' is the corpus' own.
    max_length: tokens of the longest sentence, EOS counted. A longer one is cut
      to `max_length - 1` tokens and EOS, never dropped. 0 is no limit.
    vocab_size: the largest vocabulary, its 4 marks counted; 0 is no limit.
    min_count: words seen less often in the training text are unknown; 0 is what
      the protocol says.
    data_dir: where raw files lie; $RNNVAE_DATA_DIR if None.
    vocab: used as it is, instead of one of the training text.
    labelled: lines of a folder begin with a label and a tab.
    stream: the lines of a split are one text: no sentence is cut, and of
      characters or bytes the line ends are tokens and nothing ends.
    valid_share: see `formats.read`.
    test_share: likewise.
    fields: of `FIELDS`, at most one: what is encoded beside the text.
    label_column: what of a record 'label' is: 'author', 'topic', ...
    labels: names of the classes or tags, in the order of their ids; those of
      the training split, sorted, if empty.

  Raises:
    FileNotFoundError, PermissionError: see `read`.
    ValueError: an illegal argument, a file that is not the expected text, a
      split without a sentence, labels that are missing or not among those of
      the training split, or counts that are not those of the protocol.
  """
  base.check_name(corpus_name)
  rules = _rules(protocol or base.default_protocol(corpus_name))
  max_length = 0 if stream else max_length
  _check(rules, max_length, vocab)
  _check_fields(fields, stream)
  records = read(corpus_name, data_dir, labelled, valid_share, test_share)
  column = 'tags' if 'tags' in fields else label_column
  if fields:
    _check_column(corpus_name, records, column)
  if stream and rules.kind != 'word':
    texts = {s: _one_text(r, rules) for s, r in records.items()}
  else:
    texts = {
      s: _tokenise(f'{corpus_name}, {s}', r, rules, 'tags' in fields)
      for s, r in records.items()
    }
  is_protocols_own = vocab is None and not (vocab_size or min_count)
  if vocab is None:
    vocab = vocab_lib.Vocabulary.build(
      rules.kind,
      texts['train'].sentences,
      min_count or rules.min_count,
      vocab_size,
    )
  if corpus_name in base.REGISTRY:
    base.check_counts(
      base.get(corpus_name),
      rules.name,
      max_length,
      {s: text.lengths() for s, text in texts.items()},
      len(vocab) if is_protocols_own else None,
    )
  if fields and not labels:
    values = _values(texts['train'], column)
    labels = sorted(set(itertools.chain.from_iterable(values)))
  splits = {}
  for name, text in texts.items():
    splits[name] = split = _encode(text, vocab, max_length, stream)
    if fields:
      where = f'{corpus_name}, {name}'
      array = _encode_values(where, text, split, column, labels)
      splits[name] = dataclasses.replace(split, fields={fields[0]: array})
  return Corpus(corpus_name, rules.name, vocab, splits, tuple(labels))


def encode_lines(
  lines: Sequence[str],
  protocol: str,
  vocab: vocab_lib.Vocabulary,
  stream: bool = False,
) -> Split:
  """Encodes a user's lines: one entry for each that is not blank, in order.

  A line is one sentence, under `plain` as well, so that answers can be matched
  with questions. Those of a stream of characters or bytes have no end mark.

  Raises:
    ValueError: an illegal argument, or all lines are blank.
  """
  rules = _rules(protocol)
  _check(rules, 0, vocab)
  stripped = [line.strip() for line in lines]
  sentences = [rules.tokenise(line) for line in stripped if line]
  if not sentences:
    raise ValueError(f'None of the {len(lines)} lines holds a sentence.')
  ends = not stream or rules.kind == 'word'
  text = _Text(sentences, len(lines) - len(sentences), {}, ends=ends)
  return _encode(text, vocab, 0, stream)


def begin_mark(vocab: vocab_lib.Vocabulary, stream: bool) -> int:
  """What is read before the first token of a sentence, or of a stream.

  What begins in a stream follows on the end of another sentence or line.
  """
  if not stream:
    return vocab_lib.BOS
  line_end = int(vocab.encode(['\n'])[0])
  return vocab_lib.EOS if line_end == vocab_lib.UNK else line_end


def split_of(
  sentences: Sequence[np.ndarray], bos: int = vocab_lib.BOS
) -> Split:
  """Sentences of ids as a split; EOS is put behind those that lack it."""
  whole = [
    ids
    if len(ids) and ids[-1] == vocab_lib.EOS
    else np.append(ids, vocab_lib.EOS)
    for ids in sentences
  ]
  lengths = np.array([len(ids) for ids in whole], np.int32)
  ends = np.cumsum(lengths, dtype=np.int32)
  tokens = np.concatenate(whole).astype(np.int32)
  return Split(tokens, ends - lengths, lengths, 0, 0, {}, bos)


@dataclasses.dataclass(frozen=True)
class _Text:
  """The tokenised sentences of a split.

  Attributes:
    sentences: their tokens.
    num_empty: blank lines.
    labels: by column, the value of each sentence.
    tags: those of each sentence's tokens; () if they are not asked for.
    ends: whether EOS is behind each sentence.
  """

  sentences: list[list[str]]
  num_empty: int
  labels: dict[str, tuple[str, ...]]
  tags: Sequence[list[str]] = ()
  ends: bool = True

  def lengths(self) -> np.ndarray:
    """int32[N], EOS counted, before any cut."""
    return np.fromiter((len(s) + self.ends for s in self.sentences), np.int32)


def _rules(protocol: str) -> protocols.Protocol:
  if protocol not in protocols.PROTOCOLS:
    raise ValueError(errors.unknown('protocol', protocol, protocols.PROTOCOLS))
  return protocols.PROTOCOLS[protocol]


def _check(
  rules: protocols.Protocol,
  max_length: int,
  vocab: vocab_lib.Vocabulary | None,
) -> None:
  if max_length < 0 or max_length == 1:
    raise ValueError(
      f'max_length = {max_length} leaves no room for a token and the end mark. '
      'Nearest legal value: 2; 0 is no limit.'
    )
  if vocab is not None and vocab.kind != rules.kind:
    raise ValueError(
      f'The protocol {rules.name!r} is about {rules.kind}s, the vocabulary '
      f'about {vocab.kind}s.'
    )


def _check_fields(fields: Sequence[str], stream: bool) -> None:
  for name in fields:
    if name not in FIELDS:
      raise ValueError(errors.unknown('field', name, FIELDS))
  if len(fields) > 1:
    raise ValueError(
      f'fields = {tuple(fields)}: a corpus has one list of label names. Legal: '
      f'one of {", ".join(FIELDS)}.'
    )
  if fields and stream:
    raise ValueError(
      f'fields = {tuple(fields)}: a stream has no sentences to be labelled. '
      'Legal: none.'
    )


def _check_column(name: str, records: base.Records, column: str) -> None:
  """Raises ValueError unless the records of each split have this column."""
  for split, of_split in records.items():
    known = [key for key in of_split[0] if key != 'text']
    if column not in known:
      has = f'there are {", ".join(known)}' if known else 'there are no others'
      raise ValueError(
        f'{name}, {split}: beside the text there is no {column!r}; {has}. In a '
        'labelled folder each line is a label, a tab and the text.'
      )


def _tokenise(
  where: str,
  records: Sequence[base.Record],
  rules: protocols.Protocol,
  with_tags: bool = False,
) -> _Text:
  """Splits records into sentences and these into tokens.

  Raises:
    ValueError: there is no sentence, or tags do not fit to tokens.
  """
  sentences: list[list[str]] = []
  sources: list[base.Record] = []  # The record of each sentence.
  tags: list[list[str]] = []
  num_empty = 0
  for record in records:
    found = [rules.tokenise(s) for s in rules.split(record['text'])]
    found = [tokens for tokens in found if tokens]
    num_empty += not found
    sentences.extend(found)
    sources.extend([record] * len(found))
    if with_tags and found:
      of_record = record['tags'].split()
      if list(map(len, found)) != [len(of_record)]:
        raise ValueError(
          f'{where}: {record["text"]!r} has {len(of_record)} tags, but the '
          f'protocol {rules.name!r} makes {sum(map(len, found))} tokens of it. '
          "Legal protocol: 'mikolov', which leaves tokens as they are."
        )
      tags.append(of_record)
  if not sentences:
    raise ValueError(
      f'{where}: no sentence is left of {len(records)} lines under the '
      f'protocol {rules.name!r}.'
    )
  names = [name for name in records[0] if name not in ('text', *PER_TOKEN)]
  labels = {name: tuple(r[name] for r in sources) for name in names}
  return _Text(sentences, num_empty, labels, tags)


def _one_text(
  records: Sequence[base.Record], rules: protocols.Protocol
) -> _Text:
  """All lines as one sentence without an end, line ends included."""
  text = '\n'.join(record['text'] for record in records)
  return _Text([rules.tokenise(text)], 0, {}, ends=False)


def _encode(
  text: _Text, vocab: vocab_lib.Vocabulary, max_length: int, stream: bool
) -> Split:
  uncut = text.lengths()
  lengths = np.minimum(uncut, max_length) if max_length else uncut
  ends = np.cumsum(lengths, dtype=np.int32)
  return Split(
    tokens=_flat(
      text.sentences, lengths, text.ends, vocab.encode, vocab_lib.EOS
    ),
    offsets=ends - lengths,
    lengths=lengths,
    num_truncated=int((uncut > lengths).sum()),
    num_empty=text.num_empty,
    labels=text.labels,
    bos=begin_mark(vocab, stream),
    truncated_tokens=int((uncut - lengths).sum()),
  )


def _flat(
  rows: Sequence[Sequence[str]],
  lengths: np.ndarray,
  ends: bool,
  encode: Callable[[Iterable[str]], np.ndarray],
  mark: int,
) -> np.ndarray:
  """Rows cut to their lengths, one after the other, as ids.

  Args:
    rows: of each sentence, tokens or what is aligned with them.
    lengths: int32[N], EOS counted.
    ends: whether EOS is behind each sentence.
    encode: spellings -> ids.
    mark: the id at EOS.

  Returns:
    int32[sum(lengths)].
  """
  kept = itertools.chain.from_iterable(
    row[: n - ends] for row, n in zip(rows, lengths.tolist(), strict=True)
  )
  ids = encode(kept)
  if not ends:
    return ids
  # The mark goes behind the words of each sentence: behind all words before
  # its end, earlier marks not counted.
  where = np.cumsum(lengths, dtype=np.int32) - np.arange(1, len(lengths) + 1)
  return np.insert(ids, where, mark)


def _values(text: _Text, column: str) -> Sequence[Sequence[str]]:
  """Of each sentence, its tags or its one label."""
  if column in PER_TOKEN:
    return text.tags
  return [(label,) for label in text.labels[column]]


def _encode_values(
  where: str, text: _Text, split: Split, column: str, labels: Sequence[str]
) -> np.ndarray:
  """Labels int32[N], or tags int32[sum(lengths)], 0 at EOS, as ids.

  Raises:
    ValueError: there is one that is not among `labels`.
  """
  ids = {label: i for i, label in enumerate(labels)}
  values = _values(text, column)
  strange = set(itertools.chain.from_iterable(values)) - set(ids)
  if strange:
    listed = ', '.join(map(repr, sorted(strange)[:5]))
    known = ', '.join(map(repr, labels[:20]))
    raise ValueError(
      f'{where}: {len(strange)} values of {column!r} never occur in the '
      f'training text: {listed}. Known: {known}.'
    )
  encode = lambda values: np.fromiter((ids[v] for v in values), np.int32)
  if column in PER_TOKEN:
    return _flat(values, split.lengths, text.ends, encode, 0)
  return encode(itertools.chain.from_iterable(values))
