"""Count models: uniform, maximum likelihood, Kneser-Ney."""

from rnnvae_jax.tasks.ngrams.task import NGrams as TASK

__all__ = ['TASK']
