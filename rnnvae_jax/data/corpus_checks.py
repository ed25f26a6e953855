"""Checks of what a corpus is asked for, and of the vocabulary it results in."""

from collections.abc import Sequence
import itertools

from rnnvae_jax import errors
from rnnvae_jax.data import corpus_config, protocols
from rnnvae_jax.data import vocab as vocab_lib


def rules_of(protocol: str) -> protocols.Protocol:
  """The protocol of that name; raises ValueError if there is none."""
  if protocol not in protocols.PROTOCOLS:
    raise ValueError(errors.unknown('protocol', protocol, protocols.PROTOCOLS))
  return protocols.PROTOCOLS[protocol]


def check(
  rules: protocols.Protocol,
  max_length: int,
  vocab: vocab_lib.Vocabulary | None,
) -> None:
  """Raises ValueError for a length or vocabulary that the protocol refuses."""
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


def check_blank_lines(
  blank_lines: str, by_characters: bool, labelled: bool
) -> None:
  """Raises ValueError for blank lines that could not be read in that way."""
  if blank_lines not in corpus_config.BLANK_LINES:
    raise ValueError(
      errors.unknown('blank_lines', blank_lines, corpus_config.BLANK_LINES)
    )
  because = ''
  if by_characters:
    because = 'in a stream of characters or bytes every line end is a token'
  elif labelled:
    because = 'a blank line has no label'
  if blank_lines == 'sentence' and because:
    raise ValueError(f"blank_lines = 'sentence': {because}. Legal: 'skip'.")


def check_unknown_token(unknown_token: str, rules: protocols.Protocol) -> None:
  """Raises ValueError for a mark of unknown words where there are no words."""
  if unknown_token and rules.kind != 'word':
    raise ValueError(
      f'unknown_token = {unknown_token!r} is a word, the protocol '
      f"{rules.name!r} is about {rules.kind}s. Legal: ''."
    )


def check_vocabulary(
  name: str,
  vocab: vocab_lib.Vocabulary,
  sentences: Sequence[Sequence[str]],
  min_count: int,
) -> None:
  """Raises ValueError for a vocabulary of special tokens alone."""
  if len(vocab) > len(vocab_lib.SPECIALS):
    return
  words = set(itertools.chain.from_iterable(sentences))
  words -= set(vocab_lib.SPECIALS)
  if words:
    because = (
      f'the training text has {len(words):,} different ones, none of them '
      f'{min_count} times. Nearest legal value of min_count: 1'
    )
  else:
    because = 'the training text holds nothing but marks such as <unk>'
  raise ValueError(
    f'{name}: the vocabulary is without any {vocab.kind}: {because}.'
  )
