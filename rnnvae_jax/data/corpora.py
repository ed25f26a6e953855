"""Corpora as arrays of token ids, ready to be batched.

  text --corpora--> records --protocols--> tokens --vocab--> ids and lengths

Named corpora:

  wikipedia_sample  articles of the English Wikipedia, part of gensim
  lee               news, part of gensim
  grammar           synthetic; entropy and latent factors are known
  ptb               Penn Treebank, from local files or a public mirror
  politicians       tweets with author and party, from a local file
  tiny_shakespeare  plays, from a local file or a public one
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools

import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.data import formats, protocols
from rnnvae_jax.data import vocab as vocab_lib

read_lines = formats.read_lines


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
  """

  tokens: np.ndarray
  offsets: np.ndarray
  lengths: np.ndarray
  num_truncated: int
  num_empty: int
  labels: Mapping[str, tuple[str, ...]]
  bos: int = vocab_lib.BOS

  def __len__(self) -> int:
    return len(self.lengths)

  @property
  def ends(self) -> bool:
    """Whether EOS is behind each sentence."""
    return bool(self.tokens[-1] == vocab_lib.EOS)

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
  """

  name: str
  protocol: str
  vocab: vocab_lib.Vocabulary
  splits: dict[str, Split]

  def summary(self) -> str:
    """A line on the corpus and one on each split."""
    lines = [
      f'{self.name} ({self.protocol}): {len(self.vocab):,} {self.vocab.kind}s '
      'in the vocabulary'
    ]
    for name, split in self.splits.items():
      unknown_rate = np.mean(split.tokens == vocab_lib.UNK)
      lines.append(
        f'  {name:5} {len(split):7,} sentences {len(split.tokens):10,} tokens '
        f'({len(split.tokens) / len(split):.3f} a sentence, {unknown_rate:.2%} '
        f'unknown), {split.num_truncated:,} cut, {split.num_empty:,} blank'
      )
    return '\n'.join(lines)


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
) -> Corpus:
  """Reads, tokenises and encodes a corpus.

  Args:
    corpus_name: one of `formats.NAMES`, or a folder.
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

  Raises:
    FileNotFoundError, PermissionError: see `formats.read`.
    ValueError: an illegal argument, a file that is not the expected text, a
      split without a sentence, or counts that are not those of the protocol.
  """
  formats.check_name(corpus_name)
  rules = _rules(protocol or formats.default_protocol(corpus_name))
  max_length = 0 if stream else max_length
  _check(rules, max_length, vocab)
  records = formats.read(
    corpus_name, data_dir, labelled, valid_share, test_share
  )
  if stream and rules.kind != 'word':
    texts = {s: _one_text(r, rules) for s, r in records.items()}
  else:
    texts = {
      s: _tokenise(f'{corpus_name}, {s}', r, rules) for s, r in records.items()
    }
  is_protocols_own = vocab is None and not (vocab_size or min_count)
  if vocab is None:
    vocab = vocab_lib.Vocabulary.build(
      rules.kind,
      texts['train'].sentences,
      min_count or rules.min_count,
      vocab_size,
    )
  protocols.check_counts(
    corpus_name,
    rules.name,
    max_length,
    {s: text.lengths() for s, text in texts.items()},
    len(vocab) if is_protocols_own else None,
  )
  splits = {
    s: _encode(text, vocab, max_length, stream) for s, text in texts.items()
  }
  return Corpus(corpus_name, rules.name, vocab, splits)


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
  text = _Text(sentences, len(lines) - len(sentences), {}, ends)
  return _encode(text, vocab, 0, stream)


@dataclasses.dataclass(frozen=True)
class _Text:
  """The tokenised sentences of a split."""

  sentences: list[list[str]]
  num_empty: int
  labels: dict[str, tuple[str, ...]]
  ends: bool = True  # Whether EOS is behind each sentence.

  def lengths(self) -> np.ndarray:
    """int32[N], EOS counted, before any cut."""
    return np.fromiter((len(s) + self.ends for s in self.sentences), np.int32)


def _rules(protocol: str) -> protocols.Protocol:
  if protocol not in protocols.PROTOCOLS:
    raise ValueError(
      errors.unknown('config.corpus.protocol', protocol, protocols.PROTOCOLS)
    )
  return protocols.PROTOCOLS[protocol]


def _check(
  rules: protocols.Protocol,
  max_length: int,
  vocab: vocab_lib.Vocabulary | None,
) -> None:
  if max_length < 0 or max_length == 1:
    raise ValueError(
      f'config.corpus.max_length = {max_length} leaves no room for a token and '
      'the end mark. Nearest legal value: 2; 0 is no limit.'
    )
  if vocab is not None and vocab.kind != rules.kind:
    raise ValueError(
      f'The protocol {rules.name!r} is about {rules.kind}s, the vocabulary '
      f'about {vocab.kind}s.'
    )


def _tokenise(
  where: str, records: Sequence[Mapping[str, str]], rules: protocols.Protocol
) -> _Text:
  """Splits records into sentences and these into tokens.

  Raises:
    ValueError: there is no sentence.
  """
  sentences: list[list[str]] = []
  sources: list[Mapping[str, str]] = []  # The record of each sentence.
  num_empty = 0
  for record in records:
    found = [rules.tokenise(s) for s in rules.split(record['text'])]
    found = [tokens for tokens in found if tokens]
    num_empty += not found
    sentences.extend(found)
    sources.extend([record] * len(found))
  if not sentences:
    raise ValueError(
      f'{where}: no sentence is left of {len(records)} lines under the '
      f'protocol {rules.name!r}.'
    )
  names = [name for name in records[0] if name != 'text']
  labels = {name: tuple(r[name] for r in sources) for name in names}
  return _Text(sentences, num_empty, labels)


def _one_text(
  records: Sequence[Mapping[str, str]], rules: protocols.Protocol
) -> _Text:
  """All lines as one sentence without an end, line ends included."""
  text = '\n'.join(record['text'] for record in records)
  return _Text([rules.tokenise(text)], 0, {}, ends=False)


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


def _encode(
  text: _Text, vocab: vocab_lib.Vocabulary, max_length: int, stream: bool
) -> Split:
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
    # EOS goes behind the words of each sentence: `ends` without earlier EOS.
    ids = np.insert(ids, ends - np.arange(1, len(ends) + 1), vocab_lib.EOS)
  return Split(
    tokens=ids,
    offsets=starts,
    lengths=lengths,
    num_truncated=int((uncut > lengths).sum()),
    num_empty=text.num_empty,
    labels=text.labels,
    bos=begin_mark(vocab, stream),
  )
