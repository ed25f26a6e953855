"""A million characters of Shakespeare's plays (Karpathy's char-rnn).

The first 90 % of the characters train, the last 10 % validate. Public domain.
"""

from collections.abc import Iterator

from rnnvae_jax.data import file_source, formats
from rnnvae_jax.data.sources import base


def records(path: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every line."""
  with open(path, encoding='utf-8', newline='') as f:
    parts = formats.cut(f.read(), valid_share=0.1, test_share=0.0)
  for split, part in parts.items():
    for line in part.split('\n'):
      yield split, {'text': line}


SOURCE = file_source.FileSource(
  name='tiny_shakespeare',
  summary='plays, from a local file or a public one',
  protocol='characters',
  splits=('train', 'valid'),
  evaluation_split='valid',
  records=records,
  raw=(
    base.RawFile(
      ('tinyshakespeare/input.txt', 'tinyshakespeare.txt'),
      '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed',
      1_115_394,
      'https://raw.githubusercontent.com/karpathy/char-rnn/master/data/'
      'tinyshakespeare/input.txt',
    ),
  ),
)
