"""The weights of a trained run alone, in a folder that opens as a run."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.tasks import base
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib
from rnnvae_jax.training import writers

WEIGHTS = 'weights.safetensors'


def write(run: Any, workdir: str, folder: str) -> list[str]:
  """Writes what reading a run needs, and nothing else.

  weights.safetensors has the parameters under their paths,
  'params/params/decoder/...', and what the objective adapted under 'extras/';
  its metadata names the checkpoint and the vocabulary's hash. config.json,
  vocab.json and text.json are the run's own.

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
    from safetensors import numpy as safetensors

    arrays = _named({'params': run.params, 'extras': run.extras})
    partial = os.path.join(folder, f'{WEIGHTS}.partial')
    safetensors.save_file(
      {name: np.asarray(jax.device_get(x)) for name, x in arrays.items()},
      partial,
      {
        'checkpoint': run.checkpoint,
        'vocabulary_hash': run.vocab.content_hash,
      },
    )
    os.replace(partial, os.path.join(folder, WEIGHTS))
  # Last: it says that there is a run.
  workdir_lib.save_config(config, folder)
  return sorted(os.listdir(folder))


def is_export(workdir: str) -> bool:
  return os.path.exists(os.path.join(workdir, WEIGHTS))


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
  import safetensors

  path = os.path.join(workdir, WEIGHTS)
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      metadata = file.metadata() or {}
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(f'{path} is damaged: {error}.') from error
  if metadata.get('vocabulary_hash') != vocabulary_hash:
    raise ValueError(f'{path} belongs to another vocabulary than vocab.json.')
  wanted = {'params': abstract.params, 'extras': abstract.extras}
  named = _named(wanted)
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
  tree = jax.tree.unflatten(jax.tree.structure(wanted), leaves)
  weights = state_lib.Weights(0, tree['params'], tree['extras'])
  return weights, metadata.get('checkpoint', 'exported')


def _named(tree: Any) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
