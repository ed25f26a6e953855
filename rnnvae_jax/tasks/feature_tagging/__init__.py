"""Linear taggers: a random field over features of words."""

from rnnvae_jax.tasks.feature_tagging.task import FeatureTagging as TASK

__all__ = ['TASK']
