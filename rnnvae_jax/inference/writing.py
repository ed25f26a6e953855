"""How a trained run writes: the settings, the contexts, the ids."""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging
import ml_collections
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import decoding as decoding_lib

# Tokens that a stream of characters writes for itself before a sample begins.
_WARM_UP = 64


def settings(
  config: ml_collections.ConfigDict, options: Mapping[str, Any]
) -> decoding_lib.Decoding:
  """Given options, and those of the config for what is not given.

  Raises:
    ValueError: an unknown option, or a beam search with a temperature.
  """
  fields = decoding_lib.Decoding._fields
  for name in options:
    if name not in fields:
      raise ValueError(errors.unknown('option', name, (*fields, 'prime')))
  if options.get('beam_size', 1) > 1 and options.get('temperature', 0) > 0:
    raise ValueError(
      f'beam_size = {options["beam_size"]} searches, it does not draw: it '
      'needs temperature = 0.'
    )
  values = {name: config.generate[name] for name in fields} | dict(options)
  if not values['max_length']:
    values['max_length'] = config.corpus.max_length
  return decoding_lib.Decoding(**values)


def write(
  run: Any,
  begun: np.ndarray,
  count: int,
  latents: np.ndarray | None,
  decoding: decoding_lib.Decoding,
) -> list[np.ndarray]:
  """Sentences that all begin with the same tokens.

  Args:
    run: an `inference.run.Run`.
    begun: int[P], what they begin with.
    count: N, how many.
    latents: z float[N, Z] of each, of a task that has latents.
    decoding: how ids are chosen.

  Returns:
    int32[T] each, `begun` included.
  """
  context = np.concatenate([[run.begin_mark], begun]).astype(np.int32)
  contexts = [context] * count
  if run.config.corpus.stream and not run.ends and not len(begun):
    contexts = _warmed_up(run, contexts, latents, decoding)
  written = _following(run, contexts, latents, decoding)
  cut = sum(ids[-1] != vocab_lib.EOS for ids in written)
  if cut and run.ends:
    logging.info(
      '%d of %d sentences did not end within %d tokens: raise '
      'config.generate.max_length.',
      cut,
      len(written),
      decoding.max_length,
    )
  return [np.concatenate([begun, ids]) for ids in written]


def _warmed_up(
  run: Any,
  contexts: Sequence[np.ndarray],
  latents: np.ndarray | None,
  decoding: decoding_lib.Decoding,
) -> list[np.ndarray]:
  """Contexts for samples of a stream of characters that has no prime.

  A state of zeros is one that such a model has hardly met: what it writes first
  is often noise. So it writes some text for itself, ended by a line end where
  its text has any, and each sample begins after that.
  """
  decoding = decoding._replace(max_length=_WARM_UP, beam_size=1)
  written = _following(run, contexts, latents, decoding)
  end = [] if run.begin_mark == vocab_lib.EOS else [run.begin_mark]
  return [
    np.concatenate([context, ids, end]).astype(np.int32)
    for context, ids in zip(contexts, written, strict=True)
  ]


def _following(run, contexts, latents, decoding) -> list[np.ndarray]:
  """The ids that follow on each context."""
  return run.programs.decode(
    run.params,
    contexts,
    latents,
    run.forbidden(decoding.forbid_unk),
    decoding,
  )
