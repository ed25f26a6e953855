"""Calls in processes of their own, each on one core of a CPU.

A child is bound to its core before it starts, so libraries that make a thread a
core, such as XLA, make one. It writes into a log of its own, and belongs to a
process group of its own: a signal of the terminal reaches the parent alone,
which passes it on. A child whose parent has died stops as if it had been asked
to by SIGTERM.
"""

from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
import contextlib
import multiprocessing
from multiprocessing import connection
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any, NamedTuple

from absl import flags, logging

from rnnvae_jax.training import stopping

_TAIL = 10  # Lines of a failed child's log that are shown.
_TAIL_BYTES = 8192  # Where they are looked for.
_POLL = 0.5  # Seconds between looks at signals.
_PATIENCE = 60.0  # Seconds that children have to save, before they are killed.
# What a child takes at least, before any has shown how much it is: JAX alone
# takes a third of it.
_LEAST_BYTES = 10**9


class Job(NamedTuple):
  """A call that is to be made in a process of its own.

  Attributes:
    name: for the log of the parent.
    function: that can be imported by its name.
    arguments: which can be pickled, as can what the function returns.
    log: the file that gets what the child prints.
  """

  name: str
  function: Callable[..., Any]
  arguments: tuple[Any, ...]
  log: str


class Ended(NamedTuple):
  """The end of a job.

  Attributes:
    number: of the job, from 0.
    value: what the function returned.
    failure: why it has not returned; '' if it has.
  """

  number: int
  value: Any
  failure: str


def available_cores() -> list[int]:
  """The cores that children can be bound to; [] if the system has no way to."""
  if not hasattr(os, 'sched_getaffinity'):  # macOS and Windows.
    return []
  return sorted(os.sched_getaffinity(0))


def schedule(
  jobs: Iterable[Job],
  cores: Sequence[int] = (),
  until: float = float('inf'),
  interval: float = 30.0,
) -> Iterator[Ended]:
  """Does the jobs, one a core, as many at a time as memory allows.

  Args:
    jobs: they are begun in this order, each drawn when a core is free for it.
    cores: for the children; (): all that this process may use.
    until: seconds since 1970 after which no job is begun.
    interval: seconds between lines on what each job has logged last.

  Yields:
    The end of each job, as soon as it has ended; of those that a signal stopped
    only if they have returned.

  Raises:
    ValueError: there are no cores that a process can be bound to.
    KeyboardInterrupt: one of `stopping.SIGNALS` came, was passed on to all
      children, and they have ended. A second signal does not wait until they
      have saved.
  """
  cores = cores or available_cores()
  free = list(cores)
  waiting = enumerate(jobs)
  is_over = False  # Whether no more jobs are begun.
  running: dict[Any, _Child] = {}
  is_passed_on = False
  reported = time.monotonic()
  expected = _LEAST_BYTES
  with stopping.requests() as stop:
    try:
      while running or not is_over:
        is_over = is_over or bool(stop) or time.time() > until
        expected = max(expected, *(c.peak_bytes() for c in running.values()), 0)
        while (
          not is_over and (free or not cores) and _has_room(running, expected)
        ):
          upcoming = next(waiting, None)
          if upcoming is None:
            is_over = True
            break
          if not cores:
            raise ValueError('This system cannot bind processes to cores.')
          child = _Child(*upcoming, free.pop(0))
          running[child.receiver] = child
        for receiver in connection.wait(list(running), _POLL):
          child = running.pop(receiver)
          free.append(child.core)
          ended = child.end()
          if not (stop and ended.failure):
            yield ended
        if stop and not is_passed_on:
          is_passed_on = True
          logging.info('Stopping %d processes, which save.', len(running))
          for child in running.values():
            child.send(stop.signal)
        if time.monotonic() - reported >= interval:
          reported = time.monotonic()
          for child in running.values():
            child.report()
      if stop:
        raise KeyboardInterrupt
    finally:
      _end(running.values())


