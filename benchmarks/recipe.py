"""The common task of all contestants: model sizes, batches and their cost.

All train a GRU sentence VAE with embeddings of 300, 16 latents and one layer in
the encoder and in the decoder, by Adam with clipped gradients. They start from
equal weights, which are exchanged as a flat dict of arrays:

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


# The sentences of a step, int[lengths[i]] each, with eos at their ends.
Batch = list[np.ndarray]


class Padded(NamedTuple):
  """A batch as arrays."""

  inputs: np.ndarray  # int32[B, T], bos and the words.
  targets: np.ndarray  # int32[B, T], the words and eos.
  lengths: np.ndarray  # int32[B]


def pad(batch: Batch, multiple: int = 1) -> Padded:
  """Pads sentences with `vocab.PAD`, which is never a real target.

  Args:
    batch: at least one sentence.
    multiple: T is rounded up to a multiple of it, so that there are few static
      shapes.
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
  """Redistributes a block's sentences, so that batches have mixed lengths."""
  sentences = [sentence for batch in block for sentence in batch]
  order = iter(rng.permutation(len(sentences)))
  return [[sentences[next(order)] for _ in batch] for batch in block]


def num_tokens(block: Sequence[Batch]) -> int:
  """The number of real targets in a block, eos counted."""
  return sum(len(sentence) for batch in block for sentence in batch)


def flops(weights: Weights, block: Sequence[Batch]) -> float:
  """Floating-point operations that a block's real tokens need.

  Counts six for each weight of a matrix product: a multiplication and an
  addition in the forward product and in both products of the backward pass.
  Products are counted once a token or once a sentence; pointwise operations are
  not counted.
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

  Adam reads the parameter, the gradient and both moments, and writes all except
  the gradient: seven float32 for each parameter.
  """
  return 7.0 * 4.0 * sum(x.size for x in weights.values())
