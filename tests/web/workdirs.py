"""Folders as trainings, evaluations and searches leave them, without a run."""

import base64
import json
import math
import pathlib
import struct
from typing import Any

from rnnvae_jax.config import build

HOSTILE = '</script><script>document.title="owned"</script><img src=x>"\'&'
SENTENCES = (
  'the old fisher pulled a net near the boat .',
  'some gardeners watered every flower behind the fence .',
  'a clever cook stirs the soup .',
  'the teachers explained a story yesterday .',
  HOSTILE,
)
# The smallest PNG: one grey pixel.
PICTURE = base64.b64decode(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCB'
  'd81ytgAAAABJRU5ErkJggg=='
)
PARAMETERS = 3 * 5 + 7


def write(folder: pathlib.Path, name: str, value: Any) -> None:
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  text = value if isinstance(value, str) else json.dumps(value)
  path.write_text(text, encoding='utf-8')


def flat_config(kind: str, **changes: Any) -> dict[str, Any]:
  return build.flatten(build.default(kind)) | changes


def _run(folder: pathlib.Path, kind: str, **changes: Any) -> None:
  """What every training leaves."""
  config = {'corpus.name': 'grammar', 'seed': 3, **changes}
  write(folder, 'config.json', flat_config(kind, **config))
  write(
    folder,
    'environment.json',
    {'commit': 'abc123' * 6, 'device': 'cpu: Some & Chip', 'cores': 2},
  )
  sizes = {'sentences': 1_200, 'tokens': 9_876}
  write(folder, 'text.json', {'labels': [], 'splits': {'train': sizes}})
  write(
    folder, 'vocab.json', {'tokens': ['<pad>', '<s>', '</s>', '<unk>', 'a']}
  )
  write(folder, 'command.txt', 'python -m rnnvae_jax.main --config=gru_vae\n')
  head = json.dumps(
    {
      '__metadata__': {},
      'params/params/a': {'shape': [3, 5]},
      'params/params/b': {'shape': [7]},
      'extras/c': {'shape': [1_000]},
    }
  ).encode()
  weights = folder / 'checkpoints/best/20/weights.safetensors'
  weights.parent.mkdir(parents=True)
  weights.write_bytes(struct.pack('<Q', len(head)) + head)


def _metrics(folder: pathlib.Path, valid: dict[str, Any]) -> None:
  """Twenty updates, of which each fifth is followed by a validation."""
  lines = []
  for step in range(1, 21):
    decay = math.exp(-step / 6)
    train = {
      'train/loss': 60 * decay + 20,
      'train/kl_per_sentence': 6 - 5 * decay,
      'train/learning_rate': 0.001,
    }
    lines.append({'step': step, 'time': 1.7e9 + step, **train})
    if step % 5 == 0:
      values = {f'valid/{n}': v + 10 * decay for n, v in valid.items()}
      lines.append({'step': step, 'time': 1.7e9 + step + 0.5, **values})
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  write(folder, 'metrics.jsonl', text)


def vae(folder: pathlib.Path) -> pathlib.Path:
  """A run with latents: curves, figures, texts, a map, probes."""
  _run(folder, 'sentence_vae', **{'model.latent_size': 4})
  _metrics(folder, {'elbo': 40.0, 'reconstruction': 34.0, 'kl': 6.0})
  write(
    folder,
    'results.json',
    {
      'test': {
        'corpus': 'grammar',
        'protocol': 'mikolov',
        'state': 'reset at each sentence',
        'checkpoint': 'best, step 20',
        'estimator': 'elbo',
        'kl_estimator': 'exact',
        'sentences': 200,
        'tokens': 1_600,
        'nll_per_sentence': 41.5,
        'perplexity': 98.25,
        'elbo': 41.5,
        'reconstruction': 35.0,
        'kl': 6.5,
        'iwae_samples': 50,
        'iwae_nll': 40.9,
        'iwae_perplexity': 91.75,
        'iwae_doubling': {'25': 41.0, '50': 40.9},
        'active_units': 3,
        'latents': 4,
        'information_per_latent': [0.5, 1.5, None, 0.01],
        'labels': {
          'number': {
            'one': {'sentences': 90, 'elbo': 40.5},
            HOSTILE: {'sentences': 110, 'elbo': 42.25},
          }
        },
      }
    },
  )
  ways = '\n\n'.join('\n'.join(SENTENCES[i : i + 3]) for i in (0, 1))
  write(
    folder,
    'samples.txt',
    'Samples at temperature 1.0\n\n'
    + '\n'.join(SENTENCES)
    + '\n\nInterpolations between samples of the prior, most likely\n\n'
    + f'{ways}\n',
  )
  pairs = [
    {'text': text, 'reconstruction': text.replace('the', 'a')}
    for text in SENTENCES
  ]
  lines = ''.join(json.dumps(pair) + '\n' for pair in pairs)
  write(folder, 'reconstructions.jsonl', lines)
  latents(folder)
  return folder


