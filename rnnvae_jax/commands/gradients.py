"""Draws how gradients flow through time, in Elman networks and in LSTMs."""

from rnnvae_jax.commands import base

HELP = 'gradient norms through time, Elman and LSTM -> gradients.png'
NEEDS = 'workdir'


def run(context: base.Context) -> None:
  import os

  from absl import logging

  from rnnvae_jax.analysis import gradient_flow
  from rnnvae_jax.training import writers

  os.makedirs(context.workdir, exist_ok=True)
  result = gradient_flow.measure()
  writers.write_json(os.path.join(context.workdir, 'gradients.json'), result)
  gradient_flow.show(result)
  path = os.path.join(context.workdir, 'gradients.png')
  gradient_flow.plot(result, path)
  logging.info('Drawn in %s.', path)
