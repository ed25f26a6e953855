"""Evaluates a trained run on whole splits -> results.json and a table."""

import os
import time
from typing import Any

import jax
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.data import corpora, formats
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.training import evaluation, progress, runs, validation, writers


def evaluate(
  config: Any, workdir: str, corpus: corpora.Corpus | None = None
) -> dict[str, dict[str, Any]]:
  """Evaluates the best checkpoint on the configured splits.

  Writes each split's figures into results.json, beside those of other splits
  and texts evaluated before, and prints all of this text.

  Args:
    config: the run's.
    workdir: its folder.
    corpus: read anew if None.

  Returns:
    Per split what `evaluate_split` returns.
  """
  run = runs.open_run(config, workdir)
  if corpus is None:
    corpus = runs.build_corpus(config, run.vocab)
  chosen = config.evaluate.split
  names = tuple(corpus.splits) if chosen == 'all' else (chosen,)
  path = os.path.join(workdir, 'results.json')
  results = {}
  if os.path.exists(path):
    results = runs.read_json(path)
  own = runs.load_config(workdir).corpus.name
  is_own = os.path.realpath(own) == os.path.realpath(config.corpus.name)
  keys = {
    name: name if is_own else f'{name} of {config.corpus.name}'
    for name in formats.SPLITS
  }
  for name in names:
    results[keys[name]] = evaluate_split(run, corpus, name)
    writers.write_json(path, results)
  ours = {name: results[key] for name, key in keys.items() if key in results}
  rich_console.Console().print(table(ours))
  return {name: ours[name] for name in names}


def evaluate_split(
  run: runs.Run, corpus: corpora.Corpus, name: str
) -> dict[str, Any]:
  """The figures of one split; nats per sentence unless named otherwise.

  The same at any batch size and bucket layout: noise is keyed by (seed,
  sentence) and sums are taken over sentences in the split's order.
  """
  settings, split = run.config.evaluate, corpus.splits[name]
  carried = validation.carries_state(run)
  reset = 'reset at each sentence' if split.ends else 'of one text'
  start = time.time()
  run_split = validation.make_evaluator(run, split)
  key = jax.random.key(run.config.seed)
  with progress.counter(f'evaluating {name}') as report:
    values = run_split(run.params, run.extras, key, report)
  summary = {
    'corpus': corpus.name,
    'protocol': corpus.protocol,
    'state': 'carried' if carried else reset,
    **evaluation.summarise(values, split.lengths, split.ends),
    'truncated': split.num_truncated,
    'checkpoint': run.checkpoint,
    'seed': run.config.seed,
  }
  if run.vocab.kind != 'word' and not split.ends:
    bits = summary['bits_per_token'] * summary['tokens']
    characters = _characters(run.vocab, split)
    summary['bits_per_character'] = bits / characters
  if run.task.latents is not None:
    sentences, tokens = summary['sentences'], summary['tokens']
    iwae = float(values['iwae_nll'].mean())
    summary |= {
      'iwae_nll': iwae,
      'iwae_samples': settings.iw_samples,
      'iwae_perplexity': evaluation.perplexity(iwae, sentences, tokens),
      **evaluation.summarise_latents(values, settings.mutual_information_group),
    }
  if carried and len(split) > 1:
    by_sentence = validation.make_sentence_evaluator(run, split)
    values_reset = by_sentence(run.params, run.extras, key)
    of_reset = evaluation.summarise(values_reset, split.lengths)
    for figure in ('nll_per_sentence', 'perplexity'):
      summary[f'reset_{figure}'] = of_reset[figure]
  if 'iwae_variance' in values:
    error = evaluation.standard_error(values['iwae_variance'])
    summary['iwae_standard_error'] = error
  return summary | {'seconds': round(time.time() - start, 1)}


def _characters(vocab: vocab_lib.Vocabulary, split: corpora.Split) -> int:
  """Of a text without ends, whose bytes may be several to a character."""
  if vocab.kind == 'character':
    return len(split.tokens)
  goes_on = [len(t) == 1 and 0x80 <= ord(t) < 0xC0 for t in vocab.tokens]
  return int(np.sum(~np.array(goes_on)[split.tokens]))


