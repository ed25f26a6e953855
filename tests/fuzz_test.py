"""Whatever bytes a file has, it is read, or an error says why not and where.

The longer run, of every reader or of one (-k), with other inputs each time:

  RNNVAE_FUZZ=50000 python -m pytest -n0 -s tests/fuzz_test.py
"""

from collections.abc import Callable
import gzip
import io
import json
import os
import pathlib
from typing import Any, NamedTuple
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from rnnvae_jax.config import build
from rnnvae_jax.data import corpora, formats, parallel, protocols, word_vectors
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import records
from rnnvae_jax.training import checkpoints
from rnnvae_jax.training import workdir as workdir_lib

hypothesis = pytest.importorskip('hypothesis', reason='of the extra `dev`')
st = hypothesis.strategies

LONG = int(os.environ.get('RNNVAE_FUZZ', '0'))
EXAMPLES = LONG or 25

TEXT = b'the cat sat .\nthe "dog, it" ran\n'
COLUMNS = b'the\tDT\tO\nCat\tNN\tB-X\n\nhe\tPRP\tB-Y\nran\tVB\tI-Y\n'
TABLE = b'text,label\n"a, b",1\nc,2\nd,3\n'
LABELLED = b'1\tthe cat\n0\tran\n'
VECTORS = b'2 3\nthe 1 2 3\ncat -0.5 1e-3 2\n'
WORDS = vocab_lib.Vocabulary('word', (*vocab_lib.SPECIALS, 'the', 'cat'))
PIECES = (
  *(b'\n', b'\r\n', b'\r', b'\t', b' ', b',', b'"', b"'", b'\0', b'\x0c'),
  *(b'\xef\xbb\xbf', b'\xff\xfe', b'\xfe\xff', b'\xe9', b'\xc3', b'\x1f\x8b'),
  *('\u2028 \u00a0 \x85 \u200d \U0001f1e9 e\u0301 \ufeff'.encode().split()),
  *(b'-DOCSTART-', b'<unk>', b'</s>', b'&#xD800;', b'<br />', b'nan', b'1e999'),
  *(b'B-X', b'I-', b'-', b'text', b'label', b'9' * 400, b'[' * 5000, b'{"a":'),
)


def near(*valid: bytes) -> Any:
  """Bytes at random, and valid ones with a few places cut out or replaced."""
  piece = st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))
  edit = st.tuples(st.integers(0, 400), st.integers(0, 20), piece)

  def changed(content, edits):
    for at, length, new in edits:
      content = content[:at] + new + content[at + length :]
    return content

  return st.one_of(
    st.lists(piece, max_size=12).map(b''.join),
    st.builds(
      changed, st.sampled_from(valid), st.lists(edit, min_size=1, max_size=4)
    ),
  )


def near_json(*valid: dict[str, Any]) -> Any:
  """Bytes near JSON, and valid objects with values of any kind."""
  leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
  )
  value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3))
  value = st.one_of(value, st.dictionaries(st.text(max_size=3), value))

  def changed(content, keys, values):
    names = [*content, 'unknown']
    new = {names[k % len(names)]: v for k, v in zip(keys, values, strict=False)}
    return json.dumps(content | new).encode()

  objects = st.builds(
    changed,
    st.sampled_from(valid),
    st.lists(st.integers(0, 200), min_size=1, max_size=3),
    st.lists(value, max_size=3),
  )
  return st.one_of(near(*(json.dumps(v).encode() for v in valid)), objects)


def read_folder(path: str, read: Callable[..., Any], **options: Any) -> None:
  """The file is the split train of a folder whose others are right."""
  folder = pathlib.Path(path).parent
  for split in ('valid', 'test'):
    (folder / f'{split}{pathlib.Path(path).suffix}').write_bytes(LABELLED)
  read(str(folder), **options)


def read_standard_input(path: str) -> None:
  """As score, predict and tag do."""
  data = io.BytesIO(pathlib.Path(path).read_bytes())
  with mock.patch('sys.stdin', io.TextIOWrapper(data)):
    lines = records.read_lines('-')
  for name, protocol in protocols.PROTOCOLS.items():
    vocab = WORDS
    if protocol.kind != 'word':
      vocab = vocab_lib.Vocabulary.build(protocol.kind, [['a']])
    split = corpora.encode_lines(lines, name, vocab)
    protocol.join(vocab.decode(split.tokens))
    for line in lines:
      protocol.join(protocol.tokenise(line))
      protocol.split(line)


