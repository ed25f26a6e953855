"""Jobs run on a core each; failures and signals lose nothing."""

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from unittest import mock

from absl.testing import absltest
import jobs
import pytest

from rnnvae_jax.training import processes

TESTS = pathlib.Path(jobs.__file__).parent
CORES = processes.available_cores()


def until(condition, seconds=60.0):
  """Waits for a condition; returns whether it came."""
  deadline = time.monotonic() + seconds
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.05)
  return condition()


@pytest.mark.skipif(not CORES, reason='processes cannot be bound to cores here')
class ScheduleTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    # Two at a time even where there is one core.
    self.cores = CORES[0], CORES[-1]

  def tearDown(self):
    super().tearDown()
    self.assertEmpty(multiprocessing.active_children())

  def job(self, name, function, *arguments):
    log = str(self.folder / f'{name}.txt')
    return processes.Job(name, function, arguments, log)

  def test_a_failure_is_reported_while_the_others_go_on(self):
    before = os.sched_getaffinity(0)
    (self.folder / 'b.txt').write_text('of an earlier process\n')
    found = processes.schedule(
      [
        self.job('a', jobs.describe, 5),
        self.job('b', jobs.fail, 'no such luck'),
        self.job('c', jobs.end, -signal.SIGKILL),
        self.job('d', jobs.describe, 7),
      ],
      self.cores,
    )
    ended = {end.number: end for end in found}
    for place, number in ((0, 5), (3, 7)):
      value, cores, leads_group = ended[place].value
      self.assertEqual((value, leads_group), (number, True))
      self.assertLen(cores, 1)
      self.assertLessEqual(cores, {*self.cores})
      self.assertEqual(ended[place].failure, '')
    self.assertEqual((self.folder / 'd.txt').read_text(), 'line 7\n')
    self.assertRegex(
      ended[1].failure, r'^exit status 1\.(?s:.)*RuntimeError: no such luck$'
    )
    self.assertNotIn('earlier', ended[1].failure)
    self.assertStartsWith(ended[2].failure, 'SIGKILL ended it')
    self.assertEqual(os.sched_getaffinity(0), before)

  def test_a_signal_is_passed_on_and_nothing_more_is_begun(self):
    begun = lambda: len([*self.folder.glob('begun_*')]) == 2

    def interrupt():
      until(begun)
      os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    waiting = [
      self.job(name, jobs.wait_for_signal, str(self.folder)) for name in 'abc'
    ]
    with self.assertRaises(KeyboardInterrupt):
      self.assertEmpty([*processes.schedule(waiting, self.cores)])
    thread.join()
    noted = [path.read_text() for path in self.folder.glob('signal_*')]
    self.assertEqual(noted, [str(int(signal.SIGINT))] * 2)
    self.assertTrue(begun())

  def test_children_stop_when_their_parent_is_killed(self):
    program = (
      f'import sys; sys.path.insert(0, {str(TESTS)!r})\n'
      'import jobs\nfrom rnnvae_jax.training import processes\n'
      f'job = processes.Job("a", jobs.wait_for_signal, '
      f'({str(self.folder)!r},), {str(self.folder / "a.txt")!r})\n'
      f'list(processes.schedule([job], {self.cores}))\n'
    )
    parent = subprocess.Popen([sys.executable, '-c', program])
    self.assertTrue(until(lambda: any(self.folder.glob('begun_*'))))
    parent.kill()
    parent.wait()
    self.assertTrue(until(lambda: any(self.folder.glob('signal_*'))))
    (noted,) = self.folder.glob('signal_*')
    self.assertTrue(until(noted.read_text))  # It is created before it is full.
    self.assertEqual(noted.read_text(), str(int(signal.SIGTERM)))

  def test_after_the_deadline_none_is_begun(self):
    waiting = [self.job('a', jobs.describe, 1)]
    self.assertEmpty([*processes.schedule(waiting, self.cores, until=0.0)])

  def test_memory_limits_how_many_run_at_a_time(self):
    child = mock.Mock()
    child.current_bytes.return_value = 3 * 10**8
    # It will grow by 7e8 to the 1e9 that are expected of each.
    for available, has_room in ((1.8e9, True), (1.6e9, False)):
      with mock.patch.object(processes, '_bytes', return_value=available):
        self.assertEqual(processes._has_room({1: child}, 10**9), has_room)
        self.assertTrue(processes._has_room({}, 10**10))
    # The kernel reports kB.
    kilobytes = processes._bytes('/proc/meminfo', 'MemTotal') / 1024
    with open('/proc/meminfo') as lines:
      self.assertEqual(float(next(lines).split()[1]), kilobytes)


if __name__ == '__main__':
  absltest.main()
