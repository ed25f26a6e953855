r"""Parts of speech of the Wall Street Journal: NLTK's sample of Penn Treebank.

3,914 sentences, 94,084 words and 45 tags, a twentieth of the corpus. (C) LDC
1995; for non-commercial use. There are no published splits: of ten sentences in
the order of the file the first eight are trained on, one validates, the last
tests, so that all splits have all topics.

The file is made from NLTK's data by these lines of Python:

  import nltk
  nltk.download('treebank')
  with open('wsj_sample.conll', 'w', encoding='utf-8') as file:
    for sentence in nltk.corpus.treebank.tagged_sents():
      words = [pair for pair in sentence if pair[1] != '-NONE-']
      file.writelines(f'{word}\t{tag}\n' for word, tag in words)
      file.write('\n')
"""

from collections.abc import Iterator

from rnnvae_jax.data import file_source, formats
from rnnvae_jax.data.sources import base


def records(path: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every sentence."""
  found = formats.read_columns(path, formats.read_lines(path))
  for number, record in enumerate(found):
    split = {8: 'valid', 9: 'test'}.get(number % 10, 'train')
    yield split, record


SOURCE = file_source.FileSource(
  name='nltk_treebank_pos',
  summary="news with parts of speech, NLTK's sample of Penn Treebank",
  protocol='mikolov',
  labels=('tags',),
  obtain="The module's docstring has the lines of Python that write it.",
  records=records,
  raw=(
    base.RawFile(
      ('nltk_treebank_pos/wsj_sample.conll', 'wsj_sample.conll'),
      '7b620f0c63fbb500983e427a37b854603be29910d9400b79edcda0aed10f2bb4',
      825_510,
    ),
  ),
)
