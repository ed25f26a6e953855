r"""Draws a run of a sentence VAE: its validations, and text that it wrote.

  python examples/plot_run.py runs/gru_vae first_run.png

Reads `metrics.jsonl` and `samples.txt` of the run's folder, or the same from a
report of `benchmarks.first_evening`:

  python examples/plot_run.py benchmarks/results/first_evening.json \
    docs/images/first_run.png
"""

import json
import pathlib
import sys
import textwrap

import matplotlib

matplotlib.use('agg')
import matplotlib.pyplot as plt

_WIDTH = 76  # Characters of a line.


def validations(workdir: pathlib.Path) -> list[dict[str, float]]:
  """The records of metrics.jsonl that hold a validation."""
  if workdir.is_file():
    return [
      {
        name if name == 'step' else f'valid/{name}': x
        for name, x in one.items()
      }
      for one in _report(workdir)['validations']
    ]
  lines = (workdir / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
  records = [json.loads(line) for line in lines]
  return [record for record in records if 'valid/elbo' in record]


def written(workdir: pathlib.Path, samples: int) -> list[tuple[str, list[str]]]:
  """(title, lines) of the first samples and of the shortest interpolation."""
  if workdir.is_file():
    text = _report(workdir)['samples']
  else:
    text = (workdir / 'samples.txt').read_text(encoding='utf-8')
  parts = text.strip().split('\n\n')
  sections = [(parts[0], parts[1].split('\n')[:samples])]
  if len(parts) > 3:
    sections.append((parts[2], min(parts[3:], key=len).split('\n')))
  return sections


def _report(path: pathlib.Path) -> dict:
  return json.loads(path.read_text(encoding='utf-8'))['ours']


def draw(workdir: pathlib.Path, path: pathlib.Path, samples: int = 3) -> None:
  """Writes the picture."""
  records = validations(workdir)
  steps = [record['step'] for record in records]
  figure, (curve, page) = plt.subplots(
    1, 2, figsize=(10, 3.8), width_ratios=(1, 1.5)
  )
  curve.plot(
    steps, [record['valid/elbo'] for record in records], 'o-', label='-ELBO'
  )
  curve.plot(
    steps,
    [record['valid/reconstruction'] for record in records],
    'o--',
    label='reconstruction',
  )
  curve.set(xlabel='updates', ylabel='nats a sentence, validation')
  curve.grid(alpha=0.3)
  curve.legend()
  page.axis('off')
  lines: list[str] = []
  for title, texts in written(workdir, samples):
    lines += [f'{title}:', '']
    for text in texts:
      lines += textwrap.wrap(
        text, _WIDTH, initial_indent='· ', subsequent_indent='  '
      )
    lines.append('')
  page.text(0, 1, '\n'.join(lines), va='top', family='monospace', fontsize=7.5)
  figure.tight_layout()
  figure.savefig(path, dpi=110)
  plt.close(figure)


if __name__ == '__main__':
  draw(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
