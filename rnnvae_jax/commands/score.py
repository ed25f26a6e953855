"""Writes the negative log-likelihood of lines."""

from rnnvae_jax.commands import _lines, base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('generate', free=schema.Free.ALWAYS)
class ScoreConfig:
  """What is written for each line."""

  per_token: bool = schema.field(
    False,
    'Whether a score has a row for each token. Of a VAE these are nats of the '
    'reconstruction at the posterior mean, without the KL.',
  )


HELP = 'nats, tokens and unknown tokens of each line of config.generate.input'
NEEDS = 'run'
CAPABILITY = tasks_base.Scores
SETTINGS = (
  (tasks_base.Scores, _lines.LinesConfig),
  (tasks_base.Scores, ScoreConfig),
)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.score(context.config, context.workdir)
