"""The file of a trained run's weights alone, in the format safetensors.

It has the parameters under their paths, 'params/params/decoder/...', and what
the objective adapted under 'extras/'. Its metadata names the checkpoint and the
vocabulary's hash.
"""

import os
from typing import Any

import jax
import numpy as np

from rnnvae_jax.training import state as state_lib

WEIGHTS = 'weights.safetensors'


def exists(folder: str) -> bool:
  return os.path.exists(os.path.join(folder, WEIGHTS))


def named(weights: state_lib.Weights) -> dict[str, Any]:
  """The leaves of weights by their names in the file."""
  tree = {'params': weights.params, 'extras': weights.extras}
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def save(
  folder: str,
  weights: state_lib.Weights,
  checkpoint: str,
  vocabulary_hash: str,
) -> None:
  """Writes the file, completely or not at all.

  Args:
    folder: of the file.
    weights: to be saved.
    checkpoint: that they are of.
    vocabulary_hash: of the vocabulary that they belong to.
  """
  from safetensors import numpy as safetensors

  path = os.path.join(folder, WEIGHTS)
  safetensors.save_file(
    {
      name: np.asarray(jax.device_get(leaf))
      for name, leaf in named(weights).items()
    },
    f'{path}.partial',
    {'checkpoint': checkpoint, 'vocabulary_hash': vocabulary_hash},
  )
  os.replace(f'{path}.partial', path)


def load(
  folder: str, vocabulary_hash: str
) -> tuple[dict[str, np.ndarray], str]:
  """Reads the file.

  Args:
    folder: of the file.
    vocabulary_hash: of the vocabulary beside it.

  Returns:
    The arrays by name, and the checkpoint that they are of.

  Raises:
    ValueError: the file is damaged, or belongs to another vocabulary.
  """
  import safetensors

  path = os.path.join(folder, WEIGHTS)
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      metadata = file.metadata() or {}
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(f'{path} is damaged: {error}.') from error
  if metadata.get('vocabulary_hash') != vocabulary_hash:
    raise ValueError(f'{path} belongs to another vocabulary than vocab.json.')
  return arrays, metadata.get('checkpoint', 'exported')
