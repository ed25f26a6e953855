"""Sentences of a run's corpus as landmarks of its latent space."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnnvae_jax.analysis import attributes
from rnnvae_jax.analysis import latents as analysis
from rnnvae_jax.data import corpora
from rnnvae_jax.inference import latent_sample, latent_study
from rnnvae_jax.inference import run as run_lib

_VALUES = 6  # Of a label between which sentences move, the most frequent ones.


class Landmarks(NamedTuple):
  """Different sentences and where they are.

  Attributes:
    texts: N of them.
    labels: by name str[N]; '' is no label.
    points: z float32[N, Z].
    places: float64[N, 2], their first two principal components.
    centre: float64[Z], the mean of the points.
    axes: float64[Z, 2], which the place of z is read off: (z - centre) @ axes.
    kl: mean nats of each latent; empty where they have no closed form.
    directions: by 'label: one value → another' float64[Z]; see
      `analysis.attributes`.
  """

  texts: Sequence[str]
  labels: Mapping[str, np.ndarray]
  points: np.ndarray
  places: np.ndarray
  centre: np.ndarray
  axes: np.ndarray
  kl: Sequence[float]
  directions: Mapping[str, np.ndarray]

  def place(self, point: np.ndarray) -> tuple[float, float]:
    """Where z float[Z] is on the map."""
    x, y = (np.asarray(point, np.float64) - self.centre) @ self.axes
    return float(x), float(y)

  def nearest(self, point: np.ndarray, count: int) -> list[tuple[int, float]]:
    """The numbers of the sentences nearest to z, and their distances."""
    places, apart = analysis.nearest(point[None], self.points, count)
    return list(zip(places[0].tolist(), apart[0].tolist(), strict=True))


def find(run: run_lib.Run, corpus: corpora.Corpus) -> Landmarks:
  """Encodes the sentences that `config.latents` asks for.

  Args:
    run: that has latents.
    corpus: its text.
  """
  sample = latent_sample.take(run, corpus)
  kl = latent_study.kl_per_latent(run, sample)
  rows = np.sort(np.unique(sample.texts, return_index=True)[1])
  points = sample.points[rows]
  places = analysis.pca(points)
  centre = points.mean(axis=0, dtype=np.float64)
  axes = np.linalg.lstsq(points - centre, places, rcond=None)[0]
  return Landmarks(
    [sample.texts[i] for i in rows],
    {name: values[rows] for name, values in sample.labels.items()},
    points,
    places,
    centre,
    axes,
    kl,
    _directions(run, sample),
  )


def _directions(
  run: run_lib.Run, sample: latent_sample.Sample
) -> dict[str, np.ndarray]:
  found = {}
  settings = run.config.latents
  labels = latent_sample.labelled(sample, settings.folds)
  for label, of in labels.items():
    frequent = range(min(len(of.names), _VALUES))
    for first in frequent:
      for second in frequent:
        if first != second:
          name = f'{label}: {of.names[first]} → {of.names[second]}'
          found[name] = attributes.direction(
            sample.points[of.rows],
            of.classes == first,
            of.classes == second,
            settings.direction,
          )
  return found
