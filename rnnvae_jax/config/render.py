"""The reference of all config keys, as Markdown and as plain text."""

from collections.abc import Iterable, Mapping, Sequence

from rnnvae_jax.config import build, schema

_HEADER = """# Config keys

Generated from the schema by `python -m rnnvae_jax.config.render`; a test keeps
this page equal to it. A config has the keys of its task and of the commands
that the task can serve. On the command line a key is set by
`--config.KEY=VALUE`. Setting a key that has no effect is an error that says
why.

*Read if* names the condition under which a key has an effect. *Changes* says
when it may be set to something else: by default a run that has a checkpoint
keeps its value; **traced** keys are arguments of the compiled step, so that the
members of a population may differ in them, and **per member** keys are read by
the host alone, so that they may differ too.
"""

_FREE = {
  schema.Free.NEVER: '',
  schema.Free.ALWAYS: 'at any time',
  schema.Free.TRAINED: 'once trained',
  schema.Free.OTHER_TEXT: 'once trained, with another corpus',
  schema.Free.LONGER: 'upwards, to train longer',
}


def markdown() -> str:
  """docs/config.md."""
  parts = [_HEADER]
  for prefix, keys in _sections().items():
    parts.append(f'## {prefix}\n')
    parts.append(
      '| key | default | legal | meaning | read if | tasks | changes |'
    )
    parts.append('|---|---|---|---|---|---|---|')
    parts += [_row(key, kinds) for key, kinds in keys]
    parts.append('')
  return '\n'.join(parts)


def plain() -> str:
  """A line a key, for --help."""
  lines = ['config keys (--config.KEY=VALUE; docs/config.md says more):']
  for keys in _sections().values():
    for key, kinds in keys:
      # Of a key that tasks declare differently, whose it is.
      whose = '' if _is_common(key, kinds) else f' ({", ".join(kinds)})'
      lines.append(f'  {key.name}={key.default!r}: {key.help}{whose}')
  return '\n'.join(lines)


# A key, and the tasks that declare it so.
_Declared = tuple[schema.Key, list[str]]


def _sections() -> Mapping[str, list[_Declared]]:
  sections: dict[str, list[_Declared]] = {}
  for name in build.all_keys():
    found: list[_Declared] = []
    for kind in build.TASKS:
      key = build.schema_for(kind).keys.get(name)
      if key is None:
        continue
      kinds = next((kinds for same, kinds in found if same == key), None)
      if kinds is None:
        found.append((key, [kind]))
      else:
        kinds.append(kind)
    prefix = name.rpartition('.')[0] or 'the run'
    sections.setdefault(prefix, []).extend(found)
  return sections


def _is_common(key: schema.Key, kinds: Sequence[str]) -> bool:
  """Whether all tasks that have a key of this name declare it so."""
  return len(kinds) == sum(
    key.name in build.schema_for(kind).keys for kind in build.TASKS
  )


def _row(key: schema.Key, kinds: Sequence[str]) -> str:
  tasks = 'all' if len(kinds) == len(build.TASKS) else ', '.join(kinds)
  changes = [_FREE[key.free]] if _FREE[key.free] else []
  changes += ['**traced**'] if key.traced else []
  changes += ['**per member**'] if key.varies else []
  cells = (
    f'`{key.name}`',
    f'`{key.default!r}`',
    _legal(key),
    key.help,
    '; '.join(condition.text for condition in key.only_if),
    tasks,
    ', '.join(changes),
  )
  return _line(cells)


def _legal(key: schema.Key) -> str:
  listed = key.legal()
  if listed is not None:
    return ', '.join(
      f'`{value}`' if value != '' else 'empty' for value in listed
    )
  if key.low is not None and key.high is not None:
    return f'{key.low:,} to {key.high:,}'
  if key.low is not None:
    return f'at least {key.low:,}'
  return type(key.default).__name__


def _line(cells: Iterable[str]) -> str:
  return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'


if __name__ == '__main__':
  print(markdown(), end='')
