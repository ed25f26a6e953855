"""Checkpoints that survive kills, full disks and corrupted files.

This is the only file that imports Orbax. A checkpoint is a folder written by
Orbax plus `checksums.json`, the SHA-256 of each of its files: Orbax itself does
not detect flipped bytes in an array, and reports a truncated file in an error
of several pages.

A checkpoint of weights alone is a file of safetensors instead, which is read in
a tenth of the time that importing Orbax takes: it is what a trained run is
opened from. So is a whole state that one of several processes saves.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import json
import logging as standard_logging
import os
import shutil
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.training import peers, writers
from rnnvae_jax.training import state as state_lib

KINDS = ('latest', 'best')
# Checkpoints kept of each kind: if the newest is damaged, one is left.
KEEP = 2
CHECKSUMS = 'checksums.json'
WEIGHTS = 'weights.safetensors'


class CheckpointError(ValueError):
  """A checkpoint cannot be saved, or cannot be restored into this run."""


class Snapshot(NamedTuple):
  """A copy of a state in host memory, which later updates do not change.

  Attributes:
    arrays: the leaves by path, such as `params/decoder/kernel`; of typed keys
      their data.
    metadata: the leaves' types and shapes, and the keys' implementations.
    is_of_weights: whether it is of `state.Weights`.
  """

  arrays: dict[str, np.ndarray]
  metadata: dict[str, Any]
  is_of_weights: bool


def snapshot(state: Any) -> Snapshot:
  """Copies a state, a pytree of arrays that may be typed keys."""
  leaves = _named_leaves(state)
  keys = {name: leaf for name, leaf in leaves.items() if _is_key(leaf)}
  data = leaves | {name: jax.random.key_data(key) for name, key in keys.items()}
  metadata = {
    'leaves': _describe(state),
    'keys': {name: str(jax.random.key_impl(key)) for name, key in keys.items()},
  }
  # Of an array on a CPU, `device_get` may return a view of memory that the next
  # update is given.
  arrays = {k: np.array(v, order='C') for k, v in jax.device_get(data).items()}
  return Snapshot(arrays, metadata, isinstance(state, state_lib.Weights))


class Checkpoints:
  """The checkpoints of one run: `<directory>/latest/<step>`, `best/<step>`.

  A checkpoint is written in `<directory>/staging` and moved to its place once
  it is complete; folders are moved away before they are deleted. So a kill at
  any moment leaves every listed checkpoint intact, except one of a step that is
  being saved a second time.
  """

  def __init__(self, directory: str, vocabulary_hash: str):
    self.directory = os.path.abspath(directory)
    self.vocabulary_hash = vocabulary_hash

  def steps(self, kind: str = 'latest') -> list[int]:
    """The steps at which a checkpoint of this kind exists, ascending."""
    folder = self._folder(kind)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(int(name) for name in names if name.isdecimal())

  def save(self, state: Any, step: int, kind: str = 'latest') -> None:
    """Saves the state, and drops all but the newest `KEEP` of this kind.

    Checkpoints of this and later steps are dropped too: the run has been
    resumed from an earlier step, so they are damaged or about to be rewritten.

    Args:
      state: pytree of arrays, which may be typed keys, or its snapshot.
      step: the number of updates done.
      kind: 'latest' or 'best'.

    Raises:
      CheckpointError: the disk is full; the message says how much room is
        needed. The older checkpoints are untouched.
    """
    taken = state if isinstance(state, Snapshot) else snapshot(state)
    folder = self._folder(kind)
    staging = os.path.join(self.directory, 'staging')
    staged = os.path.join(staging, str(step))
    shutil.rmtree(staging, ignore_errors=True)  # Left by a killed save.
    try:
      os.makedirs(folder, exist_ok=True)
      _write(taken, staged, self.vocabulary_hash)
    except Exception as error:
      shutil.rmtree(staging, ignore_errors=True)
      if not _is_disk_full(error):
        raise
      steps = self.steps(kind)
      raise CheckpointError(
        f'no space left on device while saving step {step} to {folder}: '
        f'{writers.room(folder, _size(taken))}; '
        + (f'the last good checkpoint is step {steps[-1]}; ' if steps else '')
        + 'free some space and run the same command again'
      ) from error
    steps = self.steps(kind)
    older = [old for old in steps if old < step]
    drop = lambda old: os.rename(
      os.path.join(folder, str(old)), f'{staged}-drops-{old}'
    )
    if step in steps:
      drop(step)
    os.rename(staged, os.path.join(folder, str(step)))
    for old in {*steps} - {*older[1 - KEEP :], step}:
      drop(old)
    shutil.rmtree(staging)

  def restore(
    self, abstract_state: Any, kind: str = 'latest'
  ) -> tuple[Any, int] | None:
    """Restores the newest checkpoint that is intact.

    Args:
      abstract_state: a state, or its shapes and types from `jax.eval_shape`.
      kind: 'latest' or 'best'.

    Returns:
      The state, on the default device, and its step; None if no checkpoint
      exists.

    Raises:
      CheckpointError: all checkpoints are damaged, or the newest intact one
        belongs to another vocabulary or model.
    """
    damages = []
    for step in reversed(self.steps(kind)):
      path = os.path.join(self._folder(kind), str(step))
      damage = _damage(path)
      if not damage:
        return _read(path, abstract_state, self.vocabulary_hash), step
      damages.append(f'{path} is damaged: {damage}')
      logging.warning('%s; it is skipped.', damages[-1])
    if damages:
      raise CheckpointError(
        f'no checkpoint can be restored: {"; ".join(damages)}. Delete '
        f'{self._folder(kind)} to start without them.'
      )
    return None

  def weights(self) -> tuple[dict[str, np.ndarray], int] | None:
    """Reads the parameters of the best checkpoint, or else of the latest.

    Returns:
      The parameters by path, without the first 'params/' of names such as
      'params/decoder/kernel', and their step; None if no checkpoint exists.

    Raises:
      CheckpointError: all checkpoints are damaged.
    """
    for kind in reversed(KINDS):
      for step in reversed(self.steps(kind)):
        path = os.path.join(self._folder(kind), str(step))
        if not _damage(path):
          data = _arrays(path)
          prefix = 'params/'
          named = {
            name.removeprefix(prefix): np.asarray(value)
            for name, value in data.items()
            if name.startswith(prefix)
          }
          return named, step
    if any(self.steps(kind) for kind in KINDS):
      raise CheckpointError(f'all checkpoints in {self.directory} are damaged.')
    return None

  def holds_all(self, kind: str) -> bool:
    """Whether the newest checkpoint of this kind has the optimiser's state."""
    steps = self.steps(kind)
    if not steps:
      return False
    path = os.path.join(self._folder(kind), str(steps[-1]))
    if _is_of_weights(path) or _damage(path):
      return False  # `restore` reports the damage.
    return 'key' in _metadata(path)['leaves']

  def drop_older(self, kind: str = 'latest') -> None:
    """Deletes all but the newest checkpoint of this kind, and leftovers."""
    shutil.rmtree(os.path.join(self.directory, 'staging'), ignore_errors=True)
    for step in self.steps(kind)[:-1]:
      shutil.rmtree(os.path.join(self._folder(kind), str(step)))

  def _folder(self, kind: str) -> str:
    if kind not in KINDS:
      raise ValueError(errors.unknown('kind', kind, KINDS))
    return os.path.join(self.directory, kind)


