"""GloVe: word vectors from counts of words that occur together."""

from rnnvae_jax.tasks.word_vectors.task import GloVe as TASK

__all__ = ['TASK']
