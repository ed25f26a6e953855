"""Classification by the likelihood ratio of language models, one a class."""

from rnnvae_jax.tasks.generative_classification.task import (
  GenerativeClassification as TASK,
)

__all__ = ['TASK']
