"""A run's folder: its files, the run it belongs to, and its lock."""

from collections.abc import Iterator, Mapping
import contextlib
import json
import math
import os
from typing import Any

import ml_collections

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data.sources import base as sources
from rnnvae_jax.tasks import base
from rnnvae_jax.training import checkpoints, writers

CONFIG, VOCABULARY, TEXT = 'config.json', 'vocab.json', 'text.json'
RESULTS = 'results.json'


def path(workdir: str, name: str) -> str:
  return os.path.join(workdir, name)


def checkpoint_dir(workdir: str) -> str:
  return os.path.join(workdir, 'checkpoints')


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[None]:
  """Locks the folder against other trainings; a kill releases the lock.

  Raises:
    ValueError: another process is training in the folder.
  """
  with flock(workdir, waits=False) as is_free:
    if not is_free:
      raise ValueError(
        f'Another process is training in {workdir}. Wait until it ends, or '
        'choose another --workdir.'
      )
    yield


@contextlib.contextmanager
def flock(path: str, waits: bool) -> Iterator[bool]:
  """Locks a file or folder, where the system can; a kill releases the lock.

  Args:
    path: which stays as it is.
    waits: whether to wait for the lock.

  Yields:
    False if another process has it.
  """
  try:
    import fcntl
  except ImportError:  # Windows has no fcntl.
    yield True
    return
  descriptor = os.open(path, os.O_RDONLY)
  is_free = True
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
      is_free = False
    except OSError:
      pass  # Some network file systems cannot lock.
    yield is_free
  finally:
    os.close(descriptor)


def check_place(workdir: str) -> None:
  """Checks that a run can be written there and read again.

  Raises:
    ValueError: the path is an address, is no UTF-8, or has characters by which
      Orbax would look for other folders (a glob pattern).
  """
  scheme, is_address, _ = workdir.partition('://')
  if is_address:
    raise ValueError(
      f'--workdir={workdir}: runs are written to file systems alone, not to '
      f'{scheme}://. Choose a local or mounted folder.'
    )
  whole = os.path.abspath(workdir)
  try:
    whole.encode()
  except UnicodeEncodeError:
    raise ValueError(
      f'--workdir={os.fsencode(workdir)!r} is no UTF-8. Choose another name.'
    ) from None
  found = sorted({*whole} & {*'*?['})
  if found:
    raise ValueError(
      f'--workdir={workdir}: checkpoints below a folder with {found[0]} in its '
      f'name ({whole}) could not be read again. Choose another name.'
    )


def is_trained(workdir: str) -> bool:
  """Whether the folder has weights or counts that must not be overwritten."""
  if _has_checkpoints(workdir):
    return True
  config_path = path(workdir, CONFIG)
  if not os.path.exists(config_path):
    return False
  kind = str(read_json(config_path).get(config_build.KIND))
  if kind not in config_build.TASKS:
    return False
  task = config_build.task(kind)
  return issubclass(task, base.Fitted) and task.is_fitted(workdir)


def _has_checkpoints(workdir: str) -> bool:
  """Whether a checkpoint was saved; a kill may leave folders without one."""
  folder = checkpoint_dir(workdir)
  return any(
    name.isdecimal()
    for kind in checkpoints.KINDS
    if os.path.isdir(os.path.join(folder, kind))
    for name in os.listdir(os.path.join(folder, kind))
  )


def check(config: ml_collections.ConfigDict, workdir: str) -> bool:
  """Checks that this run can begin or go on in `workdir`.

  Returns:
    True if the folder has no run or this run; False if it has a run of another
    config without a checkpoint, which will be overwritten.

  Raises:
    ValueError: no run can be kept there (see `check_place`); the folder has a
      trained run of another config (the message lists the differing keys), or a
      config.json that is not of a run.
  """
  check_place(workdir)
  config_path = path(workdir, CONFIG)
  if not os.path.exists(config_path):
    return True
  theirs = read_json(config_path)
  if config_build.KIND not in theirs:
    raise ValueError(
      f'{config_path} is not the config of a run. Choose another --workdir.'
    )
  theirs = _completed(theirs)
  ours = _with_protocol(config_build.flatten(config))
  if _is_moved(ours, theirs) and os.path.exists(path(workdir, TEXT)):
    # What counts is the text, whose hashes the training compares.
    theirs['corpus.name'] = ours['corpus.name']
  differing = config_build.differences(ours, theirs)
  if not differing:
    return True
  if not is_trained(workdir):
    return False
  is_longer = _steps(ours) > _steps(theirs)
  if is_longer and all('config.train.num_steps:' in line for line in differing):
    return True
  raise ValueError(
    f'{workdir} holds a run of another config:\n  '
    + '\n  '.join(differing)
    + '\nTo train longer, raise config.train.num_steps. To begin another run '
    f'with its weights, choose another --workdir and set '
    f'--config.train.init_from={workdir}. Otherwise choose another --workdir, '
    'or the original config of this run.'
  )


