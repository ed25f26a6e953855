"""What every contestant trains: model sizes, batches and their arithmetic.

The GRU sentence VAE with embeddings of 300, 16 latents and one layer in the
encoder and in the decoder; Adam; gradients clipped. The contestants start from
equal weights, exchanged as a flat dict of arrays:

  embedding                        [V, E]
  {encoder,decoder}_input_kernel   [E, 3 H], gates in the order r, z, n
  {encoder,decoder}_input_bias     [3 H]
  {encoder,decoder}_state_kernel   [H, 3 H]
  {encoder,decoder}_state_bias     [H], of n alone
  posterior_{kernel,bias}          [H, 2 Z], [2 Z], mean and log-variance
  initial_{kernel,bias}            [Z, H], [H], tanh of it is the first state
  output_{kernel,bias}             [H, V], [V]
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rnnvae_jax.data import vocab

EMBEDDING_SIZE = 300
LATENT_SIZE = 16
LEARNING_RATE = 1e-3
CLIP_NORM = 5.0
STEPS_PER_BLOCK = 20

Weights = Mapping[str, np.ndarray]


# Of a step: the sentences, int[lengths[i]] each, with eos at their ends.
Batch = list[np.ndarray]


class Padded(NamedTuple):
  """A batch as arrays."""

  inputs: np.ndarray  # int32[B, T], bos and the words.
  targets: np.ndarray  # int32[B, T], the words and eos.
  lengths: np.ndarray  # int32[B]


def pad(batch: Batch, multiple: int = 1) -> Padded:
  """Fills the sentences up with `vocab.PAD`, which no real target is.

  Args:
    batch: at least one sentence.
    multiple: T is the least multiple of it that holds the longest sentence, so
      that programs of static shapes are few.
  """
  lengths = np.array([len(sentence) for sentence in batch], np.int32)
  length = -(-max(lengths) // multiple) * multiple
  targets = np.full((len(lengths), length), vocab.PAD, np.int32)
  inputs = targets.copy()
  for row, sentence in enumerate(batch):
    targets[row, : len(sentence)] = sentence
    inputs[row, : len(sentence)] = [vocab.BOS, *sentence[:-1]]
  return Padded(inputs, targets, lengths)


def shuffle(block: Sequence[Batch], rng: np.random.Generator) -> list[Batch]:
  """The same sentences dealt anew, long and short ones mixed."""
  everything = [sentence for batch in block for sentence in batch]
  order = iter(rng.permutation(len(everything)))
  return [[everything[next(order)] for _ in batch] for batch in block]


def num_tokens(block: Sequence[Batch]) -> int:
  """Real targets of a block, eos counted."""
  return sum(len(sentence) for batch in block for sentence in batch)


def flops(weights: Weights, block: Sequence[Batch]) -> float:
  """Floating-point operations that a block's real tokens need.

  Six for each weight of a matrix product: a multiplication and an addition in
  the forward product and in both products of its backward pass. What is done
  once a token or once a sentence, and not the small change of activations.
  """
  size = lambda *names: sum(weights[name].size for name in names)
  per_token = size(
    'encoder_input_kernel',
    'encoder_state_kernel',
    'decoder_input_kernel',
    'decoder_state_kernel',
    'output_kernel',
  )
  per_sentence = size('posterior_kernel', 'initial_kernel')
  sentences = sum(len(batch) for batch in block)
  return 6.0 * (num_tokens(block) * per_token + sentences * per_sentence)


def adam_bytes(weights: Weights) -> float:
  """Bytes that a step of Adam reads and writes.

  It reads the parameter, the gradient and both moments, and writes all but
  the gradient: seven float32 for each parameter.
  """
  return 7.0 * 4.0 * sum(x.size for x in weights.values())
