"""The weights of a trained run alone, in a folder that opens as a run."""

import os
from typing import Any

import jax
import jax.numpy as jnp

from rnnvae_jax.tasks import base
from rnnvae_jax.training import exported, writers
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib


def write(run: Any, workdir: str, folder: str) -> list[str]:
  """Writes what reading a run needs, and nothing else.

  The weights are in a file of `training.exported`; config.json, vocab.json and
  text.json are the run's own.

  Args:
    run: an `inference.run.Run`.
    workdir: its folder.
    folder: where to write; made if need be.

  Returns:
    The names of the files.
  """
  os.makedirs(folder, exist_ok=True)
  if os.path.samefile(workdir, folder):
    raise ValueError(f'{folder} is the folder of the run itself.')
  config = workdir_lib.load_config(workdir)
  run.vocab.save(workdir_lib.path(folder, workdir_lib.VOCABULARY))
  text = workdir_lib.path(workdir, workdir_lib.TEXT)
  if os.path.exists(text):
    writers.write_json(
      workdir_lib.path(folder, workdir_lib.TEXT), workdir_lib.read_json(text)
    )
  if isinstance(run.task, base.Fitted):
    run.task.save(folder)
  else:
    weights = state_lib.Weights(0, run.params, run.extras)
    exported.save(folder, weights, run.checkpoint, run.vocab.content_hash)
  # Last: it says that there is a run.
  workdir_lib.save_config(config, folder)
  return sorted(os.listdir(folder))


def read(
  workdir: str, abstract: state_lib.Weights, vocabulary_hash: str
) -> tuple[state_lib.Weights, str]:
  """Reads what `write` wrote of a trained task.

  Args:
    workdir: the folder.
    abstract: shapes and types of the run's weights.
    vocabulary_hash: of the vocabulary beside the weights.

  Returns:
    The weights, and the checkpoint that they are of.

  Raises:
    ValueError: the file is damaged, or does not fit the config or vocabulary.
  """
  arrays, checkpoint = exported.load(workdir, vocabulary_hash)
  path = os.path.join(workdir, exported.WEIGHTS)
  named = exported.named(abstract)
  for name in sorted({*named} ^ {*arrays}):
    raise ValueError(f'{path} does not fit its config.json: {name}.')
  leaves = []
  for name, leaf in named.items():
    array = arrays[name]
    if array.shape != leaf.shape or array.dtype != leaf.dtype:
      raise ValueError(
        f'{path} does not fit its config.json: {name} is {array.dtype}'
        f'{list(array.shape)}, the model has {leaf.dtype}{list(leaf.shape)}.'
      )
    leaves.append(jnp.asarray(array))
  tree = {'params': abstract.params, 'extras': abstract.extras}
  tree = jax.tree.unflatten(jax.tree.structure(tree), leaves)
  return state_lib.Weights(0, tree['params'], tree['extras']), checkpoint
