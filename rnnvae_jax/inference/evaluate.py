"""Evaluates a trained run on whole splits -> results.json and a table."""

from collections.abc import Callable, Sequence
import dataclasses
import os
import time
from typing import Any

from absl import logging
import jax
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.data import corpora
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.inference import classes, loading, tag_mistakes, translation
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import (
  preparation,
  progress,
  sentence_nats,
  validation,
  writers,
)
from rnnvae_jax.training import workdir as workdir_lib

# Columns of more labels than this name sentences, not kinds of them.
_MOST_LABELS = 50
# What is kept of a label's figures, where the task has it.
_LABEL_FIGURES = (
  'sentences',
  'tokens',
  'nll_per_sentence',
  'perplexity',
  'elbo',
  'reconstruction',
  'kl',
  'accuracy',
  'estimator',
)


def evaluate(
  config: Any, workdir: str, corpus: corpora.Corpus | None = None
) -> dict[str, dict[str, Any]]:
  """Evaluates the best checkpoint on the configured splits.

  Writes each split's figures into results.json, beside those of other splits
  and texts evaluated before, and prints all of this text. The nats of each
  sentence of the run's own text are kept; see `training.sentence_nats`. Where
  the folder cannot be written, the figures are only printed.

  Args:
    config: the run's.
    workdir: its folder.
    corpus: read anew if None.

  Returns:
    Per split what `evaluate_split` returns.
  """
  chosen = config.evaluate.split
  if chosen == 'none':
    raise ValueError(
      "config.evaluate.split = 'none' leaves nothing to evaluate. Legal: "
      'train, valid, test, all.'
    )
  run = loading.open_run(config, workdir)
  if corpus is None:
    corpus = preparation.build_corpus(config, run.vocab, run.labels)
  names = tuple(corpus.splits) if chosen == 'all' else (chosen,)
  results = workdir_lib.read_results(workdir)
  refusal = writers.refusal(workdir)
  if refusal:
    logging.warning(
      '%s cannot be written (%s): the figures are printed alone.',
      workdir,
      refusal,
    )
  own = workdir_lib.load_config(workdir).corpus.name
  is_own = os.path.realpath(own) == os.path.realpath(config.corpus.name)
  keys = {
    name: name if is_own else f'{name} of {config.corpus.name}'
    for name in corpus.splits
  }
  for name in names:
    results[keys[name]] = evaluate_split(
      run, corpus, name, keep_in=workdir if is_own and not refusal else ''
    )
    if not refusal:
      workdir_lib.add_results(workdir, keys[name], results[keys[name]])
  ours = {name: results[key] for name, key in keys.items() if key in results}
  console = rich_console.Console()
  console.print(table(ours, run.task.FIGURES))
  for name in names:
    for column, figures in ours[name].get('labels', {}).items():
      console.print(_label_table(name, column, figures, run.task.FIGURES))
    for warning in run.task.warnings(ours[name]):
      logging.warning('%s: %s', name, warning)
  return {name: ours[name] for name in names}


def evaluate_split(
  run: run_lib.Run, corpus: corpora.Corpus, name: str, keep_in: str = ''
) -> dict[str, Any]:
  """The figures of one split; nats per sentence unless named otherwise.

  Where sentences have labels of at most 50 kinds, 'labels' has the main figures
  of the sentences of each: {'topic': {'sport': {'sentences': 12, ...}}}.

  The figures are the same at any batch size and bucket layout: noise is keyed
  by (seed, sentence) and sums are taken over sentences in the split's order.

  Args:
    run: the trained run.
    corpus: that has the split.
    name: of the split.
    keep_in: a folder where the nats of each sentence are kept; '': they are
      not.
  """
  config, task, split = run.config, run.task, corpus.splits[name]
  carried = validation.carries_state(config, task)
  reset = 'reset at each sentence' if split.ends else 'of one text'
  start = time.time()
  key = jax.random.key(config.seed)
  run_split = make_evaluator(run, split)
  with progress.counter(f'evaluating {name}') as report:
    values = run_split(run.params, run.extras, key, report)
  summary: dict[str, Any] = {
    'corpus': corpus.name,
    'protocol': corpus.protocol,
  }
  if isinstance(task, base.Scores):
    summary['state'] = 'carried' if carried else reset
  summary |= {
    **task.summarise(values, split, config, final=True),
    'truncated': split.num_truncated,
    'checkpoint': run.checkpoint,
    'seed': config.seed,
  }
  if carried and len(split) > 1:
    by_sentence = validation.make_sentence_evaluator(config, task, split)
    with progress.counter(f'evaluating {name}, state reset') as report:
      values_reset = by_sentence(run.params, run.extras, key, report)
    summary_reset = task.summarise(values_reset, split, config)
    for figure in ('nll_per_sentence', 'perplexity'):
      summary[f'reset_{figure}'] = summary_reset[figure]
  if isinstance(task, base.Translates):
    summary |= translation.figures(run, split)
  if keep_in and isinstance(task, base.Scores):
    sentence_nats.write(keep_in, name, values[task.score], split)
  if isinstance(task, base.Predicts) and 'log_probs' in values:
    summary |= classes.figures(run, values, split, keep_in, name)
  if keep_in and isinstance(task, base.Tags):
    tag_mistakes.write(run, values, split, keep_in, name)
  by_label = _figures_by_label(task, values, split, config)
  if by_label:
    summary['labels'] = by_label
  return summary | {'seconds': round(time.time() - start, 1)}


