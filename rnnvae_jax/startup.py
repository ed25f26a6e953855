"""What a process does before its command: devices, caches, error messages."""

from collections.abc import Iterator
import contextlib
import errno
import logging as python_logging
import os
import pathlib
import sys
from typing import Any

from absl import logging
import jax

from rnnvae_jax.ops import compiled
from rnnvae_jax.training import environment, peers, stopping, writers

_CACHE = 'JAX_COMPILATION_CACHE_DIR'
# Of a pipe whose reader has ended, and of a terminal that is gone.
_NO_READER = (errno.EPIPE, errno.EIO)
_BROKEN_PIPE = 141  # As a shell says that SIGPIPE ended a process.


def prepare_jax() -> None:
  """Finds the devices, and keeps compiled programs from run to run.

  Of several processes of a run, each waits for the others.

  Raises:
    ValueError: JAX finds no device; or see `peers.join`.
  """
  # Which backends JAX looked for in vain does not concern its user.
  python_logging.getLogger('jax').setLevel(python_logging.WARNING)
  _cache_compilations()
  peers.join()
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    wanted = os.environ.get('JAX_PLATFORMS', '')
    raise ValueError(
      f'JAX finds no device (JAX_PLATFORMS={wanted!r}): {error}'
    ) from error


def _cache_compilations() -> None:
  """Sets the folder of compiled programs, unless the environment does.

  There is one folder for each number of cores: XLA splits a CPU's programs by
  cores, which JAX's cache keys leave out. A folder that cannot be used is left.
  """
  given = os.environ.get(_CACHE)
  own = str(compiled.cache() / f'{environment.cores()}_cores')
  folder = own if given is None else given
  refusal = _cache_refusal(folder) if folder else ''
  if refusal:
    logging.warning(
      'Compiled programs are not kept: %s %s. Set $%s to a folder that can be '
      'written.',
      folder,
      refusal,
      _CACHE,
    )
    jax.config.update('jax_compilation_cache_dir', None)
    return
  if given is None:
    _drop_orphans(pathlib.Path(folder))
    jax.config.update('jax_compilation_cache_dir', folder)
    # Bytes; JAX keeps account of them with the package filelock.
    jax.config.update('jax_compilation_cache_max_size', 2**30)
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def _cache_refusal(folder: str) -> str:
  """Why compiled programs cannot be kept in a folder; '' if they can."""
  if '://' in folder:
    return ''  # JAX reaches it by other ways.
  if not os.path.isabs(folder) and folder.startswith('~'):
    return 'is below a home that this user has not'
  try:
    os.makedirs(folder, exist_ok=True)
  except OSError as error:
    return f'cannot be made ({error.strerror})'
  refusal = writers.refusal(folder)
  return f'cannot be written ({refusal})' if refusal else ''


def _drop_orphans(folder: pathlib.Path) -> None:
  """Deletes halves of entries, with which every later write would fail.

  JAX writes an entry's program, then the time of its last use; a kill or a full
  disk may come between them.
  """
  import filelock

  with (
    contextlib.suppress(OSError, filelock.Timeout),
    filelock.FileLock(folder / '.lockfile', timeout=1.0),
  ):
    programs, times = (
      {path.name.removesuffix(end): path for path in folder.glob(f'*{end}')}
      for end in ('-cache', '-atime')
    )
    for key in programs.keys() ^ times.keys():
      (programs | times)[key].unlink(missing_ok=True)


class _Outliving:
  """Standard output whose reader may end: what is written then is dropped."""

  def __init__(self, stream: Any):
    self._stream = stream

  def write(self, text: str) -> int:
    self._try(self._stream.write, text)
    return len(text)

  def flush(self) -> None:
    self._try(self._stream.flush)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def _try(self, function: Any, *args: Any) -> None:
    try:
      function(*args)
    except OSError as error:
      if error.errno not in _NO_READER:
        raise
      _read_by_nobody(self._stream)
      logging.warning('Nobody reads standard output any more; work goes on.')


def outliving_readers() -> contextlib.AbstractContextManager[Any]:
  """The end of `head` or of a terminal does not end what the block does."""
  stream: Any = _Outliving(sys.stdout)
  return contextlib.redirect_stdout(stream)


def _read_by_nobody(stream: Any) -> None:
  """What a stream has not written yet, and all that follows, is dropped."""
  null = os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, stream.fileno())
  os.close(null)


def _open_closed_streams() -> None:
  """Closed standard streams lead nowhere: else the next files would be them."""
  for descriptor in range(3):
    try:
      os.fstat(descriptor)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # Gets the lowest number that is free.
  if sys.stdout is None:
    sys.stdout = os.fdopen(1, 'w', closefd=False)
    logging.warning('Standard output is closed: what is printed is lost.')
  if sys.stderr is None:
    sys.stderr = os.fdopen(2, 'w', closefd=False)


@contextlib.contextmanager
def errors_as_messages() -> Iterator[None]:
  """Mistakes, full disks and signals end in a line, not in a traceback.

  A process that a signal stopped ends with the status `stopping.RESUME`.
  """
  try:
    _open_closed_streams()
    # Text that a terminal's encoding lacks must not end a finished training.
    for stream in (sys.stdout, sys.stderr):
      if hasattr(stream, 'reconfigure'):
        stream.reconfigure(errors='replace')
    with stopping.interrupts():
      yield
  except BrokenPipeError:  # As of `| head`, which has read enough.
    _read_by_nobody(sys.stdout)
    raise SystemExit(_BROKEN_PIPE) from None
  except (ValueError, OSError, ImportError, FloatingPointError) as error:
    logging.debug('', exc_info=True)  # --verbosity=1 shows where.
    raise SystemExit(f'Error: {error}') from error
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    logging.debug('', exc_info=True)
    raise SystemExit(
      'Error: the device has no memory left. What takes it: config.train.'
      'batch_size, steps_per_call and, of streams, unroll; config.evaluate.'
      'batch_size and chunk; config.data.device_share of the text. '
      f'{str(error).splitlines()[0]}'
    ) from error
  except KeyboardInterrupt:
    with contextlib.suppress(OSError):  # SIGHUP: the terminal is gone.
      sys.stdout.flush()
      print('Stopped; the same command goes on.', file=sys.stderr, flush=True)
    if peers.count() > 1:
      why = 'a signal stopped it; the same command goes on.'
      peers.end(stopping.RESUME, why, is_said=True)
    # Python's own exit would wait for XLA's threads, or crash in them.
    os._exit(stopping.RESUME)
