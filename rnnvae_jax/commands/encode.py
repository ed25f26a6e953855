"""Writes the latent vectors of text."""

from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('encode', free=schema.Free.ALWAYS)
class EncodeConfig:
  """Which text is encoded, and where its latents are written."""

  split: str = schema.field(
    'valid',
    "The split to encode, unless generate.input names a file; '': the lines of "
    'generate.input.',
    choices=('', 'train', 'valid', 'test'),
  )
  folder: str = schema.field(
    '', "The folder to write into; '': latents, in the workdir."
  )


HELP = 'latent means, variances, labels and texts -> latents.npz, TSV'
NEEDS = 'run'
CAPABILITY = tasks_base.HasLatents
SETTINGS = ((tasks_base.HasLatents, EncodeConfig),)


def run(context: base.Context) -> None:
  from rnnvae_jax.inference import latents

  latents.encode(context.config, context.workdir)
