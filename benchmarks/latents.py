"""Figures of what mode `latents` found in a run, without text of its corpus.

  python -m rnnvae_jax.main --config=gru_vae:grammar --workdir=runs/grammar
  python -m rnnvae_jax.main --mode=latents --workdir=runs/grammar
  python -m benchmarks.latents --workdir=runs/grammar --json=grammar.json

It collects `latents.json`. For the corpus `grammar`, whose factors are known,
it shifts the same sentences again and parses what is written: whether the
grammar can say it, and with which factors.
"""

import json
import pathlib
from typing import Any

from absl import app, flags
import numpy as np

from benchmarks import harness
from rnnvae_jax.analysis import intervals
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import grammar
from rnnvae_jax.inference import latent_sample, loading, shifts
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.training import preparation

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
# Keys of the config that say how large the model was and how it was trained.
_SETTINGS = (
  ('corpus', 'name'),
  ('corpus', 'protocol'),
  ('corpus', 'vocab_size'),
  ('model', 'cell'),
  ('model', 'embedding_size'),
  ('model', 'hidden_size'),
  ('model', 'encoder_hidden_size'),
  ('model', 'latent_size'),
  ('objective', 'free_bits'),
  ('train', 'batch_size'),
  ('train', 'num_steps'),
)
# What latents.json quotes of the corpus, or writes in its manner.
_QUOTED = ('neighbours', 'homotopies')


def without_text(found: dict[str, Any]) -> dict[str, Any]:
  """latents.json without sentences."""
  kept = {name: value for name, value in found.items() if name not in _QUOTED}
  for name, quoted in (('attributes', 'examples'), ('traversals', 'sentences')):
    kept[name] = [
      {key: value for key, value in entry.items() if key != quoted}
      for entry in found[name]
    ]
  return kept


def parsed(run: run_lib.Run) -> list[dict[str, Any]]:
  """What a grammar's parser says of shifted sentences.

  Returns:
    For each two values of a factor and each amount the shares of the written
    sentences that the grammar can say ('grammatical'); that it says with the
    value that they were shifted to ('flipped', with its interval); and that
    have, besides, the other factors of the sentence ('others_kept').
  """
  corpus = preparation.build_corpus(run.config, run.vocab, run.labels)
  sample = latent_sample.take(run, corpus)
  labels = latent_sample.labelled(sample, run.config.latents.folds)
  entries = []
  for label, of in labels.items():
    for shift in shifts.between_values(run, sample, label, of):
      before = [grammar.factors(sample.texts[i].split()) for i in shift.rows]
      for amount, after in shift.after.items():
        control = _counts(run, label, shift, before, shift.control[amount])
        counts = _counts(run, label, shift, before, after)
        size = len(before)
        share = intervals.wilson(counts['flipped'], size)
        entries.append(
          {
            'label': label,
            'value_from': shift.value_from,
            'value_to': shift.value_to,
            'amount': amount,
            'sentences': size,
            **{name: count / size for name, count in counts.items()},
            'low': share.low,
            'high': share.high,
            'control_flipped': control['flipped'] / size,
          }
        )
  return entries


def _counts(run, label, shift, before, written) -> dict[str, int]:
  """How many sentences were written as they should be."""
  counts = dict.fromkeys(('grammatical', 'flipped', 'others_kept'), 0)
  for old, ids in zip(before, written, strict=True):
    words = [run.vocab.tokens[i] for i in ids if i != vocab_lib.EOS]
    new = grammar.factors(words)
    if new is None:
      continue
    counts['grammatical'] += 1
    if new[label] == shift.value_to:
      counts['flipped'] += 1
      counts['others_kept'] += new == {**old, label: shift.value_to}
  return counts


def main(argv: list[str]) -> None:
  del argv
  workdir = pathlib.Path(WORKDIR.value)
  read = lambda name: json.loads((workdir / name).read_text(encoding='utf-8'))
  found = without_text(read('latents/latents.json'))
  config = read('config.json')
  results = read('results.json')
  ours: dict[str, Any] = {
    'settings': {f'{s}.{key}': config[s][key] for s, key in _SETTINGS},
    'results': {
      split: {name: figures[name] for name in ('elbo', 'kl', 'active_units')}
      for split, figures in results.items()
      if isinstance(figures, dict) and 'kl' in figures
    },
    'latents': found,
  }
  report = {
    'ours': ours,
    'peers': {},
    'ratio': {},
    'environment': {
      **harness.environment(),
      'training': read('environment.json'),
    },
  }
  if config['corpus']['name'] != 'grammar':
    harness.write(report)
    return
  run = loading.load(str(workdir), **{'latents.split': found['split']})
  ours['parsed'] = parsed(run)
  rows = {}
  for entry in ours['parsed']:
    key = f'{entry["label"]}, amount {entry["amount"]:g}'
    rows.setdefault(key, []).append(entry)
  names = ('grammatical', 'flipped', 'others_kept', 'control_flipped')
  harness.publish(
    'Sentences of the grammar, shifted: %, means over pairs of values',
    {
      key: {
        name: f'{100 * np.mean([e[name] for e in of]):.1f}' for name in names
      }
      for key, of in rows.items()
    },
    report,
  )


if __name__ == '__main__':
  flags.mark_flag_as_required('workdir')
  app.run(main)
