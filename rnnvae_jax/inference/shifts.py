"""What becomes of sentences that are shifted from one label to another."""

from collections.abc import Sequence
import itertools
from typing import Any, NamedTuple

from absl import logging
import numpy as np

from rnnvae_jax.analysis import attributes, intervals
from rnnvae_jax.analysis import latents as analysis
from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import latent_sample, moves
from rnnvae_jax.inference import run as run_lib

# Training sentences that the classifier of texts is fitted to, at most.
_MOST_JUDGED = 20_000


class Shift(NamedTuple):
  """Sentences of one label, moved towards another and decoded.

  Attributes:
    value_from: the label that they have.
    value_to: the other one.
    rows: int[M], their places in the sample.
    before: ids of each sentence's decoding where it was.
    after: by amount, ids of each sentence's decoding once moved.
    control: the same along random directions of the same length.
  """

  value_from: str
  value_to: str
  rows: np.ndarray
  before: list[np.ndarray]
  after: dict[float, list[np.ndarray]]
  control: dict[float, list[np.ndarray]]


def measure(
  run: run_lib.Run,
  sample: latent_sample.Sample,
  labels: dict[str, latent_sample.Labelled],
  train: corpora.Split,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
  """Shifts sentences between the values of each label, and judges them.

  The judge is a classifier of texts that is fitted to training sentences, those
  of the sample and their duplicates left out.

  Args:
    run: that decodes; `config.latents` says how much.
    sample: whose sentences are shifted.
    labels: of the sample.
    train: training split.

  Returns:
    An entry for each pair of values and amount, and one for each judge: its
    accuracy on the sample.
  """
  if not labels:
    return [], []
  known = set(map(analysis.beginning, sample.texts))
  places = latent_sample.drawn(
    len(train), _MOST_JUDGED, run.config.latents.seed
  )
  places = np.array(
    [
      i
      for i in places
      if analysis.beginning(run.text(train.sentence(i))) not in known
    ],
    int,
  )
  entries, judges = [], []
  for label, of in labels.items():
    judge = _judge(train, places, label, of.names)
    if judge is None:
      logging.info(
        'The training text has too few other sentences with %r: nothing is '
        'shifted.',
        label,
      )
      continue
    guessed = judge.predict([_words(sample.sentences[i]) for i in of.rows])
    right = guessed == np.array(of.names)[of.classes]
    judges.append(
      {'label': label, **_share(int(right.sum()), len(right), 'accuracy')}
    )
    for shift in between_values(run, sample, label, of):
      entries += _judged(run, sample, label, shift, judge)
  return entries, judges


def between_values(
  run: run_lib.Run,
  sample: latent_sample.Sample,
  label: str,
  of: latent_sample.Labelled,
) -> list[Shift]:
  """Shifts different sentences between each two frequent values of a label.

  A direction is that of one half of the sentences, and those of the other half
  are shifted.
  """
  settings = run.config.latents
  numbers = sample.groups[of.rows]
  if len(np.unique(numbers)) < 2:
    return []
  half = analysis.folds(of.classes, numbers, 2, settings.seed)
  points = sample.points[of.rows]
  is_first = np.zeros(len(numbers), bool)
  is_first[analysis.firsts(numbers)] = True
  shifts = []
  frequent = range(min(len(of.names), settings.classes))
  pairs = itertools.permutations(frequent, 2)
  for number, pair in enumerate(pairs):
    is_from, is_to = ((half == 0) & (of.classes == value) for value in pair)
    moved = np.flatnonzero((half == 1) & (of.classes == pair[0]) & is_first)
    if not (is_from.any() and is_to.any() and len(moved)):
      continue
    chosen = moved[
      latent_sample.drawn(len(moved), settings.shifted, settings.seed)
    ]
    direction = attributes.direction(points, is_from, is_to, settings.direction)
    controls = attributes.random_directions(
      points, len(chosen), float(np.linalg.norm(direction)), settings.seed
    )
    amounts = [float(amount) for amount in settings.amounts]
    stacked = [points[chosen]]
    for way in (direction, controls):
      stacked += [
        moves.shifted(run, points[chosen], way, amount) for amount in amounts
      ]
    written = run.decode_ids(np.concatenate(stacked), temperature=0.0)
    size = len(chosen)
    parts = [written[i : i + size] for i in range(0, len(written), size)]
    shifts.append(
      Shift(
        of.names[pair[0]],
        of.names[pair[1]],
        of.rows[chosen],
        parts[0],
        dict(zip(amounts, parts[1 : 1 + len(amounts)], strict=True)),
        dict(zip(amounts, parts[1 + len(amounts) :], strict=True)),
      )
    )
    logging.log_every_n_seconds(
      logging.INFO, 'Shifted %s, pair %d.', 10, label, number + 1
    )
  return shifts


def _judge(
  train: corpora.Split, places: np.ndarray, label: str, names: Sequence[str]
) -> attributes.TextClassifier | None:
  """A classifier of the label's classes; None if only one occurs."""
  values = train.labels[label]
  kept = [i for i in places.tolist() if values[i] in names]
  if len({values[i] for i in kept}) < 2:
    return None
  return attributes.TextClassifier.fit(
    [_words(train.sentence(i)) for i in kept], [values[i] for i in kept]
  )


def _judged(
  run: run_lib.Run,
  sample: latent_sample.Sample,
  label: str,
  shift: Shift,
  judge: attributes.TextClassifier,
) -> list[dict[str, Any]]:
  """An entry of latents.json for each amount."""
  spelt = lambda sentences: [
    [run.vocab.tokens[i] for i in _words(ids)] for ids in sentences
  ]
  before, count = spelt(shift.before), len(shift.before)
  flips = lambda sentences: int(
    np.sum(judge.predict(list(map(_words, sentences))) == shift.value_to)
  )
  entries = []
  for amount, after in shift.after.items():
    control = shift.control[amount]
    examples = [
      {
        'text': sample.texts[shift.rows[i]],
        'before': run.text(shift.before[i]),
        'after': run.text(after[i]),
      }
      for i in range(min(count, run.config.latents.examples))
    ]
    entries.append(
      {
        'label': label,
        'value_from': shift.value_from,
        'value_to': shift.value_to,
        'amount': amount,
        'sentences': count,
        **_share(flips(after), count, 'flipped'),
        'content_kept': attributes.content_kept(before, spelt(after)),
        'control_flipped': flips(control) / count,
        'control_content_kept': attributes.content_kept(before, spelt(control)),
        'examples': examples,
      }
    )
  return entries


def _words(ids: np.ndarray) -> np.ndarray:
  """The ids that stand for words of the vocabulary."""
  return ids[ids >= len(vocab_lib.SPECIALS)]


def _share(successes: int, count: int, name: str) -> dict[str, float]:
  share = intervals.wilson(successes, count)
  return {name: share.value, 'low': share.low, 'high': share.high}
