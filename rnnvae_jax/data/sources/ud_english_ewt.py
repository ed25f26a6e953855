"""Parts of speech of English web text: Universal Dependencies' EWT.

Weblogs, newsgroups, e-mails, reviews and answers: 12,544 sentences to train on,
2,001 to validate and 2,077 to test, with 17 universal parts of speech. Silveira
et al. 2014; CC BY-SA 4.0.

The files are those of https://github.com/UniversalDependencies/UD_English-EWT
at commit 15d613d8447b3478787d4c278730a1e48a945efb. Other versions differ by
some tags and are rejected: they are read as a folder, after `cut` has left the
second and the fourth column of the lines that begin with a whole number.

A word that is written together with another, as in "don't", is read by itself.
"""

from collections.abc import Iterator

from rnnvae_jax.data import file_source, formats
from rnnvae_jax.data.sources import base


def _file(name: str, sha256: str, size: int) -> base.RawFile:
  name = f'en_ewt-ud-{name}.conllu'
  return base.RawFile((f'ud_english_ewt/{name}', name), sha256, size)


def records(*paths: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every sentence."""
  layout = formats.Layout(word=2, tag=4)
  for split, path in zip(base.SPLITS, paths, strict=True):
    # Others are comments, ranges such as 1-2 and words that are not written.
    lines = [
      line
      for line in formats.read_lines(path)
      if not line or line.partition('\t')[0].isdecimal()
    ]
    for record in formats.read_columns(path, lines, layout):
      yield split, record


SOURCE = file_source.FileSource(
  name='ud_english_ewt',
  summary='English web text with parts of speech, of Universal Dependencies',
  protocol='mikolov',
  labels=('tags',),
  obtain=(
    'https://github.com/UniversalDependencies/UD_English-EWT has them, at '
    'commit 15d613d.'
  ),
  records=records,
  raw=(
    _file(
      'train',
      '3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b',
      14_203_025,
    ),
    _file(
      'dev',
      '531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6',
      1_805_545,
    ),
    _file(
      'test',
      'e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd',
      1_804_515,
    ),
  ),
  counts={
    ('mikolov', 0): base.Counts(
      19_678,
      {
        'train': (12_544, 204_577 + 12_544, 0),
        'valid': (2_001, 25_147 + 2_001, 0),
        'test': (2_077, 25_094 + 2_077, 0),
      },
    )
  },
)
