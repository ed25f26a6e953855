"""Writes texts between two others."""

from rnnvae_jax.commands import base
from rnnvae_jax.tasks import base as tasks_base

HELP = 'texts between pairs of lines, or between prior samples'
NEEDS = 'run'
CAPABILITY = tasks_base.HasLatents


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.interpolate(context.config, context.workdir)
