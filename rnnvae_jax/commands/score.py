"""Writes the likelihood of lines."""

from rnnvae_jax.commands import _lines, base
from rnnvae_jax.tasks import base as tasks_base

HELP = 'nats of each line of config.generate.input'
NEEDS = 'run'
CAPABILITY = tasks_base.Scores
SETTINGS = ((tasks_base.Scores, _lines.LinesConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.score(context.config, context.workdir)