def replaces_config(config: ml_collections.ConfigDict, workdir: str) -> bool:
  """Whether the run is to have this config from now on.

  It has more training steps than the run in the folder, or the place of the
  text is another one.
  """
  config_path = path(workdir, CONFIG)
  if not os.path.exists(config_path):
    return True
  theirs, ours = read_json(config_path), config_build.flatten(config)
  return _is_moved(ours, theirs) or _steps(ours) > _steps(theirs)


def _steps(flat: Mapping[str, Any]) -> float:
  """The training steps of a flat config; where they are no number, infinity.

  So no run is longer than one whose config is damaged.
  """
  steps = flat.get('train.num_steps', 0)
  return steps if isinstance(steps, int) else math.inf


def _is_moved(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
  """Whether two flat configs name different files or folders of text."""
  names = {str(flat.get('corpus.name')) for flat in (ours, theirs)}
  return len(names) == 2 and not any(name in sources.REGISTRY for name in names)


def _completed(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Completes a saved config with this version's new keys, if it is valid."""
  try:
    completed = config_build.flatten(config_build.from_flat(flat))
  except ValueError:
    completed = dict(flat)
  return _with_protocol(completed)


def _with_protocol(flat: Mapping[str, Any]) -> dict[str, Any]:
  """A flat config whose protocol has a name."""
  name = flat.get('corpus.name', '')
  protocol = flat.get('corpus.protocol') or sources.default_protocol(name)
  return dict(flat) | {'corpus.protocol': protocol}


def load_config(workdir: str) -> ml_collections.ConfigDict:
  """Reads the config of the run in `workdir`.

  The result names the protocol even if it was left to the corpus, so that other
  texts are read with the same protocol.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: the file is damaged, or of an incompatible version.
  """
  config_path = path(workdir, CONFIG)
  if not os.path.exists(config_path):
    raise FileNotFoundError(
      f'No run in {workdir!r}: {config_path} does not exist. Train one first: '
      f'python -m rnnvae_jax.main --config=gru_vae --workdir={workdir}'
    )
  flat = read_json(config_path)
  try:
    config = config_build.from_flat(flat)
  except ValueError as error:
    raise ValueError(f'{config_path}: {error}') from error
  config.corpus.protocol = protocol_name(config)
  return config


def protocol_name(config: Any) -> str:
  """The name of the protocol that the config's corpus is read with."""
  corpus = config.corpus
  return corpus.protocol or sources.default_protocol(corpus.name)


def save_config(config: ml_collections.ConfigDict, workdir: str) -> None:
  writers.write_json(path(workdir, CONFIG), config_build.flatten(config))


def read_results(workdir: str) -> dict[str, dict[str, Any]]:
  """The figures of each evaluated split; {} if there are none.

  Raises:
    ValueError: the file is damaged, or is no run's.
  """
  file_path = path(workdir, RESULTS)
  if not os.path.exists(file_path):
    return {}
  results = read_json(file_path)
  for figures in results.values():
    if not (isinstance(figures, dict) and {'corpus', 'protocol'} <= {*figures}):
      raise ValueError(
        f'{file_path} holds no figures of a run. Move it away, or choose '
        'another --workdir.'
      )
  return results


def add_results(workdir: str, name: str, figures: Mapping[str, Any]) -> None:
  """Adds the figures of a split to those that others have written."""
  with flock(path(workdir, CONFIG), waits=True):
    results = read_results(workdir) | {name: figures}
    writers.write_json(path(workdir, RESULTS), results)


def read_json(file_path: str) -> dict[str, Any]:
  """Reads the object in a JSON file.

  Raises:
    ValueError: the file is damaged.
  """
  with open(file_path, encoding='utf-8') as file:
    try:
      value = json.load(file)
    except (ValueError, RecursionError) as error:  # Of brackets in brackets.
      raise ValueError(f'{file_path} is damaged: {error}.') from error
  if not isinstance(value, dict):
    raise ValueError(f'{file_path} is damaged: it holds no JSON object.')
  return value
