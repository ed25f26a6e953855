"""Sentence VAEs: the evidence lower bound, its KL term controlled."""

from rnnvae_jax.tasks.sentence_vae.task import SentenceVae as TASK

__all__ = ['TASK']
