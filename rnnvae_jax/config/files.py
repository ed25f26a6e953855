"""Where config files lie: in the source tree, or with the installed package."""

import os
import pathlib
import runpy

from rnnvae_jax import errors

# A link to the source tree's configs/, of which a wheel has a copy.
_FOLDER = pathlib.Path(__file__).parent.parent / '_configs'
# By the folder of a name, the one below ours.
_OWN = {'.': '', 'configs': '', 'sweeps': 'sweeps', 'configs/sweeps': 'sweeps'}


def folder() -> pathlib.Path | None:
  """The folder of the project's own config files; None if there is none."""
  return _FOLDER.resolve() if _FOLDER.is_dir() else None


def find(name: str) -> str:
  """The path of a config file.

  Args:
    name: a path, or the name of one of the project's own: 'gru_vae',
      'gru_vae.py' or 'configs/gru_vae.py', from any folder, and
      'sweeps/rnn_vae_report' of a search.

  Raises:
    FileNotFoundError: there is no such file.
  """
  if os.path.isfile(name):
    return name
  own, stem = folder(), pathlib.Path(name).stem
  below = _OWN.get(str(pathlib.Path(name).parent))
  if own is not None and below is not None:
    path = own / below / f'{stem}.py'
    if path.is_file():
      return str(path)
    known = sorted(path.stem for path in path.parent.glob('*.py'))
    raise FileNotFoundError(
      errors.unknown('--config', stem, known) + ' Nor is it a file.'
    )
  raise FileNotFoundError(f'The config file {name} does not exist.')


def load(name: str):
  """The config of a file: NAME or NAME:ARGUMENT, as `--config` takes it."""
  file, colon, argument = name.partition(':')
  get_config = runpy.run_path(find(file))['get_config']
  return get_config(argument) if colon else get_config()
