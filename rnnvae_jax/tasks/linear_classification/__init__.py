"""Linear classifiers of n-grams: naive Bayes, logistic regression, NB-SVM."""

from rnnvae_jax.tasks.linear_classification.task import (
  LinearClassification as TASK,
)

__all__ = ['TASK']
