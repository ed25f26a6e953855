"""Sentences as points: duplicates, folds, neighbours and maps of the plane."""

import collections
from collections.abc import Mapping, Sequence
import importlib.util
from typing import Any

import numpy as np

from rnnvae_jax.analysis import plots

# Texts that begin with so many equal letters and digits count as one.
PREFIX = 40
_PERPLEXITY = 30.0  # Of t-SNE: about so many neighbours are kept near.
# Marks of labels beside their colours; the last ones are of all other labels.
_MARKS = ('o', '^', 's', 'D', 'v', 'P')
_GREY = '#BBBBBB'
_TITLES = {'pca': 'principal components', 'tsne': 't-SNE', 'umap': 'UMAP'}
_BLOCK = 2**22  # Numbers that a block of differences holds.


def groups(texts: Sequence[str]) -> np.ndarray:
  """Numbers texts, duplicates and near ones alike: int64[N].

  Texts have the same number if their first 40 letters and digits agree, case
  ignored. A copy that was cut short further on, or differs in punctuation, is
  so with its original.
  """
  numbers: dict[str, int] = {}
  found = [numbers.setdefault(beginning(t), len(numbers)) for t in texts]
  return np.array(found, np.int64)


def beginning(text: str) -> str:
  """The first letters and digits of a text; the text where it has none."""
  return ''.join(filter(str.isalnum, text.lower()))[:PREFIX] or text


def firsts(numbers: np.ndarray) -> np.ndarray:
  """The place of the first text of each group, in ascending order: int64[G]."""
  return np.sort(np.unique(numbers, return_index=True)[1])


def usable(
  values: Sequence[str], numbers: np.ndarray, least: int
) -> np.ndarray:
  """The texts that have a label which occurs often enough: bool[N].

  Args:
    values: labels; '' is no label.
    numbers: int[N], see `groups`.
    least: in how many groups a label has to occur.
  """
  seen: dict[str, set[int]] = {}
  for value, number in zip(values, numbers.tolist(), strict=True):
    seen.setdefault(value, set()).add(number)
  kept = {v for v, found in seen.items() if v and len(found) >= least}
  return np.array([value in kept for value in values], bool)


def folds(
  labels: np.ndarray, numbers: np.ndarray, count: int, seed: int
) -> np.ndarray:
  """Divides texts into folds that divide no group: int64[N], 0 to `count` - 1.

  Groups of each label are dealt to the folds in turn, so that the folds have
  about the same labels; a group's label is that of its first text.

  Args:
    labels: int[N].
    numbers: int[N], see `groups`.
    count: of the folds.
    seed: of the order in which groups are dealt.

  Raises:
    ValueError: there are fewer groups than folds.
  """
  heads = firsts(numbers)
  if not 2 <= count <= len(heads):
    raise ValueError(f'{len(heads)} different texts make no {count} folds.')
  shuffled = np.random.default_rng(seed).permutation(heads)
  dealt = shuffled[np.argsort(labels[shuffled], kind='stable')]
  fold_of = {
    int(number): turn % count for turn, number in enumerate(numbers[dealt])
  }
  return np.array([fold_of[number] for number in numbers.tolist()])


