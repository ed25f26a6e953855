"""Writes the tags of words."""

from rnnvae_jax.commands import _lines, base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('generate', free=schema.Free.ALWAYS)
class TagConfig:
  """What is read, and how much is written of each word."""

  columns: bool = schema.field(
    False,
    'The input is in columns, a word a line with blank lines between '
    'sentences; otherwise a line is a sentence.',
  )
  split_words: bool = schema.field(
    False,
    'Punctuation marks and clitics of a line are words of their own, as in '
    'Penn Treebank; otherwise words are what white space separates.',
    only_if=schema.is_unset('generate.columns'),
  )
  n_best: int = schema.field(
    1, 'How many sequences of tags are written, the best one first.', low=1
  )
  page: str = schema.field(
    '',
    'File of an HTML page that shows the text with its spans, coloured by '
    "confidence; '': none.",
  )


HELP = 'the tag of each word of config.generate.input, and its probability'
NEEDS = 'run'
CAPABILITY = tasks_base.Tags
SETTINGS = (
  (tasks_base.Tags, _lines.LinesConfig),
  (tasks_base.Tags, TagConfig),
)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import loading, tagging

  tagging.write_tags(loading.open_run(context.config, context.workdir))
