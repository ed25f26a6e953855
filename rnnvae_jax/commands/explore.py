"""Serves a page on which a trained run is asked."""

from rnnvae_jax.commands import base

HELP = 'a page, for this machine alone, on which the run is asked'
NEEDS = 'run'
FLAGS = ('port',)


def run(context: base.Context) -> None:
  from rnnvae_jax.web import opening, server

  server.check()  # Before anything is loaded and compiled.
  answers = opening.answers(context.config, context.workdir)
  server.serve(answers, context.workdir, context.port)