def nearest(
  queries: np.ndarray, points: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """The nearest points of each query, by Euclidean distance.

  Exact; of equally near points the first ones are taken.

  Args:
    queries: float[M, Z].
    points: float[N, Z].
    count: K, how many; N at most.

  Returns:
    int64[M, K], their places, and float64[M, K], their distances, ascending.
  """
  points = np.asarray(points, np.float64)
  rows = max(1, _BLOCK // max(points.size, 1))
  places, distances = [], []
  for start in range(0, len(queries), rows):
    block = np.asarray(queries[start : start + rows], np.float64)
    apart = np.linalg.norm(block[:, None] - points[None], axis=2)
    order = np.argsort(apart, axis=1, kind='stable')[:, :count]
    places.append(order)
    distances.append(np.take_along_axis(apart, order, axis=1))
  return np.concatenate(places), np.concatenate(distances)


def pca(points: np.ndarray) -> np.ndarray:
  """The first two principal components of points: float64[N, 2].

  Of either sign of a component the one is taken whose largest loading is
  positive. A component that the points do not have is 0.

  Args:
    points: float[N, Z].
  """
  centred = points - points.mean(axis=0, dtype=np.float64)
  _, _, axes = np.linalg.svd(centred, full_matrices=False)
  axes = axes[:2]
  largest = np.take_along_axis(
    axes, np.abs(axes).argmax(axis=1)[:, None], axis=1
  )
  found = centred @ (axes * np.sign(largest)).T
  return np.pad(found, ((0, 0), (0, 2 - found.shape[1])))


def tsne(points: np.ndarray, seed: int) -> np.ndarray:
  """t-SNE in the plane, begun at the principal components: float64[N, 2].

  van der Maaten & Hinton 2008; scikit-learn's. Distances between clusters and
  the clusters' sizes mean nothing. Fewer than four points stay where they were.

  Args:
    points: float[N, Z].
    seed: of the solver.
  """
  start = pca(points)
  count = len(points)
  if count < 4:
    return start
  from sklearn import manifold  # A second to import.
  import threadpoolctl

  spread = float(start[:, 0].std()) or 1.0
  model = manifold.TSNE(
    perplexity=min(_PERPLEXITY, (count - 1) / 3),
    init=(1e-4 / spread * start).astype(np.float32),
    random_state=seed,
  )
  # Of many threads each waits for the others in each of 1,000 steps: on a busy
  # machine minutes for a few points. Sums of one do not depend on the cores.
  with threadpoolctl.threadpool_limits(1):
    return model.fit_transform(points).astype(np.float64)


def umap(points: np.ndarray, seed: int) -> np.ndarray | None:
  """UMAP in the plane, float64[N, 2]; None where umap-learn is missing.

  McInnes et al., arXiv:1802.03426.
  """
  if importlib.util.find_spec('umap') is None:
    return None
  import umap as umap_learn

  model = umap_learn.UMAP(random_state=seed)
  return np.asarray(model.fit_transform(points), np.float64)


def coordinates(points: np.ndarray, seed: int) -> dict[str, np.ndarray]:
  """Places in the plane by the name of the method: float64[N, 2] each.

  Args:
    points: float[N, Z].
    seed: of methods that draw.
  """
  made = {'pca': pca(points), 'tsne': tsne(points, seed)}
  by_umap = umap(points, seed)
  return made if by_umap is None else {**made, 'umap': by_umap}


def draw(
  places: Mapping[str, np.ndarray],
  values: Sequence[str],
  title: str,
  path: str,
) -> None:
  """Draws maps side by side, coloured by label.

  Only the most frequent labels have a colour and a mark of their own.

  Args:
    places: by method float[N, 2]; see `coordinates`.
    values: the label of each point; '' is no label.
    title: of the figure.
    path: file to write.
  """
  named = collections.Counter(filter(None, values)).most_common(len(_MARKS))
  labels = np.array(values)
  other = ~np.isin(labels, [name for name, _ in named])
  figure, all_axes = plots.pyplot().subplots(
    1, len(places), figsize=(5 * len(places), 4.6), squeeze=False
  )
  for axes, (method, points) in zip(all_axes[0], places.items(), strict=True):
    style: dict[str, Any] = {'s': 9, 'linewidths': 0, 'alpha': 0.7}
    if other.any():
      name = 'others' if named else 'sentences'
      axes.scatter(*points[other].T, color=_GREY, label=name, **style)
    for number, (name, count) in enumerate(named):
      axes.scatter(
        *points[labels == name].T,
        color=plots.COLOURS[number],
        marker=_MARKS[number],
        label=f'{name} ({count:,})',
        **style,
      )
    axes.set_title(_TITLES.get(method, method))
    axes.set_xticks([])
    axes.set_yticks([])
  plots.legend(all_axes[0, 0], fontsize=8, markerscale=2)
  figure.suptitle(title)
  figure.tight_layout()
  plots.save(figure, path)
