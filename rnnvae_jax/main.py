"""The command line: trains, evaluates and samples recurrent text models.

  python -m rnnvae_jax.main --config=configs/gru_vae.py --workdir=runs/gru_vae
  python -m rnnvae_jax.main --mode=sample --workdir=runs/gru_vae

Every mode but train, gradients and reproduce needs only the --workdir of a run:
the config and vocabulary saved there are used. --config.KEY=VALUE overrides a
key in any mode but gradients and reproduce.
"""

import logging as python_logging
import os
import sys

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from rnnvae_jax import (
  analyse,
  config_lib,
  evaluate,
  generate,
  judge,
  train,
)
from rnnvae_jax.results import reproduce
from rnnvae_jax.training import environment, runs

MODES = {
  'train': 'train or go on training, then evaluate, sample and interpolate',
  'evaluate': 'figures of config.evaluate.split -> results.json',
  'sample': 'sentences from the model',
  'reconstruct': "a VAE's reading of the lines of config.generate.input",
  'interpolate': 'between pairs of lines, or of prior samples',
  'score': 'nats of each line of config.generate.input',
  'judge': 'BLEU, diversity, novelty of what the model writes -> judged.json',
  'trace': 'what single units of a character model follow -> trace.html',
  'agreement': 'subject-verb agreement of a language model -> agreement.png',
  'gradients': 'gradient norms through time, Elman and LSTM -> gradients.png',
  'reproduce': "trains and evaluates --table's rows -> RESULTS.md",
}

_WITHOUT_RUN = ('gradients', 'reproduce')

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'A config file, and after a colon its argument: a corpus name, a folder '
  'with train.txt, valid.txt and test.txt, a text file, `tiny`, or key=value '
  'as the file names them, such as row= of a table; several with commas.',
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, "The run's folder: made by train, read by all other modes."
)
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  list(MODES),
  'What to do. ' + '; '.join(f'{k}: {v}' for k, v in MODES.items()) + '.',
)
_TABLE = flags.DEFINE_string(
  'table', None, 'Of reproduce: a config file with ROWS, by its name.'
)
_ROWS = flags.DEFINE_list('rows', [], "Of reproduce: some of the table's rows.")
_SEEDS = flags.DEFINE_integer(
  'seeds', 1, 'Of reproduce: runs of each row.', lower_bound=1
)
_BUDGET = flags.DEFINE_float(
  'budget',
  0.0,
  'Of reproduce: seconds; what is left goes on next time. 0: no end.',
  lower_bound=0.0,
)


def main(argv: list[str]) -> None:
  # Which backends JAX looked for in vain is no news to its user.
  python_logging.getLogger('jax').setLevel(python_logging.WARNING)
  _cache_compilations()
  try:
    _check_platform()
    _run(argv[1:])
  except (ValueError, OSError, ImportError, FloatingPointError) as error:
    logging.debug('', exc_info=True)  # --verbosity=1 shows where.
    raise SystemExit(f'Error: {error}') from error
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    logging.debug('', exc_info=True)
    raise SystemExit(
      'Error: the device has no memory left. What takes it: config.train.'
      'batch_size, steps_per_call and, of streams, unroll; config.evaluate.'
      'batch_size and chunk; config.data.device_share of the text. '
      f'{str(error).splitlines()[0]}'
    ) from error
  except KeyboardInterrupt:
    print('Stopped; the same command goes on.', file=sys.stderr, flush=True)
    # Python's own exit would wait for XLA's threads, or crash in them.
    os._exit(130)


def _check_platform() -> None:
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    wanted = os.environ.get('JAX_PLATFORMS', '')
    raise ValueError(
      f'JAX finds no device (JAX_PLATFORMS={wanted!r}): {error}'
    ) from error


