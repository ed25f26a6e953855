"""Fair timing of contestants, and the reports of benchmarks.

Contestants run in turns, so that other load, heat and clock rate of the machine
affect all of them in the same way. A ratio is the median over turns of one
contestant's time divided by another's in the same turn. The first pass, which
compiles and warms caches, is timed separately.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import sys
import time
from typing import Any, NamedTuple

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from benchmarks import device_tables
from rnnvae_jax.training import environment as environment_lib

JSON = flags.DEFINE_string(
  'json',
  '',
  'File to write the figures to; {cpu} in it stands for the model of the CPU.',
)
REPETITIONS = flags.DEFINE_integer(
  'repetitions',
  5,
  'Timed turns of each contestant; 5 or more for a figure to be quoted.',
  lower_bound=1,
)
PRECISION = flags.DEFINE_enum(
  'precision',
  'float32',
  ('float32', 'tf32', 'bfloat16'),
  "Of the operands of matrix products; tf32 is a GPU's.",
)
PEERS = flags.DEFINE_list(
  'peers', ['all'], 'Peers that are timed; all, or none if empty.'
)

# The libraries that XLA leaves products to, by their marks in its programs.
_LIBRARIES = {
  '__ynn_': 'YNNPACK',
  '__xnn_': 'XNNPACK',
  '__onednn': 'oneDNN',
  '__cublas': 'cuBLAS',
  '__triton': 'Triton',
}

_WIDTH = 120  # Width of a table, so that narrow terminals cut no column.


# Load of the machine before the benchmark starts; it should be idle.
_LOAD_BEFORE = os.getloadavg()[0]
_IDLE = 0.5
_ROOT = pathlib.Path(__file__).parent.parent


class Timing(NamedTuple):
  """The times of a contestant, in seconds."""

  first: float  # The first pass over all turns: compilation and warm-up.
  turns: np.ndarray  # float[N], each turn of the second pass.


def interleave(
  contestants: Mapping[str, Callable[[int], Any]], repetitions: int
) -> dict[str, Timing]:
  """Times `contestant(turn)` for each turn, the contestants alternating.

  Args:
    contestants: functions of a turn, by name. A JAX function may return before
      its arrays are computed, since they are waited for; others must not.
    repetitions: N, timed turns, after an untimed pass over the same ones.

  Returns:
    The timing of each contestant.
  """
  names = list(contestants)
  first = {
    name: sum(_seconds(run, turn) for turn in range(repetitions))
    for name, run in contestants.items()
  }
  turns: dict[str, list[float]] = {name: [] for name in names}
  for turn in range(repetitions):
    # Rotated, so that the order of contestants varies.
    start = turn % len(names)
    for name in names[start:] + names[:start]:
      turns[name].append(_seconds(contestants[name], turn))
  return {name: Timing(first[name], np.array(turns[name])) for name in names}


def with_torch(module: str) -> Any:
  """A module that needs PyTorch; None where that is not installed."""
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    if error.name != 'torch':
      raise
    return None


def peers(
  makers: Mapping[str, Callable[[], Callable[[int], Any]]],
) -> dict[str, Callable[[int], Any]]:
  """Makes the contestants that --peers asks for.

  Args:
    makers: functions that make a contestant, by name. Names of those that need
      PyTorch begin with 'torch'; where it is missing, they are left out.
  """
  chosen = {
    name: make
    for name, make in makers.items()
    if 'all' in PEERS.value or name in PEERS.value
  }
  missing = [name for name in chosen if name.startswith('torch')]
  if missing and importlib.util.find_spec('torch') is None:
    print(f'PyTorch is not installed, so {", ".join(missing)} is left out.')
    chosen = {n: make for n, make in chosen.items() if n not in missing}
  return {name: make() for name, make in chosen.items()}


def first_line(error: Exception) -> str:
  """The class of an error and the beginning of its message."""
  message = (str(error).splitlines() or [''])[0]
  return f'{type(error).__name__}: {message[:300]}'


def seconds_allowed() -> float:
  """When a script should start nothing more, in seconds of its time."""
  return float(os.environ.get('SECONDS_ALLOWED', 'inf'))


def _seconds(run: Callable[[int], Any], turn: int) -> float:
  start = time.perf_counter()
  jax.block_until_ready(run(turn))
  return time.perf_counter() - start


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
  """Median, lowest and highest of the turns."""
  return {
    'median': float(np.median(values)),
    'low': float(np.min(values)),
    'high': float(np.max(values)),
  }


def brief(figure: Mapping[str, float]) -> str:
  """Formats a spread for a table."""
  return '{median:.1f} ({low:.1f} to {high:.1f})'.format_map(figure)


def ratio(peer: Timing, ours: Timing) -> float:
  """The peer's time divided by ours: above 1, ours is faster."""
  return float(np.median(peer.turns / ours.turns))


