"""What a search is: a config, keys that vary, and what makes a trial good.

A file of configs/sweeps defines `get_sweep(argument) -> Sweep` and, since it is
a config file, `get_config(argument)`, which returns the sweep's config.
"""

from collections.abc import Mapping
import runpy
from typing import Any, NamedTuple

import ml_collections

from rnnvae_jax import errors
from rnnvae_jax.config import build, files, schema

# Keys that must be equal in all trials, and why.
_FIXED = {
  'model.kind': 'it decides which keys there are',
  'seed': 'the finalists are trained with several seeds',
  'train.num_steps': 'trials are compared after equally many updates',
  'train.eval_every': 'trials are compared at equal validations',
  'train.steps_per_call': 'trials are compared at equal validations',
}


class Choices(NamedTuple):
  """Listed values; in a grid, the neighbours of one stand beside it."""

  values: tuple[Any, ...]


class Range(NamedTuple):
  """All values from `low` to `high`, both legal, drawn uniformly.

  Attributes:
    low: the smallest value.
    high: the largest value.
    log: whether logarithms are drawn uniformly, not the values.
  """

  low: float
  high: float
  log: bool = False


class Sweep(NamedTuple):
  """A search.

  Attributes:
    config: of all trials, but for the keys that vary.
    space: by key, its values.
    figure: of validations, which makes a trial good.
    maximise: whether a large figure is good.
    at_least: figures and what they must reach; a trial that does not is worse
      than all that do.
    random: trials that are drawn at random.
    grid: keys; around the best random trial all combinations of its values and
      their neighbours are tried.
    neighbour: how far a neighbour in a range is, as a share of the range.
    tpe: trials that a tree-structured Parzen estimator proposes.
    together: of these, trials that are proposed at a time, from all before.
    seed: of all that is drawn.
    halving: of this many trials at the same update one goes on; 0: all do.
    first: updates before the first comparison; 0: those of a validation.
    finalists: of the best trials, how many are trained with more seeds.
    seeds: of each finalist.
    winner: keys of the winner's config that are not those of the trials, such
      as a longer training.
  """

  config: ml_collections.ConfigDict
  space: Mapping[str, Choices | Range]
  figure: str
  maximise: bool = False
  at_least: Mapping[str, float] = {}
  random: int = 0
  grid: tuple[str, ...] = ()
  neighbour: float = 0.1
  tpe: int = 0
  together: int = 4
  seed: int = 0
  halving: int = 0
  first: int = 0
  finalists: int = 1
  seeds: int = 1
  winner: Mapping[str, Any] = {}


def choices(*values: Any) -> Choices:
  """Any of these values."""
  return Choices(values)


def uniform(low: float, high: float) -> Range:
  """Any value between two, both included."""
  return Range(low, high)


def log_uniform(low: float, high: float) -> Range:
  """Any value between two positive ones; each octave is as likely."""
  return Range(low, high, log=True)


def load(name: str) -> Sweep:
  """The search of a file: NAME or NAME:ARGUMENT, as `--config` takes it.

  Raises:
    ValueError: the file defines no search.
  """
  file, _, argument = name.partition(':')
  path = files.find(file)
  defined = runpy.run_path(path)
  if 'get_sweep' not in defined:
    raise ValueError(
      f'--config={name} is no search: {path} defines no get_sweep. Searches '
      'are in configs/sweeps.'
    )
  return defined['get_sweep'](argument)


def check(sweep: Sweep) -> None:
  """Raises ValueError for a search that cannot run, naming what is wrong."""
  config = sweep.config
  if not _is_trained(config):
    raise ValueError(
      f'A {config.model.kind} is fitted, not trained in steps, so it has no '
      'validations to compare.'
    )
  if not sweep.space:
    raise ValueError('The space of this search names no key.')
  for name, domain in sweep.space.items():
    _check_key(config, name)
    _check_domain(build.keys_of(config).keys[name], domain)
  for name in sweep.space:
    _check_effect(sweep, name)
  _check_figures(sweep)
  _check_numbers(sweep)
  _check_grid(sweep)
  settled(config, sweep.winner)  # Raises for what the winner cannot have.


def _is_trained(config: Any) -> bool:
  """Whether the config's task trains in steps."""
  return 'train' in config


def settled(
  config: ml_collections.ConfigDict, values: Mapping[str, Any]
) -> ml_collections.ConfigDict:
  """A config with other values, and without those that have no effect then.

  Args:
    config: of all trials.
    values: by key.

  Raises:
    ValueError: the values cannot be combined.
  """
  keys = build.keys_of(config)
  unknown = sorted({*values} - {*keys.keys})
  if unknown:
    raise ValueError(errors.unknown('key', unknown[0], keys.keys))
  found = config.copy_and_resolve_references()
  found.update_from_flattened_dict(
    {
      name: float(value) if type(keys.keys[name].default) is float else value
      for name, value in values.items()
    }
  )
  while True:
    flat = build.flatten(found)
    idle = {
      name: key.default
      for name, key in keys.keys.items()
      if flat[name] != key.default and keys.unused(flat, name)
    }
    if not idle:
      break
    found.update_from_flattened_dict(idle)
  build.validate(found)
  return found


