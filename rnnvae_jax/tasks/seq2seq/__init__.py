"""Encoder-decoders: a text is written for a source text."""

from rnnvae_jax.tasks.seq2seq.task import Seq2Seq as TASK

__all__ = ['TASK']
