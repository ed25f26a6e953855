"""How well predicted probabilities of labels hold, and what is got wrong."""

import os
from typing import Any

from absl import logging
import numpy as np

from rnnvae_jax.analysis import calibration
from rnnvae_jax.data import corpora
from rnnvae_jax.inference import records
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base
from rnnvae_jax.training import writers

_MOST_MISTAKES = 50  # That are written.


def figures(
  run: run_lib.Run,
  values: base.Values,
  split: corpora.Split,
  keep_in: str,
  name: str,
) -> dict[str, Any]:
  """Calibration figures of a split, from the values of its rows.

  Args:
    run: a run of a task that predicts labels.
    values: with 'log_probs', float[N, C], as `evaluate` returns them.
    split: the split, with its labels.
    keep_in: a folder for a reliability diagram and the most confident mistakes;
      '': they are not kept.
    name: of the split.

  Returns:
    calibration_error, the expected calibration error of what `predict` returns;
    brier_score and calibrated_nll_per_sentence of the same; and, where
    predictions are corrected, calibration_error_before.
  """
  labels = split.fields['label']
  before = values['log_probs']
  after = run.task.calibrated(before, run.extras)
  curves = {'predicted': calibration.reliability(after, labels)}
  found = {
    'calibration_error': curves['predicted'].error,
    'brier_score': calibration.brier_score(after, labels),
    'calibrated_nll_per_sentence': calibration.nll(after, labels),
  }
  if after is not before:
    curves['before correction'] = calibration.reliability(before, labels)
    found['calibration_error_before'] = curves['before correction'].error
  if keep_in:
    path = os.path.join(keep_in, f'reliability_{name}.png')
    calibration.plot(curves, path)
    mistakes_path = os.path.join(keep_in, f'mistakes_{name}.tsv')
    writers.write_text(
      mistakes_path, '\n'.join(_mistakes(run, after, split)) + '\n'
    )
    logging.info('Written: %s, %s.', path, mistakes_path)
  return found


def _mistakes(run, log_probs, split) -> list[str]:
  """The texts that are labelled wrongly with the highest probabilities."""
  labels = split.fields['label']
  predicted = np.argmax(log_probs, axis=1)
  confidence = np.max(log_probs, axis=1)
  wrong = np.flatnonzero(predicted != labels)
  wrong = wrong[np.argsort(-confidence[wrong], kind='stable')]
  names = run.task.labels
  return [
    records.row('probability', 'predicted', 'label', 'text'),
    *(
      records.row(
        f'{np.exp(np.float64(confidence[i])):.6f}',
        names[predicted[i]],
        names[labels[i]],
        run.text(split.sentence(i)),
      )
      for i in wrong[:_MOST_MISTAKES].tolist()
    ),
  ]
