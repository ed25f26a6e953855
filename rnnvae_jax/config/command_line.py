"""From the command line to a config, with messages for what is wrong in it."""

from collections.abc import Sequence
import difflib
import os
import pathlib
import re
import runpy
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags

from rnnvae_jax.config import build, files, render, saved
from rnnvae_jax.training import workdir as workdir_lib

RUNS = 'runs'  # Holds the runs that are given no folder.
# Characters of an argument in the name of such a run; file systems have limits.
_LONGEST_NAME = 100
# What users of other libraries call our keys.
_SYNONYMS = {
  'lr': 'optimizer.learning_rate',
  'learningrate': 'optimizer.learning_rate',
  'epochs': 'train.num_steps',
  'steps': 'train.num_steps',
  'max_steps': 'train.num_steps',
  'bs': 'train.batch_size',
  'batch': 'train.batch_size',
  'bptt': 'train.unroll',
  'dropout_rate': 'dropout.output',
  'emb_size': 'model.embedding_size',
  'embed_size': 'model.embedding_size',
  'hidden': 'model.hidden_size',
  'hidden_dim': 'model.hidden_size',
  'latent_dim': 'model.latent_size',
  'z_dim': 'model.latent_size',
  'layers': 'model.num_layers',
  'beta': 'objective.kl_weight',
  'clip': 'optimizer.clip_norm',
  'grad_clip': 'optimizer.clip_norm',
  'data': 'corpus.name',
  'dataset': 'corpus.name',
  'n_samples': 'generate.num_samples',
  'random_seed': 'seed',
}


def parse(argv: Sequence[str]) -> list[str]:
  """absl's parser, but a mistake in a config is a line, not a traceback.

  --help is followed by all config keys.
  """
  try:
    return _parse(argv)
  except BrokenPipeError:  # Help that goes to `head`: nobody reads the rest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0) from None


def _parse(argv: Sequence[str]) -> list[str]:
  arguments = [_with_path(argument) for argument in _joined(argv[1:])]
  arguments = [_with_home(argument) for argument in arguments]
  if not any(_flag_name(argument) == 'config' for argument in arguments):
    # Overrides alone: they change the config of the folder's run.
    workdir = _value_of(arguments, 'workdir')
    arguments.insert(0, f'--config={saved.__file__}:{workdir}')
  try:
    return flags.FLAGS([argv[0], *arguments])
  except BrokenPipeError:
    raise
  except (
    flags.Error,
    AttributeError,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
    OSError,
  ) as error:
    raise SystemExit(f'Error: {_message(error, arguments)}') from error
  except SystemExit:  # absl has printed its help.
    print(f'\n{render.plain()}', flush=True)
    raise


def default_workdir(needs: str, path: str) -> str:
  """The folder of a run that is trained without --workdir.

  Args:
    needs: NEEDS of the command; see `commands.base`.
    path: of the config file, after a colon with its argument.

  Returns:
    runs/NAME below the current folder: NAME is that of the config file, with
    its argument if there is one; '' where nothing has given a config.
  """
  if needs != 'config' or path.startswith(saved.__file__):
    return ''
  file, _, argument = path.partition(':')
  safe = re.sub(r'[^\w.=-]+', '_', argument).strip('_')[-_LONGEST_NAME:]
  name = '_'.join(filter(None, (pathlib.Path(file).stem, safe)))
  return os.path.join(RUNS, name)


def config_for(
  needs: str,
  workdir: str,
  mode: str,
  config: Any,
  flag: Any,
  instead: str = '',
) -> Any:
  """The config of a command: what it needs, overrides applied and checked.

  Args:
    needs: NEEDS of the command; see `commands.base`.
    workdir: the run's folder.
    mode: name of the command.
    config: that of the flag.
    flag: the config flag.
    instead: INSTEAD of the command.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: the config cannot run, or an override cannot change a trained
      run.
  """
  path = config_flags.get_config_filename(flag)
  is_given = not path.startswith(saved.__file__)
  overrides = config_flags.get_override_values(flag)
  if needs == 'workdir':
    if is_given or overrides:
      first = next(iter(overrides), '')
      what = f'--config={path}' if is_given else f'--config.{first}'
      raise ValueError(
        f'{what} would not be read: --mode={mode} has configs of its own.'
      )
    return None
  if needs == 'config':
    if not is_given:
      workdir_lib.load_config(workdir)  # Raises if there is none.
    # The command line may have switched off what the file sets up.
    build.validate(config, overrides or None if is_given else overrides)
    return config
  if is_given:
    raise ValueError(
      f"--config={path} would not be read: --mode={mode} has the run's own."
    )
  if instead and not os.path.exists(
    workdir_lib.path(workdir, workdir_lib.CONFIG)
  ):
    return _without_run(workdir, mode, config, overrides, instead)
  fixed = build.flatten(workdir_lib.load_config(workdir))
  build.validate(config, overrides)
  differing = build.differences(build.flatten(config), fixed, trained=True)
  if differing:
    raise ValueError(
      f'The run in {workdir} is trained; these keys cannot change now '
      '(docs/config.md says which can):\n  ' + '\n  '.join(differing)
    )
  _check_output(config)
  return config


