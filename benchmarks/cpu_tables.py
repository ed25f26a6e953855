"""The tables of docs/speed.md that have a row for each CPU, slowest first.

Results lie in benchmarks/results/cpu/CPU/NAME.json, where CPU is the `slug` of
a processor's model. A new folder is a new row.
"""

from collections.abc import Callable, Iterator
import json
import pathlib
import re
from typing import Any

_STEPS = {
  'step_256': '256, float32',
  'step_256_bfloat16': '256, bfloat16',
  'step_1024': '1,024, float32',
}
_PEERS = ('torch_eager', 'torch_best', 'flax_rnn', 'flax_sorted')
_LAYERS = {'gru': 'GRU', 'lstm': 'LSTM'}


def slug(environment: dict[str, Any]) -> str:
  """The folder of a CPU: 'cpu: AMD EPYC (family 25)' -> 'amd-epyc-family-25'.

  Args:
    environment: that of a report.
  """
  model = environment['device'].partition(': ')[2]
  return re.sub(r'[^a-z0-9]+', '-', model.lower()).strip('-')


def reports(results: pathlib.Path, name: str) -> dict[str, dict[str, Any]]:
  """The reports of a name, by CPU."""
  paths = sorted((results / 'cpu').glob(f'*/{name}.json'))
  return {
    path.parent.name: json.loads(path.read_text(encoding='utf-8'))
    for path in paths
  }


def steps(results: pathlib.Path) -> str:
  """Training steps: a row for each size, precision and CPU."""
  rows = []
  for name, title in _STEPS.items():
    found = reports(results, name)
    for cpu in sorted(found, key=lambda c: found[c]['ratio']['torch_best']):
      report = found[cpu]
      ours = report['ours']
      rows.append(
        [
          title,
          _title(cpu, report),
          report['environment'].get('products', ''),
          f'{ours["tokens_per_second"]["median"]:,.0f}',
          f'{ours["share_of_limit"]:.0%}',
          *(_ratio(report['ratio'].get(peer)) for peer in _PEERS),
        ]
      )
  columns = ['hidden, precision', 'CPU', 'products', 'ours, tokens/s']
  columns += ['of the limit', *(f'`{peer}`' for peer in _PEERS)]
  return _table(columns, rows)


def layers(results: pathlib.Path) -> str:
  """A recurrent layer alone: a row for each cell, size and CPU."""
  found = reports(results, 'recurrence')
  rows = []
  for cell, title in _LAYERS.items():
    for size in (256, 1024):
      case = f'{cell} B32 T24 H{size}'
      ratio = lambda cpu, peer, c=case: (
        found[cpu]['peers'].get(peer, {}).get(c, {}).get('time_over_ours')
      )
      known = [cpu for cpu in found if ratio(cpu, 'torch') is not None]
      for cpu in sorted(known, key=lambda cpu, r=ratio: r(cpu, 'torch')):
        times = {
          backend: of_case[case]['median']
          for backend, of_case in found[cpu]['ours'].items()
          if 'median' in of_case.get(case, {})
        }
        fastest = min(times, key=lambda backend, t=times: t[backend])
        rows.append(
          [
            f'{title} {size:,}',
            _title(cpu, found[cpu]),
            f'{times[fastest]:.1f}',
            f'`{fastest}`',
            *(_ratio(ratio(cpu, peer)) for peer in ('torch', 'flax_rnn')),
          ]
        )
  columns = ['layer', 'CPU', 'ours, ms', 'backend', '`torch.nn`']
  return _table([*columns, '`flax.linen.RNN`'], rows)


TABLES: dict[str, Callable[[pathlib.Path], str]] = {
  'steps': steps,
  'layers': layers,
}


def _title(cpu: str, report: dict[str, Any]) -> str:
  model = report['environment']['device'].partition(': ')[2]
  return model if model != 'cpu' else cpu.replace('-', ' ')


def _ratio(value: float | None) -> str:
  return '' if value is None else f'{value:.2f}'


def _table(columns: list[str], rows: list[list[str]]) -> str:
  def lines() -> Iterator[str]:
    for row in (columns, ['---'] * len(columns), *rows):
      yield f'| {" | ".join(row)} |'

  return '\n'.join(lines())
