"""The processes of one run: how they meet, decide, and end together.

A run over several processes is one program on the devices of all of them
(`jax.distributed`): each calls the same compiled programs in the same order. So
every decision that the host takes must be the same in each. What all read, such
as figures, is taken from process 0 (`agreed`); what any may ask for, such as a
stop, is voted for (`most`). Process 0 is the only one that writes.

If one process does not go on, the others would wait for it in an exchange
between devices, some of them forever. So a thread of each process keeps up a
conversation with process 0: an error of one process ends all with its status,
and a process that is lost ends all with `stopping.RESUME`.

Nothing here costs anything where there is only one process.
"""

from collections.abc import Callable, Iterator
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, NamedTuple, NoReturn

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.training import stopping

ADDRESS, COUNT, INDEX = (
  'JAX_COORDINATOR_ADDRESS',
  'JAX_NUM_PROCESSES',
  'JAX_PROCESS_ID',
)
AUTO = 'auto'  # The address that stands for JAX's own detection of clusters.
# Seconds.
_MEETING = 120  # That processes have to come.
_BEAT = 2.0  # Between signs of life.
_SILENCE = 30.0  # Without one, after which a process is lost.
_LEAVING = 5.0  # That process 0 waits for the others to have left.
_SAVING = 600.0  # That the others wait for process 0 to save.
_ENDED = 'rnnvae_jax/ended'  # Keys of the store that process 0 keeps for all.
_BEATS, _LEFT, _AGREED = (
  'rnnvae_jax/beats',
  'rnnvae_jax/left',
  'rnnvae_jax/agreed',
)
# What an exchange fails with when the process at its other end is gone.
_EXCHANGES = ('gloo', 'nccl')
_OF_CONNECTIONS = ('connection', 'socket', 'unavailable')


class Place(NamedTuple):
  """This process among those of its run.

  Attributes:
    address: host and port of process 0, or `AUTO`.
    processes: how many there are; None: JAX finds it out.
    process: the number of this one; None: JAX finds it out.
  """

  address: str
  processes: int | None
  process: int | None


def place() -> Place | None:
  """What the environment says; None if this process is the only one.

  Raises:
    ValueError: a variable is missing or is no legal number.
  """
  given = {name: os.environ.get(name, '') for name in (ADDRESS, COUNT, INDEX)}
  if given[ADDRESS] == AUTO:
    return Place(AUTO, None, None)
  if not given[COUNT] or given[COUNT] == '1':
    return None
  missing = [name for name, value in given.items() if not value]
  if missing:
    raise ValueError(
      f'${COUNT} = {given[COUNT]}, but ${" and $".join(missing)} is not set. '
      'Each process of a run needs all three; see launch/README.md.'
    )
  numbers = {}
  for name in (COUNT, INDEX):
    if not given[name].isdecimal():
      raise ValueError(f'${name} = {given[name]!r} is no number.')
    numbers[name] = int(given[name])
  if numbers[INDEX] >= numbers[COUNT]:
    raise ValueError(
      f'${INDEX} = {numbers[INDEX]}: the processes have the numbers 0 to '
      f'{numbers[COUNT] - 1}.'
    )
  return Place(given[ADDRESS], numbers[COUNT], numbers[INDEX])


def check_alone(what: str) -> None:
  """Raises ValueError if several processes would each do the same."""
  if place() is not None:
    raise ValueError(
      f'{what} works in one process, and ${ADDRESS} says that there are '
      'several, which can train one run together. Unset it.'
    )


