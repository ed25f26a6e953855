"""Evaluates a trained run on whole splits."""

from rnnvae_jax.commands import base

HELP = 'figures of config.evaluate.split -> results.json'
NEEDS = 'run'


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import evaluate

  evaluate.evaluate(context.config, context.workdir)
