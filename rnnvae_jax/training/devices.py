"""The devices of a run, and what is divided among them.

Rows of a batch, or trials of a population, are divided among devices along the
one axis of a mesh; parameters and the corpus are copied to each. Every device
runs the program of one device on its own part (`jax.shard_map`), so that all
recurrence backends, loops that end with the longest sentence and the compaction
of padding work as they do on one device, and devices exchange only what
`ops.rows` says: a few sums, and the gradients once an update.

A mesh of one device is None, and then everything here returns what it is given:
one device compiles the program that it would without this module.

The mesh of a run over several processes (`peers`) has devices of all of them,
as many of each. A process has the rows of its own devices alone.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import batches
from rnnvae_jax.ops import rows
from rnnvae_jax.training import peers
from rnnvae_jax.training import state as state_lib

TRIALS = 'trials'  # Axis of a mesh among which trials are divided.
Spec = jax.sharding.PartitionSpec
Mesh = jax.sharding.Mesh | None
# `Any`, since each may stand for a part of a tree.
ALL: Any = Spec()  # Every device has a copy.
ROWS: Any = Spec(rows.AXIS)
TRIAL = Spec(TRIALS)
PLANS = Spec(None, rows.AXIS)  # The rows of K batches, [K, B].
# A part of the corpus that has the sentences of each device's rows alone.
STREAMED = batches.DeviceSplit(ROWS, ROWS, ROWS, ROWS, ALL, ROWS, ROWS, ALL)


@schema.fragment('', free=schema.Free.ALWAYS)
class DevicesConfig:
  """How many devices work together.

  The number changes neither batches nor noise. Results differ by the rounding
  of sums that are added up in another order.
  """

  devices: int = schema.field(
    0,
    'Devices among which the rows of a batch, or the trials of a population, '
    'are divided; 0: as many of all as divide the batch evenly.',
    low=0,
  )


def for_rows(config: Any) -> Mesh:
  """The mesh among which the rows of a training batch are divided.

  Raises:
    ValueError: there are not so many devices, or they cannot have equal parts
      of a batch.
  """
  wanted, visible = config.devices, _visible(config)
  batch_size, processes = config.train.batch_size, peers.count()
  if batch_size % processes:
    raise ValueError(
      f'config.train.batch_size = {batch_size} rows cannot be divided evenly '
      f'among {processes} processes. Nearest legal value: '
      f'{batch_size + -batch_size % processes}.'
    )
  if wanted and batch_size % wanted:
    legal = _largest_divisor(batch_size, wanted)
    below = batch_size - batch_size % wanted
    raise ValueError(
      f'config.devices = {wanted}: config.train.batch_size = {batch_size} rows '
      f'cannot be divided evenly among them. Nearest legal value: '
      f'{legal}; or config.train.batch_size = {below or wanted}.'
    )
  share = _largest_divisor(batch_size // processes, len(visible) // processes)
  return _mesh(_equal_parts(visible, share), rows.AXIS)


def for_evaluation(config: Any, joint: bool = False) -> Mesh:
  """The mesh among which the sentences of an evaluation are divided.

  A run may be evaluated where there are fewer devices than trained it.

  Args:
    config: of the run.
    joint: whether all processes of the run evaluate together; otherwise each
      that does uses its own devices.
  """
  if peers.count() > 1:
    found = _visible(config) if joint else jax.local_devices()
    return _mesh(found[: config.devices or None], rows.AXIS)
  return _mesh(jax.devices()[: config.devices or None], rows.AXIS)


def for_trials(config: Any, number: int) -> Mesh:
  """The mesh among which the trials of a population are divided.

  Args:
    config: of the trials.
    number: of the trials, each of which is on one device.

  Raises:
    ValueError: there are not so many devices as the config wants.
  """
  return _mesh(_visible(config)[:number], TRIALS)


def count(mesh: Mesh) -> int:
  """The number of devices of a mesh."""
  return 1 if mesh is None else mesh.size


def divided(
  function: Callable, mesh: Mesh, in_specs: Any, out_specs: Any
) -> Callable:
  """Returns the function, run by each device on its parts of the arguments.

  Args:
    function: of arrays.
    mesh: of the devices; None: the function itself is returned.
    in_specs: for each argument, which axis is divided; see `jax.shard_map`.
    out_specs: the same for the results. `ALL` says that all devices compute
      the same, which is not checked.
  """
  if mesh is None:
    return function
  # Without the check, as it refuses loops that begin with a constant.
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=in_specs,
    out_specs=out_specs,
    check_vma=False,
  )


def state_specs(task: Any) -> state_lib.TrainState:
  """Which parts of a state are divided; a prefix of its tree."""
  extras = dict.fromkeys(task.initial_extras(), ALL)
  extras |= dict.fromkeys(task.row_extras, ROWS)
  return state_lib.TrainState(ALL, ALL, ALL, extras, ALL, ALL)


def placed(tree: Any, mesh: Mesh, specs: Any = ALL) -> Any:
  """Copies arrays to the devices of a mesh, unless they are there.

  Args:
    tree: of arrays.
    mesh: None: the tree itself is returned.
    specs: which axes are divided; a prefix of the tree.
  """
  if mesh is None:
    return tree
  is_spec = lambda x: isinstance(x, Spec)
  shardings = jax.tree.map(
    lambda spec: jax.sharding.NamedSharding(mesh, spec), specs, is_leaf=is_spec
  )
  if peers.count() > 1:
    below = lambda sharding, part: jax.tree.map(
      functools.partial(_own_parts, sharding=sharding), part
    )
    return jax.tree.map(below, shardings, tree)
  return jax.device_put(tree, shardings)


def _own_parts(array: Any, sharding: jax.sharding.NamedSharding) -> jax.Array:
  """The array of which this process has the parts of its own devices.

  `jax.device_put` would first compare the arrays of all processes.
  """
  if isinstance(array, jax.Array) and array.sharding == sharding:
    return array
  if peers.is_key(array):
    data = _own_parts(jax.random.key_data(array), sharding)
    return jax.random.wrap_key_data(data)
  whole = np.asarray(array)
  places = sharding.addressable_devices_indices_map(whole.shape)
  # Copied: memory shared with NumPy cannot be donated to a training step.
  parts = [
    jax.device_put(whole[place], device, may_alias=False)
    for device, place in places.items()
  ]
  return jax.make_array_from_single_device_arrays(whole.shape, sharding, parts)


def own_columns(mesh: Mesh, number: int) -> list[slice]:
  """Which of a number of rows each device of this process has, in order."""
  if mesh is None:
    return [slice(None)]
  share = number // mesh.size
  return [
    slice(i * share, (i + 1) * share)
    for i, device in enumerate(mesh.devices.flat)
    if device.process_index == peers.index()
  ]


def joined(tree: Any, mesh: Mesh, specs: Any) -> Any:
  """Makes arrays of what the devices of each process have of them.

  Args:
    tree: of NumPy arrays: what this process has, its devices' parts one after
      the other; or all, of arrays that every device has.
    mesh: of the devices; None: there is one.
    specs: which axes are divided; a prefix of the tree.
  """
  if mesh is None:
    return jax.tree.map(jnp.asarray, tree)

  def below(spec, part):
    join = functools.partial(
      jax.make_array_from_process_local_data,
      jax.sharding.NamedSharding(mesh, spec),
    )
    return jax.tree.map(join, part)

  return jax.tree.map(below, specs, tree, is_leaf=lambda x: isinstance(x, Spec))


def own_copy(tree: Any) -> Any:
  """The whole arrays on the first device of this process.

  All processes of a run must call it, since what is divided among them is
  exchanged. Where there is only one, the tree itself is returned.
  """
  return tree if peers.count() == 1 else jax.tree.map(_whole, tree)


def _whole(array: Any) -> Any:
  if not isinstance(array, jax.Array) or array.is_fully_addressable:
    return array
  if peers.is_key(array):
    return jax.random.wrap_key_data(_whole(jax.random.key_data(array)))
  if array.is_fully_replicated:
    return array.addressable_data(0)
  from jax.experimental import multihost_utils

  return jnp.asarray(multihost_utils.process_allgather(array, tiled=True))


def first_copy(tree: Any, mesh: Mesh) -> Any:
  """The copies on the first device of arrays that every device has."""
  if mesh is None:
    return tree
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def describe(mesh: Mesh, what: str, number: int) -> str:
  """How devices are used, for the log; '' where there is only one.

  Args:
    mesh: of the devices.
    what: what is divided among them, such as 'rows of a batch'.
    number: how many of these there are.
  """
  used, visible = count(mesh), len(jax.devices())
  if used == visible == 1:
    return ''
  share = f'{number // used} of {number} {what} on each'
  if used == 1:
    share = f'it has all {number} {what}'
  left = f'; {visible - used} unused' if used < visible else ''
  where = f' of {peers.count()} processes' if peers.count() > 1 else ''
  return f'{used} of {visible} devices{where}, {share}{left}.'


def _visible(config: Any) -> Sequence[jax.Device]:
  """The devices that a config allows.

  Raises:
    ValueError: it wants more than there are.
  """
  devices, wanted = jax.devices(), config.devices
  if wanted > len(devices):
    raise ValueError(
      f'config.devices = {wanted}: JAX finds {len(devices)} '
      f'({devices[0].platform}). Nearest legal value: {len(devices)}; 0 uses '
      'as many as there are.'
    )
  processes = peers.count()
  if wanted % processes:
    raise ValueError(
      f'config.devices = {wanted}: {processes} processes must have as many '
      f'each. Nearest legal value: {wanted + -wanted % processes}.'
    )
  return _equal_parts(devices, wanted // processes)


def _equal_parts(
  devices: Sequence[jax.Device], each: int
) -> Sequence[jax.Device]:
  """The first devices of each process.

  Args:
    devices: of all processes.
    each: how many of each process; 0: as many as the one with the fewest has.
  """
  if peers.count() == 1:
    return devices[: each or None]
  owned = [
    [d for d in devices if d.process_index == i] for i in range(peers.count())
  ]
  each = each or min(map(len, owned))
  return [device for some in owned for device in some[:each]]


def _largest_divisor(number: int, most: int) -> int:
  return next(d for d in range(most, 0, -1) if number % d == 0)


def _mesh(devices: Sequence[jax.Device], axis: str) -> Mesh:
  if len(devices) == 1:
    return None
  return jax.sharding.Mesh(np.array(devices), (axis,))
