"""The nats of each sentence of a split, kept beside a run's figures.

The difference of two runs is far smaller than the spread of sentences. What it
is worth can only be said sentence by sentence, so an evaluation keeps the
negative log-likelihoods whose mean is in results.json.
"""

import hashlib
import os
from typing import NamedTuple

import numpy as np

from rnnvae_jax.data import corpora


class Nats(NamedTuple):
  """The negative log-likelihoods of a split.

  Attributes:
    nll: float64[N], nats of each sentence, in the split's order.
    digest: of the sentences. Only runs with the same one can be compared.
  """

  nll: np.ndarray
  digest: str


def path(workdir: str, split: str) -> str:
  """The file of a split."""
  return os.path.join(workdir, f'nats_{split}.npz')


def digest(split: corpora.Split) -> str:
  """Sixteen hexadecimal digits that stand for the ids, sentence by sentence."""
  hashed = hashlib.sha256(np.asarray(split.lengths, '<i4').tobytes())
  hashed.update(np.asarray(split.tokens, '<i4').tobytes())
  return hashed.hexdigest()[:16]


def write(workdir: str, name: str, nll: np.ndarray, split: corpora.Split):
  """Writes the nats float[N] of the split `name`; a kill leaves the old."""
  final = path(workdir, name)
  unfinished = f'{final}.{os.getpid()}'
  with open(unfinished, 'wb') as file:
    np.savez(file, nll=np.float64(nll), digest=digest(split))
  os.replace(unfinished, final)


def read(workdir: str, name: str) -> Nats | None:
  """The nats of the split `name`; None if an evaluation has kept none."""
  try:
    with np.load(path(workdir, name)) as kept:
      return Nats(kept['nll'], str(kept['digest']))
  except FileNotFoundError:
    return None
