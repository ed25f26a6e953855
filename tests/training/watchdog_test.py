"""A call that hangs is reported, and one that does not is not."""

import logging
import time

from absl.testing import absltest

from rnnvae_jax.training import watchdog


def hang(until, seconds=30.0):
  deadline = time.monotonic() + seconds
  while not until() and time.monotonic() < deadline:
    time.sleep(0.01)


class WatchdogTest(absltest.TestCase):
  def test_a_hang_is_reported_with_its_step_and_place(self):
    with (
      self.assertLogs('absl', level='WARNING') as logs,
      watchdog.Watchdog(least=0.05) as watched,
    ):
      watched.beat('step 30')
      hang(lambda: logs.output)
    self.assertRegex(logs.output[0], 'for 0 s since step 30')
    self.assertIn('in hang', logs.output[0])

  def test_it_is_reported_again_only_when_it_has_become_twice_as_long(self):
    with (
      self.assertLogs('absl', level='WARNING') as logs,
      watchdog.Watchdog(least=0.05) as watched,
    ):
      watched.beat('step 30')
      start = time.monotonic()
      hang(lambda: len(logs.output) == 3)
      spent = time.monotonic() - start
    self.assertGreaterEqual(spent, 0.05 * 4)

  def test_ordinary_calls_are_not_reported_however_long_they_take(self):
    with (
      self.assertNoLogs('absl', level=logging.WARNING),
      watchdog.Watchdog(least=0.01, factor=1000.0) as watched,
    ):
      watched._last -= 5.0
      watched.beat('step 3')  # The longest took five seconds.
      time.sleep(0.1)


if __name__ == '__main__':
  absltest.main()
