"""The test suite cannot lose a mark, and cannot reach a network."""

import socket
import subprocess
import sys
import urllib.request

from absl.testing import absltest, parameterized
import pytest

ELSEWHERE = ('192.0.2.1', 80)  # Of a block that RFC 5737 keeps for examples.


class MarksTest(parameterized.TestCase):
  def test_a_mark_above_parameterized_is_refused(self):
    parameterize = parameterized.parameters((1,), (2,))
    with self.assertRaisesRegex(TypeError, r'\(corpus\) above @parameterized'):
      pytest.mark.corpus(parameterize(lambda self, value: None))

  @parameterized.parameters(1, 2)
  @pytest.mark.filterwarnings('ignore:a test of marks')
  def test_a_mark_beneath_it_is_kept(self, value):
    method = getattr(type(self), self._testMethodName)
    names = [mark.name for mark in method.pytestmark]
    self.assertEqual(names, ['filterwarnings'])
    self.assertIn(value, (1, 2))


class NetworkTest(absltest.TestCase):
  @pytest.fixture(autouse=True)
  def _expect_attempts(self, network_attempts):
    """Each of these tests tries, and is not failed for it."""
    yield
    self.assertNotEmpty(network_attempts)
    network_attempts.clear()

  def test_no_socket_leaves_the_machine(self):
    with socket.socket() as ours, self.assertRaises(ConnectionRefusedError):
      ours.connect(ELSEWHERE)
    with socket.socket() as ours, self.assertRaises(ConnectionRefusedError):
      ours.connect_ex(ELSEWHERE)

  def test_no_name_is_looked_up(self):
    with self.assertRaisesRegex(ConnectionRefusedError, 'have no network'):
      socket.create_connection(('www.example.org', 80))

  def test_a_download_is_an_attempt(self):
    with self.assertRaisesRegex(OSError, 'have no network'):
      urllib.request.urlopen('http://www.example.org/')


class SubprocessTest(absltest.TestCase):
  def test_has_no_network_either(self):
    code = "import requests; requests.get('http://192.0.2.1/', timeout=60)"
    done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    self.assertEqual(done.returncode, 1)
    self.assertIn('ProxyError', done.stderr)


if __name__ == '__main__':
  absltest.main()
