"""The state of a recurrent language model after and during texts."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import protocols
from rnnvae_jax.inference import padding
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.tasks import base

# Tokens that are read at a time. It bounds memory, and the number of lengths
# that programs are compiled for.
_WINDOW = 128
_ROWS = 128  # Texts that are read side by side, at most.


def check(run: run_lib.Run) -> None:
  """Raises ValueError unless the run is a recurrent language model."""
  cell = run.config.model.get('cell', 'none')
  is_recurrent = cell in cells.REGISTRY and cells.is_recurrent(cell)
  if not (is_recurrent and isinstance(run.task, base.CarriesState)):
    raise ValueError(
      'Units are those of recurrent language models, such as '
      'configs/sentiment_unit.py; this run has config.model.kind = '
      f'{run.config.model.kind!r} and config.model.cell = {cell!r}.'
    )


def shown(run: run_lib.Run, text: str) -> str:
  """A text as a model reads it, after its begin mark.

  Of a stream of characters or bytes it is on one line with a space before and
  after it (Radford et al., arXiv:1704.01444), whatever the run's protocol: its
  begin mark is a line end.
  """
  if run.config.corpus.stream and run.vocab.kind != 'word':
    return protocols.review_line(text)
  return text


def inputs(run: run_lib.Run, texts: Sequence[str]) -> list[np.ndarray]:
  """What the model reads of each text: the begin mark and its tokens.

  Args:
    run: a recurrent language model.
    texts: none of them blank.

  Returns:
    int32[T] each, without an end mark.
  """
  found = []
  for text in texts:
    tokens = run.protocol.tokenise(shown(run, text))
    ids = run.vocab.encode(tokens)
    found.append(np.concatenate([[run.begin_mark], ids]).astype(np.int32))
  return found


def last_layer_state(carry: Any) -> jax.Array:
  """The last layer's state float[B, H]: c of an LSTM, h of cells without c."""
  return carry[-1][0][-1]


class Reader:
  """The compiled functions of one task."""

  def __init__(self, task: base.CarriesState):
    self._task = task
    self._read = jax.jit(self._read_window)
    self._follow = jax.jit(self._follow_tokens)

  def after(self, params: Any, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """The last layer's state after each sequence.

    Texts of about the same length are read side by side, window by window, the
    state carried; a row whose text has ended keeps its state.

    Args:
      params: of the task.
      sequences: int[T] each, from a state of zeros on.

    Returns:
      float32[N, H].
    """
    order = np.argsort([-len(ids) for ids in sequences], kind='stable')
    states = []
    for start in range(0, len(order), _ROWS):
      chosen = [sequences[i] for i in order[start : start + _ROWS]]
      rows = padding.static_rows(len(chosen))
      longest = len(chosen[0])
      window = min(padding.static_length(longest), _WINDOW)
      tokens, mask = _padded(chosen, rows, -(-longest // window) * window)
      carry = self._task.start(params, rows, None)
      for first in range(0, tokens.shape[1], window):
        part = slice(first, first + window)
        carry = self._read(params, tokens[:, part], mask[:, part], carry)
      state = np.asarray(last_layer_state(carry), np.float32)
      states.append(state[: len(chosen)])
    return np.concatenate(states)[np.argsort(order, kind='stable')]

  def during(
    self, params: Any, sequences: Sequence[np.ndarray]
  ) -> list[np.ndarray]:
    """The last layer's state after each token: float32[T, H] each.

    All sequences are read side by side; meant for few.
    """
    rows = padding.static_rows(len(sequences))
    longest = padding.static_length(max(map(len, sequences)))
    tokens, _ = _padded(sequences, rows, longest)
    states = np.asarray(self._follow(params, tokens), np.float32)
    return [states[: len(ids), i] for i, ids in enumerate(sequences)]

  def _read_window(self, params, tokens, mask, carry):
    batch = {
      'inputs': tokens,
      'targets': tokens,  # Their likelihood is not asked for.
      'mask': mask,
      'token_counts': (),
    }
    return self._task.read(params, batch, carry).carry

  def _follow_tokens(self, params, tokens):
    def step(carry, now):
      carry, _ = self._task.step(params, carry, now, None)
      return carry, last_layer_state(carry)

    start = self._task.start(params, tokens.shape[0], None)
    return jax.lax.scan(step, start, jnp.swapaxes(tokens, 0, 1))[1]


def _padded(
  sequences: Sequence[np.ndarray], rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
  """int32[rows, length] and which of them are real, bool[rows, length]."""
  tokens = np.zeros((rows, length), np.int32)
  mask = np.zeros(tokens.shape, bool)
  for row, ids in enumerate(sequences):
    tokens[row, : len(ids)] = ids
    mask[row, : len(ids)] = True
  return tokens, mask