def _without_run(
  workdir: str, mode: str, config: Any, overrides: Any, instead: str
) -> Any:
  """The config of a mode whose key stands for the run that is not there."""
  if not build.flatten(config)[instead]:
    raise FileNotFoundError(
      f'No run in {workdir!r}. Train one first, or set --config.{instead}.'
    )
  sections = instead.partition('.')[0], 'data', 'seed'
  for key in overrides:
    if key.partition('.')[0] not in sections:
      raise ValueError(
        f'--config.{key} would not be read: --mode={mode} without a run has '
        f'the keys of {", ".join(sections)}.'
      )
  build.check_keys(config, overrides)
  return config


def _check_output(config: Any) -> None:
  """Raises ValueError if what a mode writes would have no place in the end."""
  output = config.get('generate', {}).get('output', '-')
  if output == '-':
    return
  folder = os.path.dirname(os.path.realpath(output))
  if not os.path.isdir(folder):
    raise ValueError(
      f'config.generate.output = {output!r}: there is no folder {folder}.'
    )
  if os.path.isdir(output):
    raise ValueError(f'config.generate.output = {output!r} is a folder.')


def check_capability(command: Any, config: Any, mode: str) -> None:
  """Raises ValueError unless the config's task can serve a command."""
  capability = getattr(command, 'CAPABILITY', None)
  if capability is None or config is None:
    return
  if not issubclass(build.task(config.model.kind), capability):
    able = ', '.join(
      kind for kind in build.TASKS if issubclass(build.task(kind), capability)
    )
    what = capability.__doc__.strip().splitlines()[0].rstrip('.')
    raise ValueError(
      f'--mode={mode} needs a run that {what[0].lower()}{what[1:]}; this one '
      f'is a {config.model.kind}. Tasks that can: {able}.'
    )


def _flag_name(argument: str) -> str:
  return argument.lstrip('-').partition('=')[0]


def _value_of(arguments: Sequence[str], name: str) -> str:
  for number, argument in enumerate(arguments):
    if argument.startswith('-') and _flag_name(argument) == name:
      _, equals, value = argument.partition('=')
      following = arguments[number + 1 : number + 2]
      return value if equals else (following[0] if following else '')
  return ''


def _joined(arguments: Sequence[str]) -> list[str]:
  """The arguments, with `--config FILE` as `--config=FILE`."""
  joined: list[str] = []
  for argument in arguments:
    if joined and joined[-1] in ('-config', '--config'):
      joined[-1] += f'={argument}'
    else:
      joined.append(argument)
  return joined


def _with_path(argument: str) -> str:
  """--config=NAME:ARG with the path of the file in the place of its name."""
  if not argument.startswith('-') or _flag_name(argument) != 'config':
    return argument
  name, equals, value = argument.partition('=')
  file, colon, tail = value.partition(':')
  if not equals or not file:
    return argument
  try:
    return f'{name}={files.find(file)}{colon}{tail}'
  except FileNotFoundError as error:
    raise SystemExit(f'Error: {error}') from error


def _with_home(argument: str) -> str:
  """--workdir=~/NAME with the home's path, which a shell leaves as it is."""
  name, equals, value = argument.partition('=')
  if _flag_name(argument) != 'workdir' or not value.startswith('~'):
    return argument
  path = os.path.expanduser(value)
  if path.startswith('~'):
    raise SystemExit(
      f'Error: --workdir={value}: this user has no home. Set $HOME, or name '
      'the folder without ~.'
    )
  return f'{name}{equals}{path}'


def _message(error: Exception, arguments: Sequence[str]) -> str:
  """What is wrong, in one line, with the nearest legal key."""
  for argument in arguments:
    name = _flag_name(argument)
    if not argument.startswith('-') or not name.startswith('config.'):
      continue
    key = name.removeprefix('config.')
    if key not in build.all_keys():
      return f'unknown config key {key!r}.{_hint(key)}'
  # config_flags puts the traceback of a config file into its message.
  lines = [line for line in str(error).splitlines() if line.strip()]
  last = lines[-1].strip() if lines else repr(error)
  if isinstance(error, AttributeError | KeyError):
    return _not_of_this_task(arguments) or last.strip('\'"')
  return last.removeprefix('ValueError: ')


def _not_of_this_task(arguments: Sequence[str]) -> str:
  """Names the first key that the config's task has not; '' if it has all."""
  file, _, tail = _value_of(arguments, 'config').partition(':')
  kind = runpy.run_path(file)['get_config'](*[tail][: bool(tail)]).model.kind
  for argument in arguments:
    key = _flag_name(argument).removeprefix('config.')
    if key in build.all_keys() and key not in build.schema_for(kind).keys:
      kinds = [k for k in build.TASKS if key in build.schema_for(k).keys]
      return (
        f'config.{key} has no effect on a {kind}, the task of this config: it '
        f'is a key of {", ".join(kinds)}.'
      )
  return ''


def _hint(key: str) -> str:
  keys = build.all_keys()
  last = key.split('.')[-1]
  synonym = _SYNONYMS.get(last.lower())
  found = [known for known in keys if known.split('.')[-1] == last]
  close = [synonym] if synonym else found or _nearest(key, last, keys)
  if not close:
    return ' docs/config.md lists all keys.'
  listed = ' or '.join(f'config.{name}' for name in close[:3])
  return f' Did you mean {listed}?'


def _nearest(key: str, last: str, keys: Any) -> list[str]:
  near = difflib.get_close_matches(key, keys, n=1)
  by_last = {known.split('.')[-1]: known for known in keys}
  return near or [
    by_last[name] for name in difflib.get_close_matches(last, by_last, n=2)
  ]
