"""Taggers that count: hidden Markov models."""

from rnnvae_jax.tasks.hidden_markov_tagging.task import (
  HiddenMarkovTagging as TASK,
)

__all__ = ['TASK']