def products_library(precision: str) -> str:
  """The library that computes XLA's large matrix products here.

  Args:
    precision: of the operands: 'float32', 'tf32' or 'bfloat16'.
  """
  is_bfloat16 = precision == 'bfloat16'
  operand = jax.ShapeDtypeStruct(
    (512, 512), jnp.bfloat16 if is_bfloat16 else jnp.float32
  )
  product = jax.jit(
    functools.partial(jnp.dot, preferred_element_type='float32')
  )
  text = product.lower(operand, operand).compile().as_text()
  found = (name for mark, name in _LIBRARIES.items() if mark in text)
  default = 'Eigen' if jax.default_backend() == 'cpu' else 'XLA'
  return next(found, default)


def add_rates(
  report: dict[str, Any],
  work: str,
  unit: str,
  count: int,
  timings: Mapping[str, Timing],
) -> dict[str, dict[str, str]]:
  """Adds what is done in a second, for one kind of work, to a report.

  Args:
    report: with 'ours' and 'peers', which receive the figures.
    work: its name, such as 'training'.
    unit: of what is counted, such as 'reviews'.
    count: how many of these a turn has.
    timings: by contestant, 'ours' among them.

  Returns:
    The rows of the table, by work and contestant.
  """
  rows = {}
  for name, timing in timings.items():
    rate = spread(count / timing.turns)
    figure: dict[str, Any] = {
      f'{unit}_per_second': rate,
      'first_pass_seconds': timing.first,
    }
    over_ours = ratio(timing, timings['ours'])
    rows[f'{work}, {name}'] = {
      f'{unit}/s': brief(rate),
      'time over ours': f'{over_ours:.2f}',
    }
    if name == 'ours':
      report['ours'][work] = figure
    else:
      figure['time_over_ours'] = over_ours
      report['peers'].setdefault(name, {})[work] = figure
  return rows


def importing_environment() -> dict[str, str]:
  """The environment of a process that imports this source tree."""
  path = os.pathsep.join([str(_ROOT), os.environ.get('PYTHONPATH', '')])
  return os.environ | {'PYTHONPATH': path}


def private_kilobytes(pid: int) -> int:
  """Kilobytes that a process and its children have to themselves."""
  try:
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    listed = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text()
  except OSError:  # It has just ended.
    return 0
  own = [
    int(line.split()[1])
    for line in status.splitlines()
    if line.startswith('RssAnon')
  ]
  return sum(own) + sum(
    private_kilobytes(int(child)) for child in listed.split()
  )


def environment(**measured: Any) -> dict[str, Any]:
  """The environment of a benchmark, with further measured values."""
  return {
    # Without the paths of what is written, which are private.
    'command': [pathlib.Path(sys.argv[0]).stem]
    + [arg for arg in sys.argv[1:] if not arg.startswith(('--json', '--plot'))],
    **environment_lib.describe(),
    'products': products_library(PRECISION.value),
    'load_average_before': _LOAD_BEFORE,
    'repetitions': REPETITIONS.value,
    **measured,
  }


def publish(
  title: str,
  rows: Mapping[str, Mapping[str, str]],
  report: dict[str, Any],
) -> None:
  """Prints a table, and writes the report to the file given by --json.

  Args:
    title: title of the table.
    rows: the text of each column, by contestant.
    report: ours, peers, ratio and environment.
  """
  table = rich.table.Table(title=title)
  table.add_column('')
  columns = list(next(iter(rows.values())))
  for column in columns:
    table.add_column(column, justify='right')
  for name, row in rows.items():
    table.add_row(name, *(row[column] for column in columns))
  console = rich.console.Console(width=_WIDTH)
  console.print(table)
  if _LOAD_BEFORE > _IDLE:
    console.print(
      f'The machine was not idle (load average {_LOAD_BEFORE:.1f}). Do not '
      'quote these figures: other load slows PyTorch most, because its threads '
      'wait for each other.'
    )
  write(report)


def write(report: dict[str, Any]) -> None:
  """Writes the report to the file given by --json, if any."""
  if JSON.value:
    text = json.dumps(report, indent=2, allow_nan=False)
    cpu = device_tables.slug(report['environment'])
    path = pathlib.Path(JSON.value.replace('{cpu}', cpu))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + '\n', encoding='utf-8')
