"""Processes of one run: what each is told, and real ones on the loopback.

What one process computes on as many devices is the oracle for what several do.
A run is made of several processes of one device each, or of one process of four
devices; no test outlasts `LIMIT`.
"""

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

from rnnvae_jax.training import devices, peers, stopping

import helpers
import tolerances

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 600.0  # Seconds of a test, on a busy machine.
# What the documents promise for a process that is lost.
MINUTE = 60.0
STEPS = 600
# Longest sentences, and a recurrence's sums.
TOKENS, SIZE = 10, 64


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
    (
      {'count': 'three', 'address': 'a:1', 'index': '0'},
      "'three' is no number",
    ),
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

  @parameterized.parameters(
    (ValueError('UNKNOWN: Gloo all-reduce failed: Connection closed'), True),
    (jax.errors.JaxRuntimeError('UNAVAILABLE: Socket closed'), True),
    (jax.errors.JaxRuntimeError('INTERNAL: no such kernel'), False),
    (ConnectionError('no connection to a database'), False),
    (None, False),
  )
  def test_tells_a_lost_process_from_other_errors(self, error, want):
    self.assertEqual(peers._is_of_peer(error), want)


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


class Group:
  """Processes of a run on the loopback, with simulated devices."""

  def __init__(self, folder, count, each, arguments):
    """Starts them.

    Args:
      folder: of their output.
      count: of the processes.
      each: devices of each.
      arguments: of Python; or a function of a process's number to them.
    """
    flags = os.environ.get('XLA_FLAGS', '')
    port = free_port()
    self.processes, self._logs = [], []
    for index in range(count):
      given = os.environ | {
        'XLA_FLAGS': f'{flags} --xla_force_host_platform_device_count={each}',
        'PYTHONPATH': os.pathsep.join(map(str, (ROOT, ROOT / 'tests'))),
      }
      if count > 1:
        given |= {
          peers.ADDRESS: f'127.0.0.1:{port}',
          peers.COUNT: str(count),
          peers.INDEX: str(index),
        }
      log = pathlib.Path(folder) / f'{time.monotonic_ns()}.{index}.log'
      own = arguments(index) if callable(arguments) else arguments
      with open(log, 'w') as file:
        process = subprocess.Popen(
          [sys.executable, *own], env=given, stdout=file, stderr=file
        )
      self.processes.append(process)
      self._logs.append(log)

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    for process in self.processes:
      process.kill()
      process.wait()

  def output(self, index):
    return self._logs[index].read_text()

  def statuses(self, limit=LIMIT):
    """What they end with; all end before the limit, in seconds."""
    until = time.monotonic() + limit
    try:
      for process in self.processes:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
      raise AssertionError(self.everything()) from None
    return [process.returncode for process in self.processes]

  def everything(self):
    return '\n'.join(map(self.output, range(len(self.processes))))

  def wait_for_step(self, workdir, step):
    until = time.monotonic() + LIMIT
    while not any(line['step'] >= step for line in lines_of(workdir)):
      if any(p.poll() is not None for p in self.processes):
        raise AssertionError(f'ended too early: {self.everything()}')
      if time.monotonic() > until:
        raise AssertionError(f'no step {step}: {self.everything()}')
      time.sleep(0.005)


def lines_of(workdir):
  path = os.path.join(workdir, 'metrics.jsonl')
  if not os.path.exists(path):
    return []
  with open(path) as file:
    return [json.loads(line) for line in file if line.endswith('\n')]


class RunsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    rng = np.random.default_rng(0)
    for name, count in (('train', 300), ('valid', 32), ('test', 16)):
      lines = [
        ' '.join(f'w{i}' for i in rng.integers(0, 30, rng.integers(1, 10)))
        for _ in range(count)
      ]
      path = os.path.join(self.folder, f'{name}.txt')
      pathlib.Path(path).write_text('\n'.join(lines) + '\n')

  def arguments(self, workdir, config='gru_lm', **overrides):
    """The command of a run on batches of eight rows."""
    settings = {
      'corpus.name': self.folder,
      'train.batch_size': 8,
      'train.num_steps': STEPS,
      'train.eval_every': STEPS // 2,
      'train.steps_per_call': 1,
      'evaluate.split': 'none',
    } | overrides
    return [
      '-m',
      'rnnvae_jax.main',
      f'--config={config}:tiny',
      f'--workdir={workdir}',
      *(f'--config.{key}={value}' for key, value in settings.items()),
    ]

  def workdir(self, name):
    return os.path.join(self.folder, name)

  def group(self, count, arguments, total=4):
    return Group(self.folder, count, total // count, arguments)

  def trained(self, count, total=4, config='gru_lm', **overrides):
    """The figures of each step of a run that is left alone."""
    workdir = self.workdir(f'of_{count}_with_{total}')
    arguments = self.arguments(workdir, config, **overrides)
    with self.group(count, arguments, total) as group:
      self.assertEqual(group.statuses(), count * [0], group.everything())
      if count > 1:
        used = f'{total} of {total} devices of {count} processes'
        self.assertIn(used, group.output(0))
      for index in range(1, count):  # They have nothing to say.
        self.assertNotIn('loss', group.output(index))
    return lines_of(workdir)

  def check_equal(self, lines, want):
    """Bit for bit: two devices add the same two sums."""
    self.assertEqual([x['step'] for x in lines], [x['step'] for x in want])
    for line, other in zip(lines, want, strict=True):
      self.assertEqual(line | {'time': 0}, other | {'time': 0})

  def check_close(self, lines, want):
    """Four devices add up in another order: each update rounds once more."""
    self.assertEqual([x['step'] for x in lines], [x['step'] for x in want])
    for line, other in zip(lines, want, strict=True):
      self.assertEqual(line.keys(), other.keys())
      for key in line.keys() - {'time', 'step'}:
        np.testing.assert_allclose(
          line[key],
          other[key],
          rtol=line['step'] * tolerances.chain(8 * TOKENS, SIZE),
          atol=line['step'] * tolerances.chain(8 * TOKENS),
          err_msg=f'{key} of step {line["step"]}',
        )

  @parameterized.parameters(
    ('gru_lm', {'evaluate.split': 'test'}),
    ('gru_vae', {}),
    # What a stream carries from window to window is divided, too.
    ('ptb_lm', {'train.unroll': 4, 'train.validation_rows': 2}),
    # Sentences are read from the host.
    ('gru_lm', {'data.device_share': 0.0}),
  )
  @pytest.mark.slow
  def test_curves_do_not_depend_on_the_number_of_processes(self, name, more):
    settings = {'train.num_steps': 50, 'train.eval_every': 10} | more
    run = lambda *counts: self.trained(*counts, name, **settings)
    want = run(1, 2)
    self.assertLen([x for x in want if 'train/loss' in x], 50)
    self.check_equal(run(2, 2), want)
    self.check_close(run(4, 4), run(1, 4))

  @pytest.mark.slow
  def test_goes_on_with_another_number_of_processes(self):
    """After SIGTERM to one of two, and SIGKILL of one of four."""
    workdir = self.workdir('run')
    arguments = self.arguments(workdir)
    with self.group(2, arguments) as group:
      group.wait_for_step(workdir, 20)
      group.processes[1].send_signal(signal.SIGTERM)
      self.assertEqual(
        group.statuses(), 2 * [stopping.RESUME], group.everything()
      )
      saved = re.search(r'Stopped at step (\d+), which', group.output(0))[1]
    self.assertEqual(lines_of(workdir)[-1]['step'], int(saved))
    with self.group(4, arguments) as group:
      group.wait_for_step(workdir, int(saved) + 20)
      group.processes[3].kill()
      self.assertEqual(
        group.statuses(MINUTE)[:3], 3 * [stopping.RESUME], group.everything()
      )
      self.assertIn(f'Going on from step {saved} ', group.output(0))
      self.assertIn('Another process of the run is lost', group.everything())
    with self.group(1, arguments) as group:
      self.assertEqual(group.statuses(), [0], group.everything())
      self.assertIn('Going on from step', group.output(0))
    self.check_close(lines_of(workdir), self.trained(1))

  @parameterized.parameters(
    (signal.SIGKILL, 0, 'process 0 is lost'),
    (signal.SIGSTOP, 0, 'process 0 has not answered'),
    (signal.SIGSTOP, 1, 'Process 1 has given no sign of life'),
  )
  @pytest.mark.slow
  def test_a_lost_process_ends_the_other_within_a_minute(
    self, number, lost, message
  ):
    workdir = self.workdir('run')
    with self.group(2, self.arguments(workdir)) as group:
      group.wait_for_step(workdir, 5)
      group.processes[lost].send_signal(number)
      status = group.processes[1 - lost].wait(MINUTE)
      self.assertEqual(status, stopping.RESUME, group.everything())
      self.assertIn(message, group.output(1 - lost))
      self.assertIn('The same command goes on', group.output(1 - lost))

  @pytest.mark.slow
  def test_an_error_of_one_process_ends_all_with_its_status(self):
    workdir = self.workdir('run')
    each = lambda index: self.arguments(workdir, seed=index)
    with self.group(2, each) as group:
      self.assertEqual(group.statuses(), [1, 1], group.everything())
      self.assertIn(
        "not of the same run as process 0: config.seed is '1' here, '0' there",
        group.output(0),
      )

  @pytest.mark.slow
  def test_the_script_starts_all_again_when_one_is_stopped(self):
    workdir = self.workdir('run')
    script = str(ROOT / 'launch' / 'local.sh')
    with Group(
      self.folder,
      1,
      1,
      [
        '-c',
        f'import os, sys; os.execv({script!r}, sys.argv)',
        '2',
        *self.arguments(workdir)[2:],
      ],
    ) as group:
      group.wait_for_step(workdir, 20)
      (script_process,) = group.processes
      children = subprocess.check_output(
        ['pgrep', '-P', str(script_process.pid), '-f', 'rnnvae_jax.main'],
        text=True,
      )
      os.kill(int(children.split()[1]), signal.SIGTERM)
      self.assertEqual(group.statuses(), [0], group.everything())
      self.assertIn('Going on from step', group.output(0))
    self.check_equal(lines_of(workdir), self.trained(1, 2))

  @pytest.mark.slow
  def test_what_processes_tell_each_other(self):
    path = pathlib.Path(__file__).parent / 'two_processes.py'
    with Group(self.folder, 2, 2, [str(path)]) as group:
      self.assertEqual(group.statuses(), [0, 0], group.everything())


if __name__ == '__main__':
  absltest.main()
