"""Lists the likeliest next words."""

from rnnvae_jax.commands import _lines, base
from rnnvae_jax.tasks import base as tasks_base

HELP = 'the likeliest next tokens after config.generate.prime or each line'
NEEDS = 'run'
CAPABILITY = tasks_base.Generates
SETTINGS = (
  (tasks_base.Generates, _lines.LinesConfig),
  (tasks_base.Generates, _lines.CandidatesConfig),
)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.next_words(context.config, context.workdir)
