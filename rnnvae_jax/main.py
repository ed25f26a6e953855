"""The command line: trains, evaluates and samples recurrent text models.

  python -m rnnvae_jax.main --config=gru_vae
  python -m rnnvae_jax.main --mode=sample --workdir=runs/gru_vae

Modes that read a run need only its --workdir: the config and vocabulary saved
there are used. --config.KEY=VALUE overrides a key; docs/config.md lists them.
"""
# ruff: noqa: E402

import gc

# Imports and traces make millions of objects that live on. Python's default of
# looking for garbage after every 700 new ones takes a sixth of the time that
# a short command does.
gc.set_threshold(200_000, 20, 20)

import contextlib

from absl import app, flags, logging
from ml_collections import config_flags

from rnnvae_jax import startup
from rnnvae_jax.commands import base as commands
from rnnvae_jax.config import command_line
from rnnvae_jax.training import peers

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'A config file or the name of one of our own, and after a colon its '
  'argument: a corpus name, a folder with train.txt, valid.txt and test.txt, a '
  'text file, `tiny`, or key=value as the file names them, such as row= of a '
  'table; several with commas.',
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  'workdir',
  None,
  "The run's folder: made by train, read by all other modes. By default train "
  'makes runs/NAME in the current folder, NAME being that of the config file, '
  'with its argument if it has one.',
)
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  list(commands.REGISTRY),
  '; '.join(f'{name}: {m.HELP}' for name, m in commands.REGISTRY.items()) + '.',
)
_TABLE = flags.DEFINE_string(
  'table', None, 'Of reproduce: a config file with ROWS, by its name.'
)
_ROWS = flags.DEFINE_list('rows', [], "Of reproduce: some of the table's rows.")
_SEEDS = flags.DEFINE_integer(
  'seeds', 1, 'Of train and reproduce: runs, one a seed.', lower_bound=1
)
_BUDGET = flags.DEFINE_float(
  'budget',
  0.0,
  'Of reproduce and sweep: seconds; what is left goes on next time. 0: no end.',
  lower_bound=0.0,
)
_STORAGE = flags.DEFINE_string(
  'storage',
  None,
  "Of sweep: the address of a database for the trials, as SQLAlchemy's. By "
  'default they are in a journal in --workdir.',
)
_PORT = flags.DEFINE_integer(
  'port',
  0,
  'Of explore: where its page is served; 0: at a port that is free.',
  lower_bound=0,
  upper_bound=65535,
)


def main(argv: list[str]) -> None:
  gc.freeze()  # What is imported stays.
  with peers.ending_together(), startup.errors_as_messages():
    if _MODE.value != 'train':
      peers.check_alone(f'--mode={_MODE.value}')
    elif _SEEDS.value > 1:
      peers.check_alone(f'--seeds={_SEEDS.value}')
    startup.prepare_jax()
    if argv[1:]:
      raise ValueError(f'unexpected arguments: {" ".join(argv[1:])}.')
    _run(_WORKDIR.value, _MODE.value)


def _run(workdir: str | None, mode: str) -> None:
  command = commands.REGISTRY[mode]
  if not workdir:
    workdir = command_line.default_workdir(
      command.NEEDS, config_flags.get_config_filename(flags.FLAGS['config'])
    )
    if not workdir:
      raise ValueError('--workdir is needed: the folder of the run.')
    logging.info('No --workdir is given: the run is in %s.', workdir)
  legal = getattr(command, 'FLAGS', ())
  for name in ('table', 'rows', 'seeds', 'budget', 'storage', 'port'):
    if flags.FLAGS[name].present and name not in legal:
      raise ValueError(f'--{name} is not read by --mode={mode}.')
  context = commands.Context(
    workdir,
    command_line.config_for(
      command.NEEDS,
      workdir,
      mode,
      _CONFIG.value,
      flags.FLAGS['config'],
      getattr(command, 'INSTEAD', ''),
    ),
    _TABLE.value or '',
    tuple(_ROWS.value),
    _SEEDS.value,
    _BUDGET.value,
    config_flags.get_config_filename(flags.FLAGS['config']),
    _STORAGE.value or '',
    _PORT.value,
  )
  command_line.check_capability(command, context.config, mode)
  with contextlib.ExitStack() as stack:
    if command.NEEDS != 'run':  # What it trains is worth more than its lines.
      stack.enter_context(startup.outliving_readers())
    command.run(context)


if __name__ == '__main__':
  app.run(main, flags_parser=command_line.parse)
