"""Names in English news: the shared task of CoNLL 2003.

Persons, places, organisations and others in stories of Reuters: 14,041
sentences to train on, 3,250 to validate (`eng.testa`) and 3,453 to test
(`eng.testb`), with 23,499, 5,942 and 5,648 names. Tjong Kim Sang & De Meulder
2003. Papers count the `-DOCSTART-` line of each story as a sentence.

The text may not be passed on: NIST gives the Reuters corpus to who signs an
agreement, and the shared task's page, https://www.clips.uantwerpen.be/conll2003/ner/,
has the program that makes `eng.train`, `eng.testa` and `eng.testb` from it. Put
them into a folder that `--config.data.dir` names.

The tags are in the scheme `iob1`, as they are in the files.
"""

from collections.abc import Iterator

from rnnvae_jax.data import file_source, formats
from rnnvae_jax.data.sources import base


def _file(name: str, sha256: str, size: int) -> base.RawFile:
  return base.RawFile((f'conll2003/{name}', name), sha256, size)


def records(*paths: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every sentence."""
  layout = formats.Layout(scheme='iob1')
  for split, path in zip(base.SPLITS, paths, strict=True):
    for record in formats.read_columns(path, formats.read_lines(path), layout):
      yield split, record


SOURCE = file_source.FileSource(
  name='conll2003',
  summary='names in English news, of the shared task of CoNLL 2003',
  protocol='mikolov',
  labels=('tags',),
  obtain='https://www.clips.uantwerpen.be/conll2003/ner/ says how to get them.',
  records=records,
  raw=(
    _file(
      'eng.train',
      'bed631399cb0e859c4b446438ce57dfe0208792ca6106ef11620877355494c3a',
      3_281_526,
    ),
    _file(
      'eng.testa',
      'aa83a45b88e4952998156583e2ff5a8be7c1f04fb9efa3a29cd87fac2c883807',
      827_010,
    ),
    _file(
      'eng.testb',
      '443914daf51328868558859b28252a28caee2fd02b65e77987977d6489246c5f',
      748_093,
    ),
  ),
  counts={
    ('mikolov', 0): base.Counts(
      23_627,
      {
        'train': (14_041, 203_621 + 14_041, 0),
        'valid': (3_250, 51_362 + 3_250, 0),
        'test': (3_453, 46_435 + 3_453, 0),
      },
    )
  },
)
