"""Writes a run's files: metrics, TensorBoard events, JSON and text."""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from typing import Any, BinaryIO

METRICS_FILE = 'metrics.jsonl'
# The codes of a full disk, and of a user's quota.
FULL = (errno.ENOSPC, errno.EDQUOT)


class Writer:
  """Writes the scalars of a run as JSON lines and as TensorBoard events.

  `metrics.jsonl` contains one JSON object a line: `step`, `time` (seconds since
  1970) and the values. `write` flushes the file, so a killed run keeps every
  line that was written.
  """

  def __init__(self, workdir: str):
    with _without('torch'):  # tensorboardX would import it, for seconds.
      from tensorboardX import event_file_writer

    os.makedirs(workdir, exist_ok=True)
    self._metrics = os.path.join(workdir, METRICS_FILE)
    self._workdir = workdir
    # Not SummaryWriter: a full disk ends its thread, and the next call would
    # wait for that thread forever. The suffix keeps the names of two writers
    # that are created in the same second apart.
    self._events = event_file_writer.EventsWriter(
      os.path.join(workdir, 'events'), f'.{time.time_ns()}'
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends the values of one step.

    Args:
      step: the number of updates done.
      values: scalars by name. JSON has no NaN or infinity, so they are written
        as the strings 'nan', 'inf' and '-inf', which `float` can parse.

    Raises:
      OSError: the disk is full; the message names the file.
    """
    from tensorboardX.proto import summary_pb2

    scalars = {name: float(value) for name, value in values.items()}
    line = {
      'step': int(step),
      'time': round(time.time(), 3),
      **{name: _legal(value) for name, value in scalars.items()},
    }
    text = json.dumps(line, allow_nan=False) + '\n'
    with _naming(self._metrics, len(text)), open(self._metrics, 'a') as metrics:
      metrics.write(text)
    points = [
      summary_pb2.Summary.Value(tag=name, simple_value=value)
      for name, value in scalars.items()
    ]
    self._add_event(step, summary=summary_pb2.Summary(value=points))

  def truncate(self, step: int) -> None:
    """Drops lines after `step`, and a last line that a kill cut short.

    A resumed run calls this first, then writes the dropped steps again.
    """
    from tensorboardX.proto import event_pb2

    if os.path.exists(self._metrics):
      with open(self._metrics, errors='replace') as lines:
        kept = [line for line in lines if _is_until(line, step)]
      write_text(self._metrics, ''.join(kept))
    for name in os.listdir(self._workdir):
      if name.startswith('events.out.'):
        _cut_torn(os.path.join(self._workdir, name))
    # Event files cannot be shortened: this event tells TensorBoard to ignore
    # the later steps.
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._add_event(step + 1, session_log=start)

  def close(self) -> None:
    with _naming(self._workdir):
      self._events.close()

  def __enter__(self) -> 'Writer':
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()

  def _add_event(self, step: int, **content: Any) -> None:
    from tensorboardX.proto import event_pb2

    event = event_pb2.Event(wall_time=time.time(), step=int(step), **content)
    with _naming(self._workdir):
      self._events.write_event(event)
      self._events.flush()


class NoWriter(Writer):
  """Stands for a `Writer` in a process that writes nothing."""

  def __init__(self):
    pass

  def write(self, step: int, values: Mapping[str, float]) -> None:
    pass

  def truncate(self, step: int) -> None:
    pass

  def close(self) -> None:
    pass


def _cut_torn(path: str) -> None:
  """Cuts a last record off that a kill has left incomplete.

  A record has 8 bytes of its length, 4 of a sum, the data, and 4 of a sum.
  """
  size, whole = os.path.getsize(path), 0
  with open(path, 'r+b') as file:
    while len(header := file.read(12)) == 12:
      end = whole + 16 + int.from_bytes(header[:8], 'little')
      if end > size:
        break
      whole = file.seek(end)
    if whole < size:
      file.truncate(whole)


def drop_leftovers(folder: str) -> None:
  """Deletes what writers that were killed have left; see `replacing`."""
  for name in os.listdir(folder):
    if re.search(r'\.\d+\.tmp$', name):
      os.remove(os.path.join(folder, name))


def write_json(path: str, value: Any) -> None:
  """Writes `value` as indented JSON; see `write_text`.

  JSON has no NaN or infinity: such numbers become null.
  """
  text = json.dumps(_finite(value), indent=2, allow_nan=False)
  write_text(path, text + '\n')


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  return (
    None if isinstance(value, float) and not math.isfinite(value) else value
  )


def write_text(path: str, text: str) -> None:
  """Replaces the file by a text; see `replacing`."""
  content = text.encode()
  with replacing(path, len(content)) as file:
    file.write(content)


def write_output(path: str, text: str) -> None:
  """Writes a text to a place of the user's choice.

  A regular file is replaced, as is the one that a link leads to. Anything else,
  such as a device or a named pipe, is written to.

  Raises:
    OSError: the text cannot be written; the message names the file.
  """
  path = os.path.realpath(path)
  if os.path.isfile(path) or not os.path.exists(path):
    write_text(path, text)
    return
  with _naming(path), open(path, 'wb') as file:
    file.write(text.encode())


@contextlib.contextmanager
def replacing(path: str, size: int = 0) -> Iterator[BinaryIO]:
  """Opens a new file that takes the place of `path` when the block ends.

  It does so atomically: readers see either the old or the new file. The new one
  has the permissions of the old one.

  Args:
    path: of the file.
    size: bytes that will be written, for the message; 0: unknown.

  Raises:
    OSError: the disk is full. The message names the file, which is unchanged,
      and says how much room there is.
  """
  temporary = f'{path}.{os.getpid()}.tmp'
  try:
    with _naming(path, size):
      with open(temporary, 'wb') as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
      if os.path.exists(path):
        os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
      os.replace(temporary, path)
  finally:
    with contextlib.suppress(FileNotFoundError):  # Renamed if all went well.
      os.remove(temporary)


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
  """Makes a package that is not imported yet look absent in the block."""
  if package in sys.modules:
    yield
    return
  sys.modules[package] = None  # type: ignore[assignment]
  try:
    yield
  finally:
    del sys.modules[package]


def refusal(folder: str) -> str:
  """Why nothing can be written into a folder; '' if something can."""
  try:
    with tempfile.TemporaryFile(dir=folder):
      return ''
  except OSError as error:
    return error.strerror or str(error)


def room(path: str, needed: int) -> str:
  """How many bytes a file needs and its disk has, in words.

  Args:
    path: of a file or folder, whose own folder exists.
    needed: bytes; 0: unknown.
  """
  free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
  least = f'{needed:,} bytes are needed, ' if needed else ''
  return f'{least}{free:,} bytes are free'


@contextlib.contextmanager
def _naming(path: str, needed: int = 0) -> Iterator[None]:
  """Adds `path` to an OSError of the block: failed writes name no file."""
  try:
    yield
  except OSError as error:
    reason = error.strerror
    if error.errno in FULL:
      reason = f'{reason} ({room(path, needed)})'
    raise OSError(error.errno, reason, path) from error


def _legal(value: float) -> float | str:
  return value if math.isfinite(value) else str(value)


def _is_until(line: str, step: int) -> bool:
  """Whether `line` is complete and its step is at most `step`."""
  try:
    return line.endswith('\n') and json.loads(line)['step'] <= step
  except (ValueError, KeyError, TypeError):
    return False
