"""Taggers: a tag for each word of a sentence."""

from rnnvae_jax.tasks.tagging.task import Tagging as TASK

__all__ = ['TASK']
