"""Corpora as arrays of token ids, ready to be batched.

text --sources, formats--> records --protocols--> tokens --vocab--> ids
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import itertools

import numpy as np

from rnnvae_jax.data import (
  corpus_checks,
  formats,
  parallel,
  protocols,
  schemes,
  texts,
)
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.data import spellings as spellings_lib
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import base

# `Corpus.warnings` warns if larger shares of a split's tokens are cut off or
# unknown.
_MUCH_CUT = 0.05
_MUCH_UNKNOWN = 0.2

read_lines = formats.read_lines


@dataclasses.dataclass(frozen=True)
class Split:
  """The sentences of a split as ids, one after the other.

  A stream of characters or bytes is one long sentence without EOS.

  Attributes:
    tokens: int32[sum(lengths)], the ids of each sentence and EOS.
    offsets: int32[N], the position of each sentence's first token.
    lengths: int32[N], the number of tokens of each sentence, EOS counted.
    num_truncated: number of sentences that were cut to the maximal length.
    num_empty: number of blank lines, which are skipped or read as EOS alone.
    labels: by name, further data of the sentences, such as the author: N values
      each.
    bos: the id that is read before the first token; see `begin_mark`.
    truncated_tokens: number of tokens that were cut off.
    fields: by name in `labels.FIELDS`, ids in `Corpus.labels`: int32[N], or for
      fields in `labels.PER_TOKEN` int32[sum(lengths)], which are 0 at EOS.
    source: the source of each sentence; None without pairs.
    references: the text of each sentence as it was given; kept of pairs alone,
      whose outputs are compared with it.
    unseen: tags that the training text does not have; their ids follow those
      of `Corpus.labels`.
    spellings: of the split's words; None unless a task reads characters.
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
  source: parallel.Sources | None = None
  references: tuple[str, ...] = ()
  unseen: tuple[str, ...] = ()
  spellings: spellings_lib.Spellings | None = None

  def __len__(self) -> int:
    return len(self.lengths)

  @property
  def sizes(self) -> np.ndarray:
    """What batches are cut by: lengths int32[N], of pairs int32[N, 2]."""
    if self.source is None:
      return self.lengths
    return np.stack([self.lengths, self.source.lengths], axis=1)

  @property
  def ends(self) -> bool:
    """Whether each sentence is followed by EOS."""
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
    """SHA-256 of ids, lengths and fields; equal hashes mean equal data."""
    digest = hashlib.sha256()
    arrays = [
      ('tokens', self.tokens),
      ('lengths', self.lengths),
      *sorted(self.fields.items()),
    ]
    if self.source is not None:
      arrays.append(('source tokens', self.source.tokens))
      arrays.append(('source lengths', self.source.lengths))
    for name, array in arrays:
      digest.update(f'{name} {len(array)} '.encode())
      digest.update(np.ascontiguousarray(array, '<i4').tobytes())
    return digest.hexdigest()

  def sentence(self, i: int) -> np.ndarray:
    """The ids of sentence i: int32[lengths[i]]."""
    return self.tokens[self.offsets[i] :][: self.lengths[i]]

  def spans(self, bounds: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """The ids at positions begin .. end - 1, as far as the text goes, of each.

    Args:
      bounds: (begin, end); nothing is between them if end is not above begin.
    """
    return [self.tokens[begin : max(end, begin)] for begin, end in bounds]

  def tokens_of(self, rows: np.ndarray) -> np.ndarray:
    """The ids of sentences `rows` int[N], one after the other."""
    return self.tokens[positions(self.offsets[rows], self.lengths[rows])]


def positions(offsets: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """Where the tokens of some sentences stand: int[sum(lengths)].

  Args:
    offsets: int[N], of the first token of each sentence.
    lengths: int[N], tokens of each sentence.
  """
  # Positions of earlier sentences, which each sentence's own begin after.
  before = np.cumsum(lengths) - lengths
  within = np.arange(lengths.sum()) - np.repeat(before, lengths)
  return np.repeat(offsets, lengths) + within


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A corpus under a protocol.

  Attributes:
    name: name of the corpus, or path of its folder or file.
    protocol: name of the protocol in `protocols.PROTOCOLS`.
    vocab: the vocabulary, of the training text unless it was given.
    splits: 'train', 'valid' and mostly 'test'.
    labels: names of the classes or tags, in the order of the ids in
      `Split.fields`.
    blank_lines: how blank lines were read, one of
      `corpus_config.BLANK_LINES`.
    remarks: warnings from reading the text.
  """

  name: str
  protocol: str
  vocab: vocab_lib.Vocabulary
  splits: dict[str, Split]
  labels: tuple[str, ...] = ()
  blank_lines: str = 'skip'
  remarks: tuple[str, ...] = ()

  def summary(self) -> str:
    """Describes the corpus in a line, and each split in a line.

    Tokens are counted with the end mark of each sentence.
    """
    lines = [
      f'{self.name} ({self.protocol}): {len(self.vocab):,} {self.vocab.kind}s '
      'in the vocabulary'
    ]
    blank = 'blank' if self.blank_lines == 'skip' else 'blank, an end mark each'
    for name, split in self.splits.items():
      cut = f'{split.num_truncated:,} cut'
      if split.truncated_tokens:
        cut += f' ({split.truncated_share:.2%} of the tokens)'
      ends = 'end marks counted' if split.ends else 'without end marks'
      lines.append(
        f'  {name:5} {len(split):7,} sentences {len(split.tokens):10,} tokens, '
        f'{ends} ({len(split.tokens) / len(split):.3f} a sentence, '
        f'{split.unknown_share:.2%} unknown), {cut}, {split.num_empty:,} '
        f'{blank}'
      )
    return '\n'.join(lines)

  def warnings(self) -> list[str]:
    """Warnings about the text that its user may not expect."""
    found = list(self.remarks)
    for name, split in self.splits.items():
      if split.truncated_share > _MUCH_CUT:
        found.append(
          f'{self.name}, {name}: {split.truncated_share:.1%} of the tokens are '
          f'cut off, in {split.num_truncated:,} of {len(split):,} sentences. '
          'Raise max_length, or read the text as a stream.'
        )
      if split.unknown_share > _MUCH_UNKNOWN:
        found.append(
          f'{self.name}, {name}: {split.unknown_share:.1%} of the tokens are '
          'unknown words, which are easy to predict: perplexities say little.'
        )
    return found


def read(
  corpus_name: str,
  data_dir: str | None = None,
  labelled: bool = False,
  valid_share: float = 0.1,
  test_share: float = 0.0,
  *,
  columns: bool = False,
  as_given: bool = False,
  word_column: int = 1,
  tag_column: int = -1,
  tag_scheme: str = 'none',
) -> base.Records:
  """Reads the records of each split of a corpus.

  Args:
    corpus_name: a named corpus, a folder or a file; names take precedence.
    data_dir: folder of the raw files of named corpora; None: $RNNVAE_DATA_DIR.
    labelled: for a folder; see `formats.read`.
    valid_share: for a file; see `formats.read`.
    test_share: for a file; see `formats.read`.
    columns: for a folder; see `formats.read`.
    as_given: for a folder or file; see `formats.read`.
    word_column: for columns; see `formats.read`.
    tag_column: for columns; see `formats.read`.
    tag_scheme: for columns; see `formats.read`.

  Raises:
    FileNotFoundError, ImportError, PermissionError: see `sources.base.Source`.
    ValueError: the name is unknown, or a file does not have the expected
      format.
  """
  base.check_name(corpus_name)
  if corpus_name not in base.REGISTRY:
    return formats.read(
      corpus_name,
      labelled,
      valid_share,
      test_share,
      columns=columns,
      as_given=as_given,
      word_column=word_column,
      tag_column=tag_column,
      tag_scheme=tag_scheme,
    )
  if labelled or columns:
    raise ValueError(
      f'{"labelled" if labelled else "columns"} = True is for folders; '
      f'{corpus_name!r} has labels of its own, or none. Legal: False.'
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
  label_column: str = '',
  labels: Sequence[str] = (),
  columns: bool = False,
  blank_lines: str = 'skip',
  unknown_token: str = '',
  autoencoder: bool = False,
  whole_lines: bool = False,
  source_ending: str = 'source',
  target_ending: str = 'target',
  source_vocabulary: bool = False,
  unlabelled: str = '',
  most_labels: int = 0,
  tag_scheme: str = 'none',
  learnt_scheme: str = '',
  word_column: int = 1,
  tag_column: int = -1,
  whole_vocabulary: bool = False,
  max_characters: int = 24,
) -> Corpus:
  """Reads, tokenises and encodes a corpus.

  Args:
    corpus_name: one of `sources.base.names()`, a folder or a file.
    protocol: a key of `protocols.PROTOCOLS`; '': the corpus's own.
    max_length: largest number of tokens in a sentence, EOS counted. A longer
      sentence is cut to `max_length - 1` tokens and EOS, never dropped. 0: no
      limit.
    vocab_size: the largest vocabulary, its 4 special tokens counted; 0: no
      limit.
    min_count: words seen less often in the training text are unknown; 0: the
      protocol's own limit.
    data_dir: folder of the raw files; None: $RNNVAE_DATA_DIR.
    vocab: the vocabulary to use; None: it is built from the training text.
    labelled: whether lines of a folder begin with a label and a tab.
    stream: whether the lines of a split are one text. Then no sentence is cut;
      in a stream of characters or bytes line ends are tokens and there is no
      EOS.
    valid_share: see `formats.read`.
    test_share: see `formats.read`.
    fields: at most one of `labels.FIELDS`, which is encoded besides the text,
      or 'source', for pairs; and 'chars', for the spellings of words.
    label_column: the key of a record that 'label' is read from: 'author', ...;
      '': the first of the corpus's own, of a folder 'label'.
    labels: names of the classes or tags, in the order of their ids; (): those
      of the training split, sorted.
    columns: see `formats.read`.
    blank_lines: 'skip', or 'sentence': a blank line is a sentence of EOS alone.
    unknown_token: the word of the raw text that becomes UNK; '': all of
      `protocols.UNKNOWN_MARKERS` that are not in a given vocabulary.
    autoencoder: of pairs, whether each sentence is its own source.
    whole_lines: of an autoencoder, whether a line is one sentence, however
      long.
    source_ending: see `parallel.read`.
    target_ending: see `parallel.read`.
    source_vocabulary: whether sources have a vocabulary of their own.
    unlabelled: another corpus, whose training text is added to that of this
      one with the label id `labels.NONE`; '': none.
    most_labels: how many records of the training split are kept, see
      `labels.fewer`; 0: all.
    tag_scheme: how tags mark spans, one of `schemes.SCHEMES`.
    learnt_scheme: the scheme that they are converted to; '': the same.
    word_column: see `formats.read`.
    tag_column: see `formats.read`.
    whole_vocabulary: whether the vocabulary has the words of all splits.
    max_characters: characters of a word that are read.

  Raises:
    FileNotFoundError, PermissionError: see `read`.
    ValueError: an argument is illegal, a file does not have the expected
      format, a split has no sentence, labels are missing or do not occur in the
      training split, or counts differ from the known ones.
  """
  base.check_name(corpus_name)
  rules = corpus_checks.rules_of(protocol or base.default_protocol(corpus_name))
  max_length = 0 if stream else max_length
  corpus_checks.check(rules, max_length, vocab)
  labels_lib.check_fields(fields, stream)
  is_paired = parallel.FIELD in fields
  is_spelt = spellings_lib.FIELD in fields
  fields = labels_lib.ids_of(fields)
  by_characters = stream and rules.kind != 'word'
  corpus_checks.check_blank_lines(blank_lines, by_characters, labelled)
  if is_paired and not autoencoder and corpus_name not in base.REGISTRY:
    records = parallel.read(corpus_name, source_ending, target_ending)
  else:
    records = read(
      corpus_name,
      data_dir,
      labelled,
      valid_share,
      test_share,
      columns=columns,
      as_given=by_characters,
      word_column=word_column,
      tag_column=tag_column,
      tag_scheme=tag_scheme,
    )
  remarks = texts.forgotten_labels(corpus_name, records['train'], labelled)
  if rules.kind == 'word':
    records, counts = texts.mark_unknown(records, unknown_token, vocab)
    if counts and not unknown_token:
      remarks.append(texts.marks_remark(corpus_name, counts))
  corpus_checks.check_unknown_token(unknown_token, rules)
  column = label_column or base.default_label(corpus_name)
  if 'tags' in fields:
    column = 'tags'
  if fields:
    labels_lib.check_column(corpus_name, records, column)
  if most_labels:
    kept = labels_lib.fewer(records['train'], column, most_labels)
    records = {**records, 'train': kept}
  pairs: dict[str, parallel.Pairs] = {}
  if is_paired:
    pairs = parallel.pairs_of(
      corpus_name, records, rules, autoencoder, blank_lines, whole_lines
    )
    split_texts = {s: both.text for s, both in pairs.items()}
  elif by_characters:
    split_texts = {s: texts.one_text(r, rules) for s, r in records.items()}
  else:
    split_texts = {
      s: texts.tokenise(f'{corpus_name}, {s}', r, rules, fields, blank_lines)
      for s, r in records.items()
    }
  if 'tags' in fields:
    split_texts = {
      s: _with_scheme(
        f'{corpus_name}, {s}', text, tag_scheme, learnt_scheme, max_length
      )
      for s, text in split_texts.items()
    }
  extra = _unlabelled(unlabelled, data_dir, rules, split_texts['train'])
  is_protocols_own = vocab is None and not (
    vocab_size
    or min_count
    or extra.sentences
    or whole_vocabulary
    or most_labels
  )
  if vocab is None:
    train = split_texts['train'].sentences + extra.sentences
    if whole_vocabulary:
      others = (t for s, t in split_texts.items() if s != 'train')
      train = train + [words for text in others for words in text.sentences]
    limit = min_count or rules.min_count
    sources = pairs['train'].source.sentences if pairs else []
    shared = [] if source_vocabulary or autoencoder else sources
    vocab = vocab_lib.Vocabulary.build(
      rules.kind, [*train, *shared], limit, vocab_size
    )
    corpus_checks.check_vocabulary(corpus_name, vocab, train, limit)
    if source_vocabulary:
      own = vocab_lib.Vocabulary.build(rules.kind, sources, limit, vocab_size)
      corpus_checks.check_vocabulary(corpus_name, own, sources, limit)
      vocab = dataclasses.replace(vocab, source=own)
  if corpus_name in base.REGISTRY and not most_labels:
    base.check_counts(
      base.get(corpus_name),
      rules.name,
      max_length,
      {s: text.lengths() for s, text in split_texts.items()},
      len(vocab) if is_protocols_own else None,
    )
  if fields and not labels:
    labels = labels_lib.names_of(split_texts['train'].values(column))
  splits = {}
  for name, text in split_texts.items():
    ids: list[np.ndarray] = []
    unseen: tuple[str, ...] = ()
    if fields:
      ids, unseen = labels_lib.encode(
        f'{corpus_name}, {name}',
        column,
        text.values(column),
        labels,
        unseen='tags' in fields,
      )
    if unseen:
      remarks.append(
        f'{corpus_name}, {name}: the training text has no tag '
        f'{" or ".join(unseen)}: no model can be right there.'
      )
    if name == 'train' and extra.sentences:
      text = text.joined(extra)
      ids += [np.array([labels_lib.NONE])] * len(extra.sentences)
    splits[name] = split = encode(text, vocab, max_length, stream)
    if fields:
      array = _aligned(ids, split.lengths) if 'tags' in fields else ids
      arrays = {fields[0]: np.concatenate(array, dtype=np.int32)}
      splits[name] = split = dataclasses.replace(
        split, fields=arrays, unseen=unseen
      )
    if is_spelt:
      speller = spellings_lib.Speller(vocab, max_characters)
      spelt, index = speller.split(text.sentences, split.lengths)
      splits[name] = split = dataclasses.replace(
        split,
        fields={**split.fields, spellings_lib.INDEX: index},
        spellings=spelt,
      )
    if is_paired:
      of = encode(
        pairs[name].source,
        parallel.source_vocabulary(vocab),
        max_length,
        stream,
      )
      splits[name] = dataclasses.replace(
        split,
        source=parallel.Sources(of.tokens, of.offsets, of.lengths),
        references=pairs[name].raw,
      )
      if of.truncated_share > _MUCH_CUT and not autoencoder:
        remarks.append(
          f'{corpus_name}, {name}: {of.truncated_share:.1%} of the tokens of '
          f'the sources are cut off, in {of.num_truncated:,} of them. Raise '
          'max_length.'
        )
  return Corpus(
    corpus_name,
    rules.name,
    vocab,
    splits,
    tuple(labels),
    blank_lines,
    tuple(remarks),
  )


def _with_scheme(
  where: str, text: texts.Text, scheme: str, learnt: str, max_length: int
) -> texts.Text:
  """Checks the tags of a text, and converts them.

  A sentence that will be cut is cut before, so that its last span ends.

  Raises:
    ValueError: a tag breaks the scheme.
  """
  if scheme == 'none':
    return text
  schemes.check(where, text.tags, scheme)
  limit = max_length - 1 if max_length else None
  tags = [schemes.convert(row[:limit], learnt or scheme) for row in text.tags]
  return dataclasses.replace(text, tags=tags)


def _unlabelled(
  name: str,
  data_dir: str | None,
  rules: protocols.Protocol,
  train: texts.Text,
) -> texts.Text:
  """The training text of a corpus, to be added to `train` without labels.

  Args:
    name: of the corpus; '': there is no such text.
    data_dir: see `read`.
    rules: the protocol.
    train: the text that it will be added to, whose columns it has.

  Raises:
    FileNotFoundError, ImportError, PermissionError, ValueError: see `read`.
  """
  if not name:
    return texts.Text([], 0, {})
  records = read(name, data_dir)['train']
  records = [{'text': record['text']} for record in records]
  where = f'{name}, train'
  text = texts.tokenise(where, records, rules, ('label',))
  blank = ('',) * len(text.sentences)
  return dataclasses.replace(text, columns=dict.fromkeys(train.columns, blank))


def encode_lines(
  lines: Sequence[str],
  protocol: str,
  vocab: vocab_lib.Vocabulary,
  stream: bool = False,
  unknown_token: str = '',
) -> Split:
  """Encodes a user's lines, in order, without blank lines.

  A line is one sentence, even under `plain`, so that results can be matched
  with lines. Lines of a stream of characters or bytes have no end mark. For
  characters and bytes, white space around a line is text; the line end is not.
  For `unknown_token` see `build`.

  Raises:
    ValueError: an argument is illegal, or all lines are blank.
  """
  rules = corpus_checks.rules_of(protocol)
  corpus_checks.check(rules, 0, vocab)
  if rules.kind == 'word':
    pattern = texts.unknown_pattern(unknown_token, vocab)
    stripped = [pattern.sub('<unk>', line.strip()) for line in lines]
  else:
    stripped = [line.removesuffix('\n').removesuffix('\r') for line in lines]
  sentences = [
    rules.tokenise(rules.line(line)) for line in stripped if line.strip()
  ]
  if not sentences:
    raise ValueError(f'None of the {len(lines)} lines holds a sentence.')
  ends = not stream or rules.kind == 'word'
  text = texts.Text(sentences, len(lines) - len(sentences), {}, ends=ends)
  return encode(text, vocab, 0, stream)


def begin_mark(vocab: vocab_lib.Vocabulary, stream: bool) -> int:
  """The id that is read before the first token of a sentence or stream.

  For a stream it is the end of a sentence or line.
  """
  if not stream:
    return vocab_lib.BOS
  line_end = int(vocab.encode(['\n'])[0])
  return vocab_lib.EOS if line_end == vocab_lib.UNK else line_end


def split_of(
  sentences: Sequence[np.ndarray], bos: int = vocab_lib.BOS
) -> Split:
  """Makes a split of sentences of ids; appends EOS to those that lack it."""
  ended = [
    ids
    if len(ids) and ids[-1] == vocab_lib.EOS
    else np.append(ids, vocab_lib.EOS)
    for ids in sentences
  ]
  lengths = np.array([len(ids) for ids in ended], np.int32)
  ends = np.cumsum(lengths, dtype=np.int32)
  tokens = np.concatenate(ended).astype(np.int32)
  return Split(tokens, ends - lengths, lengths, 0, 0, {}, bos)


def encode(
  text: texts.Text, vocab: vocab_lib.Vocabulary, max_length: int, stream: bool
) -> Split:
  """Makes ids of the tokens of a text; for the arguments see `build`."""
  uncut = text.lengths()
  lengths = np.minimum(uncut, max_length) if max_length else uncut
  words = itertools.chain.from_iterable(
    s[: n - text.ends]
    for s, n in zip(text.sentences, lengths.tolist(), strict=True)
  )
  ends = np.cumsum(lengths, dtype=np.int32)
  starts = ends - lengths
  ids = vocab.encode(words)
  if text.ends:
    # EOS follows each sentence; positions are those without earlier EOS.
    ids = np.insert(ids, ends - np.arange(1, len(ends) + 1), vocab_lib.EOS)
  return Split(
    tokens=ids,
    offsets=starts,
    lengths=lengths,
    num_truncated=int((uncut > lengths).sum()),
    num_empty=text.num_empty,
    labels=text.columns,
    bos=begin_mark(vocab, stream),
    truncated_tokens=int((uncut - lengths).sum()),
  )


def _aligned(
  tags: Sequence[np.ndarray], lengths: np.ndarray
) -> list[np.ndarray]:
  """Cuts tags like their sentences, with 0 at EOS: int32[length] each."""
  return [
    np.append(sentence_tags[: n - 1], 0)
    for sentence_tags, n in zip(tags, lengths.tolist(), strict=True)
  ]
