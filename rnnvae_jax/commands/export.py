"""Writes the weights of a run alone, in a folder that opens as a run."""

from rnnvae_jax.commands import base
from rnnvae_jax.config import schema
from rnnvae_jax.tasks import base as tasks_base


@schema.fragment('export', free=schema.Free.ALWAYS)
class ExportConfig:
  """Where a run's weights are written."""

  folder: str = schema.field(
    '', "The folder to write into; '': export, in the workdir."
  )


HELP = 'weights alone (safetensors) with config and vocabulary -> a folder'
NEEDS = 'run'
SETTINGS = ((tasks_base.Task, ExportConfig),)


def run(context: base.Context) -> None:
  import os

  from absl import logging

  from rnnvae_jax.inference import export, loading

  folder = context.config.export.folder
  folder = folder or os.path.join(context.workdir, 'export')
  opened = loading.open_run(context.config, context.workdir)
  names = export.write(opened, context.workdir, folder)
  logging.info('Written to %s: %s.', folder, ', '.join(names))