def read_vectors(path: str) -> None:
  word_vectors._load.cache_clear()  # The path stays, the file does not.
  found = word_vectors.read(path, WORDS, np.array([4, 5]))
  assert np.isfinite(found.values).all()


def read_checksums(path: str) -> None:
  assert isinstance(checkpoints._damage(str(pathlib.Path(path).parent)), str)


def check_workdir(path: str) -> None:
  """As a training does whose folder has a trained run."""
  workdir = os.path.dirname(path)
  folder = workdir_lib.checkpoint_dir(workdir)
  os.makedirs(os.path.join(folder, 'latest', '6'), exist_ok=True)
  workdir_lib.check(build.default('sentence_vae'), workdir)


class Reader(NamedTuple):
  """A reader, and what is near to what it reads.

  Attributes:
    file: the name of the file.
    data: a strategy of its content.
    read: called with the path.
    source: what errors name, if it is not the file.
  """

  file: str
  data: Any
  read: Callable[[str], Any]
  source: str = ''


def _flat() -> dict[str, Any]:
  return build.flatten(build.default('sentence_vae'))


def _vocabulary() -> dict[str, Any]:
  return {
    'content_hash': WORDS.content_hash,
    'kind': 'word',
    'tokens': list(WORDS.tokens),
  }


READERS = {
  'lines': Reader(
    'text.txt', near(TEXT, gzip.compress(TEXT)), formats.read_lines
  ),
  'characters': Reader(
    'text.txt', near(TEXT), lambda path: formats.read(path, as_given=True)
  ),
  'text': Reader('text.txt', near(TEXT), formats.read),
  'packed': Reader('text.gz', near(gzip.compress(TEXT)), formats.read),
  'table': Reader('text.csv', near(TABLE), formats.read),
  'labelled': Reader(
    'train.txt',
    near(LABELLED),
    lambda path: read_folder(path, formats.read, labelled=True),
  ),
  'pairs': Reader(
    'train.tsv', near(LABELLED), lambda path: read_folder(path, parallel.read)
  ),
  'columns': Reader(
    'text.txt',
    near(COLUMNS),
    lambda path: formats.read(path, columns=True, tag_scheme='bio'),
  ),
  'vocabulary': Reader(
    'vocab.json', near_json(_vocabulary()), vocab_lib.Vocabulary.load
  ),
  'vectors': Reader(
    'vectors.txt', near(VECTORS, gzip.compress(VECTORS)), read_vectors
  ),
  'config': Reader(
    'config.json',
    near_json(_flat(), {'model.kind': 'ngrams'}),
    lambda path: workdir_lib.load_config(os.path.dirname(path)),
  ),
  'config_of_another_run': Reader(
    'config.json', near_json(_flat(), {'model.kind': 'ngrams'}), check_workdir
  ),
  'results': Reader(
    'results.json',
    near_json({'test': {'corpus': 'a', 'protocol': 'plain'}}),
    lambda path: workdir_lib.read_results(os.path.dirname(path)),
  ),
  'checksums': Reader(
    checkpoints.CHECKSUMS, near_json({'a': '0' * 64}), read_checksums
  ),
  'standard_input': Reader(
    'lines', near(TEXT, COLUMNS), read_standard_input, 'standard input|lines'
  ),
}


class FuzzTest(parameterized.TestCase):
  @parameterized.named_parameters((name, name) for name in READERS)
  def test_any_bytes_are_read_or_an_error_names_the_file(self, name):
    reader = READERS[name]
    path = pathlib.Path(self.create_tempdir().full_path, reader.file)
    counts = {'read': 0, 'refused': 0}

    @hypothesis.settings(
      max_examples=EXAMPLES,
      database=None,
      deadline=None,
      derandomize=not LONG,
      suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(reader.data)
    def check(data):
      path.write_bytes(data)
      try:
        reader.read(str(path))
        counts['read'] += 1
      except (ValueError, OSError) as error:
        self.assertRegex(str(error), reader.source or str(path.parent))
        counts['refused'] += 1

    check()
    if LONG:
      print(name, counts)


if __name__ == '__main__':
  absltest.main()
