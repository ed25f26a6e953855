r"""Linear classifier of sentences from their n-grams, with scikit-learn.

  python -m rnnvae_jax.main --config=configs/linear_classifier.py \
    --workdir=runs/linear
  python -m rnnvae_jax.main --config=configs/linear_classifier.py:FOLDER ...
  python -m rnnvae_jax.main \
    --config=configs/linear_classifier.py:estimator=naive_bayes,longest=1 ...
  echo 'a dull film .' | python -m rnnvae_jax.main --mode=predict \
    --workdir=runs/linear

Naive Bayes, logistic regression, a support vector machine or NB-SVM (Wang &
Manning 2012), the default. A line of a folder's files is a label, a tab and the
text. The evaluation lists the n-grams that speak most for each label.
"""

import os

from rnnvae_jax.config import argument, build


def get_config(tail: str = ''):
  arg = argument.parse(
    tail, estimator='nb_svm', shortest=1, longest=2, tiny=False
  )
  config = build.default('linear_classification')

  config.corpus.name = 'sentence_polarity'
  config.corpus.max_length = 5_000  # Documents are not cut.
  config.corpus.min_count = 1
  config.model.linear.estimator = arg.estimator
  config.model.linear.shortest = arg.shortest
  config.model.linear.longest = arg.longest

  argument.apply(config, arg)
  config.corpus.labelled = os.path.isdir(config.corpus.name)
  return config
