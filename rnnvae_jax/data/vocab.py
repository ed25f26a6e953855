"""The mapping between tokens and ids, saved beside a model's weights."""

import collections
from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
from typing import Any

import numpy as np

from rnnvae_jax import errors

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ('<pad>', '<s>', '</s>', '<unk>')
KINDS = ('word', 'character', 'byte')


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Tokens in the order of their ids.

  Attributes:
    kind: the kind of its tokens: 'word', 'character' or 'byte'. A byte is
      represented by the character with the same code point.
    tokens: the tokens as text, `SPECIALS` first.
    source: the vocabulary of source texts; None: the same one.
  """

  kind: str
  tokens: tuple[str, ...]
  source: 'Vocabulary | None' = None

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(errors.unknown('vocabulary kind', self.kind, KINDS))
    if self.tokens[: len(SPECIALS)] != SPECIALS:
      raise ValueError(
        f'A vocabulary starts with {SPECIALS}, got '
        f'{self.tokens[: len(SPECIALS)]}.'
      )
    if len(set(self.tokens)) != len(self.tokens):
      repeated, _ = collections.Counter(self.tokens).most_common(1)[0]
      raise ValueError(f'The token {repeated!r} is twice in a vocabulary.')

  def __len__(self) -> int:
    return len(self.tokens)

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    # A special token such as '</s>' in a text is an ordinary word, except
    # '<unk>', which Mikolov's text uses with the same meaning.
    return {t: i for i, t in enumerate(self.tokens) if i >= UNK}

  def encode(self, tokens: Iterable[str]) -> np.ndarray:
    """Ids of the tokens, UNK for unknown ones: int32[N], no BOS or EOS."""
    get = self._ids.get
    return np.fromiter((get(t, UNK) for t in tokens), np.int32)

  def decode(self, ids: Iterable[int]) -> list[str]:
    """Tokens up to the first EOS; BOS and PAD are skipped."""
    spellings = []
    for i in ids:
      if i == EOS:
        break
      if i not in (BOS, PAD):
        spellings.append(self.tokens[i])
    return spellings

  @functools.cached_property
  def content_hash(self) -> str:
    """SHA-256 of kind and tokens; equal hashes mean equal ids for any text."""
    parts: list[Any] = [self.kind, self.tokens]
    if self.source is not None:
      parts.append(self.source.content_hash)
    content = json.dumps(parts)
    return hashlib.sha256(content.encode()).hexdigest()

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes JSON; a kill leaves either the old or the new file."""
    content: dict[str, Any] = {
      'content_hash': self.content_hash,
      'kind': self.kind,
      'tokens': self.tokens,
    }
    if self.source is not None:
      content['source_tokens'] = self.source.tokens
    partial = f'{os.fspath(path)}.partial'
    with open(partial, 'w', encoding='utf-8') as f:
      json.dump(content, f, ensure_ascii=False, indent=0)
    os.replace(partial, path)

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> 'Vocabulary':
    """Loads a vocabulary that `save` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a vocabulary, or its content does not match
        the hash stored with it.
    """
    with open(path, 'rb') as f:
      data = f.read()
    try:
      content = json.loads(data)
      stored = content['content_hash']
      kind, source = content['kind'], None
      if 'source_tokens' in content:
        source = cls(kind, tuple(content['source_tokens']))
      vocab = cls(kind, tuple(content['tokens']), source)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
      raise ValueError(
        f'{os.fspath(path)} is not a saved vocabulary: {error!r}.'
      ) from error
    if vocab.content_hash != stored:
      raise ValueError(
        f'{os.fspath(path)} was edited or is corrupt: its {len(vocab)} tokens '
        f'hash to {vocab.content_hash[:12]}, the file says {str(stored)[:12]}. '
        'Every id of a model depends on it: restore the original file.'
      )
    return vocab

  @classmethod
  def build(
    cls,
    kind: str,
    sentences: Iterable[Sequence[str]],
    min_count: int = 1,
    max_size: int = 0,
  ) -> 'Vocabulary':
    """Builds a vocabulary, the most frequent tokens first.

    Tokens of the same frequency are in code point order.

    Args:
      kind: 'word', 'character' or 'byte'. The byte vocabulary is always the
        256 bytes in order, whatever the text.
      sentences: tokenised text.
      min_count: tokens seen less often become UNK.
      max_size: the largest length of the result, specials counted; 0: no limit.

    Raises:
      ValueError: a limit leaves no room for any token.
    """
    counts: collections.Counter[str] = collections.Counter()
    if kind != 'byte':
      for sentence in sentences:
        counts.update(sentence)
    return cls.from_counts(kind, counts, min_count, max_size)

  @classmethod
  def from_counts(
    cls,
    kind: str,
    counts: Mapping[str, int],
    min_count: int = 1,
    max_size: int = 0,
  ) -> 'Vocabulary':
    """Builds the vocabulary of a text whose tokens are counted; see `build`."""
    if kind == 'byte':
      if min_count > 1 or 0 < max_size < 256 + len(SPECIALS):
        raise ValueError(
          'A byte vocabulary is the 256 bytes and 4 marks: min_count = '
          f'{min_count} and max_size = {max_size} cannot leave one out.'
        )
      return cls(kind, SPECIALS + tuple(map(chr, range(256))))
    if 0 < max_size <= len(SPECIALS):
      raise ValueError(
        f'vocabulary max_size = {max_size} counts the {len(SPECIALS)} marks '
        f'{SPECIALS}. Nearest legal value: {len(SPECIALS) + 1}; 0 is no limit.'
      )
    kept = sorted(
      (t for t, n in counts.items() if n >= min_count and t not in SPECIALS),
      key=lambda t: (-counts[t], t),
    )
    if max_size:
      kept = kept[: max_size - len(SPECIALS)]
    return cls(kind, SPECIALS + tuple(kept))
