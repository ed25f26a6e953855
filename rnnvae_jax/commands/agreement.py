"""Tests subject-verb agreement of a language model."""

from rnnvae_jax.commands import base
from rnnvae_jax.tasks import base as tasks_base

HELP = 'subject-verb agreement of a language model -> agreement.png'
NEEDS = 'run'
CAPABILITY = tasks_base.Generates


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import agreement

  agreement.agree(context.config, context.workdir)
