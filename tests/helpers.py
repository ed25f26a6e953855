"""What many tests build: a config, its task, its scalars."""

from collections.abc import Iterator
import contextlib
from typing import Any
from unittest import mock

import jax

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches
from rnnvae_jax.training import hyperparameters as hyperparameters_lib


def make_config(kind: str, **overrides: Any) -> Any:
  """The defaults of a task with some keys changed, by their dotted names."""
  config = config_build.default(kind)
  config.update_from_flattened_dict(overrides)
  return config


def make_task(config: Any, vocab: Any) -> Any:
  """The task of a config.

  Args:
    config: of the run.
    vocab: of its text, or the number of its entries, where only that matters.
  """
  task = config_build.task(config.model.kind)
  return task.build(config, range(vocab) if isinstance(vocab, int) else vocab)


def make_hyperparameters(config: Any) -> hyperparameters_lib.Hyperparameters:
  """The traced scalars of a config."""
  return hyperparameters_lib.build(config_build.keys_of(config), config)


# As one program: its operations one by one are dozens for every shape.
gather = jax.jit(batches.gather, static_argnums=2)


@contextlib.contextmanager
def on_platform(name: str) -> Iterator[None]:
  """What the package asks for the platform is told this name.

  Programs still run where they can, so values and gradients of code for another
  platform can be tested.
  """
  with mock.patch.object(jax, 'default_backend', lambda: name):
    yield
