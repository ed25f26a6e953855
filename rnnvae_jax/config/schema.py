"""The schema engine: a config key is declared once, beside what it configures.

A component declares its keys as a frozen dataclass, a *fragment*:

  @schema.fragment('objective')
  class FreeBits:
    free_bits: float = schema.field(
      0.0, 'Nats of KL that are not penalised.', low=0, traced=True
    )
    free_bits_per: str = schema.field(
      'sentence', 'What the threshold is compared with.', choices=PER,
      only_if=schema.is_set('objective.free_bits'),
    )

Everything else follows from the declaration: the `ConfigDict` with its defaults
and types, the legal ranges, the error for a key that has no effect, the scalars
that a compiled step takes as an argument, the keys that may differ between the
members of a population, the sizes of `:tiny`, and the reference in
docs/config.md. This module imports nothing of the package.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
import dataclasses
import difflib
import enum
import math
from typing import Any, NamedTuple, TypeVar

import ml_collections

_META = 'rnnvae_jax'
T = TypeVar('T')
# Of what a compiled program holds: int32 and float32.
_LARGEST: Mapping[type, int | float] = {int: 2**31 - 1, float: 3.4028234e38}


class Free(enum.Enum):
  """When a key may be changed without becoming another run."""

  NEVER = 'fixed by training'
  ALWAYS = 'may change at any time'
  TRAINED = 'may change once the run is trained'
  OTHER_TEXT = 'may change once trained, with another corpus'
  LONGER = 'may change when training goes on'


class Condition(NamedTuple):
  """When a key has an effect.

  Attributes:
    holds: flat config -> whether the key is read.
    because: flat config -> why it is not read, for the error message.
    text: the condition in words, for the reference.
  """

  holds: Callable[[Mapping[str, Any]], bool]
  because: Callable[[Mapping[str, Any]], str]
  text: str


def one_of(key: str, *values: Any) -> Condition:
  """The key is read only where another one has one of these values."""
  listed = ' or '.join(map(repr, values))
  return Condition(
    lambda flat: key not in flat or flat[key] in values,
    lambda flat: (
      f'it is read only with config.{key} = {listed}, which is {flat[key]!r}'
    ),
    f'`{key}` = {listed}',
  )


def none_of(key: str, *values: Any) -> Condition:
  """The key is read unless another one has one of these values."""
  listed = ' or '.join(map(repr, values))
  return Condition(
    lambda flat: key not in flat or flat[key] not in values,
    lambda flat: f'it is not read with config.{key} = {flat[key]!r}',
    f'`{key}` is not {listed}',
  )


def is_set(key: str) -> Condition:
  """The key is read where another one is not 0, empty or False."""
  return Condition(
    lambda flat: key not in flat or bool(flat[key]),
    lambda flat: (
      f'it is read only where config.{key} is set, which is {flat[key]!r}'
    ),
    f'`{key}` is set',
  )


def is_unset(key: str) -> Condition:
  """The key is read where another one is 0, empty or False."""
  return Condition(
    lambda flat: key not in flat or not flat[key],
    lambda flat: (
      f'it is read only where config.{key} is not set, which is {flat[key]!r}'
    ),
    f'`{key}` is not set',
  )


class Key(NamedTuple):
  """A declared key.

  Attributes:
    name: dotted, 'objective.free_bits'.
    default: of the type that every value must have.
    help: a sentence or two, with the unit.
    low: the smallest legal value; None for no bound.
    high: the largest one; None for no bound.
    choices: legal values, or a function that returns them, for lists that
      need an import; None where anything of the type is legal.
    traced: whether a compiled step takes it as an argument, so that a change
      needs no recompilation and members of a population may differ in it.
    varies: whether members of a population may differ in it for another
      reason: the host alone reads it.
    off: the value at which a compiled step leaves the part out; None if there
      is no such value.
    only_if: all of these must hold, or else setting the key is an error.
    tiny: its value under `:tiny`; None keeps the config's own.
    free: when it may change without becoming another run.
    component: the fragment's name.
  """

  name: str
  default: Any
  help: str
  low: float | None
  high: float | None
  choices: Any
  traced: bool
  varies: bool
  off: Any
  only_if: tuple[Condition, ...]
  tiny: Any
  free: Free
  component: str

  def legal(self) -> tuple[Any, ...] | None:
    """The legal values, where they are listed."""
    listed = self.choices() if callable(self.choices) else self.choices
    return None if listed is None else tuple(listed)


def field(
  default: Any,
  help: str,
  *,
  low: float | None = None,
  high: float | None = None,
  choices: Sequence[Any] | Callable[[], Iterable[Any]] | None = None,
  traced: bool = False,
  varies: bool = False,
  off: Any = None,
  only_if: Condition | Sequence[Condition] = (),
  tiny: Any = None,
  free: Free | None = None,
) -> Any:
  """A key of a fragment; see `Key` for the arguments."""
  conditions = (only_if,) if isinstance(only_if, Condition) else tuple(only_if)
  meta = {
    'help': help,
    'low': low,
    'high': high,
    'choices': choices,
    'traced': traced,
    'varies': varies,
    'off': off,
    'only_if': conditions,
    'tiny': tiny,
    'free': free,
  }
  return dataclasses.field(default=default, metadata={_META: meta})


def fragment(
  prefix: str,
  *,
  only_if: Condition | Sequence[Condition] = (),
  free: Free = Free.NEVER,
) -> Callable[[type[T]], type[T]]:
  """Makes a class of `field`s a fragment: a frozen dataclass with a prefix.

  Args:
    prefix: what stands before the dot: 'objective', 'model.gru'; '' for none.
    only_if: conditions of all its keys.
    free: of all its keys that do not say otherwise.
  """
  conditions = (only_if,) if isinstance(only_if, Condition) else tuple(only_if)

  def decorate(cls: type[T]) -> type[T]:
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    made.SCHEMA = prefix, conditions, free
    return made

  return decorate


class Schema:
  """The keys of some fragments: what a config of one task consists of."""

  def __init__(self, fragments: Iterable[type]):
    """Creates the schema.

    Raises:
      ValueError: two fragments declare the same key.
    """
    self.fragments: tuple[Any, ...] = tuple(dict.fromkeys(fragments))
    self.keys: dict[str, Key] = {}
    for cls in self.fragments:
      for key in _keys(cls):
        if key.name in self.keys:
          raise ValueError(
            f'config.{key.name} is declared by {self.keys[key.name].component} '
            f'and by {key.component}.'
          )
        self.keys[key.name] = key

  def default(self) -> ml_collections.ConfigDict:
    """A config with every key at its default, locked against other keys."""
    return defaults(self.keys.values())

  def varying(self) -> tuple[str, ...]:
    """Keys in which the members of a population may differ."""
    keys = self.keys.values()
    return tuple(sorted(key.name for key in keys if key.traced or key.varies))

  def shrink(self, config: ml_collections.ConfigDict) -> None:
    """Sets the sizes of `:tiny`, for keys that have an effect."""
    for name, key in self.keys.items():
      if key.tiny is not None and _is_read(key, flatten(config)):
        config.update_from_flattened_dict({name: key.tiny})

  def unused(self, flat: Mapping[str, Any], name: str) -> str:
    """Why a key has no effect in this config; '' if it has one."""
    for condition in self.keys[name].only_if:
      if not condition.holds(flat):
        return condition.because(flat)
    return ''

  def check(
    self,
    config: ml_collections.ConfigDict,
    given: Collection[str] | None = None,
  ) -> None:
    """Checks each key by itself, and each component's keys together.

    Args:
      config: of these keys.
      given: keys for which having no effect is an error, such as those of the
        command line: who switches a part off does not have to reset all that
        belongs to it. All keys that are not at their default if None.

    Raises:
      ValueError: the message names the key, its value, what is legal, the
        nearest legal value, and why, for a key that has no effect.
    """
    flat = flatten(config)
    for name, key in self.keys.items():
      check_value(key, flat[name])
    for cls in self.fragments:
      if hasattr(cls, 'check') and all(
        condition.holds(flat) for condition in cls.SCHEMA[1]
      ):
        read(config, cls).check()
    for name in self.keys if given is None else given:
      value, default = flat[name], self.keys[name].default
      because = self.unused(flat, name)
      if because and value != default:
        raise ValueError(
          f'config.{name} = {value!r} would have no effect: {because}. '
          f'Leave it at {default!r}.'
        )


def defaults(keys: Iterable[Key]) -> ml_collections.ConfigDict:
  """A config with these keys at their defaults, locked against other keys."""
  config = ml_collections.ConfigDict()
  for key in keys:
    *path, last = key.name.split('.')
    node = config
    for part in path:
      if part not in node:
        node[part] = ml_collections.ConfigDict()
      node = node[part]
    node[last] = key.default
  config.lock()
  return config


def _is_read(key: Key, flat: Mapping[str, Any]) -> bool:
  return all(condition.holds(flat) for condition in key.only_if)


def _keys(cls: Any) -> Iterable[Key]:
  prefix, conditions, free = cls.SCHEMA
  for entry in dataclasses.fields(cls):
    meta = dict(entry.metadata[_META])
    meta['only_if'] = (*conditions, *meta['only_if'])
    meta['free'] = meta['free'] or free
    name = f'{prefix}.{entry.name}' if prefix else entry.name
    yield Key(name, entry.default, component=cls.__name__, **meta)


def check_value(key: Key, value: Any) -> None:
  """Raises ValueError unless the value is legal by itself."""
  legal = key.legal()
  if legal is not None and value not in legal:
    listed = ', '.join(str(name) for name in legal if name != '')
    close = difflib.get_close_matches(str(value), map(str, legal), n=1)
    hint = f' Did you mean {close[0]!r}?' if close else ''
    raise ValueError(
      f'config.{key.name} = {value!r} is unknown.{hint} Known: {listed}.'
    )
  low, high = key.low, key.high
  is_low = low is not None and not value >= low
  is_high = high is not None and not value <= high
  if is_low or is_high:
    if high is None:
      bound = f'at least {low}'
    elif low is None:
      bound = f'at most {high}'
    else:
      bound = f'{low} to {high}'
    # Of NaN, which no bound lets through, no value is the nearest.
    nearest = (
      ''
      if value != value
      else (
        f' Nearest legal value: {type(key.default)(low if is_low else high)}.'
      )
    )
    raise ValueError(
      f'config.{key.name} = {value!r} is out of range: {bound}.{nearest}'
    )
  if isinstance(value, float) and not math.isfinite(value):
    raise ValueError(f'config.{key.name} = {value!r} is not a finite number.')
  if isinstance(value, int | float):
    largest = _LARGEST[int if isinstance(value, int) else float]
    if abs(value) > largest:
      raise ValueError(
        f'config.{key.name} = {value!r} is too large for 32 bits. Nearest '
        f'legal value: {largest if value > 0 else -largest}.'
      )


def read(config: Any, cls: type[T]) -> T:
  """A fragment's values as plain typed attributes.

  Args:
    config: a config that has its keys.
    cls: the fragment.
  """
  prefix = cls.SCHEMA[0]  # type: ignore[attr-defined]
  node = config
  for part in filter(None, prefix.split('.')):
    node = node[part]
  names = [entry.name for entry in dataclasses.fields(cls)]  # type: ignore[arg-type]
  return cls(**{name: node[name] for name in names})


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{'model.cell': 'gru', ...}, sorted by key."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      flat.update({f'{key}.{k}': v for k, v in flatten(value).items()})
    else:
      flat[key] = value
  return dict(sorted(flat.items()))
