"""Encodes lines and decodes their latent vectors."""

from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('generate', free=schema.Free.ALWAYS)
class ReconstructConfig:
  """How latent vectors become text."""

  reconstruct_temperature: float = schema.field(
    0.0,
    'Temperature of reconstructions and interpolations; 0: the most likely '
    'token.',
    low=0,
    high=1e3,
  )
  posterior_sample: bool = schema.field(
    False, 'Whether z is drawn from the posterior; else it is its mean.'
  )
  interpolation_steps: int = schema.field(
    7, 'Texts of an interpolation, both ends counted.', low=2
  )


HELP = "a VAE's reconstruction of the lines of config.generate.input"
NEEDS = 'run'
CAPABILITY = tasks_base.HasLatents
SETTINGS = ((tasks_base.HasLatents, ReconstructConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import generate

  generate.reconstruct(context.config, context.workdir)
