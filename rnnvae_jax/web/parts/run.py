"""What was trained and how: facts of a run, its config, what differs in it."""

from collections.abc import Mapping
import itertools
import json
import math
import os
import time
from typing import Any

from rnnvae_jax.config import build
from rnnvae_jax.web import drawing, explanations, page
from rnnvae_jax.web import files as files_lib

CONFIG, COMMAND = 'config.json', 'command.txt'
_WEIGHTS = 'weights.safetensors'
# Pauses between two records that are no training, such as after a kill.
_PAUSE = 900.0


def task(files: files_lib.Files) -> Any:
  """The class of the run's task; None if it is not known."""
  kind = str(files.json(CONFIG).get(build.KIND))
  return build.task(kind) if kind in build.TASKS else None


def facts(files: files_lib.Files) -> str:
  """What was trained, where, when and by which command."""
  config = files.json(CONFIG)
  if not config:
    return ''
  rows = [*_corpus(files), *_size(files), *_training(files), *_place(files)]
  items = ''.join(
    f'<div><dt>{name}</dt><dd>{value}</dd></div>' for name, value in rows
  )
  return f'<dl class="facts">{items}</dl>{_command(files)}'


def settings(files: files_lib.Files) -> str:
  """The keys that differ from their defaults, and the whole config folded."""
  config = files.json(CONFIG)
  if not config:
    return ''
  kind = config.get(build.KIND)
  keys: Mapping[str, Any] = {}
  if kind in build.TASKS:
    keys = build.schema_for(kind).keys
  changed = [
    (
      explanations.term(name, keys[name].help),
      f'<code>{_value(value)}</code>',
      f'<code>{_value(keys[name].default)}</code>',
    )
    for name, value in sorted(config.items())
    if name in keys
    and name != build.KIND
    and _value(value) != _value(keys[name].default)  # As JSON, without tuples.
  ]
  all_rows = [
    (
      explanations.term(name, keys[name].help if name in keys else ''),
      f'<code>{_value(value)}</code>',
    )
    for name, value in sorted(config.items())
  ]
  differing = '<p>All keys have their defaults.</p>'
  if changed:
    differing = page.table(('key', 'value', 'default'), changed)
  return f'<h3>Differences from the defaults</h3>{differing}' + page.folded(
    f'The whole config, {len(config)} keys',
    page.table(('key', 'value'), all_rows),
    on_paper=False,
  )


def _command(files: files_lib.Files) -> str:
  """The command line, which is broken between its words alone."""
  words = files.text(COMMAND).split()
  if not words:
    return ''
  shown = ' '.join(f'<span>{page.escape(word)}</span>' for word in words)
  return f'<p class="command"><code>{shown}</code></p>'


def _corpus(files: files_lib.Files) -> list[tuple[str, str]]:
  config = files.json(CONFIG)
  name = page.escape(config.get('corpus.name', 'unknown'))
  protocols = [
    figures.get('protocol', '')
    for figures in files.json('results.json').values()
    if isinstance(figures, dict)
  ]
  protocol = str(config.get('corpus.protocol') or (protocols or [''])[0])
  rows = [('corpus', name)]
  if protocol:
    known = explanations.PROTOCOLS.get(protocol, '')
    rows.append(('protocol', explanations.term(protocol, known)))
  splits = files.json('text.json').get('splits', {})
  rows += [
    (
      page.escape(split),
      f'{sizes["sentences"]:,} sentences, {sizes["tokens"]:,} tokens',
    )
    for split, sizes in splits.items()
  ]
  tokens = files.json('vocab.json').get('tokens', ())
  if tokens:
    rows.append(('vocabulary', f'{len(tokens):,}'))
  return rows


def _size(files: files_lib.Files) -> list[tuple[str, str]]:
  count = parameters(files)
  return [('parameters', f'{count:,}')] if count else []


def parameters(files: files_lib.Files) -> int:
  """The number of parameters of the best checkpoint; 0 if it is not known.

  The head of a safetensors file, which is JSON, has the shapes.
  """
  steps = [n for n in files.names('checkpoints/best') if n.isdecimal()]
  names = [f'checkpoints/best/{n}/{_WEIGHTS}' for n in sorted(steps, key=int)]
  for name in [*reversed(names), _WEIGHTS]:
    if not files.has(name):
      continue
    try:
      with open(os.path.join(files.folder, name), 'rb') as file:
        size = int.from_bytes(file.read(8), 'little')
        shapes = json.loads(file.read(size))
      return sum(
        math.prod(described['shape'])
        for path, described in shapes.items()
        if path.startswith('params/')
      )
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
      files.problems.append(f'{name} is damaged: {error}.')
  return 0


def _training(files: files_lib.Files) -> list[tuple[str, str]]:
  """When it was trained, for how long, and how many updates."""
  records = [
    record
    for record in files.json_lines('metrics.jsonl')
    if isinstance(record.get('time'), int | float)
    and isinstance(record.get('step'), int)
  ]
  if not records:
    return []
  times = [record['time'] for record in records]
  spans = [max(0.0, b - a) for a, b in itertools.pairwise(times)]
  seconds = sum(span for span in spans if span < _PAUSE)
  day = lambda moment: time.strftime('%Y-%m-%d %H:%M', time.gmtime(moment))
  rows = [
    ('updates', f'{max(record["step"] for record in records):,}'),
    ('begun', f'{day(times[0])} UTC'),
  ]
  if seconds:
    rows.append(
      (
        'time',
        explanations.term(
          duration(seconds),
          'From the first record of the training to the last one, with '
          'validations. Compilation before the first record, and pauses of '
          'more than 15 minutes, are left out.',
        ),
      )
    )
  return rows


def _place(files: files_lib.Files) -> list[tuple[str, str]]:
  """The device, the versions and the commit."""
  place = files.json('environment.json')
  rows = []
  if 'device' in place:
    device = page.escape(place['device'])
    if place.get('cores'):
      device += f', {page.escape(place["cores"])} cores'
    if (place.get('devices') or 1) > 1:
      device += f', {page.escape(place["devices"])} devices'
    rows.append(('device', device))
  versions = [
    f'{name} {place[name]}' for name in ('python', 'jax') if place.get(name)
  ]
  if versions:
    rows.append(('software', page.escape(', '.join(versions))))
  if place.get('commit'):
    commit = str(place['commit'])
    short = commit[:12] + ' and changes' * commit.endswith('-dirty')
    rows.append(('commit', f'<code>{page.escape(short)}</code>'))
  return rows


def duration(seconds: float) -> str:
  """A time as '2 h 5 min', '3 min 20 s' or '4.2 s'."""
  if seconds < 60:
    return f'{drawing.number_text(round(seconds, 1))} s'
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f'{minutes} min {rest} s'
  return f'{minutes // 60} h {minutes % 60} min'


def _value(value: Any) -> str:
  return page.escape(json.dumps(value, ensure_ascii=False))
