"""Figures of a run that mode `units` measured, with its size and training time.

  python -m rnnvae_jax.main --config=sentiment_unit --workdir=runs/unit
  python -m rnnvae_jax.main --config=averaging_classifier:imdb \
    --workdir=runs/judge
  python -m rnnvae_jax.main --mode=units --workdir=runs/unit \
    --config.units.corpus=imdb --config.units.classifier=runs/judge
  python -m benchmarks.sentiment_unit --workdir=runs/unit --json=unit.json

It measures nothing itself: it collects `units.json`, the validation of the
chosen checkpoint, and what the run took.
"""

import json
import pathlib
from typing import Any

from absl import app, flags

from benchmarks import harness

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
# Keys of the config that say how large the model was and how it was trained.
_SETTINGS = (
  'corpus.name',
  'corpus.protocol',
  'model.cell',
  'model.embedding_size',
  'model.hidden_size',
  'train.batch_size',
  'train.unroll',
  'train.num_steps',
)


def collect(workdir: pathlib.Path) -> dict[str, Any]:
  """The figures of a run: its settings, training, and each corpus' units."""
  read = lambda name: json.loads((workdir / name).read_text(encoding='utf-8'))
  config = read('config.json')
  lines = (workdir / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
  metrics = [json.loads(line) for line in lines]
  validated = [m for m in metrics if 'valid/bits_per_token' in m]
  best = min(validated, key=lambda m: m['valid/bits_per_token'])
  units = read('units.json')
  for result in units.values():
    # What the model wrote stays out of the repository.
    for condition in result.get('steering', {}).get('conditions', {}).values():
      condition.pop('first_text', None)
  settings = {key: config[key] for key in _SETTINGS}
  return {
    'settings': settings,
    'bytes_read': settings['train.batch_size']
    * settings['train.unroll']
    * metrics[-1]['step'],
    'minutes': (metrics[-1]['time'] - metrics[0]['time']) / 60,
    'valid_bits_per_byte': best['valid/bits_per_token'],
    'best_step': best['step'],
    'units': units,
  }


def main(argv: list[str]) -> None:
  del argv
  workdir = pathlib.Path(WORKDIR.value)
  found = collect(workdir)
  environment = json.loads((workdir / 'environment.json').read_text())
  rows = {}
  for corpus, result in found['units'].items():
    for model in ('trained', 'untrained'):
      rows[f'{corpus}, {model}'] = {
        kind: f'{100 * result[model][kind]["test_accuracy"]:.1f}'
        for kind in ('all_units', 'one_unit', 'random_unit')
      }
  harness.publish(
    'Accuracy on test texts, %',
    rows,
    {
      'ours': found,
      'peers': {},
      'ratio': {},
      'environment': {**harness.environment(), 'training': environment},
    },
  )


if __name__ == '__main__':
  flags.mark_flag_as_required('workdir')
  app.run(main)
