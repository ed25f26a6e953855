"""A config file whose argument is a run's folder: the config saved there.

So that overrides alone change a run's own config.
"""

import ml_collections

from rnnvae_jax.config import build
from rnnvae_jax.training import workdir as workdir_lib


def get_config(workdir: str = '') -> ml_collections.ConfigDict:
  """The config of the run in `workdir`; all keys if there is no run."""
  try:
    return workdir_lib.load_config(workdir)
  except FileNotFoundError:
    return build.default_of_all()
