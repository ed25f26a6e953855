"""Evaluates a trained run on whole splits -> results.json and a table."""

from collections.abc import Callable, Sequence
import os
import time
from typing import Any

from absl import logging
import jax
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.data import corpora
from rnnvae_jax.data.sources import base as sources
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import preparation, progress, validation, writers
from rnnvae_jax.training import workdir as workdir_lib


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
  run = run_lib.open_run(config, workdir)
  if corpus is None:
    corpus = preparation.build_corpus(config, run.vocab, run.labels)
  chosen = config.evaluate.split
  names = tuple(corpus.splits) if chosen == 'all' else (chosen,)
  path = os.path.join(workdir, 'results.json')
  results = {}
  if os.path.exists(path):
    results = workdir_lib.read_json(path)
  own = workdir_lib.load_config(workdir).corpus.name
  is_own = os.path.realpath(own) == os.path.realpath(config.corpus.name)
  keys = {
    name: name if is_own else f'{name} of {config.corpus.name}'
    for name in sources.SPLITS
  }
  for name in names:
    results[keys[name]] = evaluate_split(run, corpus, name)
    writers.write_json(path, results)
  ours = {name: results[key] for name, key in keys.items() if key in results}
  rich_console.Console().print(table(ours, run.task.FIGURES))
  for name in names:
    for warning in run.task.warnings(ours[name]):
      logging.warning('%s: %s', name, warning)
  return {name: ours[name] for name in names}


def evaluate_split(
  run: run_lib.Run, corpus: corpora.Corpus, name: str
) -> dict[str, Any]:
  """The figures of one split; nats per sentence unless named otherwise.

  The same at any batch size and bucket layout: noise is keyed by (seed,
  sentence) and sums are taken over sentences in the split's order.
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
    values_reset = by_sentence(run.params, run.extras, key)
    summary_reset = task.summarise(values_reset, split, config)
    for figure in ('nll_per_sentence', 'perplexity'):
      summary[f'reset_{figure}'] = summary_reset[figure]
  return summary | {'seconds': round(time.time() - start, 1)}


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


def _cell(values: dict[str, Any], figure: base.Figure) -> str:
  if figure.name not in values:
    return '-'
  return figure.show(values[figure.name])