def join() -> None:
  """Meets the other processes, if there are any; before JAX has devices.

  From then on a lost process ends this one. All but process 0 log warnings
  alone.

  Raises:
    ValueError: the environment is not that of a process; see `place`.
  """
  where = place()
  if where is None:
    return
  # Its own handler of SIGTERM would take the place of ours.
  jax.config.update('jax_enable_preemption_service', False)
  met = threading.Event()
  on_abort = _on_abort(where, met)
  _set_handler(on_abort)
  # Each process drives all devices that it sees, unless JAX arranges it.
  found: dict[str, Any] = {}
  if where.address != AUTO:
    found = {
      'coordinator_address': where.address,
      'num_processes': where.processes,
      'process_id': where.process,
      'cluster_detection_method': 'deactivate',
    }
  with _no_handlers():  # Python's would wait until all have come.
    jax.distributed.initialize(
      **found,
      initialization_timeout=_MEETING,
      # Longer than `_SILENCE`: its own way to end a process is an abort.
      heartbeat_timeout_seconds=10 * int(_SILENCE),
    )
  met.set()
  if count() == 1:
    return
  if not is_first() and logging.get_verbosity() == logging.INFO:
    logging.set_verbosity(logging.WARNING)
  conversation = _Conversation(on_abort)
  for target in (conversation.talk, conversation.listen):
    threading.Thread(target=target, daemon=True).start()


def count() -> int:
  """The number of processes of this run."""
  return jax.process_count() if jax.distributed.is_initialized() else 1


def index() -> int:
  """The number of this process, from 0."""
  return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
  """Whether this is process 0, which alone writes."""
  return index() == 0


def agreed(name: str, value: Any = None) -> Any:
  """The value of process 0, in each process.

  Args:
    name: of the value, another one each time.
    value: of process 0: what JSON can hold, and NumPy's numbers.
  """
  if count() == 1:
    return value
  key = f'{_AGREED}/{name}'
  if is_first():
    _client().key_value_set(key, json.dumps(value, default=_plain))
  while True:  # `_Conversation` ends this process if process 0 is lost.
    text = _wait_for(key, 60.0)
    if text is not None:
      return json.loads(text)


def most(vote: int) -> int:
  """The largest vote of all processes, in each; an exchange of one number."""
  if count() == 1:
    return vote
  own, sharding, largest = _voting()
  part = jax.device_put(np.array([vote], np.int32), own)
  votes = jax.make_array_from_single_device_arrays((count(),), sharding, [part])
  return int(largest(votes))


@functools.cache
def _voting() -> tuple[Any, Any, Callable]:
  """This process's device for votes, their sharding, and the count of them."""
  chosen = [
    next(d for d in jax.devices() if d.process_index == i)
    for i in range(count())
  ]
  mesh = jax.sharding.Mesh(np.array(chosen), ('processes',))
  spec = jax.sharding.PartitionSpec
  each = jax.sharding.NamedSharding(mesh, spec('processes'))
  whole = jax.sharding.NamedSharding(mesh, spec())
  return chosen[index()], each, jax.jit(jnp.max, out_shardings=whole)


def from_first(tree: Any) -> Any:
  """The arrays of process 0, in each process, bit for bit.

  Args:
    tree: of arrays, which may be typed keys. Only their shapes and types are
      read in the other processes, so there it may be abstract.
  """
  if count() == 1:
    return tree
  from jax.experimental import multihost_utils

  leaves, structure = jax.tree.flatten(tree)
  plain = [jax.eval_shape(_without_type, leaf) for leaf in leaves]
  sizes = [x.size * x.dtype.itemsize for x in plain]
  sent = np.zeros(sum(sizes), np.uint8)
  ends = np.cumsum(sizes)
  if is_first():
    for leaf, size, end in zip(leaves, sizes, ends, strict=True):
      data = np.ascontiguousarray(_without_type(leaf))
      sent[end - size : end] = np.frombuffer(data.tobytes(), np.uint8)
  # As bytes, since a sum of floats would change -0.
  got = np.asarray(multihost_utils.broadcast_one_to_all(sent))
  arrays = []
  for leaf, shape, size, end in zip(leaves, plain, sizes, ends, strict=True):
    data = got[end - size : end].view(shape.dtype).reshape(shape.shape)
    array = jax.device_put(data, may_alias=False)
    if is_key(leaf):
      array = jax.random.wrap_key_data(array)
    arrays.append(array)
  return jax.tree.unflatten(structure, arrays)


