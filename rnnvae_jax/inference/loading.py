"""Opens trained runs: their config, vocabulary and best weights."""

from collections.abc import Iterator
import contextlib
from typing import Any

from absl import logging
import ml_collections

from rnnvae_jax import errors
from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import export
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import checkpoints, exported, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib


def load(workdir: str, **overrides: Any) -> run_lib.Run:
  """The run in a folder, or what `export` wrote of one.

  Args:
    workdir: the folder.
    **overrides: config keys that may change once a run is trained, by their
      dotted names: `load(workdir, **{'evaluate.iw_samples': 10})`.

  Raises:
    FileNotFoundError: there is no run, or it has no checkpoint yet.
    ValueError: an unknown key, an illegal value, or a key that cannot change.
  """
  config = workdir_lib.load_config(workdir)
  fixed = config_build.flatten(config)
  for key in overrides:
    if key not in fixed:
      raise ValueError(errors.unknown('config key', key, fixed))
  with _as_value_errors():
    config.update_from_flattened_dict(overrides)
  config_build.validate(config, list(overrides))
  differing = config_build.differences(
    config_build.flatten(config), fixed, trained=True
  )
  if differing:
    raise ValueError(
      f'The run in {workdir} is trained; these keys cannot change now:\n  '
      + '\n  '.join(differing)
    )
  return open_run(config, workdir)


@contextlib.contextmanager
def _as_value_errors() -> Iterator[None]:
  try:
    yield
  except TypeError as error:
    raise ValueError(str(error)) from error


def open_run(config: ml_collections.ConfigDict, workdir: str) -> run_lib.Run:
  """Restores the best checkpoint of a run, or else its latest.

  Args:
    config: from `workdir.load_config`, maybe with other evaluation settings.
    workdir: the run's folder, or one that `export` wrote.

  Raises:
    FileNotFoundError: no checkpoint yet.
    ValueError: a damaged or foreign vocabulary or checkpoint.
  """
  vocab = vocab_lib.Vocabulary.load(
    workdir_lib.path(workdir, workdir_lib.VOCABULARY)
  )
  labels = preparation.labels(workdir)
  kind = config_build.task(config.model.kind)
  if issubclass(kind, base.Fitted):
    fitted = kind.load(config, vocab, labels, workdir)
    return run_lib.Run(config, vocab, labels, fitted, {}, {}, 'fitted')
  task = kind.build(config, vocab, labels)
  weights, checkpoint = _weights(config, workdir, task, vocab.content_hash)
  logging.info('Restored the checkpoint: %s.', checkpoint)
  return run_lib.Run(
    config, vocab, labels, task, weights.params, weights.extras, checkpoint
  )


def _weights(
  config: ml_collections.ConfigDict,
  workdir: str,
  task: base.Trained,
  vocabulary_hash: str,
) -> tuple[state_lib.Weights, str]:
  """The weights of a run, and the name of the checkpoint that they are of."""
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), vocabulary_hash
  )
  abstract = state_lib.abstract_weights(task)
  for kind in checkpoints.KINDS[::-1]:
    if kind == 'best' and not saved.holds_all(kind):
      restored = saved.restore(abstract, kind)
    else:
      restored = _weights_of_state(config, task, saved, kind)
    if restored is not None:
      weights, step = restored
      return weights, f'{kind}, step {step}'
  if exported.exists(workdir):
    return export.read(workdir, abstract, vocabulary_hash)
  raise FileNotFoundError(
    f'The run in {workdir!r} has no checkpoint yet: the first is written '
    f'after {config.train.eval_every} steps.'
  )


def _weights_of_state(config, task, saved, kind):
  """The weights of a checkpoint that holds all of the state, and its step.

  The latest one does, and the best one of an earlier version.
  """
  if not saved.steps(kind):
    return None
  from rnnvae_jax.training import optimizers

  state = state_lib.abstract(task, optimizers.build(config))
  restored = saved.restore(state, kind)
  if restored is None:
    return None
  return optimizers.weights(restored[0]), restored[1]
