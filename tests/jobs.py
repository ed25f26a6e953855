"""What child processes of tests do; they import it by its name."""

import os
import pathlib
import signal
import sys
import time


def describe(number):
  """The cores and the process group of this process; prints a line."""
  print('line', number)
  return number, os.sched_getaffinity(0), os.getpgrp() == os.getpid()


def fail(message):
  print('before')
  raise RuntimeError(message)


def end(status):
  """Ends without a word; a negative status is a signal."""
  if status < 0:
    os.kill(os.getpid(), -status)
  sys.exit(status)


def wait_for_signal(folder):
  """Waits until it is asked to stop, notes by what, and ends."""

  def note(number, frame):
    del frame
    pathlib.Path(folder, f'signal_{os.getpid()}').write_text(str(number))
    os._exit(130)

  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, note)
  pathlib.Path(folder, f'begun_{os.getpid()}').touch()
  time.sleep(60)
