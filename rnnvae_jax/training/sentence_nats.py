"""The nats of each sentence of a split, kept beside a run's figures.

The difference of two runs is far smaller than the spread of sentences. What it
is worth can only be said sentence by sentence, so an evaluation keeps the
negative log-likelihoods whose mean is in results.json.
"""

import os
from typing import NamedTuple

import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.training import writers


class Nats(NamedTuple):
  """The negative log-likelihoods of a split.

  Attributes:
    nll: float64[N], nats of each sentence, in the split's order.
    content_hash: of the split. Only runs on equal sentences in the same order
      can be compared.
  """

  nll: np.ndarray
  content_hash: str


def path(workdir: str, split: str) -> str:
  """The file of a split."""
  return os.path.join(workdir, f'nats_{split}.npz')


def write(
  workdir: str, name: str, nll: np.ndarray, split: corpora.Split
) -> None:
  """Writes the nats float[N] of the split `name`; a kill leaves the old."""
  with writers.replacing(path(workdir, name)) as file:
    np.savez(file, nll=np.float64(nll), content_hash=split.content_hash)


def read(workdir: str, name: str) -> Nats | None:
  """The nats of the split `name`; None if an evaluation has kept none."""
  try:
    with np.load(path(workdir, name)) as kept:
      return Nats(kept['nll'], str(kept['content_hash']))
  except FileNotFoundError:
    return None
