"""Code shared by the tasks that predict classes, most of it their figures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich import markup

from rnnvae_jax.data import corpora
from rnnvae_jax.tasks import base

_MOST_SHOWN = 12  # Classes whose confusion is printed.


def check_sentences(config: Any) -> None:
  """Raises ValueError for a stream, which has no sentences to be labelled."""
  if config.corpus.stream:
    raise ValueError(
      'config.corpus.stream = True: a stream has no sentences to be labelled. '
      'Legal: False.'
    )


def check_fitted(config: Any) -> None:
  """Raises ValueError for a text that a fitted classifier cannot read."""
  check_sentences(config)
  if config.corpus.unlabelled:
    raise ValueError(
      f'config.corpus.unlabelled = {config.corpus.unlabelled!r}: a '
      f"{config.model.kind} reads labelled text alone. Legal: ''."
    )


def check_labels(config: Any, labels: Sequence[str]) -> None:
  """Raises ValueError unless there are classes to tell apart."""
  if len(labels) < 2:
    raise ValueError(
      f'A classifier needs at least 2 classes; the labels of '
      f'{config.corpus.name!r} are {list(labels)}.'
    )


def values(log_probs: jax.Array, batch: base.Batch) -> dict[str, jax.Array]:
  """What an evaluation of classes returns of each row.

  Args:
    log_probs: float[B, C], nats.
    batch: with the field 'label'.

  Returns:
    nll float[B], nats of the label; predicted int[B], the likeliest class; and
    log_probs float[B, C].
  """
  label = batch['label'][:, None]
  return {
    'nll': -jnp.take_along_axis(log_probs, label, axis=1)[:, 0],
    'predicted': jnp.argmax(log_probs, axis=1),
    'log_probs': log_probs,
  }


def on_host(
  log_probs: Callable[[np.ndarray, np.ndarray], np.ndarray],
  batch: base.Batch,
  num_classes: int,
) -> jax.Array:
  """Log-probabilities that a function on the host computes: float[B, C], nats.

  Args:
    log_probs: tokens int[T] of sentences one after the other, their lengths
      int[N] -> float[N, C]. It is given the rows that are sentences.
    batch: see `data.batches.gather`.
    num_classes: C.
  """

  def call(targets, mask):
    targets, mask = np.asarray(targets), np.asarray(mask)
    lengths = mask.sum(axis=1)
    real = np.flatnonzero(lengths)
    found = np.zeros((len(mask), num_classes), np.float32)
    if len(real):
      found[real] = log_probs(targets[mask], lengths[real])
    return found

  rows = len(batch['index'])
  shape = jax.ShapeDtypeStruct((rows, num_classes), jnp.float32)
  return jax.pure_callback(call, shape, batch['targets'], batch['mask'])


def summary(
  values: base.Values, split: corpora.Split, labels: Sequence[str]
) -> dict[str, Any]:
  """The figures of a split from what `values` returned of all its rows."""
  confusion = confusion_matrix(
    split.fields['label'], values['predicted'], len(labels)
  )
  return {
    'sentences': len(split),
    'unknown_share': split.unknown_share,
    'nll_per_sentence': float(np.mean(values['nll'])),
    **class_figures(confusion, labels),
  }


def confusion_matrix(
  labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """int64[C, C]: sentences with the label of the row, given the column's.

  Args:
    labels: int[N], the classes.
    predicted: int[N], the classes that were predicted.
    num_classes: C.
  """
  cells = labels.astype(np.int64) * num_classes + predicted.astype(np.int64)
  counts = np.bincount(cells, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def class_figures(
  confusion: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
  """Shares of right predictions, over all classes and for each.

  Args:
    confusion: int[C, C], see `confusion_matrix`.
    names: of the classes.

  Returns:
    accuracy; error_percent, the share of wrong ones in per cent;
    majority_share, the accuracy of who always predicts the commonest label;
    macro_f1, the mean F1 of the classes that are the label or the prediction of
    some sentence, as F1 of the others is 0 / 0; classes, by name and in the
    order of the matrix, their count (sentences with this label), predicted,
    precision, recall and f1, None where they are 0 / 0; and confusion, the rows
    of the matrix.
  """
  right = np.diag(confusion)
  count, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
  total = int(confusion.sum())
  classes = {}
  for number, name in enumerate(names):
    classes[name] = {
      'count': int(count[number]),
      'predicted': int(predicted[number]),
      'precision': _ratio(right[number], predicted[number]),
      'recall': _ratio(right[number], count[number]),
      'f1': _ratio(2 * right[number], count[number] + predicted[number]),
    }
  f1 = [values['f1'] for values in classes.values()]
  return {
    'accuracy': float(right.sum() / total),
    'error_percent': float(100 * (total - right.sum()) / total),
    'majority_share': float(count.max() / total),
    'macro_f1': float(np.mean([value for value in f1 if value is not None])),
    'classes': classes,
    'confusion': confusion.tolist(),
  }


def warnings(figures: Mapping[str, Any]) -> list[str]:
  """Says that a classifier gives all sentences one label."""
  chosen = [name for name, f in figures['classes'].items() if f['predicted']]
  if len(chosen) > 1 or len(figures['classes']) < 2:
    return []
  return [f'All {figures["sentences"]:,} sentences are labelled {chosen[0]!r}.']


def _ratio(part: int, whole: int) -> float | None:
  return float(part / whole) if whole else None


def _confusion_label(figures: Mapping[str, Any]) -> str:
  if len(figures['classes']) > _MOST_SHOWN:
    return ''  # It is in results.json.
  return '\n'.join(
    [
      'labels, by what was predicted',
      *(f'  {name}' for name in figures['classes']),
    ]
  )


def _confusion_text(rows: Sequence[Sequence[int]]) -> str:
  width = max(len(f'{count:,}') for row in rows for count in row)
  lines = ('  '.join(f'{count:{width},}' for count in row) for row in rows)
  return '\n'.join(['', *lines])


def telling_text(by_label: Mapping[str, Sequence[Sequence[Any]]]) -> str:
  """The most telling features of each label, a line each."""
  lines = (
    markup.escape(f'{label}: ' + ', '.join(text for text, _ in found))
    for label, found in list(by_label.items())[:_MOST_SHOWN]
  )
  return '\n'.join(lines)


FIGURES = (
  base.Figure('sentences', 'sentences', '{:,}'),
  base.Figure('unknown_share', 'unknown tokens', '{:.2%}'),
  base.Figure('nll_per_sentence', 'nll', '{:.4f}', 'NLL'),
  base.Figure('accuracy', 'accuracy', '{:.2%}', 'accuracy'),
  base.Figure('error_percent', '', '{:.2f}', 'error, %'),
  base.Figure('macro_f1', 'macro F1', '{:.4f}', 'macro F1'),
  base.Figure('majority_share', 'share of the commonest label', '{:.2%}'),
  base.Figure(
    'calibration_error',
    'expected calibration error',
    '{:.4f}',
    'calibration error',
  ),
  base.Figure('calibration_error_before', 'the same, temperature 1', '{:.4f}'),
  base.Figure('confusion', _confusion_label, _confusion_text),
)