def is_key(leaf: Any) -> bool:
  """Whether an array, or its type, is of typed keys."""
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_type(leaf):
  return jax.random.key_data(leaf) if is_key(leaf) else leaf


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
  """All processes of the run end when the block does, with one status."""
  try:
    yield
  except (Exception, SystemExit) as error:
    if count() == 1:
      raise
    _end_by(error)
  if count() > 1:
    end(0, '')


def _end_by(error: Exception | SystemExit) -> NoReturn:
  """Ends all processes after an error, or what `startup` has made of one."""
  if _is_of_peer(error) or _is_of_peer(error.__cause__):
    logging.debug('', exc_info=True)  # --verbosity=1 shows where.
    what = str(error).removeprefix('Error: ').splitlines()[0]
    end(
      stopping.RESUME,
      f'Another process of the run is lost: {what}. The same command goes on.',
    )
  if isinstance(error, SystemExit):
    if isinstance(error.code, int):
      end(error.code, '')
    end(1, str(error.code))
  traceback.print_exc()
  end(1, f'{type(error).__name__}: {error}', is_said=True)


def _is_of_peer(error: BaseException | None) -> bool:
  """Whether an exchange has failed since its other end is gone.

  It is a JaxRuntimeError, or a ValueError where an array is read.
  """
  text = str(error).lower()
  if any(library in text for library in _EXCHANGES):
    return True
  return isinstance(error, jax.errors.JaxRuntimeError) and any(
    word in text for word in _OF_CONNECTIONS
  )


def end(status: int, message: str, is_said: bool = False) -> NoReturn:
  """Ends this process, and the others with the same status.

  The first that calls it decides. At the end of XLA's own threads is no order
  in which several processes could end, so there is none of Python's.

  Args:
    status: of all processes.
    message: for their users; '': none.
    is_said: whether this process has printed it.
  """
  if message and not is_said:
    print(message, file=sys.stderr)
  _flush()
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # Another was first.
    _client().key_value_set(_ENDED, json.dumps([status, message, index()]))
  text = None
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    text = _wait_for(_ENDED, _LEAVING)
  _leave(json.loads(text)[0] if text else status)


def await_end(limit: float = _SAVING) -> NoReturn:
  """Waits until process 0 ends the run, as it does when all is written.

  Args:
    limit: seconds; infinite: as long as process 0 lives.
  """
  _flush()
  until = time.monotonic() + limit
  while time.monotonic() < until:
    time.sleep(0.2)  # `_Conversation` ends the process.
  end(
    stopping.RESUME,
    f'Process 0 has not ended within {limit:.0f} s. The same command goes on.',
  )


class _Conversation:
  """What the threads of a process say to process 0, and hear from it."""

  def __init__(self, kept: Any):
    """`kept` lives as long as the process."""
    self._kept = kept
    self._heard = time.monotonic()
    # Of each process, its last sign of life and when that was new.
    self._beats = [('', self._heard)] * count()

  def talk(self) -> None:
    """Gives signs of life; ends this process when the run has ended."""
    client, beat = _client(), 0
    while True:
      beat += 1
      try:
        client.key_value_set(
          f'{_BEATS}/{index()}', str(beat), allow_overwrite=True
        )
        if is_first():
          self._look(dict(client.key_value_dir_get(f'{_BEATS}/')))
        self._heard = time.monotonic()
        text = _wait_for(_ENDED, _BEAT)
      except jax.errors.JaxRuntimeError as error:
        _lost(f'process 0 is lost: {str(error).splitlines()[0]}')
      if text is not None:
        status, message, by = json.loads(text)
        if message and by != index():
          print(f'Process {by} ended the run: {message}', file=sys.stderr)
        _leave(status)

  def listen(self) -> None:
    """Ends this process if process 0 does not answer."""
    while True:
      time.sleep(_BEAT)
      silence = time.monotonic() - self._heard
      if silence > _SILENCE + _BEAT:
        _lost(f'process 0 has not answered for {silence:.0f} s')

  def _look(self, beats: dict[str, str]) -> None:
    """Ends the run if a process gives no sign of life."""
    now = time.monotonic()
    for process, (last, since) in enumerate(self._beats):
      beat = beats.get(f'{_BEATS}/{process}', '')
      if beat != last:
        self._beats[process] = beat, now
      elif now - since > _SILENCE:
        end(
          stopping.RESUME,
          f'Process {process} has given no sign of life for {now - since:.0f} '
          's. The same command goes on.',
        )


