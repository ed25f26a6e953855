"""Moves in the latent space of a run, and the map of its sentences.

Programs are compiled at their first use: later moves of about as many points
take the time of the model alone.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os

import numpy as np

from rnnvae_jax.analysis import attributes
from rnnvae_jax.analysis import latents as analysis
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.training import writers

TABLE, POINTS = 'map.parquet', 'map.npz'


def shifted(
  run: run_lib.Run,
  points: np.ndarray,
  direction: np.ndarray,
  amount: float | np.ndarray,
) -> np.ndarray:
  """Points moved along a direction: float32[N, Z], in the prior's support.

  Args:
    run: whose latents they are.
    points: z float[N, Z].
    direction: float[Z], or float[N, Z], one each.
    amount: multiple of the direction, or float[N, 1].
  """
  moved = (np.asarray(points) + amount * direction).astype(np.float32)
  return np.asarray(run.task.latents.family.onto_support(moved))


def with_latent(
  run: run_lib.Run, points: np.ndarray, latent: int, value: float
) -> np.ndarray:
  """Points with one latent set to a value: float32[N, Z].

  Args:
    run: whose latents they are.
    points: z float[N, Z].
    latent: its number, from 0 on.
    value: in standard deviations of the prior.

  Raises:
    ValueError: there is no such latent.
  """
  size = run.task.latents.size
  if not 0 <= latent < size:
    raise ValueError(f'there is no latent {latent}: they are 0 to {size - 1}.')
  moved = np.array(points, np.float32)
  moved[:, latent] = value * run.task.latents.family.deviation
  return np.asarray(run.task.latents.family.onto_support(moved))


def traverse(
  run: run_lib.Run,
  point: np.ndarray,
  latent: int,
  values: Sequence[float],
  temperature: float = 0.0,
) -> list[str]:
  """The texts of a point while one latent takes values.

  Args:
    run: that decodes.
    point: z float[Z].
    latent: its number, from 0 on.
    values: in standard deviations of the prior.
    temperature: of decoding.
  """
  points = [with_latent(run, point[None], latent, value) for value in values]
  return run.decode(np.concatenate(points), temperature)


def word_changes(
  run: run_lib.Run,
  sentences: Sequence[np.ndarray],
  low: np.ndarray,
  high: np.ndarray,
  count: int = 10,
) -> list[tuple[str, float]]:
  """The words whose probability changes most from latents to others.

  Args:
    run: that reads the sentences.
    sentences: int[T] each, what stands before each word.
    low: z float[N, Z] that they are read with.
    high: the other z.
    count: how many words.

  Returns:
    (word, change), those of the largest change first: by how many times a
    sentence the word is expected more with `high`.
  """
  expected = [
    run.programs.word_counts(
      run.params, sentences, run.begin_mark, points
    ).mean(axis=0, dtype=np.float64)
    for points in (low, high)
  ]
  change = expected[1] - expected[0]
  change[: len(vocab_lib.SPECIALS)] = 0
  order = np.argsort(-np.abs(change), kind='stable')[:count]
  return [(run.vocab.tokens[i], float(change[i])) for i in order]


@dataclasses.dataclass(frozen=True)
class Atlas:
  """The sentences that mode `latents` has placed on a map.

  Attributes:
    texts: N of them.
    labels: by name, N values each; '' is no label.
    points: z float32[N, Z].
    places: by the name of a method, 'pca', 'tsne', float64[N, 2].
  """

  texts: Sequence[str]
  labels: Mapping[str, np.ndarray]
  points: np.ndarray
  places: Mapping[str, np.ndarray]

  @classmethod
  def load(cls, folder: str) -> 'Atlas':
    """Reads what mode `latents` wrote into a folder.

    Raises:
      FileNotFoundError: it has written nothing there.
    """
    from pyarrow import parquet

    table = parquet.read_table(os.path.join(folder, TABLE))
    with np.load(os.path.join(folder, POINTS)) as file:
      points = file['points']
    columns = {name: table.column(name) for name in table.column_names}
    texts = columns.pop('text').to_pylist()
    methods = [n[:-2] for n in columns if n.endswith('_x')]
    places = {}
    for method in methods:
      axes = [columns.pop(f'{method}_{axis}') for axis in 'xy']
      places[method] = np.stack([a.to_numpy() for a in axes], axis=1)
    labels = {n: np.array(c.to_pylist(), str) for n, c in columns.items()}
    return cls(texts, labels, points, places)

  def save(self, folder: str) -> None:
    """Writes the table, which viewers of maps open, and the points."""
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, object] = {'text': list(self.texts)}
    columns |= {name: list(map(str, v)) for name, v in self.labels.items()}
    for method, places in self.places.items():
      columns[f'{method}_x'], columns[f'{method}_y'] = places.T
    with writers.replacing(os.path.join(folder, TABLE)) as file:
      parquet.write_table(pyarrow.table(columns), file)
    with writers.replacing(os.path.join(folder, POINTS)) as file:
      np.savez(file, points=self.points)

  def nearest(
    self, point: np.ndarray, count: int = 5
  ) -> list[tuple[int, float]]:
    """The numbers of the nearest sentences and their distances.

    Args:
      point: z float[Z].
      count: how many.
    """
    places, apart = analysis.nearest(point[None], self.points, count)
    return list(zip(places[0].tolist(), apart[0].tolist(), strict=True))

  def direction(
    self,
    label: str,
    value_from: str,
    value_to: str,
    kind: str = attributes.MEANS,
  ) -> np.ndarray:
    """The direction from one value of a label to another: float64[Z].

    Raises:
      ValueError: no sentence has the value.
    """
    values = self.labels[label]
    chosen = []
    for value in (value_from, value_to):
      chosen.append(values == value)
      if not chosen[-1].any():
        raise ValueError(f'no sentence has {label} = {value!r}.')
    return attributes.direction(self.points, chosen[0], chosen[1], kind)
