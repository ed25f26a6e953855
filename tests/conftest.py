"""Strict numerics for every test; no network, no accelerator."""

import gc
import ipaddress
import os
import signal
import socket

# Before jax is imported: tests never look for an accelerator.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Most of the time is compilation, of what runs a few times. Without LLVM's
# optimisations it takes two thirds, and without MLIR's emitters of fused loops
# a quarter of that; where these options are unknown they are ignored. Flags of
# the caller come last and win: CI runs the numerics under others as well.
os.environ['XLA_FLAGS'] = ' '.join(
  (
    '--xla_backend_optimization_level=0',
    '--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters',
    os.environ.get('XLA_FLAGS', ''),
  )
)

from absl import flags
from absl.testing import parameterized
import jax
from jax.experimental.compilation_cache import compilation_cache
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_nans', True)
flags.FLAGS.mark_as_parsed()

# Processes that tests start have no network either: nothing listens here. A
# connection to it from this process counts as an attempt to leave the machine.
_NOWHERE = ('127.0.0.1', 1)
os.environ.update(
  dict.fromkeys(
    ('http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'),
    'http://{}:{}'.format(*_NOWHERE),
  ),
  no_proxy='localhost,127.0.0.1,::1',
  NO_PROXY='localhost,127.0.0.1,::1',
)


def _refuse_mark(self, marks):
  del self
  names = ', '.join(mark.name for mark in marks)
  raise TypeError(
    f'@pytest.mark ({names}) above @parameterized would be lost, since '
    '@parameterized makes new functions of the one beneath it. Put the mark '
    'directly above the function.'
  )


# What `@parameterized` returns has no marks of its own and passes none on.
type(
  parameterized.parameters((0,))(lambda self, value: None)
).pytestmark = property(lambda self: [], _refuse_mark)

# (what, address) of each attempt to leave the machine in the current test.
_attempts = []


def _is_local(host):
  if isinstance(host, bytes):
    host = host.decode()
  if host in (None, '', 'localhost', socket.gethostname()):
    return True
  try:
    address = ipaddress.ip_address(host.partition('%')[0])
  except ValueError:
    return False
  return address.is_loopback or address.is_unspecified


def _guarded(what, function, find_address):
  """`function`, but an address outside this machine is an error."""

  def guard(*args, **kwargs):
    address = find_address(args)
    # Local sockets have a path instead of host and port.
    if isinstance(address, tuple) and (
      not _is_local(address[0]) or address[:2] == _NOWHERE
    ):
      _attempts.append((what, address))
      raise ConnectionRefusedError(f'tests have no network: {what}{address}')
    return function(*args, **kwargs)

  return guard


@pytest.fixture(autouse=True, scope='session')
def _no_network():
  with pytest.MonkeyPatch.context() as patch:
    for name in ('connect', 'connect_ex'):
      function = getattr(socket.socket, name)
      guard = _guarded(name, function, lambda args: args[1])
      patch.setattr(socket.socket, name, guard)
    guard = _guarded('getaddrinfo', socket.getaddrinfo, lambda args: args[:2])
    patch.setattr(socket, 'getaddrinfo', guard)
    yield


@pytest.fixture(autouse=True)
def network_attempts(_no_network):
  """Fails a test that left attempts here, even if it caught their errors."""
  yield _attempts
  tried = _attempts[:]
  _attempts.clear()
  if tried:
    pytest.fail(f'The network was accessed: {tried}')


def pytest_configure(config):
  """Sets what tests take for granted of the process that they run in."""
  del config
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  # A shell's background jobs ignore some signals, and so do their children.
  defaults = {
    'SIGINT': signal.default_int_handler,
    'SIGTERM': signal.SIG_DFL,
    'SIGHUP': signal.SIG_DFL,
  }
  for name, handler in defaults.items():
    number = getattr(signal, name, None)  # Windows has no SIGHUP.
    if number and signal.getsignal(number) == signal.SIG_IGN:
      signal.signal(number, handler)


@pytest.fixture(autouse=True, scope='session')
def _tfds_data_dir(tmp_path_factory):
  if 'TFDS_DATA_DIR' not in os.environ:
    os.environ['TFDS_DATA_DIR'] = str(tmp_path_factory.mktemp('tfds'))


@pytest.fixture(scope='session')
def _compiled(tmp_path_factory):
  """The folder of compiled programs.

  Each process that runs tests has its own, since JAX writes its files in place.
  Where $RNNVAE_TEST_COMPILED names a folder, later runs of tests find what
  earlier ones compiled; all must have the same number of cores, by which XLA
  divides its loops, and which JAX's keys leave out.
  """
  shared = os.environ.get('RNNVAE_TEST_COMPILED')
  if not shared:
    return str(tmp_path_factory.mktemp('compiled'))
  return os.path.join(shared, os.environ.get('PYTEST_XDIST_WORKER', 'main'))


@pytest.fixture(scope='module')
def compile_once(_compiled):
  """For modules that compile much of the same again."""
  _configure(
    jax_persistent_cache_min_compile_time_secs=0.0,
    # A test of the command line may have set a limit, for a folder of its own.
    jax_compilation_cache_max_size=-1,
    jax_compilation_cache_dir=_compiled,
  )
  yield
  _configure(
    jax_persistent_cache_min_compile_time_secs=1.0,
    jax_compilation_cache_dir=None,
  )


def _configure(**settings):
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def pytest_collection_finish(session):
  """Spares the garbage collector what lives as long as the process.

  All modules of tests and libraries are millions of objects, and tracing and
  compiling make so many others that it would look through them all the time.
  """
  del session
  gc.collect()
  gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
  """Skips what needs an absent corpus; `slow` runs only when asked for."""
  root = os.environ.get('RNNVAE_DATA_DIR')
  for item in items:
    if item.get_closest_marker('corpus') and not (root and os.path.isdir(root)):
      item.add_marker(pytest.mark.skip(reason='$RNNVAE_DATA_DIR is not set'))
    if item.get_closest_marker('slow') and not config.option.markexpr:
      item.add_marker(pytest.mark.skip(reason='slow: run with -m slow'))
