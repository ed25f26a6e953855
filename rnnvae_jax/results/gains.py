"""By how many nats a model with latents is better than its own decoder.

A row's `gain_over` names the row of its decoder as a language model. The gain
is that row's negative log-likelihood minus the row's own, importance-weighted
where it is, in nats a test sentence. Its standard error is over sentences, of
the differences on each, and needs the nats that evaluations keep in the runs'
folders; see `training.sentence_nats`.
"""

from collections.abc import Mapping
import math
import os
from typing import Any

import numpy as np

from rnnvae_jax.training import sentence_nats

GAIN = 'test_gain'
STANDARD_ERROR = 'standard_error'
# The figures of a negative log-likelihood, the better estimate first; without
# importance samples the second one of a model with latents is a bound.
_WEIGHTED, _PLAIN = 'test_iwae_nll', 'test_nll_per_sentence'
_BOUND = 'test_elbo'


def fill(figures: Mapping[str, Any], runs: str = '') -> None:
  """Puts the gain of each row that names its own decoder beside its figures.

  Where one of the two rows is not measured there is no gain. A standard error
  that was recorded before stays as long as the gain is the same.

  Args:
    figures: of a table, which are changed: `test_gain` with its `mean` and
      `standard_error`, None where it is not known.
    runs: the folder of the table's runs: ROW/seed_N; '': there is none.
  """
  rows = figures['rows']
  for name, row in rows.items():
    ours = row.get('ours', {})
    before = ours.pop(GAIN, {})
    own = row.get('gain_over', '')
    nll, own_nll = _nll(ours), _nll(rows.get(own, {}).get('ours', {}))
    if nll is None or own_nll is None:
      continue
    mean = own_nll['mean'] - nll['mean']
    error = None
    if runs:
      error = _standard_error(
        _nats(os.path.join(runs, name), row, nll),
        _nats(os.path.join(runs, own), rows[own], own_nll),
      )
    if error is None and before.get('mean') == mean:
      error = before.get(STANDARD_ERROR)
    ours[GAIN] = {
      'mean': mean,
      'std': None,
      'seeds': nll['seeds'],
      STANDARD_ERROR: error,
    }


def _nll(ours: Mapping[str, Any]) -> Mapping[str, Any] | None:
  """The likelihood among a row's figures; None if there is none or a bound."""
  names = (_WEIGHTED,) if _BOUND in ours else (_WEIGHTED, _PLAIN)
  found = [ours[name] for name in names if name in ours]
  return found[0] if found and found[0]['mean'] is not None else None


def _nats(
  folder: str, row: Mapping[str, Any], figure: Mapping[str, Any]
) -> sentence_nats.Nats | None:
  """The mean over a row's seeds of each sentence's nats.

  Args:
    folder: of the row's runs.
    row: with its `diverged_seeds`.
    figure: that was recorded.

  Returns:
    The nats; None unless they are what the figure is the mean of: runs may
    have been evaluated again since, or lie elsewhere.
  """
  diverged = row.get('diverged_seeds', ())
  seeds = [
    sentence_nats.read(os.path.join(folder, f'seed_{seed}'), 'test')
    for seed in range(figure['seeds'] + len(diverged))
    if seed not in diverged
  ]
  kept = [nats for nats in seeds if nats is not None]
  if len(kept) < len(seeds) or len({nats.content_hash for nats in kept}) != 1:
    return None
  nll = np.mean([nats.nll for nats in kept], axis=0)
  if not math.isclose(np.mean(nll), figure['mean'], rel_tol=1e-9):
    return None
  return sentence_nats.Nats(nll, kept[0].content_hash)


def _standard_error(
  ours: sentence_nats.Nats | None, own: sentence_nats.Nats | None
) -> float | None:
  """Of the mean difference; None unless both are of the same sentences."""
  if ours is None or own is None or ours.content_hash != own.content_hash:
    return None
  differences = own.nll - ours.nll
  return float(np.std(differences, ddof=1) / len(differences) ** 0.5)
