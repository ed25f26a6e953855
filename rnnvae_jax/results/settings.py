"""Which settings a row was measured with, in a form that stays comparable.

A row of a table keeps its settings as the values that differ from the defaults,
and a digest of them. The defaults are those of the day on which tables began to
keep settings, `first_defaults`: that module never changes. So a default that
changes later makes a row outdated, as it should, and a key that is added later
does not, as long as it has its own default.
"""

from collections.abc import Mapping
import functools
import hashlib
import json
from typing import Any

from rnnvae_jax.config import build as config_build
from rnnvae_jax.results import first_defaults

# Sections that change no figure of an evaluation.
_WITHOUT_EFFECT = (
  *('data.', 'encode.', 'export.', 'generate.', 'judge.', 'latents.'),
  *('trace.', 'units.', 'vectors.'),
)
# What the figures of mode `judge` depend on besides the run.
_JUDGING = (
  'judge.',
  'generate.seed',
  'generate.max_length',
  'generate.beam_size',
  'generate.length_penalty',
)
# They differ between the runs of one row.
_PER_RUN = ('seed', 'corpus.name', 'train.init_from')


def described(config: Any) -> dict[str, Any]:
  """The settings that a run's figures depend on, by dotted name."""
  return {
    key: value
    for key, value in config_build.flatten(config).items()
    if not key.startswith(_WITHOUT_EFFECT)
  }


def are_kept(kept: Mapping[str, Any] | None, config: Any) -> bool:
  """Whether JSON has kept the settings that a run's figures depend on.

  Args:
    kept: `described`, written as JSON and read again; None: nothing is kept.
    config: of the run.
  """
  if kept is None:
    return False
  # Keys of modes were kept by an earlier version.
  found = {k: v for k, v in kept.items() if not k.startswith(_WITHOUT_EFFECT)}
  return found == json.loads(json.dumps(described(config)))  # Tuples are lists.


def judging(config: Any) -> dict[str, Any]:
  """The settings that the figures of mode `judge` depend on besides the run."""
  return {
    key: value
    for key, value in config_build.flatten(config).items()
    if key.startswith(_JUDGING)
  }


def non_default(values: Mapping[str, Any]) -> dict[str, Any]:
  """Those of a flat config that are not the default, but for `_PER_RUN`.

  Args:
    values: settings by dotted name.
  """
  own = {}
  for key, value in sorted(values.items()):
    default = _default(key)
    if isinstance(default, float) and isinstance(value, int):
      value = float(value)  # 1 and 1.0 are written differently.
    if key not in _PER_RUN and value != default:
      own[key] = value
  return own


def digest(values: Mapping[str, Any]) -> str:
  """Sixteen hexadecimal digits that stand for `non_default(values)`."""
  text = json.dumps(non_default(values), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes(row: Mapping[str, Any], config: Any) -> list[str]:
  """How the settings of a measured row differ from its config of today.

  A setting that the config does not have any more, because it has no effect on
  this task, is no difference.

  Args:
    row: of a table's file, with `settings`, the digest, and `non_default`, the
      settings themselves; the oldest rows have the digest alone.
    config: what the row's config file says today.

  Returns:
    A text for each setting that differs; one without a name where only the
    digests are known; none for a row that was not measured.
  """
  found = []
  today = described(config)
  if row.get('settings', digest(today)) != digest(today):
    found += _differing(row.get('non_default'), today)
  judged = judging(config)
  if row.get('judged_by', digest(judged)) != digest(judged):
    found.append('how its text was judged')
  return found


def _differing(
  before: Mapping[str, Any] | None, today: Mapping[str, Any]
) -> list[str]:
  if before is None:
    return ['their names were not recorded']
  own = non_default(today)
  return [
    f'{key} was {before.get(key, _default(key))!r}, is {value!r}'
    for key, value in today.items()
    if before.get(key, _default(key)) != own.get(key, _default(key))
    and key not in _PER_RUN
  ]


def _default(key: str) -> Any:
  first = first_defaults.VALUES
  return first[key] if key in first else _defaults_today().get(key)


@functools.cache
def _defaults_today() -> dict[str, Any]:
  return {name: key.default for name, key in config_build.all_keys().items()}
