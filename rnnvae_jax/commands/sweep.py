"""Searches a space of configs, and writes the winner as a config file."""

from rnnvae_jax.commands import base, report

HELP = 'search the space of --config, a file of configs/sweeps -> winner.py'
NEEDS = 'config'
FLAGS = ('budget', 'storage')


def run(context: base.Context) -> None:
  from rnnvae_jax.config import space
  from rnnvae_jax.search import sweep

  sweep.run(
    # With what the command line has changed in its config.
    space.load(context.file)._replace(config=context.config),
    context.file,
    context.workdir,
    context.storage,
    context.budget,
  )
  report.after(context.workdir)
