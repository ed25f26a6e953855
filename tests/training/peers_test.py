"""Processes of one run: what each is told, and real ones on the loopback.

What one process computes on as many devices is the oracle for what several do.
A run is made of several processes of one device each, or of one process of four
devices; no test outlasts `LIMIT`.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax.config import files
from rnnvae_jax.training import devices, peers, stopping

import helpers

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 600.0  # Seconds of a test, on a busy machine.
# What the documents promise for a process that is lost.
MINUTE = 60.0
STEPS = 1500


def environment_of(**values):
  cleared = {
    k: v for k, v in os.environ.items() if k not in ENVIRONMENT.values()
  }
  given = {ENVIRONMENT[name]: value for name, value in values.items()}
  return mock.patch.dict(os.environ, cleared | given, clear=True)


ENVIRONMENT = {
  'address': peers.ADDRESS,
  'count': peers.COUNT,
  'index': peers.INDEX,
}


class PlaceTest(parameterized.TestCase):
  @parameterized.parameters(
    {},
    {'count': '1'},
    {'count': '1', 'address': 'host:1', 'index': '0'},
    {'address': 'host:1'},
  )
  def test_a_single_process_is_alone(self, **values):
    with environment_of(**values):
      self.assertIsNone(peers.place())
      peers.check_alone('--mode=sample')

  def test_reads_the_three_variables(self):
    with environment_of(address='host:1', count='3', index='2'):
      self.assertEqual(peers.place(), peers.Place('host:1', 3, 2))
      with self.assertRaisesRegex(ValueError, '--mode=sample works in one'):
        peers.check_alone('--mode=sample')

  def test_leaves_it_to_jax(self):
    with environment_of(address='auto'):
      self.assertEqual(peers.place(), peers.Place('auto', None, None))

  @parameterized.parameters(
    ({'count': '3'}, r'\$JAX_COORDINATOR_ADDRESS and \$JAX_PROCESS_ID is not'),
    ({'count': '3', 'address': 'host:1'}, r'\$JAX_PROCESS_ID is not set'),
    ({'count': 'three', 'address': 'a:1', 'index': '0'}, "'three' is no number"),
    ({'count': '3', 'address': 'a:1', 'index': '3'}, 'numbers 0 to 2'),
  )
  def test_says_what_is_missing_or_wrong(self, values, message):
    with environment_of(**values), self.assertRaisesRegex(ValueError, message):
      peers.place()

  def test_one_process_decides_and_has_its_own_arrays(self):
    tree = {'a': np.float32([1.0]), 'key': jax.random.key(0)}
    self.assertEqual(peers.count(), 1)
    self.assertTrue(peers.is_first())
    self.assertIs(peers.agreed('tree', tree), tree)
    self.assertIs(peers.from_first(tree), tree)
    self.assertIs(devices.own_copy(tree), tree)
    self.assertEqual(peers.most(2), 2)


class ChoiceTest(parameterized.TestCase):
  """Two processes, one with three devices and one with two."""

  def setUp(self):
    super().setUp()
    owners = 0, 0, 0, 1, 1
    found = [mock.Mock(platform='cpu', process_index=i) for i in owners]
    self.enterContext(mock.patch.object(jax, 'devices', lambda: found))
    self.enterContext(mock.patch.object(peers, 'count', lambda: 2))
    self.enterContext(
      mock.patch.object(jax.sharding, 'Mesh', lambda array, axes: list(array))
    )

  def config_of(self, count, batch_size):
    return helpers.make_config(
      'language_model', **{'devices': count, 'train.batch_size': batch_size}
    )

  @parameterized.parameters(
    (0, 8, [0, 0, 1, 1]), (0, 6, [0, 1]), (2, 8, [0, 1]), (4, 8, [0, 0, 1, 1])
  )
  def test_each_process_has_as_many_devices(self, count, batch_size, want):
    mesh = devices.for_rows(self.config_of(count, batch_size))
    self.assertEqual([d.process_index for d in mesh], want)

  def test_names_the_nearest_legal_value(self):
    with self.assertRaisesRegex(ValueError, 'batch_size = 7 .*value: 8'):
      devices.for_rows(self.config_of(0, 7))
    with self.assertRaisesRegex(ValueError, 'devices = 3: 2 proc.*value: 4'):
      devices.for_rows(self.config_of(3, 24))


def free_port():
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


@contextlib.contextmanager
def started(command, count, each, **variables):
  """Processes of a run with `each` simulated devices; none outlives the block.

  Yields:
    The processes, whose output is a file.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  port = free_port()
  given = {k: v for k, v in os.environ.items() if not k.startswith('JAX_PROC')}
  given |= {
    'XLA_FLAGS': f'{flags} --xla_force_host_platform_device_count={each}',
    'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}',
    **variables,
  }
  running = []
  try:
    for index in range(count):
      if count > 1:
        given |= {
          peers.ADDRESS: f'127.0.0.1:{port}',
          peers.COUNT: str(count),
          peers.INDEX: str(index),
        }
      log = open(f'{command[-1]}.log.{index}', 'a+')  # noqa: SIM115
      process = subprocess.Popen(
        [sys.executable, *command[:-1]], env=given, stdout=log, stderr=log
      )
      process.log = log
      running.append(process)
    yield running
  finally:
    for process in running:
      process.kill()
      process.wait()
      process.log.close()


