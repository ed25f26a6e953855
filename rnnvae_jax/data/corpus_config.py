"""The config keys of a corpus."""

import os

from rnnvae_jax.config import schema
from rnnvae_jax.data import protocols
from rnnvae_jax.data.sources import base

BLANK_LINES = ('skip', 'sentence')

_IS_A_FILE = schema.Condition(
  lambda flat: not _has_splits(flat['corpus.name']),
  lambda flat: f'{flat["corpus.name"]!r} has splits of its own',
  '`corpus.name` is a single file',
)


def _has_splits(corpus_name: str) -> bool:
  return corpus_name in base.REGISTRY or os.path.isdir(corpus_name)


@schema.fragment('corpus')
class CorpusConfig:
  """The text, and its tokenisation."""

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
    'Share of a single file in the split valid.',
    low=0,
    high=0.9,
    only_if=_IS_A_FILE,
    free=schema.Free.OTHER_TEXT,
  )
  test_share: float = schema.field(
    0.0,
    'Share of a single file, its last part, in the split test; 0: none.',
    low=0,
    high=0.9,
    only_if=_IS_A_FILE,
    free=schema.Free.OTHER_TEXT,
  )
  labelled: bool = schema.field(
    False,
    'Whether each line of a folder is a label, a tab and the text.',
    free=schema.Free.OTHER_TEXT,
  )
  columns: bool = schema.field(
    False,
    'Whether each line is a token and its tag, in columns, with blank lines '
    'between sentences.',
    only_if=schema.is_unset('corpus.labelled'),
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
  blank_lines: str = schema.field(
    'skip',
    "'skip' ignores blank lines; 'sentence' counts each as a sentence of an "
    'end mark alone, as many word-level scripts do.',
    choices=BLANK_LINES,
  )
  unknown_token: str = schema.field(
    '',
    'The word that marks unknown words in the text, which becomes <unk>; '
    f"'': each of {', '.join(protocols.UNKNOWN_MARKERS)}.",
  )