class _Child:
  """A job's process."""

  def __init__(self, number: int, job: Job, core: int):
    """Starts the process on a core."""
    self.core = core
    self._number, self._job = number, job
    self._log = pathlib.Path(job.log)
    # An earlier process may have written into the same file.
    self._start = self._log.stat().st_size if self._log.exists() else 0
    self._shown = ''
    # Children are spawned: JAX's threads do not survive a fork.
    context = multiprocessing.get_context('spawn')
    self.receiver, sender = context.Pipe(duplex=False)
    self._process = context.Process(
      target=_call,
      args=(sender, job, logging.get_verbosity()),
      name=job.name,
    )
    with bound_to(core):
      self._process.start()
    sender.close()  # So that the receiver sees when the child has ended.
    logging.info('%s: on core %d, log in %s.', job.name, core, job.log)

  def end(self) -> Ended:
    """Waits for the end of a process whose receiver is ready."""
    value, is_returned = None, True
    try:
      value = self.receiver.recv()
    except EOFError:
      is_returned = False
    self.receiver.close()
    self._process.join()
    code = self._process.exitcode
    self._process.close()
    failure = ''
    if not is_returned or code:
      failure = '\n  '.join([_reason(code), *self._lines(_TAIL)])
    return Ended(self._number, value, failure)

  def send(self, number: int) -> None:
    pid = self._process.pid
    assert pid is not None  # It has been started.
    with contextlib.suppress(ProcessLookupError):
      os.kill(pid, number)

  def stop(self, patience: float) -> None:
    """Ends the process; kills it if that takes longer than `patience`."""
    self._process.join(patience)
    self._process.kill()
    self._process.join()
    self.receiver.close()

  def report(self) -> None:
    """Logs the last line of the child's log, if it is a new one."""
    line = ''.join(self._lines(1))
    if line != self._shown:
      self._shown = line
      logging.info('%s: %s', self._job.name, line)

  def peak_bytes(self) -> int:
    return self._status('VmHWM')

  def current_bytes(self) -> int:
    return self._status('VmRSS')

  def _status(self, key: str) -> int:
    return _bytes(f'/proc/{self._process.pid}/status', key) or 0

  def _lines(self, count: int) -> list[str]:
    """The last lines that this process has logged."""
    try:
      with open(self._log, 'rb') as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(self._start, end - _TAIL_BYTES))
        text = file.read().decode(errors='replace')
    except OSError:
      return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def _call(sender: Any, job: Job, verbosity: int) -> None:
  """What a child does."""
  os.setpgrp()
  with open(job.log, 'ab') as file:
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
  for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
  flags.FLAGS.mark_as_parsed()  # Without it absl's log has no lines.
  logging.use_absl_handler()
  logging.set_verbosity(verbosity)
  threading.Thread(target=_stop_with_parent, daemon=True).start()
  sender.send(job.function(*job.arguments))


def _stop_with_parent() -> None:
  """Asks this process to stop when its parent is no more."""
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def bound_to(core: int) -> Iterator[None]:
  """Processes that are started in the block run on this core alone.

  They inherit what this thread may use; other threads are not affected.
  """
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {core})
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def _end(children: Collection[_Child]) -> None:
  """Ends children that still run, because the parent does not go on."""
  deadline = time.monotonic() + _PATIENCE
  for child in children:
    child.send(signal.SIGTERM)
  for child in children:
    child.stop(max(0.0, deadline - time.monotonic()))


def _has_room(running: Mapping[Any, _Child], expected: int) -> bool:
  """Whether memory suffices for another child, and for those that yet grow."""
  if not running:
    return True
  growth = sum(max(0, expected - c.current_bytes()) for c in running.values())
  available = _bytes('/proc/meminfo', 'MemAvailable')
  return available is None or available - growth >= expected


def _bytes(path: str, key: str) -> int | None:
  """A number of kB in a file of the kernel, in bytes; None if it is not there.

  A process that has ended has no such line.
  """
  with contextlib.suppress(OSError), open(path) as lines:
    for line in lines:
      if line.startswith(f'{key}:'):
        return 1024 * int(line.split()[1])
  return None


def _reason(code: int | None) -> str:
  if code is not None and code < 0:
    name = signal.Signals(-code).name
    memory = ', as the system does when memory ends'
    return f'{name} ended it{memory if code == -signal.SIGKILL else ""}.'
  return f'exit status {code}.'
