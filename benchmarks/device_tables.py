"""The tables of docs/speed.md that have a row for each CPU or GPU.

Results lie in benchmarks/results/cpu/CPU/NAME.json and in gpu/GPU/NAME.json,
where CPU and GPU are the `slug` of a processor's model. A new folder is a new
row; the CPU on which we are least ahead comes first.
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
  """The folder of a device: 'gpu: NVIDIA H200' -> 'nvidia-h200'.

  Args:
    environment: that of a report.
  """
  model = environment['device'].partition(': ')[2]
  return re.sub(r'[^a-z0-9]+', '-', model.lower()).strip('-')


def reports(
  results: pathlib.Path, name: str, kind: str = 'cpu'
) -> dict[str, dict[str, Any]]:
  """The reports of a name, by device; `kind` is 'cpu' or 'gpu'."""
  paths = sorted((results / kind).glob(f'*/{name}.json'))
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
  return markdown(columns, rows)


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
  return markdown([*columns, '`flax.linen.RNN`'], rows)


_GPU_STEPS = {'step_256_bfloat16': 'bfloat16', 'step_256_tf32': 'tf32'}
_GPU_LAYERS = {
  'recurrence_256': 'B32 T64 H256',
  'recurrence_512': 'B128 T64 H512',
}


def gpu_steps(results: pathlib.Path) -> str:
  """Training steps on GPUs: ms an update, and ratios of the medians."""
  rows = []
  for name, precision in _GPU_STEPS.items():
    for gpu, report in reports(results, name, 'gpu').items():
      figures = {'ours': report['ours'], **report['peers']}
      times = {
        name: figure['milliseconds_per_step']['median']
        for name, figure in figures.items()
      }
      ours = times['ours_cluster']
      rows.append(
        [
          precision,
          _title(gpu, report),
          f'{ours:.2f}',
          *(
            f'{times[name]:.2f} ({times[name] / ours:.2f})'
            for name in ('ours', 'torch_best', 'torch_eager')
          ),
        ]
      )
  columns = ['precision', 'GPU', '`cluster`', '`fused`', '`torch_best`']
  return markdown([*columns, '`torch_eager`'], rows)


def gpu_layers(results: pathlib.Path) -> str:
  """A recurrent layer alone on GPUs: ms, and ratios of the medians."""
  rows = []
  for name, shape in _GPU_LAYERS.items():
    for gpu, report in reports(results, name, 'gpu').items():
      for cell, title in _LAYERS.items():
        case = f'{cell} {shape}'
        times = {
          name: cases[case]['median']
          for part in ('ours', 'peers')
          for name, cases in report[part].items()
          if 'median' in cases.get(case, {})
        }
        ours = times['cluster']
        rows.append(
          [
            f'{title}, {shape}',
            _title(gpu, report),
            f'{ours:.2f}',
            *(
              f'{times[name]:.2f} ({times[name] / ours:.2f})'
              if name in times
              else ''
              for name in ('fused', 'scan', 'torch', 'flax_rnn')
            ),
          ]
        )
  columns = ['layer', 'GPU', '`cluster`', '`fused`', '`scan`', '`torch.nn`']
  return markdown([*columns, '`flax.linen.RNN`'], rows)


TABLES: dict[str, Callable[[pathlib.Path], str]] = {
  'steps': steps,
  'layers': layers,
  'gpu_steps': gpu_steps,
  'gpu_layers': gpu_layers,
}


def _title(cpu: str, report: dict[str, Any]) -> str:
  model = report['environment']['device'].partition(': ')[2]
  return model if model != 'cpu' else cpu.replace('-', ' ')


def _ratio(value: float | None) -> str:
  return '' if value is None else f'{value:.2f}'


def markdown(columns: list[str], rows: list[list[str]]) -> str:
  """A table of Markdown."""

  def lines() -> Iterator[str]:
    for row in (columns, ['---'] * len(columns), *rows):
      yield f'| {" | ".join(row)} |'

  return '\n'.join(lines())
