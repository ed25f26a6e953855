"""Language models: exact likelihood, of sentences or of one stream."""

from rnnvae_jax.tasks.language_model.task import LanguageModel as TASK

__all__ = ['TASK']
