"""Recurrent language models and sentence VAEs as compiled JAX programs.

  import rnnvae_jax

  run = rnnvae_jax.load('runs/gru_vae')
  means, log_variances = run.encode(['the cat sat .', 'a dog ran .'])
  print(run.decode(means), run.sample(3), run.score(['the cat sat .']))

Nothing heavy is imported before one of these functions is called.
"""

from typing import Any

__all__ = ['load', 'train']


def load(workdir: str, **overrides: Any):
  """A trained run; see `inference.loading.load` and `inference.run.Run`.

  Args:
    workdir: the run's folder, or one that mode `export` wrote.
    **overrides: config keys by their dotted names, such as
      `**{'generate.temperature': 0.5}`.
  """
  from rnnvae_jax.inference import loading

  return loading.load(workdir, **overrides)


def train(config: Any, workdir: str):
  """Trains a run, or goes on training it; returns it, opened.

  Args:
    config: a `ConfigDict`, such as a config file's `get_config` returns, or
      the name of a config file, after a colon with its argument: 'gru_vae:ptb'.
    workdir: the run's folder.

  Raises:
    ValueError: the config cannot run, or the folder holds another run.
  """
  from rnnvae_jax.config import build, files
  from rnnvae_jax.inference import loading
  from rnnvae_jax.training import loop

  if isinstance(config, str):
    config = files.load(config)
  build.validate(config)
  loop.train(config, workdir)
  return loading.open_run(config, workdir)
