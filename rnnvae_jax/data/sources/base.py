"""The contract of a named corpus, and the registry of all of them.

A module of this folder exports `SOURCE`; its file name is the corpus's name. To
add a corpus, add its module and a test: corpora are listed nowhere else.
"""

import abc
from collections.abc import Callable, Iterator, Mapping
import dataclasses
import hashlib
import os

import numpy as np

from rnnvae_jax import errors, registry
from rnnvae_jax.data import formats

SPLITS = formats.SPLITS
DEFAULT_PROTOCOL = 'plain'  # For folders and files.

# 'text' and other data of the sentence, such as a label or an author. 'tags'
# has one tag for each word, separated by spaces.
Record = dict[str, str]
Records = dict[str, list[Record]]  # By split.

REGISTRY = registry.Registry('rnnvae_jax.data.sources', 'corpus')


@dataclasses.dataclass(frozen=True)
class Counts:
  """The counts of a corpus under a protocol that make figures comparable.

  Attributes:
    vocabulary: length of the vocabulary, the 4 special tokens counted.
    splits: (sentences, predicted tokens, sentences cut) of each split. The end
      mark is a predicted token.
  """

  vocabulary: int
  splits: Mapping[str, tuple[int, int, int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source(abc.ABC):
  """A named corpus.

  Attributes:
    name: name of the corpus and of its module.
    summary: a line on the corpus and the origin of its text.
    protocol: the default protocol.
    splits: names of the splits: `SPLITS`, and further ones for evaluation.
    labels: keys of the records other than 'text'.
    evaluation_split: the split whose figures are reported.
    counts: the required counts, by protocol and maximal length; length 0 stands
      for sentences that are not cut.
  """

  name: str
  summary: str
  protocol: str = DEFAULT_PROTOCOL
  splits: tuple[str, ...] = SPLITS
  labels: tuple[str, ...] = ()
  evaluation_split: str = 'test'
  counts: Mapping[tuple[str, int], Counts] = dataclasses.field(
    default_factory=dict
  )

  @abc.abstractmethod
  def read(self, data_dir: str | None = None) -> Records:
    """Reads the records of each split.

    Args:
      data_dir: folder of the raw files; None: $RNNVAE_DATA_DIR.

    Raises:
      FileNotFoundError: raw files are missing and cannot be downloaded.
      ImportError: the package that ships the corpus is not installed.
      PermissionError: the folder of prepared corpora is not writable.
      ValueError: a raw file has another content than expected.
    """


@dataclasses.dataclass(frozen=True)
class RawFile:
  """A file that a corpus is made from.

  Attributes:
    places: possible paths below the data folder, the usual one first; for a
      corpus of an installed package, below that package.
    sha256: SHA-256 of the file.
    size: size in bytes.
    url: public address of the file; '' if there is none.
  """

  places: tuple[str, ...]
  sha256: str
  size: int
  url: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawSource(Source):
  """A corpus that is made from known raw files; see `file_source.FileSource`.

  Attributes:
    raw: the files.
    records: paths of the raw files -> (split, record) of every sentence.
    version: version of the result of `records`. Raise it when that changes, so
      that older prepared data are not read again.
    package: the package that ships the files; '' if none does.
    obtain: how a user gets the files if they cannot be downloaded from `raw`.
  """

  raw: tuple[RawFile, ...]
  records: Callable[..., Iterator[tuple[str, Record]]]
  version: str = '1.0.0'
  package: str = ''
  obtain: str = ''


def get(name: str) -> Source:
  """Returns the corpus of that name.

  Raises:
    ValueError: there is no such corpus; the message lists the known names.
  """
  try:
    return REGISTRY[name].SOURCE
  except KeyError as error:
    raise ValueError(error.args[0]) from None


def names() -> tuple[str, ...]:
  """Names of the named corpora, without importing them."""
  return tuple(REGISTRY)


def splits() -> tuple[str, ...]:
  """Names of the splits that named corpora, folders or files have."""
  own = (split for name in names() for split in get(name).splits)
  return tuple(dict.fromkeys((*SPLITS, *own)))


def check_name(name_or_path: str) -> None:
  """Raises ValueError if the argument is no corpus, folder or file."""
  if not name_or_path:
    raise ValueError(
      'No corpus is named. Legal: a folder with train.txt, valid.txt and '
      f'test.txt, a text file, or one of {", ".join(names())}.'
    )
  if name_or_path in REGISTRY or os.path.exists(name_or_path):
    return
  if os.sep in name_or_path:
    raise ValueError(
      f'There is no folder or file {name_or_path!r}. A corpus folder holds '
      f'train.txt, valid.txt and test.txt; named corpora: {", ".join(names())}.'
    )
  raise ValueError(
    errors.unknown('corpus', name_or_path, names())
    + ' A folder with train.txt, valid.txt and test.txt or a text file can be '
    'given as well, but there is neither at that path.'
  )


def default_protocol(name_or_path: str) -> str:
  """The protocol of a corpus if the config does not name one."""
  if name_or_path in REGISTRY:
    return get(name_or_path).protocol
  return DEFAULT_PROTOCOL


def default_label(name_or_path: str) -> str:
  """The column of a corpus that is its label unless the config names one."""
  own = get(name_or_path).labels if name_or_path in REGISTRY else ()
  # Tags are not of a sentence, but of its words.
  return next((name for name in own if name != 'tags'), 'label')


def evaluation_split(name_or_path: str) -> str:
  """The split whose figures are reported if the config does not name one."""
  if name_or_path in REGISTRY:
    return get(name_or_path).evaluation_split
  return 'test' if os.path.isdir(name_or_path) else 'valid'


def split_of(text: str, salt: str = '') -> str:
  """Assigns a text to a split: about 90, 5 and 5 % to train, valid and test.

  For corpora of few long texts the salt is chosen such that sentences have
  these shares, too.
  """
  digest = hashlib.sha256((salt + text).encode()).digest()
  share = int.from_bytes(digest[:8], 'big') / 2**64
  return 'train' if share < 0.9 else 'valid' if share < 0.95 else 'test'


def check_counts(
  source: Source,
  protocol: str,
  max_length: int,
  lengths: Mapping[str, np.ndarray],
  vocabulary: int | None,
) -> None:
  """Compares the counts of a corpus with the known ones of its source.

  Args:
    source: the corpus's source.
    protocol: the protocol that it was read with.
    max_length: length that sentences are cut to, end mark counted; 0: not cut.
    lengths: int[N] of each split, before the cut, end marks counted.
    vocabulary: length of the vocabulary; None if it is not the protocol's own.

  Raises:
    ValueError: a count differs.
  """
  for cut in sorted({0, max_length}):
    expected = source.counts.get((protocol, cut))
    if expected is None:
      continue
    where = f'{source.name} under {protocol}'
    where += f' cut at {cut}' if cut else ''
    for split, counts in expected.splits.items():
      n = lengths[split]
      kept = np.minimum(n, cut) if cut else n
      got = (len(n), int(kept.sum()), int((n > kept).sum()))
      if got != counts:
        raise ValueError(
          f'{where}: {split} should have {counts} sentences, tokens and '
          f'sentences cut, got {got}. Figures would compare with no others.'
        )
    if vocabulary not in (None, expected.vocabulary):
      raise ValueError(
        f'{where}: the vocabulary should have {expected.vocabulary} entries, '
        f'got {vocabulary}. Figures would compare with no others.'
      )
