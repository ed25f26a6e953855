"""Processes that share the work on a text."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
import multiprocessing
import os
import signal
import threading
from typing import Any


def cores() -> int:
  """How many cores this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def mapped(
  function: Callable[[Any], Any], jobs: Iterable[Any], processes: int
) -> Iterator[Any]:
  """Yields the results in the order of the jobs, of which few are held.

  Args:
    function: of a module, since processes are started anew.
    jobs: its arguments; read as far as processes are free.
    processes: how many; 1: this one.
  """
  if processes == 1:
    yield from map(function, jobs)
    return
  pool = futures.ProcessPoolExecutor(
    processes, multiprocessing.get_context('spawn'), initializer=_begin_worker
  )
  pending: collections.deque[futures.Future] = collections.deque()
  try:
    for job in jobs:
      pending.append(pool.submit(function, job))
      if len(pending) > 2 * processes:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
  """Leaves signals to the parent, and ends with it, even if that is killed."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  parent = multiprocessing.parent_process()
  assert parent is not None

  def follow():
    parent.join()
    os._exit(1)

  threading.Thread(target=follow, daemon=True).start()