def _wait_for(key: str, seconds: float) -> str | None:
  """The text of a key, once it has one; None if it has none in time."""
  try:
    return _client().blocking_key_value_get(key, int(1000 * seconds))
  except jax.errors.JaxRuntimeError as error:
    if 'DEADLINE_EXCEEDED' not in str(error):
      raise
    return None


_IS_LEAVING = threading.Lock()


def _leave(status: int) -> NoReturn:
  """Ends this process; process 0 is the last, since it keeps the store."""
  _IS_LEAVING.acquire()  # Whoever comes second waits for the first.
  _flush()
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    if is_first():
      until = time.monotonic() + _LEAVING
      while time.monotonic() < until:
        if len(_client().key_value_dir_get(f'{_LEFT}/')) == count() - 1:
          break
        time.sleep(0.05)
      time.sleep(0.2)  # Who has said that it leaves is about to.
    else:
      _client().key_value_set(f'{_LEFT}/{index()}', '-')
  os._exit(status)


def _lost(what: str) -> NoReturn:
  _IS_LEAVING.acquire()
  print(f'Error: {what}. The same command goes on.', file=sys.stderr)
  _flush()
  os._exit(stopping.RESUME)


def _flush() -> None:
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):
      stream.flush()


def _client() -> Any:
  # JAX has no public way to the store of its processes.
  from jax._src import distributed

  return distributed.global_state.client


def _plain(value: Any) -> Any:
  """What JSON makes of a NumPy or JAX number or array."""
  return np.asarray(value).tolist()


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


def _on_abort(where: Place, met: threading.Event) -> Any:
  """What JAX's abort becomes when process 0 is lost.

  Then JAX has a thread of its own in C++ end the process by abort(), which
  cannot be asked for anything else from Python.

  Args:
    where: of process 0.
    met: whether all processes have come.
  """

  def handler(number: int) -> None:
    if not met.is_set():
      _lost(f'not all processes have come within {_MEETING} s')
    if not _answers(where):
      _lost('process 0 is lost')
    # Of anything else it remains an abort: this handler has been called once.

  return _Handler(handler)


def _answers(where: Place) -> bool:
  """Whether something listens at the address of process 0."""
  from jax._src import distributed

  address = distributed.global_state.coordinator_address or where.address
  host, _, port = address.rpartition(':')
  try:
    with socket.create_connection((host.strip('[]'), int(port)), 5.0):
      return True
  except OSError:
    return False


def _set_handler(handler: Any) -> None:
  """Handles SIGABRT at once: Python's handlers run when C has returned."""
  function = ctypes.CDLL(None).signal
  function.argtypes = ctypes.c_int, _Handler
  function.restype = ctypes.c_void_p
  function(int(signal.SIGABRT), handler)


@contextlib.contextmanager
def _no_handlers() -> Iterator[None]:
  """Signals end the process in the block: there is nothing to save yet."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {
    number: signal.getsignal(number)
    for number in stopping.SIGNALS
    if signal.getsignal(number) not in (signal.SIG_IGN, None)
  }
  for number in before:
    signal.signal(number, signal.SIG_DFL)
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