def _size(taken: Snapshot) -> int:
  """The bytes of a state's arrays, most of what its checkpoint takes."""
  return sum(array.nbytes for array in taken.arrays.values())


def _write(taken: Snapshot, path: str, vocabulary_hash: str) -> None:
  """Writes a checkpoint, then its checksums."""
  metadata = {'vocabulary_hash': vocabulary_hash, **taken.metadata}
  # Orbax saves only if all processes of a run save; one alone uses safetensors.
  if taken.is_of_weights or peers.count() > 1:
    _save_weights(path, taken.arrays, metadata)
  else:
    _save_state(path, taken.arrays, metadata)
  writers.write_json(os.path.join(path, CHECKSUMS), _checksums(path))


def _save_weights(path: str, host: dict[str, np.ndarray], metadata: Any):
  from safetensors import numpy as safetensors

  content = safetensors.save(host, {'checkpoint': json.dumps(metadata)})
  os.makedirs(path)
  with open(os.path.join(path, WEIGHTS), 'wb') as file:
    file.write(content)


def _save_state(path: str, host: dict[str, np.ndarray], metadata: Any):
  from orbax.checkpoint import v1 as ocp

  context = ocp.Context()
  # Compression shrinks floats by 7 % and takes two to four times as long.
  context.array.saving.use_compression = False
  with _quiet(), context:
    ocp.save(
      path,
      # Orbax saves neither NumPy scalars nor arrays without elements.
      {name: value for name, value in host.items() if value.size},
      custom_metadata=metadata,
    )


def _metadata(path: str) -> dict[str, Any]:
  """The metadata of an intact checkpoint; see `_write`."""
  if _is_of_weights(path):
    import safetensors

    with safetensors.safe_open(os.path.join(path, WEIGHTS), 'numpy') as file:
      return json.loads(file.metadata()['checkpoint'])
  from orbax.checkpoint import v1 as ocp

  with _quiet(), _context():
    metadata: Any = ocp.metadata(path).custom_metadata
  return metadata


def _arrays(path: str) -> dict[str, Any]:
  """The arrays of an intact checkpoint by name."""
  if _is_of_weights(path):
    from safetensors import numpy as safetensors

    return safetensors.load_file(os.path.join(path, WEIGHTS))
  from orbax.checkpoint import v1 as ocp

  with _quiet(), _context():
    return ocp.load(path)


