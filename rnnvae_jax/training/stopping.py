"""Ctrl-C and SIGTERM stop training after it has saved a checkpoint."""

from collections.abc import Iterator
import contextlib
import signal
import threading


class Stop:
  """Is true once the process has received SIGINT or SIGTERM."""

  def __init__(self):
    self.signal = 0

  def __bool__(self) -> bool:
    return bool(self.signal)


@contextlib.contextmanager
def requests() -> Iterator[Stop]:
  """Turns the first SIGINT or SIGTERM of the block into a request to stop.

  A second signal acts as usual. Outside the main thread, where Python cannot
  handle signals, nothing is changed.
  """
  stop = Stop()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  handled = signal.SIGINT, signal.SIGTERM
  before = {number: signal.getsignal(number) for number in handled}

  def record_signal(received, frame):
    del frame
    stop.signal = received
    for number in handled:
      signal.signal(number, before[number])

  for number in handled:
    signal.signal(number, record_signal)
  try:
    yield stop
  finally:
    for number in handled:
      signal.signal(number, before[number])
