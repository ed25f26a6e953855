"""Short news items collected by Lee et al. (2005), as gensim ships them.

The text of an item determines the split of all its sentences; repeated
sentences are kept once.
"""

from collections.abc import Iterator

from rnnvae_jax.data import file_source, protocols
from rnnvae_jax.data.sources import base


def records(*paths: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every sentence."""
  seen = set()
  for path in paths:
    with open(path, encoding='latin-1') as f:
      for item in f:
        split = base.split_of(item.strip(), salt='11')
        for sentence in protocols.split_sentences(item):
          if sentence not in seen:
            seen.add(sentence)
            yield split, {'text': sentence}


SOURCE = file_source.FileSource(
  name='lee',
  summary='news, part of gensim',
  package='gensim',
  records=records,
  raw=(
    base.RawFile(
      ('test/test_data/lee_background.cor',),
      '5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb',
      360_082,
    ),
    base.RawFile(
      ('test/test_data/lee.cor',),
      'a878f9a58f6743c32985c56c2f2f75988386216b38a4023a01fd3bcf7884d93e',
      24_658,
    ),
  ),
)
