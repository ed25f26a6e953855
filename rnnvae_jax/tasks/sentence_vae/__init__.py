"""Sentence VAEs, trained by the evidence lower bound with KL controls."""

from rnnvae_jax.tasks.sentence_vae.task import SentenceVae as TASK

__all__ = ['TASK']
