"""Classifiers of sentences: a label for each."""

from rnnvae_jax.tasks.classification.task import Classification as TASK

__all__ = ['TASK']
