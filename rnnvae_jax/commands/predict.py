"""Writes the label of lines."""

from rnnvae_jax.commands import _lines, base
from rnnvae_jax.tasks import base as tasks_base

HELP = 'label and probability of each line of config.generate.input'
NEEDS = 'run'
CAPABILITY = tasks_base.Predicts
SETTINGS = ((tasks_base.Predicts, _lines.LinesConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.predict(context.config, context.workdir)
