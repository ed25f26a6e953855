"""Language models of sentences of a label, which also classify."""

from rnnvae_jax.tasks.labelled_language_model.task import (
  LabelledLanguageModel as TASK,
)

__all__ = ['TASK']
