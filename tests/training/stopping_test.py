"""Signals ask to stop, and are neither lost nor acted upon in a handler."""

import os
import signal
from unittest import mock

from absl.testing import absltest, parameterized

from rnnvae_jax import startup
from rnnvae_jax.training import stopping


def send(number):
  os.kill(os.getpid(), number)


class StoppingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    for number, handler in before.items():
      self.addCleanup(signal.signal, number, handler)

  def test_a_lost_terminal_is_one_of_them(self):
    self.assertIn(signal.SIGHUP, stopping.SIGNALS)

  @parameterized.parameters(*stopping.SIGNALS)
  def test_the_first_is_noted_and_the_second_acts_as_before(self, number):
    acted = []
    signal.signal(number, lambda received, _: acted.append(received))
    with stopping.requests() as stop:
      self.assertFalse(stop)
      send(number)
      self.assertTrue(stop)
      self.assertEqual(stop.signal, number)
      self.assertEqual(acted, [])
      send(number)
      self.assertEqual(acted, [number])
    send(number)
    self.assertEqual(acted, [number, number])

  @parameterized.parameters(*stopping.SIGNALS)
  def test_an_exception_that_a_callback_swallowed_is_not_lost(self, number):
    with stopping.interrupts():
      with self.assertRaises(KeyboardInterrupt):  # As a callback drops it.
        send(number)
      with stopping.requests() as stop:
        self.assertEqual(stop.signal, number)

  def test_what_is_ignored_stays_ignored(self):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As `nohup` does.
    with stopping.interrupts(), stopping.requests() as stop:
      send(signal.SIGHUP)
      self.assertFalse(stop)
    self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

  @parameterized.parameters(*stopping.SIGNALS)
  def test_a_process_that_is_stopped_says_that_it_goes_on(self, number):
    with (
      mock.patch.object(os, '_exit', side_effect=SystemExit) as ended,
      self.assertRaises(SystemExit),
      startup.errors_as_messages(),
    ):
      send(number)
    ended.assert_called_once_with(stopping.RESUME)


if __name__ == '__main__':
  absltest.main()
