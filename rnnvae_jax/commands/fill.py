"""Fills the blanks of lines."""

from rnnvae_jax.commands import _lines, base
from rnnvae_jax.tasks import base as tasks_base

HELP = 'candidates for the blanks, ___, of the lines of config.generate.input'
NEEDS = 'run'
CAPABILITY = tasks_base.Generates
SETTINGS = (
  (tasks_base.Generates, _lines.LinesConfig),
  (tasks_base.Generates, _lines.CandidatesConfig),
)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.fill_in(context.config, context.workdir)