def _cache_compilations() -> None:
  """Keeps compiled programs from run to run, unless told where or not to.

  By cores, which XLA splits a CPU's programs by and JAX's keys leave out: a
  run on many would take, and wait for, one core's program.
  """
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    folder = os.path.join(home, 'rnnvae_jax', f'{environment.cores()}_cores')
    jax.config.update('jax_compilation_cache_dir', folder)
    # Bytes; of which JAX keeps account with the package filelock.
    jax.config.update('jax_compilation_cache_max_size', 2**30)
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def _run(arguments: list[str]) -> None:
  if arguments:
    raise ValueError(f'unexpected arguments: {" ".join(arguments)}.')
  workdir, mode = _WORKDIR.value, _MODE.value
  if not workdir:
    raise ValueError('--workdir is needed: the folder of the run.')
  of_tables = [
    name
    for name in ('table', 'rows', 'seeds', 'budget')
    if flags.FLAGS[name].present
  ]
  if of_tables and mode != 'reproduce':
    raise ValueError(f'--{of_tables[0]} belongs to --mode=reproduce.')
  path = config_flags.get_config_filename(flags.FLAGS['config'])
  is_given = path != config_lib.__file__
  if is_given and mode != 'train':
    raise ValueError(
      f'--config={path} would not be read: --mode={mode} has '
      + ('configs of its own.' if mode in _WITHOUT_RUN else "the run's own.")
    )
  overrides = config_flags.get_override_values(flags.FLAGS['config'])
  if mode == 'train':
    if not is_given:
      raise ValueError(
        'Training needs a config, for example --config=configs/gru_vae.py.'
      )
    path = path.partition(':')[0]  # Without the config's argument.
    if not os.path.isfile(path):
      raise FileNotFoundError(f'The config file {path} does not exist.')
    config = _CONFIG.value
    # What the file sets, an override may have switched off.
    config_lib.validate(config, overrides or None)
    corpus = train.train(config, workdir)
    evaluate.evaluate(config, workdir, corpus)
    generate.showcase(config, workdir)
    return
  if overrides and mode in _WITHOUT_RUN:
    raise ValueError(
      f'--config.{next(iter(overrides))} would not be read by --mode={mode}.'
    )
  if mode == 'reproduce':
    if not _TABLE.value:
      raise ValueError('--table is needed: which table.')
    reproduce.reproduce(
      _TABLE.value, workdir, _ROWS.value, _SEEDS.value, _BUDGET.value
    )
    return
  if mode == 'gradients':
    analyse.gradient_flow(workdir)
    return
  config = runs.load_config(workdir)
  fixed = config_lib.flatten(config)
  config.update_from_flattened_dict(overrides)
  config_lib.validate(config, overrides, trained=True)
  differing = config_lib.differences(
    config_lib.flatten(config), fixed, trained=True
  )
  if differing:
    raise ValueError(
      f'The run in {workdir} is trained; only evaluate, generate, judge, trace '
      'and data keys, model.backend, corpus.name and of another corpus '
      'labelled, valid_share and test_share may change now:\n  '
      + '\n  '.join(differing)
    )
  if mode == 'evaluate':
    evaluate.evaluate(config, workdir)
  elif mode == 'judge':
    judge.judge(config, workdir)
  elif mode == 'trace':
    analyse.trace(config, workdir)
  elif mode == 'agreement':
    analyse.agree(config, workdir)
  else:
    generate.MODES[mode](config, workdir)


def _parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, but a mistake in a config is one line, not a traceback."""
  if not any(arg.split('=')[0] in ('--config', '-config') for arg in argv):
    # Overrides alone: the schema's defaults give them their types.
    argv = [argv[0], f'--config={config_lib.__file__}', *argv[1:]]
  try:
    return flags.FLAGS(argv)
  except (
    flags.Error,
    AttributeError,
    KeyError,
    SyntaxError,
    TypeError,
    ValueError,
  ) as error:
    # config_flags puts the traceback of a config file into its message.
    lines = [line for line in str(error).splitlines() if line.strip()]
    message = lines[-1].strip().removeprefix('ValueError: ')
    if isinstance(error, AttributeError | KeyError):  # A repr of a repr.
      message = message.replace('\\n', '. ').replace("\\'", "'").strip('\'"')
      message = f"unknown config key '{message}"
    raise SystemExit(f'Error: {message}') from error


if __name__ == '__main__':
  app.run(main, flags_parser=_parse_flags)
