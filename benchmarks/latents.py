"""Figures of what mode `latents` found in a run, without text of its corpus.

  python -m rnnvae_jax.main --config=gru_vae:grammar --workdir=runs/grammar
  python -m rnnvae_jax.main --mode=latents --workdir=runs/grammar
  python -m benchmarks.latents --workdir=runs/grammar --json=grammar.json

It collects `latents.json`. For the corpus `grammar`, whose factors are known,
it shifts the same sentences again and parses what is written: whether the
grammar can say it, and with which factors.
"""

from collections.abc import Sequence
import json
import pathlib
from typing import Any

from absl import app, flags
import rich.console

from benchmarks import harness, latent_tables
from rnnvae_jax.analysis import intervals
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.data.sources import grammar
from rnnvae_jax.inference import latent_sample, loading, shifts
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.training import preparation

# Keys of the config that say how large the model was and how it was trained.
_SETTINGS = (
  'corpus.name',
  'corpus.protocol',
  'corpus.vocab_size',
  'model.cell',
  'model.embedding_size',
  'model.hidden_size',
  'model.encoder_hidden_size',
  'model.latent_size',
  'objective.free_bits',
  'train.batch_size',
  'train.num_steps',
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


def pooled(
  entries: list[dict[str, Any]], shares: Sequence[str]
) -> list[dict[str, Any]]:
  """The entries of each label and amount as one, over all pairs of values.

  Args:
    entries: with 'label', 'amount', 'sentences' and shares of sentences.
    shares: names of the shares, of which the first gets its 95 % interval. A
      sentence counts once for each value that it was shifted to.
  """
  groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
  for entry in entries:
    groups.setdefault((entry['label'], entry['amount']), []).append(entry)
  found = []
  for (label, amount), of in groups.items():
    sizes = [entry['sentences'] for entry in of]
    means: dict[str, float | None] = {}
    for name in shares:
      known = [
        (entry[name], size)
        for entry, size in zip(of, sizes, strict=True)
        if entry[name] is not None
      ]
      total = sum(size for _, size in known)
      means[name] = sum(x * n for x, n in known) / total if known else None
    flips = round(sum(e[shares[0]] * n for e, n in zip(of, sizes, strict=True)))
    share = intervals.wilson(flips, sum(sizes))
    found.append(
      {
        'label': label,
        'amount': amount,
        'pairs': len(of),
        'sentences': sum(sizes),
        **means,
        'low': share.low,
        'high': share.high,
      }
    )
  return found


def parsed(run: run_lib.Run) -> list[dict[str, Any]]:
  """What a grammar's parser says of shifted sentences.

  Returns:
    For each two values of a factor and each amount the shares of the written
    sentences that the grammar says with the value that they were shifted to
    ('flipped'); that have, besides, the other factors of the sentence
    ('others_kept'); and that the grammar can say at all ('grammatical'). The
    same once shifted along random directions, with 'control_' before.
  """
  corpus = preparation.build_corpus(run.config, run.vocab, run.labels)
  sample = latent_sample.take(run, corpus)
  labels = latent_sample.labelled(sample, run.config.latents.folds)
  entries = []
  for label, of in labels.items():
    for shift in shifts.between_values(run, sample, label, of):
      before = [grammar.factors(sample.texts[i].split()) for i in shift.rows]
      for amount, after in shift.after.items():
        entries.append(
          {
            'label': label,
            'value_from': shift.value_from,
            'value_to': shift.value_to,
            'amount': amount,
            'sentences': len(before),
            **_shares(run, label, shift, before, after),
            **{
              f'control_{name}': share
              for name, share in _shares(
                run, label, shift, before, shift.control[amount]
              ).items()
            },
          }
        )
  return entries


def _shares(run, label, shift, before, written) -> dict[str, float]:
  """Shares of the sentences that were written as they should be."""
  counts = dict.fromkeys(('flipped', 'others_kept', 'grammatical'), 0)
  for old, ids in zip(before, written, strict=True):
    words = [run.vocab.tokens[i] for i in ids if i != vocab_lib.EOS]
    new = grammar.factors(words)
    counts['grammatical'] += new is not None
    if new is not None and new[label] == shift.value_to:
      counts['flipped'] += 1
      counts['others_kept'] += new == {**old, label: shift.value_to}
  return {name: count / len(before) for name, count in counts.items()}


def main(argv: list[str]) -> None:
  del argv
  workdir = pathlib.Path(flags.FLAGS.workdir)
  read = lambda name: json.loads((workdir / name).read_text(encoding='utf-8'))
  found = without_text(read('latents/latents.json'))
  config = read('config.json')
  results = read('results.json')
  ours: dict[str, Any] = {
    'settings': {key: config[key] for key in _SETTINGS},
    'results': {
      split: {name: figures[name] for name in ('elbo', 'kl', 'active_units')}
      for split, figures in results.items()
      if isinstance(figures, dict) and 'kl' in figures
    },
    'latents': found,
  }
  ours['shifts'] = pooled(
    found['attributes'],
    ('flipped', 'content_kept', 'control_flipped', 'control_content_kept'),
  )
  if config['corpus.name'] == 'grammar':
    run = loading.load(str(workdir), **{'latents.split': found['split']})
    ours['parsed'] = parsed(run)
    names = 'flipped', 'others_kept', 'grammatical'
    controls = (f'control_{name}' for name in names)
    ours['parsed_shifts'] = pooled(ours['parsed'], (*names, *controls))
  harness.write(
    {
      'ours': ours,
      'peers': {},
      'ratio': {},
      'environment': {
        **harness.environment(),
        'training': read('environment.json'),
      },
    }
  )
  console = rich.console.Console()
  for name, of in latent_tables.SECTIONS.items():
    if name == 'parsed' and 'parsed' not in ours:
      continue
    console.print(of(ours), markup=False, soft_wrap=True)


if __name__ == '__main__':
  # Here alone: tests import this file beside the command line.
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  app.run(main)
