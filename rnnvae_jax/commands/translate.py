"""Writes a text for each source line."""

from rnnvae_jax.commands import _lines, _search, base
from rnnvae_jax.tasks import base as tasks_base

HELP = 'what the model writes for each line of config.generate.input'
NEEDS = 'run'
CAPABILITY = tasks_base.Translates
SETTINGS = (
  (tasks_base.Translates, _lines.LinesConfig),
  (tasks_base.Translates, _search.SearchConfig),
)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.translate(context.config, context.workdir)
