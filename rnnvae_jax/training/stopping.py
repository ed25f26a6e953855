"""Signals that ask a process to stop: it saves first, and can go on later."""

from collections.abc import Iterator
import contextlib
import signal
import threading
from typing import Any

# Ctrl-C, a scheduler's request, a lost terminal; Windows has no SIGHUP.
SIGNALS = tuple(
  getattr(signal, name)
  for name in ('SIGINT', 'SIGTERM', 'SIGHUP')
  if hasattr(signal, name)
)
# The exit status of a process that a signal stopped, EX_TEMPFAIL of sysexits.h:
# the same command goes on where it stopped.
RESUME = 75


class Stop:
  """Is true once the process has received one of `SIGNALS`."""

  def __init__(self):
    self.signal = 0

  def __bool__(self) -> bool:
    return bool(self.signal)


class _Interrupt(Stop):
  """A handler that notes its signal, and raises KeyboardInterrupt."""

  def __call__(self, received: int, frame: Any) -> None:
    self.signal = received
    raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
  """Any of `SIGNALS` raises KeyboardInterrupt in the block, as SIGINT does.

  Python drops an exception that is raised inside a callback of a library, so
  the signal is noted as well: the next `requests` reports it.
  """
  with _handled(_Interrupt()):
    yield


@contextlib.contextmanager
def requests() -> Iterator[Stop]:
  """Turns the first of `SIGNALS` in the block into a request to stop.

  The handler does nothing but note it. A second signal acts as usual. Signals
  that the process ignores, as `nohup` does SIGHUP, stay ignored. Outside the
  main thread, where Python cannot handle signals, nothing is changed.
  """
  stop = Stop()

  def record(received, frame):
    del frame
    stop.signal = received
    for number, handler in before.items():
      signal.signal(number, handler)

  with _handled(record) as before:
    for handler in before.values():
      if isinstance(handler, _Interrupt) and handler:
        stop.signal = handler.signal
    yield stop


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[dict[int, Any]]:
  """Sets the handler of `SIGNALS` in the block; yields the ones before it."""
  before: dict[int, Any] = {}
  if threading.current_thread() is threading.main_thread():
    for number in SIGNALS:
      current = signal.getsignal(number)
      # None: a handler that was not set from Python and cannot be restored.
      if current not in (signal.SIG_IGN, None):
        before[number] = current
  for number in before:
    signal.signal(number, handler)
  try:
    yield before
  finally:
    for number, current in before.items():
      signal.signal(number, current)
