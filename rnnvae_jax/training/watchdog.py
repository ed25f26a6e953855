"""Reports a call that does not return: a hung device, file system or peer."""

import sys
import threading
import time
import traceback

from absl import logging

_LEAST = 300.0  # Seconds; compilation takes one or two minutes at most.
_FACTOR = 10.0
_FRAMES = 4  # Of the stack that are shown, the innermost ones.


class Watchdog:
  """Warns if `beat` has not been called for long; a context manager.

  Long is `least` seconds, and `factor` times the longest time between two beats
  so far. A warning comes again when the silence has become twice as long. It
  has the place in the program where the thread that made the watchdog is.
  """

  def __init__(self, least: float = _LEAST, factor: float = _FACTOR):
    """`least` is in seconds."""
    self._least, self._factor = least, factor
    self._longest = 0.0
    self._last, self._what = time.monotonic(), 'the start'
    self._watched = threading.get_ident()
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self) -> 'Watchdog':
    self._last = time.monotonic()
    self._thread.start()
    return self

  def __exit__(self, *unused: object) -> None:
    self._ended.set()
    self._thread.join()

  def beat(self, what: str) -> None:
    """Says that something has been done, and what."""
    now = time.monotonic()
    self._longest = max(self._longest, now - self._last)
    self._last, self._what = now, what

  def _watch(self) -> None:
    since, limit = self._last, 0.0
    while not self._ended.wait(min(1.0, self._least / 4)):
      if since != self._last:
        since, limit = self._last, 0.0
      silence = time.monotonic() - since
      limit = max(limit, self._least, self._factor * self._longest)
      if silence >= limit:
        limit = 2 * silence
        self._warn(silence)

  def _warn(self, silence: float) -> None:
    frame = sys._current_frames().get(self._watched)
    stack = traceback.format_stack(frame)[-_FRAMES:] if frame else []
    logging.warning(
      'Nothing has come back for %.0f s since %s. A compilation may take as '
      'long; otherwise the device, the file system or a peer hangs. The '
      'process waits here:\n%s',
      silence,
      self._what,
      ''.join(stack),
    )