def neighbours(domain: Choices | Range, value: Any, share: float) -> list[Any]:
  """A value and its neighbours in a grid, in order.

  Args:
    domain: of the value.
    value: in the domain.
    share: distance of a neighbour as a share of the range, or of that of the
      logarithms.
  """
  if isinstance(domain, Choices):
    place = domain.values.index(value)
    return [*domain.values[max(0, place - 1) : place + 2]]
  if domain.log:
    factor = (domain.high / domain.low) ** share
    around = value / factor, value, value * factor
  else:
    width = share * (domain.high - domain.low)
    around = value - width, value, value + width
  if isinstance(value, int):
    around = tuple(round(x) for x in around)
  clipped = (min(max(x, domain.low), domain.high) for x in around)
  return [*dict.fromkeys(clipped)]


def _check_key(config: Any, name: str) -> None:
  known = build.keys_of(config).keys
  if name not in known:
    kinds = [k for k in build.TASKS if name in build.schema_for(k).keys]
    if kinds:
      raise ValueError(
        f'The space names config.{name}, which is no key of a '
        f'{config.model.kind}, but of {", ".join(kinds)}.'
      )
    raise ValueError(errors.unknown('key of the space', name, known))
  why = _FIXED.get(name, '')
  if name.startswith('corpus.'):
    why = 'figures of different texts cannot be compared'
  elif known[name].free is schema.Free.ALWAYS:
    why = 'it changes nothing that is trained'
  if why:
    raise ValueError(f'The space cannot vary config.{name}: {why}.')


def _check_domain(key: schema.Key, domain: Choices | Range) -> None:
  if isinstance(domain, Choices):
    _check_choices(key, domain)
    return
  if type(key.default) not in (int, float) or key.legal() is not None:
    raise ValueError(
      f'config.{key.name} has no range in a space, since its values are listed '
      f'or are no numbers: use choices(...), as in choices({key.default!r}).'
    )
  for end in domain.low, domain.high:
    _check_type(key, end)
    schema.check_value(key, end)
  if not domain.low < domain.high:
    raise ValueError(
      f'The range of config.{key.name} is empty: from {domain.low} to '
      f'{domain.high}.'
    )
  if domain.log and domain.low <= 0:
    raise ValueError(
      f'The range of config.{key.name} begins at {domain.low}, which has no '
      'logarithm: use uniform(...) or a positive low.'
    )


def _check_choices(key: schema.Key, domain: Choices) -> None:
  if len({*domain.values}) < max(2, len(domain.values)):
    raise ValueError(
      f'The choices of config.{key.name} must be two or more, all different: '
      f'{", ".join(map(repr, domain.values))}. Set a single value in the '
      "search's config."
    )
  for value in domain.values:
    _check_type(key, value)
    schema.check_value(key, value)


def _check_type(key: schema.Key, value: Any) -> None:
  wanted = type(key.default)
  is_number = wanted is float and type(value) is int
  if type(value) is not wanted and not is_number:
    raise ValueError(
      f'config.{key.name} = {value!r} in the space is of type '
      f'{type(value).__name__}, not {wanted.__name__}.'
    )


def _check_effect(sweep: Sweep, name: str) -> None:
  """Raises ValueError if no value of another key gives this one an effect."""
  keys, base = build.keys_of(sweep.config), build.flatten(sweep.config)
  because = keys.unused(base, name)
  others: list[dict[str, Any]] = [{}]
  for other, domain in sweep.space.items():
    ends = domain.values if isinstance(domain, Choices) else domain[:2]
    others += [{other: value} for value in ends]
  if because and all(keys.unused(base | other, name) for other in others):
    raise ValueError(
      f'The space varies config.{name}, which would have no effect: {because}.'
    )


def _check_figures(sweep: Sweep) -> None:
  known = [f.name for f in build.task(sweep.config.model.kind).FIGURES]
  for name in sweep.figure, *sweep.at_least:
    if name not in known:
      raise ValueError(errors.unknown('figure of the search', name, known))


def _check_numbers(sweep: Sweep) -> None:
  for name in 'random', 'tpe', 'halving', 'first', 'seed':
    if getattr(sweep, name) < 0:
      raise ValueError(f'{name} = {getattr(sweep, name)} of the search is < 0.')
  for name in 'together', 'finalists', 'seeds':
    if getattr(sweep, name) < 1:
      raise ValueError(
        f'{name} = {getattr(sweep, name)} of the search must be at least 1.'
      )
  if sweep.random + sweep.tpe < 1:
    raise ValueError('The search has no trials: random = tpe = 0.')
  if sweep.halving == 1:
    raise ValueError(
      'halving = 1 of the search stops no trial. Legal: 0, or at least 2.'
    )
  train = sweep.config.train
  if sweep.first % train.eval_every or sweep.first > train.num_steps:
    raise ValueError(
      f'first = {sweep.first} of the search is no update with a validation: '
      f'config.train.eval_every = {train.eval_every}, config.train.num_steps = '
      f'{train.num_steps}.'
    )


def _check_grid(sweep: Sweep) -> None:
  for name in sweep.grid:
    if name not in sweep.space:
      raise ValueError(errors.unknown('key of the grid', name, sweep.space))
  if sweep.grid and not sweep.random:
    raise ValueError('The grid has no centre: random = 0 of the search.')
  if not 0 < sweep.neighbour <= 1:
    raise ValueError(
      f'neighbour = {sweep.neighbour} of the search is out of range: above 0, '
      'at most 1.'
    )
