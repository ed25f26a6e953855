"""Trains and evaluates the rows of a paper's table."""

from rnnvae_jax.commands import base

HELP = "train and evaluate --table's rows -> RESULTS.md"
NEEDS = 'workdir'
FLAGS = ('table', 'rows', 'seeds', 'budget')


def run(context: base.Context) -> None:
  from rnnvae_jax.results import reproduce

  if not context.table:
    raise ValueError('--table is needed: which table.')
  reproduce.reproduce(
    context.table,
    context.workdir,
    context.rows,
    context.seeds,
    context.budget,
  )
