"""The config of a task: its keys, its defaults, its checks.

Which keys there are follows from the task and from what it can do: its own
fragments and those of its models, those of training if it is trained, and those
of each command that it can serve.
"""

from collections.abc import Collection, Mapping
import functools
import importlib
from typing import Any

import ml_collections

from rnnvae_jax import registry
from rnnvae_jax.config import schema

flatten = schema.flatten

TASKS = registry.Registry('rnnvae_jax.tasks', 'config.model.kind')
# Imported by name, since they are above what reads configs.
_TRAINING = 'rnnvae_jax.training.settings'
_COMMANDS = registry.Registry('rnnvae_jax.commands', '--mode')

KIND = 'model.kind'


@schema.fragment('model')
class KindConfig:
  """The task of a config; it is set by the config file."""

  kind: str = schema.field(
    '', 'The task: a folder of `tasks/`.', choices=lambda: TASKS
  )


def task(kind: str) -> Any:
  """The class of the task of that name; see `tasks.base`.

  Raises:
    ValueError: there is none; the message lists the known names.
  """
  try:
    return TASKS[kind].TASK
  except KeyError as error:
    raise ValueError(error.args[0]) from None


@functools.cache
def schema_for(kind: str) -> schema.Schema:
  """The keys of a task, with those of the commands that it can serve.

  Raises:
    ValueError: there is no such task.
  """
  chosen = task(kind)
  fragments = [KindConfig, *chosen.FRAGMENTS]
  training = importlib.import_module(_TRAINING)
  for component in (training, *_COMMANDS.values()):
    for capability, keys in getattr(component, 'SETTINGS', ()):
      if issubclass(chosen, capability):
        fragments.append(keys)
  return schema.Schema(fragments)


@functools.cache
def all_keys() -> Mapping[str, schema.Key]:
  """The keys of all tasks."""
  keys: dict[str, schema.Key] = {}
  for kind in TASKS:
    keys |= schema_for(kind).keys
  return dict(sorted(keys.items()))


def default(kind: str) -> ml_collections.ConfigDict:
  """The config of a task with every key at its default.

  Raises:
    ValueError: there is no such task.
  """
  config = schema_for(kind).default()
  config.model.kind = kind
  return config


def default_of_all() -> ml_collections.ConfigDict:
  """All keys of all tasks at their defaults, where no task is known."""
  return schema.defaults(all_keys().values())


def check_keys(
  config: ml_collections.ConfigDict, names: Collection[str]
) -> None:
  """Checks keys where no task is known; see `default_of_all`.

  Raises:
    ValueError: one of them is illegal, or has no effect.
  """
  some = schema.Schema(())
  some.keys.update({name: all_keys()[name] for name in names})
  some.check(config, names)


def keys_of(config: ml_collections.ConfigDict) -> schema.Schema:
  """The schema that a config follows."""
  return schema_for(config.model.kind)


def validate(
  config: ml_collections.ConfigDict,
  given: Collection[str] | None = None,
) -> None:
  """Checks that a config can run, before anything is read or compiled.

  Args:
    config: of a run.
    given: keys for which having no effect is an error; see `Schema.check`.

  Raises:
    ValueError: it cannot; the message names the key, its value and what is
      legal.
  """
  ours = keys_of(config)
  differing = sorted({*flatten(config)} ^ {*ours.keys})
  if differing:
    raise ValueError(
      f'The keys of this config are not those of a {config.model.kind}: '
      f'config.{differing[0]} differs. The config file sets config.{KIND}; '
      'choose one of this task.'
    )
  ours.check(config, given)
  importlib.import_module(_TRAINING).check(config)
  task(config.model.kind).check(config)


def differences(
  ours: Mapping[str, Any], theirs: Mapping[str, Any], trained: bool = False
) -> list[str]:
  """Keys of two flat configs that make them different runs, with values.

  Args:
    ours: a config, flat.
    theirs: another.
    trained: whether they only read what was trained.
  """
  keys, absent = all_keys(), '(absent)'
  free = {schema.Free.ALWAYS}
  if trained:
    free |= {schema.Free.TRAINED}
    if ours.get('corpus.name') != theirs.get('corpus.name'):
      free |= {schema.Free.OTHER_TEXT}
  return [
    f'config.{key}: {theirs.get(key, absent)!r} there, '
    f'{ours.get(key, absent)!r} here'
    for key in sorted({*ours, *theirs})
    if not (key in keys and keys[key].free in free)
    and ours.get(key, absent) != theirs.get(key, absent)
  ]


def from_flat(flat: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The config that `flatten` was given.

  A key that a later version added has its default; one of another task, which
  an earlier version wrote into every config, is left out.

  Raises:
    ValueError: keys are unknown, or values have the wrong type.
  """
  kind = flat.get(KIND)
  if not isinstance(kind, str):
    raise ValueError(f'The saved config is damaged: it has no {KIND!r}.')
  config = default(kind)
  known = keys_of(config).keys
  empty = [key for key, value in flat.items() if value is None and key in known]
  if empty:  # ml_collections takes None for a value of any type.
    raise ValueError(f'The saved config is damaged: {empty[0]} is null.')
  unknown = sorted({*flat} - {*all_keys()})
  if unknown:
    raise ValueError(
      'The saved config does not fit this version: '
      f'{", ".join(unknown)} is unknown.'
    )
  try:
    config.update_from_flattened_dict(
      {key: value for key, value in flat.items() if key in known}
    )
  except TypeError as error:
    raise ValueError(f'The saved config is damaged: {error}.') from error
  return config
