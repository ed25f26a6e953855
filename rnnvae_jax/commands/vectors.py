"""Asks word vectors what they know."""

from rnnvae_jax.analysis import word_vectors
from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.data import word_vectors as data_lib
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('vectors', free=schema.Free.ALWAYS)
class VectorsConfig:
  """Which vectors are read, and what they are asked.

  If nothing is asked, they are measured on the tests that gensim has and on all
  association tests.
  """

  source: str = schema.field(
    '',
    "'glove' (of the extra `glove`), or a file of GloVe or word2vec, plain, "
    ".gz or binary; '': the embeddings of the run in --workdir.",
  )
  format: str = schema.field(
    'auto',
    'Format of the file; auto: binary if its name ends with .bin or .bin.gz.',
    choices=data_lib.FORMATS,
    only_if=schema.is_set('vectors.source'),
  )
  table: str = schema.field(
    '',
    "Which embedding of the run, where there are several, as 'encoder/"
    "embedding'; '': the only one.",
    only_if=schema.is_unset('vectors.source'),
  )
  limit: int = schema.field(
    0, 'The first so many words are read; 0: all.', low=0
  )
  words: str = schema.field(
    '',
    "Words or sums whose neighbours are listed, with commas: 'cat,king - man + "
    "woman'.",
  )
  analogies: str = schema.field(
    '', "Questions with commas: 'man:king::woman:?'."
  )
  pairs: str = schema.field(
    '', "Pairs whose distances are listed, with commas: 'cat:dog'."
  )
  count: int = schema.field(
    10, 'Neighbours, or answers, that are listed.', low=1, tiny=3
  )
  distance: str = schema.field(
    'cosine', 'By which neighbours are near.', choices=word_vectors.MEASURES
  )
  rule: str = schema.field(
    'add',
    'How analogies are answered: 3CosAdd or 3CosMul.',
    choices=word_vectors.RULES,
  )
  tests: str = schema.field(
    '',
    'Tests of similarity and analogies, with commas: wordsim353, simlex999, '
    "men, google, or files; '': none if anything else is asked.",
  )
  associations: str = schema.field(
    '',
    "Association tests (WEAT), with commas: 'all', names, or JSON files; '': "
    'none if anything else is asked.',
  )
  partitions: int = schema.field(
    100_000,
    'Random partitions of an association test whose partitions are more than '
    '200,000.',
    low=1,
    tiny=50,
  )
  output: str = schema.field(
    '', "File for the vectors in word2vec's text format; '': none."
  )


HELP = 'neighbours, analogies, tests, bias of word vectors -> vectors.json'
NEEDS = 'run'
INSTEAD = 'vectors.source'
SETTINGS = ((tasks_base.Task, VectorsConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import vectors

  vectors.ask(context.config, context.workdir)
