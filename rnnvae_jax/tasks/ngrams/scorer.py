"""The interface of a model without gradients for evaluation and decoding."""

from typing import Protocol

import jax
import numpy as np


class Scorer(Protocol):
  """A model that assigns probabilities to text and samples text.

  Attributes:
    vocab_size: V.
    context_size: largest number of tokens that the next token depends on.
  """

  vocab_size: int
  context_size: int

  def log_probs(self, ids: np.ndarray) -> np.ndarray:
    """Log-probability of each token given the tokens before it in its sentence.

    Args:
      ids: int[N], sentences one after the other, each ended by eos; text
        without eos is one long sentence.

    Returns:
      float64[N], nats; -inf for a token of probability 0.
    """
    ...

  def next_log_probs(self, contexts: np.ndarray) -> np.ndarray:
    """Log-probabilities of the next token.

    Args:
      contexts: int[B, M], the last M tokens: BOS before the sentence and PAD
        before BOS. Only the last `context_size` of them have an effect.

    Returns:
      float64[B, V], nats; each row's probabilities sum to 1.
    """
    ...

  def sample(self, key: jax.Array, length: int) -> np.ndarray:
    """Samples a sentence: int[<= length], without eos if cut at `length`."""
    ...
