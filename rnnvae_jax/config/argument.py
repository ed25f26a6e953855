"""The text after a config file's colon: a corpus, switches, key=value pairs."""

from collections.abc import Iterable
import os
from typing import Any

import ml_collections

from rnnvae_jax import errors
from rnnvae_jax.config import build
from rnnvae_jax.data import protocols
from rnnvae_jax.data.sources import base as sources


def parse(tail: str, **defaults: Any) -> ml_collections.ConfigDict:
  """The text after the config file's colon, as typed values.

  `name` or `key=value` pairs, separated by commas. A bare name is a switch to
  turn on, a corpus, or an existing folder or file, which is a corpus too.

  Args:
    tail: as given on the command line, e.g. 'ptb', 'tiny,row=lstm' or a path.
    **defaults: the legal keys; a value's type is its default's. A key `corpus`
      is always there, '' when none was named.

  Returns:
    The values.

  Raises:
    ValueError: an unknown name, or a value of the wrong type.
  """
  values: dict[str, Any] = {'corpus': '', **defaults}
  for part in _parts(tail):
    name, equals, text = part.partition('=')
    if equals and name in values:
      values[name] = _typed(name, text, values[name])
    elif part not in values and (
      part in sources.names() or os.path.exists(part)
    ):
      values['corpus'] = part
    elif not equals and isinstance(values.get(name), bool):
      values[name] = True
    elif not equals and name in values:
      raise ValueError(
        f'config argument = {name!r} wants a value, as in '
        f'{name + "=" + str(values[name])!r}.'
      )
    elif not equals and (os.sep in name or '.' in name):
      raise ValueError(
        f'config argument = {name!r}: no such folder or file. A corpus folder '
        'holds train.txt, valid.txt and test.txt.'
      )
    elif name in build.all_keys() or _full_name(name):
      key = name if name in build.all_keys() else _full_name(name)
      is_switch = isinstance(build.all_keys()[key].default, bool)
      raise ValueError(
        f'config argument = {name!r} is a config key, which is set by a flag '
        f'of its own: --config.{key}='
        + (text or ('True' if is_switch else 'VALUE'))
      )
    else:
      known = (*values, *sources.names())
      raise ValueError(errors.unknown('config argument', name, known))
  return ml_collections.ConfigDict(values)


def _full_name(name: str) -> str:
  """The dotted key whose last part is this name; '' if there is none."""
  found = [key for key in build.all_keys() if key.split('.')[-1] == name]
  return found[0] if found else ''


def _parts(tail: str) -> list[str]:
  """The parts between commas; a path with commas is one part."""
  if tail and os.path.exists(tail):
    return [tail]
  pieces, parts = tail.split(','), []
  while pieces:
    # The longest run of pieces that is an existing path belongs together.
    count = next(
      (n for n in range(len(pieces), 1, -1) if _is_path(pieces[:n])), 1
    )
    parts.append(','.join(pieces[:count]).strip())
    pieces = pieces[count:]
  return [part for part in parts if part]


def _is_path(pieces: Iterable[str]) -> bool:
  path = ','.join(pieces).strip()
  return os.path.exists(path.removeprefix('corpus=')) or os.path.exists(path)


def _typed(name: str, text: str, like: Any) -> Any:
  if isinstance(like, bool):
    if text.lower() not in ('true', 'false'):
      raise ValueError(f'config argument {name}={text!r}: true or false.')
    return text.lower() == 'true'
  try:
    return type(like)(text)
  except ValueError as error:
    wanted = type(like).__name__
    message = f'config argument {name}={text!r} is not {wanted}.'
    raise ValueError(message) from error


def apply(
  config: ml_collections.ConfigDict, arg: ml_collections.ConfigDict
) -> None:
  """Sets what every config file's argument may ask for: a corpus, `tiny`."""
  if arg.corpus:
    is_name = arg.corpus in sources.names()
    if is_name and arg.corpus != config.corpus.name and _reads_words(config):
      config.corpus.protocol = ''  # Each corpus has a protocol of its own.
    config.corpus.name = arg.corpus if is_name else os.path.abspath(arg.corpus)
    config.evaluate.split = sources.evaluation_split(config.corpus.name)
  if arg.tiny:
    if not arg.corpus:
      config.corpus.name = build.task(config.model.kind).TINY_CORPUS
    build.keys_of(config).shrink(config)
    build.task(config.model.kind).shrink(config)


def _reads_words(config) -> bool:
  name = config.corpus.protocol
  return bool(name) and protocols.PROTOCOLS[name].kind == 'word'


def check_row(row: str, rows: Iterable[str]) -> None:
  """Raises ValueError unless `row` is one of a table's."""
  if row not in rows:
    raise ValueError(errors.unknown('config argument row', row, rows))


def take_row(tail: str) -> tuple[str, list[str]]:
  """The row that an argument asks for, '' if none, and its other parts.

  For a table whose rows are those of another table with settings added.
  """
  parts = _parts(tail)
  rows = [part for part in parts if part.startswith('row=')]
  row = rows[-1].removeprefix('row=') if rows else ''
  return row, [part for part in parts if part not in rows]
