"""Ctrl-C and SIGTERM end training at a checkpoint, not in the middle."""

from collections.abc import Iterator
import contextlib
import signal
import threading


class Stop:
  """Says whether the process was asked to stop."""

  def __init__(self):
    self.signal = 0

  def __bool__(self) -> bool:
    return bool(self.signal)


@contextlib.contextmanager
def requests() -> Iterator[Stop]:
  """Turns the first SIGINT or SIGTERM of the block into a request to stop.

  A second one acts as usual. Outside the main thread, which alone may handle
  signals, nothing is changed.
  """
  stop = Stop()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  handled = signal.SIGINT, signal.SIGTERM
  before = {number: signal.getsignal(number) for number in handled}

  def note(number, frame):
    del frame
    stop.signal = number
    for each in handled:
      signal.signal(each, before[each])

  for number in handled:
    signal.signal(number, note)
  try:
    yield stop
  finally:
    for number in handled:
      signal.signal(number, before[number])
