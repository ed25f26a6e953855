"""Writes the report of a run, of several seeds or of a search."""

from rnnvae_jax.commands import base

HELP = 'a page about a run or a search -> report.html'
NEEDS = 'workdir'


def run(context: base.Context) -> None:
  from absl import logging

  from rnnvae_jax.web import report

  logging.info('Written to %s.', report.write(context.workdir))


def after(workdir: str) -> None:
  """Writes the report of what has just been trained, in one process.

  A training is done whether or not a page can be written.
  """
  from absl import logging
  import jax

  from rnnvae_jax.web import report

  if jax.process_index():
    return
  try:
    report.note_command(workdir)
    logging.info('Report: %s.', report.write(workdir))
  except Exception as error:
    logging.warning('No report is written: %s', ' '.join(str(error).split()))
