"""What evaluation and decoding want of a model that has no gradients."""

from typing import Protocol

import jax
import numpy as np


class Scorer(Protocol):
  """What gives text a probability, and writes it.

  Attributes:
    vocab_size: V.
    context_size: tokens that the next one depends on, at most.
  """

  vocab_size: int
  context_size: int

  def log_probs(self, ids: np.ndarray) -> np.ndarray:
    """Nats of each token, given those before it in its sentence.

    Args:
      ids: int[N], sentences one after the other, each ended by eos; text
        without eos is one long sentence.

    Returns:
      float64[N], -inf where the model says that a token is impossible.
    """
    ...

  def next_log_probs(self, contexts: np.ndarray) -> np.ndarray:
    """What may come next.

    Args:
      contexts: int[B, M], the last M tokens, BOS where the sentence begins and
        PAD before it; more than `context_size` of them change nothing.

    Returns:
      float64[B, V], nats; each row's probabilities sum to 1.
    """
    ...

  def sample(self, key: jax.Array, length: int) -> np.ndarray:
    """One sentence: int[<= length], ended by eos unless that came too late."""
    ...