def _context() -> Any:
  """Orbax's settings: other processes of a run have no part in reading."""
  from orbax.checkpoint import v1 as ocp

  context = ocp.Context()
  if peers.count() > 1:
    context.multiprocessing.primary_host = peers.index()
    context.multiprocessing.active_processes = {peers.index()}
  return context


def _is_of_weights(path: str) -> bool:
  return os.path.exists(os.path.join(path, WEIGHTS))


def _read(path: str, abstract_state: Any, vocabulary_hash: str) -> Any:
  """Reads an intact checkpoint after checking that it belongs to this run."""
  metadata = _metadata(path)
  saved_hash = metadata['vocabulary_hash']
  if saved_hash != vocabulary_hash:
    raise CheckpointError(
      f'the vocabulary does not match the checkpoint {path}: its hash is '
      f'{vocabulary_hash[:12]}, the checkpoint was saved with '
      f'{saved_hash[:12]}.'
    )
  abstract_state = jax.eval_shape(lambda x: x, abstract_state)
  saved, wanted = metadata['leaves'], _describe(abstract_state)
  for name in wanted | saved:
    if saved.get(name) != wanted.get(name):
      raise CheckpointError(
        f'the model does not match the checkpoint {path}: {name} is '
        f'{wanted.get(name, "absent")} in the model and '
        f'{saved.get(name, "absent")} in the checkpoint.'
      )
  data = _arrays(path)
  leaves = []
  for name, leaf in _named_leaves(abstract_state).items():
    if leaf.size:
      # Copied: memory shared with NumPy cannot be donated to a training step.
      array = jax.device_put(data[name], may_alias=False)
    else:
      array = jnp.empty(leaf.shape, leaf.dtype)
    implementation = metadata['keys'].get(name)
    if implementation:
      array = jax.random.wrap_key_data(array, impl=implementation)
    leaves.append(array)
  return jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)


def _damage(path: str) -> str:
  """What is wrong with the files of a checkpoint; '' if they are intact."""
  try:
    with open(os.path.join(path, CHECKSUMS), 'rb') as file:
      wanted = json.loads(file.read())
    found = _checksums(path)
  except OSError as error:
    return str(error)
  except (ValueError, RecursionError) as error:  # Of brackets in brackets.
    return f'{CHECKSUMS} cannot be read: {error}'
  if not isinstance(wanted, dict):
    return f'{CHECKSUMS} holds no JSON object'
  missing = wanted.keys() - found
  if missing:
    return f'{min(missing)} is missing'
  # Hidden files may be of the file system.
  unknown = {n for n in found.keys() - wanted if not _is_hidden(n)}
  if unknown:
    return f'{min(unknown)} has no checksum'
  changed = [name for name in wanted if wanted[name] != found[name]]
  return f'{min(changed)} is not what was saved' if changed else ''


def _is_hidden(name: str) -> bool:
  return os.path.basename(name).startswith('.')


def _checksums(path: str) -> dict[str, str]:
  """SHA-256 of every file below `path`, except the file of checksums."""
  checksums = {}
  for folder, _, names in os.walk(path):
    for name in names:
      file_path = os.path.join(folder, name)
      with open(file_path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
      checksums[os.path.relpath(file_path, path)] = digest
  checksums.pop(CHECKSUMS, None)
  return checksums


def _named_leaves(tree: Any) -> dict[str, Any]:
  """The leaves by path, such as `params/decoder/kernel`."""
  named = {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }
  assert len(named) == len(jax.tree.leaves(tree)), 'a key holds a slash'
  return named


def _describe(tree: Any) -> dict[str, str]:
  """The type and shape of every leaf, such as `float32[3, 5]`."""
  shapes = _named_leaves(jax.eval_shape(lambda x: x, tree))
  return {k: f'{v.dtype}{list(v.shape)}' for k, v in shapes.items()}


def _is_key(leaf: Any) -> bool:
  return isinstance(leaf, jax.Array) and jnp.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  )


def _is_disk_full(error: BaseException | None) -> bool:
  """Whether the error is of a full disk or quota.

  TensorStore copies the system's message into its own error, and Orbax may
  wrap that error again.
  """
  full = map(os.strerror, writers.FULL)
  return error is not None and (
    any(message in str(error) for message in full)
    or _is_disk_full(error.__cause__ or error.__context__)
  )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silences Orbax's log: its failures are raised as exceptions as well.

  Only records of Orbax's own files: another thread may log meanwhile.
  """
  logger = logging.get_absl_logger()
  logger.addFilter(_is_not_orbax)
  try:
    yield
  finally:
    logger.removeFilter(_is_not_orbax)


def _is_not_orbax(record: standard_logging.LogRecord) -> bool:
  return f'{os.sep}orbax{os.sep}' not in record.pathname
