"""Subject-verb agreement of a language model -> agreement.json and a plot."""

import os
from typing import Any

from absl import logging
import numpy as np
from rich import console as rich_console
from rich import table as rich_table

from rnnvae_jax.analysis import agreement, plots
from rnnvae_jax.inference import loading
from rnnvae_jax.tasks import base
from rnnvae_jax.training import writers

_ROWS = 256  # Sentences whose agreement is tested at a time.


def agree(config: Any, workdir: str) -> list[dict[str, float]]:
  """Subject-verb agreement -> agreement.json, agreement.png and a table.

  Returns:
    The figures of `analysis.agreement.measure`.

  Raises:
    ValueError: the run is no language model of words, or its vocabulary has too
      few of the test's words.
  """
  run = loading.open_run(config, workdir)
  if isinstance(run.task, base.HasLatents) or run.vocab.kind != 'word':
    raise ValueError(
      'Subject-verb agreement is tested on language models of words; this '
      f'run is a {config.model.kind} of {run.vocab.kind}s.'
    )
  items = agreement.items(run.vocab.tokens)

  def log_odds(items: list[agreement.Item]) -> np.ndarray:
    values = []
    for first in range(0, len(items), _ROWS):
      some = items[first : first + _ROWS]
      words = [run.vocab.encode(item.words) for item in some]
      _, following = run.programs.next_log_probs(
        run.params, [np.insert(ids, 0, run.begin_mark) for ids in words]
      )
      right = run.vocab.encode([item.right for item in some])
      wrong = run.vocab.encode([item.wrong for item in some])
      rows = np.arange(len(some))
      values.append(following[rows, right] - following[rows, wrong])
    return np.concatenate(values)

  measured = agreement.measure(items, log_odds)
  writers.write_json(os.path.join(workdir, 'agreement.json'), measured)
  table = rich_table.Table(title='the PLAN of the companies IS, never ARE')
  for column in measured[0]:
    table.add_column(column.replace('_', ' '), justify='right')
  for group in measured:
    table.add_row(
      *(f'{v:,}' if isinstance(v, int) else f'{v:.3f}' for v in group.values())
    )
  rich_console.Console().print(table)
  path = os.path.join(workdir, 'agreement.png')
  _plot_agreement(measured, path)
  logging.info('Drawn in %s.', path)
  return measured


def _plot_agreement(measured, path: str) -> None:
  pyplot = plots.pyplot()
  figure, axes = pyplot.subplots(figsize=(7, 4.5), layout='constrained')
  for between in sorted({group['between'] for group in measured}):
    of = [group for group in measured if group['between'] == between]
    (line,) = axes.plot(
      [group['attractors'] for group in of],
      [group['log_odds'] for group in of],
      marker='o',
      label=f'{between} noun' + ('' if between == 1 else 's') + ' in between',
    )
    for group in of:
      axes.annotate(
        f'{group["accuracy"]:.0%}',
        (group['attractors'], group['log_odds']),
        xytext=(6, 6 if between < 2 else -14),
        textcoords='offset points',
        fontsize=8,
        color=line.get_color(),
      )
  axes.axhline(0.0, color='grey', linewidth=0.8)
  axes.set_xticks(sorted({group['attractors'] for group in measured}))
  axes.set_xlabel('nouns in between of the other number')
  axes.set_ylabel('log-odds of the right verb, nats')
  axes.set_title('Subject-verb agreement; labels: share of right verbs')
  axes.margins(0.12)
  plots.legend(axes)
  plots.save(figure, path)