_ROWS = (
  ('checkpoint', '{}'),
  ('sentences', '{:,}'),
  ('tokens', '{:,}'),
  ('truncated', '{:,}'),
  ('nll_per_sentence', '{:.3f}'),
  ('perplexity', '{:.2f}'),
  ('perplexity_without_eos', '{:.2f}'),
  ('backward_nll_per_sentence', '{:.3f}'),
  ('backward_perplexity', '{:.2f}'),
  ('reset_nll_per_sentence', '{:.3f}'),
  ('reset_perplexity', '{:.2f}'),
  ('nll_per_token', '{:.4f}'),
  ('bits_per_token', '{:.4f}'),
  ('bits_per_character', '{:.4f}'),
  ('reconstruction', '{:.3f}'),
  ('kl', '{:.3f}'),
  ('kl_standard_error', '{:.4f}'),
  ('iwae_samples', '{:,}'),
  ('iwae_nll', '{:.3f}'),
  ('iwae_standard_error', '{:.4f}'),
  ('iwae_perplexity', '{:.2f}'),
  ('mutual_information', '{:.3f}'),
  ('mutual_information_standard_error', '{:.3f}'),
  ('mutual_information_ceiling', '{:.3f}'),
  ('mutual_information_batch', '{:.3f}'),
  ('mutual_information_batch_ceiling', '{:.3f}'),
  ('active_units', '{}'),
)


def table(results: dict[str, dict[str, Any]]) -> rich_table.Table:
  """The figures of all evaluated splits, one column a split."""
  first = next(iter(results.values()))
  ends = 'perplexity_without_eos' in first
  shown = rich_table.Table(
    title=f'{first["corpus"]}, protocol {first["protocol"]}; nats'
    + (' a sentence' if ends else '')
    + f', state {first["state"]}'
  )
  shown.add_column('')
  for name in results:
    shown.add_column(name, justify='right')
  for row, form in _ROWS:
    if not ends and row in ('sentences', 'nll_per_sentence'):
      continue  # All of the text is one.
    if any(row in values for values in results.values()):
      shown.add_row(
        _label(row, first),
        *(_cell(values, row, form) for values in results.values()),
      )
  return shown


def _cell(values: dict[str, Any], row: str, form: str) -> str:
  if row not in values:
    return '-'
  # A file has no infinity: null stands for it.
  return 'inf' if values[row] is None else form.format(values[row])


def _label(row: str, values: dict[str, Any]) -> str:
  """A row's name with what makes its number comparable."""
  bound = ' (bound: ELBO)' if values['estimator'] == 'elbo' else ' (exact)'
  # A version before said so by the error alone.
  error = 'kl_standard_error'
  is_sampled = error in values or values.get('kl_estimator') == 'sampled'
  return {
    'nll_per_sentence': f'nll{bound}',
    'perplexity': (
      'perplexity'
      + (', eos counted' if 'perplexity_without_eos' in values else '')
      + bound
    ),
    'perplexity_without_eos': f'perplexity, words only{bound}',
    'backward_nll_per_sentence': 'nll, words in reverse',
    'backward_perplexity': 'perplexity, words in reverse',
    'reset_nll_per_sentence': 'nll, state reset at each sentence',
    'reset_perplexity': 'perplexity, state reset at each sentence',
    'nll_per_token': 'nll a token',
    'bits_per_token': 'bits a token',
    'kl': 'KL' + ' (sampled)' * is_sampled,
    'kl_standard_error': '  standard error, of the samples',
    'iwae_standard_error': '  standard error, of the samples',
    'iwae_samples': 'importance samples',
    'iwae_nll': 'nll (importance-weighted bound)',
    'iwae_perplexity': 'perplexity, eos counted (importance-weighted)',
    'mutual_information': 'mutual information, whole split',
    'mutual_information_standard_error': '  standard error, over sentences',
    'mutual_information_ceiling': '  at most',
    'mutual_information_batch': 'mutual information, groups of '
    f'{values.get("mutual_information_batch_size")}',
    'mutual_information_batch_ceiling': '  at most',
    'active_units': f'active units of {values.get("latents")}',
  }.get(row, row)