def output(process):
  process.log.seek(0)
  return process.log.read()


def statuses(processes, limit=LIMIT):
  """What the processes end with, all before the limit."""
  until = time.monotonic() + limit
  return [p.wait(max(0.0, until - time.monotonic())) for p in processes]


def training(workdir, **overrides):
  """The command of a run whose four devices have two rows each."""
  settings = {
    'train.batch_size': 8,
    'train.num_steps': STEPS,
    'train.eval_every': STEPS // 3,
    'train.steps_per_call': 1,
    'evaluate.split': 'none',
  } | overrides
  return [
    '-m',
    'rnnvae_jax.main',
    '--config=gru_lm:tiny',
    f'--workdir={workdir}',
    *(f'--config.{key}={value}' for key, value in settings.items()),
    workdir,  # Where the logs go; no argument.
  ]


def lines_of(workdir):
  path = os.path.join(workdir, 'metrics.jsonl')
  if not os.path.exists(path):
    return []
  with open(path) as file:
    return [json.loads(line) for line in file if line.endswith('\n')]


def wait_for_step(processes, workdir, step):
  until = time.monotonic() + LIMIT
  while not any(line['step'] >= step for line in lines_of(workdir)):
    for process in processes:
      if process.poll() is not None:
        raise AssertionError(f'{process.returncode}: {output(process)}')
    if time.monotonic() > until:
      raise AssertionError(f'step {step} is not reached')
    time.sleep(0.01)


class RunsTest(parameterized.TestCase):
  def folder(self):
    return os.path.join(self.create_tempdir().full_path, 'run')

  def trained(self, workdir, count, **overrides):
    """The figures of each step of a run that is left alone."""
    with started(training(workdir, **overrides), count, 4 // count) as all_:
      for process, status in zip(all_, statuses(all_), strict=True):
        self.assertEqual(status, 0, output(process))
      first = output(all_[0])
      for process in all_[1:]:  # They have nothing to say.
        self.assertNotIn('loss', output(process))
    if count > 1:
      self.assertIn(f'4 of 4 devices of {count} processes, 2 of 8 rows', first)
    return lines_of(workdir)

  def check_equal(self, lines, want):
    """Bit for bit: on as many devices, all sums are of the same parts."""
    self.assertEqual([x['step'] for x in lines], [x['step'] for x in want])
    for line, other in zip(lines, want, strict=True):
      self.assertEqual(line | {'time': 0}, other | {'time': 0})

  @parameterized.parameters('gru_lm', 'gru_vae')
  @pytest.mark.slow
  def test_curves_do_not_depend_on_the_number_of_processes(self, name):
    del name
    settings = {'train.num_steps': 50, 'train.eval_every': 10}
    want = self.trained(self.folder(), 1, **settings)
    self.assertLen([x for x in want if 'train/loss' in x], 50)
    for count in (2, 4):
      self.check_equal(self.trained(self.folder(), count, **settings), want)