def _figures_by_label(
  task: base.Task, values: base.Values, split: corpora.Split, config: Any
) -> dict[str, dict[str, dict[str, Any]]]:
  """By name of a label and its value, the main figures of its sentences."""
  found: dict[str, dict[str, dict[str, Any]]] = {}
  for column, labels in split.labels.items():
    kinds = sorted(set(labels))
    if not 2 <= len(kinds) <= _MOST_LABELS:
      continue
    found[column] = {}
    for kind in kinds:
      rows = np.flatnonzero(np.array([label == kind for label in labels]))
      figures = task.summarise_label(
        {name: array[rows] for name, array in values.items()},
        _some_of(split, rows),
        config,
      )
      found[column][kind] = {'sentences': len(rows)} | {
        name: figures[name] for name in _LABEL_FIGURES if name in figures
      }
  return found


def _some_of(split: corpora.Split, rows: np.ndarray) -> corpora.Split:
  """Some sentences of a split, in the order of `rows`."""
  lengths = split.lengths[rows]
  ends = np.cumsum(lengths, dtype=np.int32)
  picked = np.concatenate(
    [
      np.arange(split.offsets[i], split.offsets[i] + split.lengths[i])
      for i in rows
    ]
  )
  return dataclasses.replace(
    split,
    tokens=split.tokens[picked],
    offsets=ends - lengths,
    lengths=lengths,
    labels={
      name: tuple(labels[i] for i in rows)
      for name, labels in split.labels.items()
    },
    source=split.source and split.source.of(rows),
    references=tuple(split.references[i] for i in rows if split.references),
    fields={
      name: array[picked if name in labels_lib.PER_TOKEN else rows]
      for name, array in split.fields.items()
    },
  )


def make_evaluator(
  run: run_lib.Run, split: corpora.Split
) -> Callable[..., base.Values]:
  """The evaluator of a split with the run's evaluation settings.

  A task that carries its state reads a stream in one row, so that every token
  is given all of the text before it.
  """
  if validation.carries_state(run.config, run.task):
    return validation.make_stream_evaluator(run.config, run.task, split, rows=1)
  return validation.make_sentence_evaluator(
    run.config, run.task, split, run.task.samples(run.config)
  )


_COMMON = (
  base.Figure('checkpoint', 'checkpoint', '{}'),
  base.Figure('truncated', 'truncated sentences', '{:,}'),
)


def table(
  results: dict[str, dict[str, Any]], figures: Sequence[base.Figure]
) -> rich_table.Table:
  """The figures of all evaluated splits, one column a split.

  Args:
    results: of each split.
    figures: of the task, in the order of the rows.
  """
  first = next(iter(results.values()))
  rows = {}
  for figure in (*_COMMON, *figures):
    if any(figure.name in values for values in results.values()):
      label = figure.label
      label = label(first) if callable(label) else label
      if label:
        cells = [_cell(values, figure) for values in results.values()]
        rows[figure.name] = label, *cells
  title = f'{first["corpus"]}, protocol {first["protocol"]}; nats'
  title += ' a sentence' if 'sentences' in rows else ''
  title += f', state {first["state"]}' if 'state' in first else ''
  shown = rich_table.Table(title=title)
  shown.add_column('')
  for name in results:
    shown.add_column(name, justify='right')
  for row in rows.values():
    shown.add_row(*row)
  return shown


def _label_table(
  split: str,
  column: str,
  by_label: dict[str, dict[str, Any]],
  figures: Sequence[base.Figure],
) -> rich_table.Table:
  """The main figures of each label, one row a label."""
  first = next(iter(by_label.values()))
  shown = rich_table.Table(title=f'{split}, by {column}')
  shown.add_column(column)
  known = [figure for figure in figures if figure.name in first]
  for figure in known:
    label = figure.label
    name = label(first) if callable(label) else label
    shown.add_column(name, justify='right')
  for kind, values in by_label.items():
    shown.add_row(kind, *(_cell(values, figure) for figure in known))
  return shown


def _cell(values: dict[str, Any], figure: base.Figure) -> str:
  if figure.name not in values:
    return '-'
  return figure.show(values[figure.name])