def latents(folder: pathlib.Path, count: int = 60) -> None:
  """What the mode `latents` writes."""
  from pyarrow import parquet, table

  (folder / 'latents').mkdir(exist_ok=True)
  numbers = range(count)
  columns = {
    'text': [f'{i} {SENTENCES[i % len(SENTENCES)]}' for i in numbers],
    'number': [('one', 'many')[i % 2] for i in numbers],
    'place': ['abcdefghij'[i % 10] for i in numbers],
    'length': [float(i) for i in numbers],
    'pca_x': [math.cos(i) for i in numbers],
    'pca_y': [math.sin(i) for i in numbers],
    'tsne_x': [math.cos(i) * i for i in numbers],
    'tsne_y': [math.sin(i) * i for i in numbers],
  }
  parquet.write_table(table(columns), folder / 'latents/map.parquet')
  shares = {'low': 0.7, 'high': 0.9}
  write(
    folder,
    'latents/latents.json',
    {
      'split': 'valid',
      'sentences': count,
      'kl': [0.25, 3.5, 1.5, 1.25],
      'probes': [
        {
          'label': 'number',
          'features': 'latents',
          'probe': 'linear',
          'accuracy': 0.8,
          'chance': 0.5,
          'classes': 2,
          **shares,
        }
      ],
      'mutual_information': [
        {'label': 'number', 'nats': 0.4, 'entropy': 0.69, 'estimator': 'k'}
      ],
      'attributes': [
        {
          'label': 'number',
          'value_from': 'one',
          'value_to': HOSTILE,
          'amount': 1.5,
          'flipped': 0.8,
          'content_kept': 0.6,
          'control_flipped': 0.1,
          'examples': [{'before': SENTENCES[0], 'after': SENTENCES[1]}],
          **shares,
        }
      ],
      'traversals': [
        {
          'latent': 1,
          'kl': 3.5,
          'words': [{'word': HOSTILE, 'change': -0.25}],
          'sentences': list(SENTENCES),
        }
      ],
      'neighbours': [
        {
          'text': HOSTILE,
          'nearest': [{'text': SENTENCES[0], 'distance': 0.5}],
        }
      ],
      'homotopies': [{'from': HOSTILE, 'to': 'a', 'texts': [HOSTILE, '', 'a']}],
    },
  )


def classifier(folder: pathlib.Path) -> pathlib.Path:
  """A run that predicts labels."""
  _run(folder, 'classification')
  _metrics(folder, {'accuracy': 0.8, 'nll_per_sentence': 0.5})
  of_class = {'predicted': 50, 'precision': 0.81, 'recall': 0.82, 'f1': None}
  write(
    folder,
    'results.json',
    {
      'test': {
        'corpus': 'grammar',
        'protocol': 'mikolov',
        'sentences': 100,
        'accuracy': 0.81,
        'error_percent': 19.0,
        'calibration_error': 0.05,
        'classes': {
          'one': {'count': 48, **of_class},
          HOSTILE: {'count': 52, **of_class},
        },
        'confusion': [[38, 10], [9, 43]],
      }
    },
  )
  (folder / 'reliability_test.png').write_bytes(PICTURE)
  write(
    folder,
    'mistakes_test.tsv',
    'probability\tpredicted\tlabel\ttext\n'
    f'0.97\tone\tmany\t{HOSTILE}\\twith a tab\n',
  )
  return folder


def tagger(folder: pathlib.Path) -> pathlib.Path:
  """A run that tags words."""
  _run(folder, 'tagging')
  write(
    folder,
    'results.json',
    {
      'test': {
        'corpus': 'grammar',
        'protocol': 'mikolov',
        'sentences': 100,
        'tokens': 700,
        'f1': 88.5,
        'spans': {
          'PER': {'f1': 88.5, 'precision': 90.0, 'recall': 87.0, 'count': 40}
        },
        'mistakes': {'missed': 4, 'invented': 2},
        'confused': [['B-PER', 'O', 3]],
      }
    },
  )
  write(
    folder,
    'mistakes_test.tsv',
    'mistake\tsentence\tword\ttagged\twords\tpredicted\tpredicted words\ttext\n'
    f'missed\t3\t2\tPER\tAnna Berg\t\t\tdoctor Anna Berg left {HOSTILE}\n',
  )
  return folder


def seeds(folder: pathlib.Path) -> pathlib.Path:
  """Two seeds of a config, of which one has a report."""
  spread = {'mean': 3.25, 'std': 0.5, 'seeds': 2}
  one = {'mean': None, 'std': None, 'seeds': 1}
  write(folder, 'seeds.json', {'test': {'kl': spread, 'perplexity': one}})
  write(folder, 'seed_0/report.html', '')
  write(folder, 'seed_1/log.txt', '')
  return folder


def search(folder: pathlib.Path) -> pathlib.Path:
  """A search of eight trials, of which one was stopped and one failed."""
  space = {
    'model.cell': ['gru', 'lstm'],
    'optimizer.learning_rate': {'low': 0.001, 'high': 0.1, 'log': True},
  }
  write(
    folder,
    'sweep.json',
    {
      'space': space,
      'figure': 'elbo',
      'maximise': False,
      'at_least': {'kl': 1},
    },
  )
  trials = []
  for number in range(8):
    figures = {'elbo': 50.0 - number, 'kl': 0.5 * number}
    figures['reconstruction'] = figures['elbo'] - figures['kl']
    trials.append(
      {
        'number': number,
        'phase': 'grid' if number > 5 else 'random',
        'params': {
          'model.cell': ('gru', 'lstm')[number % 2],
          'optimizer.learning_rate': 0.001 * 1.5**number,
        },
        'state': {6: 'pruned', 7: 'failed'}.get(number, 'complete'),
        'figures': {'10': figures, '9': {'elbo': 99.0, 'kl': 0.0}},
      }
    )
  write(folder, 'trials.json', {'trials': trials})
  write(folder, 'winner.py', f'# {HOSTILE}\n')
  spread = {'mean': 45.5, 'std': 0.25, 'seeds': 3}
  write(
    folder,
    'finalists.json',
    {'finalists': [{'trial': 5, 'figures': {'elbo': spread, 'kl': spread}}]},
  )
  (folder / 'importances.png').write_bytes(PICTURE)
  return folder
