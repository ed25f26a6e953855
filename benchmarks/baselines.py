"""Committed baselines of counts, and what their scripts do with them."""

from collections.abc import Callable
import json
import pathlib
import sys
from typing import Any

from absl import flags

UPDATE = flags.DEFINE_bool('update', False, 'Write the baseline.')

Baselines = dict[str, dict[str, Any]]  # By key, then by program.


def load(file: pathlib.Path) -> Baselines:
  """Loads all baselines of a file, by key; there may be none."""
  return json.loads(file.read_text()) if file.exists() else {}


def update(file: pathlib.Path, key: str, programs: dict[str, Any]) -> None:
  """Writes the baseline of `key`, beside those of others."""
  text = json.dumps(load(file) | {key: programs}, indent=2, sort_keys=True)
  file.write_text(text + '\n', encoding='utf-8')


def compare(
  file: pathlib.Path,
  key: str,
  now: dict[str, Any],
  regressions: Callable[[dict[str, Any], dict[str, Any]], list[str]],
) -> None:
  """Ends the process with an error if a figure exceeds the baseline's.

  Args:
    file: of the baselines.
    key: what the baseline belongs to.
    now: the figures of each program.
    regressions: (baseline, now) -> a line for each figure that exceeds.
  """
  baselines = load(file)
  if key not in baselines:
    sys.exit(f'No baseline for {key}; --update writes one.')
  worse = regressions(baselines[key], now)
  if worse:
    sys.exit('More than the baseline:\n  ' + '\n  '.join(worse))
  print(f'No program exceeds the baseline of {key}.')
