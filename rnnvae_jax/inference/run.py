"""A trained run, opened for reading."""

from typing import Any, NamedTuple

from absl import logging
import ml_collections

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import protocols
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import checkpoints, optimizers, preparation
from rnnvae_jax.training import state as state_lib
from rnnvae_jax.training import workdir as workdir_lib


class Run(NamedTuple):
  """A trained run.

  Attributes:
    config: of the run, with the settings of this evaluation.
    vocab: of its text.
    labels: names of its classes or tags.
    task: what it is able to do.
    params: as they are evaluated.
    extras: what the objective adapted beside them.
    checkpoint: which one was restored: 'best, step 500'.
  """

  config: ml_collections.ConfigDict
  vocab: vocab_lib.Vocabulary
  labels: tuple[str, ...]
  task: base.Task
  params: Any
  extras: Any
  checkpoint: str

  @property
  def protocol(self) -> protocols.Protocol:
    """How the run's text became tokens."""
    return protocols.PROTOCOLS[workdir_lib.protocol_name(self.config)]


def open_run(config: ml_collections.ConfigDict, workdir: str) -> Run:
  """Restores the best checkpoint of a run, or else its latest.

  Args:
    config: from `workdir.load_config`, maybe with other evaluation settings.
    workdir: the run's folder.

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
    return Run(config, vocab, labels, fitted, {}, {}, 'fitted')
  task = kind.build(config, vocab, labels)
  abstract = state_lib.abstract(task, optimizers.build(config))
  saved = checkpoints.Checkpoints(
    workdir_lib.checkpoint_dir(workdir), vocab.content_hash
  )
  for name in checkpoints.KINDS[::-1]:
    weights = _weights(saved, name, abstract)
    if weights is not None:
      checkpoint = f'{name}, step {int(weights.step)}'
      logging.info('Restored the checkpoint: %s.', checkpoint)
      return Run(
        config,
        vocab,
        labels,
        task,
        weights.params,
        weights.extras,
        checkpoint,
      )
  raise FileNotFoundError(
    f'The run in {workdir!r} has no checkpoint yet: the first is written '
    f'after {config.train.eval_every} steps.'
  )


def _weights(
  saved: checkpoints.Checkpoints, name: str, abstract: state_lib.TrainState
) -> state_lib.Weights | None:
  """The weights of the newest checkpoint of a kind; None if there is none.

  The best checkpoint holds weights alone; the latest one, and the best one of
  an earlier version, hold all of the state.
  """
  if name == 'best' and not saved.holds_all(name):
    wanted = state_lib.Weights(abstract.step, abstract.params, abstract.extras)
    restored = saved.restore(wanted, name)
    return None if restored is None else restored[0]
  restored = saved.restore(abstract, name)
  return None if restored is None else optimizers.weights(restored[0])
