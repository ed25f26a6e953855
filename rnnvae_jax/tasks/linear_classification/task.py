"""Linear classification of n-grams as a task that is fitted once."""

from collections.abc import Mapping, Sequence
from concurrent import futures
import os
from typing import Any
import zipfile

import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import corpora, workers
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks import _calibration, _classes, base
from rnnvae_jax.tasks.linear_classification import estimators, features

_FILE = 'linear.npz'
# Strengths that are tried if the config names none.
GRID = (0.01, 0.1, 1.0, 10.0)
_MOST_TELLING = 10  # Features that are listed for each label.

_IS_LEARNT = schema.none_of('model.linear.estimator', 'naive_bayes')
_HAS_COUNTS = schema.one_of('model.linear.estimator', 'naive_bayes', 'nb_svm')
_IS_NB_SVM = schema.one_of('model.linear.estimator', 'nb_svm')


@schema.fragment('model.linear')
class LinearConfig:
  """Features and estimator of a linear classifier."""

  shortest: int = schema.field(
    1, 'Tokens of the shortest n-grams that are features.', low=1, high=10
  )
  longest: int = schema.field(
    2, 'Tokens of the longest n-grams that are features.', low=1, high=10
  )
  min_count: int = schema.field(
    1, 'n-grams seen less often in the training text are no features.', low=1
  )
  weighting: str = schema.field(
    'presence',
    "What a feature of a sentence is: 1 ('presence'), its count, or its count "
    'times its inverse frequency in sentences, over the length of the vector.',
    choices=features.WEIGHTINGS,
  )
  estimator: str = schema.field(
    'nb_svm',
    'Naive Bayes; logistic regression; a linear support vector machine; or '
    "one of these two over features times naive Bayes' log-count ratio (Wang "
    '& Manning 2012).',
    choices=estimators.ESTIMATORS,
  )
  smoothing: float = schema.field(
    1.0,
    "What is added to a feature's count in each class.",
    low=1e-6,
    only_if=_HAS_COUNTS,
  )
  loss: str = schema.field(
    'logistic',
    'The loss that the weights over the ratios minimise.',
    choices=estimators.LOSSES,
    only_if=_IS_NB_SVM,
  )
  interpolation: float = schema.field(
    1.0,
    'Share of the learnt weights over the ratios; the rest is their mean '
    'magnitude. Wang & Manning: 0.25, with the squared hinge loss.',
    low=0.0,
    high=1.0,
    only_if=_IS_NB_SVM,
  )
  strength: float = schema.field(
    0.0,
    'Weight of the losses against half the squared weights (C of liblinear); '
    f'0: of {", ".join(f"{value:g}" for value in GRID)} the one with the '
    'highest accuracy on the validation split.',
    low=0.0,
    only_if=_IS_LEARNT,
  )
  calibrated: bool = schema.field(
    True,
    'Whether scores are multiplied by the number that gives the labels of the '
    'validation split their highest likelihood.',
  )


class LinearClassification(base.Fitted, base.Predicts):
  """A sentence's label from the n-grams that it has."""

  FRAGMENTS = (LinearConfig, labels_lib.LabelConfig)
  FIGURES = (
    *_classes.FIGURES,
    base.Figure('strength', 'strength of the fit', '{:g}'),
    base.Figure('telling', 'most telling', _classes.telling_text),
  )
  FIELDS = ('label',)

  def __init__(
    self,
    found: features.NGramFeatures,
    linear: estimators.Linear,
    settings: Mapping[str, Any],
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
  ):
    """Creates the task.

    Args:
      found: the features.
      linear: weights of the features.
      settings: 'weighting'; 'frequency' float[F], where that needs it;
        'scale', which scores are multiplied by; and 'strength', 0 where the
        estimator has none.
      vocab: of the text.
      labels: names of the classes.
    """
    self.labels = tuple(labels)
    self._features = found
    self._linear = linear
    self._settings = settings
    self._vocab = vocab

  @classmethod
  def check(cls, config: Any) -> None:
    _classes.check_fitted(config)
    settings = config.model.linear
    if settings.shortest > settings.longest:
      raise ValueError(
        f'config.model.linear.shortest = {settings.shortest} is more than '
        f'config.model.linear.longest = {settings.longest}. Nearest legal '
        f'value: {settings.longest}.'
      )

  @classmethod
  def fit(cls, config: Any, corpus: corpora.Corpus) -> 'LinearClassification':
    _classes.check_labels(config, corpus.labels)
    settings = config.model.linear
    train, valid = corpus.splits['train'], corpus.splits['valid']
    found = features.NGramFeatures.fit(
      train.tokens,
      len(corpus.vocab),
      settings.shortest,
      settings.longest,
      settings.min_count,
    )
    counts = found.matrix(train.tokens, train.lengths)
    kept: dict[str, Any] = {'weighting': settings.weighting}
    if settings.weighting == 'tf_idf':
      kept['frequency'] = features.inverse_frequency(counts)
    vectors = [
      features.weighted(x, settings.weighting, kept.get('frequency'))
      for x in (counts, found.matrix(valid.tokens, valid.lengths))
    ]
    targets = train.fields['label'], valid.fields['label']
    linear, kept['strength'] = _fitted(
      settings, vectors, targets, len(corpus.labels)
    )
    kept['scale'] = 1.0
    if settings.calibrated:
      scores = linear.scores(vectors[1])
      kept['scale'] = _calibration.fit(scores, targets[1]).scale
    return cls(found, linear, kept, corpus.vocab, corpus.labels)

  def save(self, workdir: str) -> None:
    """Saves the model; a kill leaves either the old or the new file."""
    path = os.path.join(workdir, _FILE)
    arrays: dict[str, Any] = {
      f'keys_{length}': keys
      for length, keys in enumerate(self._features.keys, 1)
    }
    with open(f'{path}.partial', 'wb') as file:
      np.savez(
        file,
        shortest=self._features.shortest,
        weights=self._linear.weights.astype(np.float32),
        bias=self._linear.bias,
        **arrays,
        **self._settings,
      )
    os.replace(f'{path}.partial', path)

  @classmethod
  def load(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
    workdir: str,
  ) -> 'LinearClassification':
    del config
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
      raise FileNotFoundError(
        f'The run in {workdir!r} has no classifier yet: {path} does not exist. '
        'The command that began it fits one.'
      )
    try:
      with np.load(path, allow_pickle=False) as arrays:
        count = sum(name.startswith('keys_') for name in arrays)
        keys = tuple(arrays[f'keys_{n}'] for n in range(1, count + 1))
        found = features.NGramFeatures(
          keys, int(arrays['shortest']), len(vocab)
        )
        linear = estimators.Linear(arrays['weights'], arrays['bias'])
        settings = {
          'weighting': str(arrays['weighting']),
          'strength': float(arrays['strength']),
          'scale': float(arrays['scale']),
        }
        if 'frequency' in arrays:
          settings['frequency'] = arrays['frequency']
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
      raise ValueError(f'{path} is damaged: {error}.') from error
    return cls(found, linear, settings, vocab, labels)

  @classmethod
  def is_fitted(cls, workdir: str) -> bool:
    return os.path.exists(os.path.join(workdir, _FILE))

  def describe(self) -> str:
    counted = ', '.join(f'{len(keys):,}' for keys in self._features.keys)
    chosen = self._settings['strength']
    return f'n-grams of each length: {counted}' + (
      f'; strength {chosen:g}' if chosen else ''
    )

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats of the label, and predicted int[B], the likeliest."""
    del key, samples
    return _classes.values(self.predict(params, batch, extras), batch)

  def summarise(self, values, split, config, final=False):
    del config
    figures = _classes.summary(values, split, self.labels)
    if final:
      figures['telling'] = self.telling()
      if self._settings['strength']:
        figures['strength'] = self._settings['strength']
    return figures

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _classes.warnings(figures)

  def predict(self, params, batch, extras):
    del params, extras
    return _classes.on_host(self.log_probs, batch, len(self.labels))

  def log_probs(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Log-probabilities of the labels.

    Args:
      tokens: int[T], sentences one after the other, each ended by eos.
      lengths: int[N], eos counted.

    Returns:
      float64[N, C], nats.
    """
    settings = self._settings
    x = features.weighted(
      self._features.matrix(tokens, lengths),
      settings['weighting'],
      settings.get('frequency'),
    )
    scores = self._linear.scores(x)
    return _calibration.log_softmax(settings['scale'] * scores)

  def telling(self, count: int = _MOST_TELLING) -> dict[str, list[list[Any]]]:
    """By label, the features that speak most for it: [text, weight] each.

    The weight is that of the label minus the mean of the others', of one
    occurrence, before calibration.
    """
    weights = self._linear.weights.astype(np.float64)
    if weights.shape[1] == 1:
      weights = np.concatenate([-weights, weights], axis=1)
    else:
      others = weights.sum(axis=1, keepdims=True) - weights
      weights = weights - others / (weights.shape[1] - 1)
    found = {}
    for label, column in zip(self.labels, weights.T, strict=True):
      best = np.argsort(-column, kind='stable')[:count]
      found[label] = [[self._text(i), float(column[i])] for i in best]
    return found

  def _text(self, feature: int) -> str:
    tokens = (self._vocab.tokens[i] for i in self._features.tokens_of(feature))
    return ' '.join(tokens)


def _fitted(
  settings: Any,
  vectors: Sequence[Any],
  labels: Sequence[np.ndarray],
  num_classes: int,
) -> tuple[estimators.Linear, float]:
  """Weights that are fitted as the config says, and the strength of the fit.

  Args:
    settings: see `LinearConfig`.
    vectors: of the training and the validation split.
    labels: of the two.
    num_classes: C.
  """
  x, y = vectors[0], labels[0]
  estimator = settings.estimator
  if estimator == 'naive_bayes':
    return estimators.naive_bayes(x, y, num_classes, settings.smoothing), 0.0
  losses = {'logistic_regression': 'logistic', 'svm': 'squared_hinge'}
  loss = losses.get(estimator) or settings.loss

  def fit(strength: float) -> estimators.Linear:
    if estimator == 'nb_svm':
      return estimators.nb_svm(
        x,
        y,
        num_classes,
        loss,
        strength,
        settings.smoothing,
        settings.interpolation,
      )
    return estimators.discriminative(x, y, num_classes, loss, strength)

  if settings.strength:
    return fit(settings.strength), settings.strength
  # liblinear works without Python's lock. The solver of the squared hinge draws
  # numbers from one generator for all threads, so its fits take turns.
  at_once = workers.cores() if loss == 'logistic' else 1
  with futures.ThreadPoolExecutor(min(at_once, len(GRID))) as pool:
    found = list(pool.map(fit, GRID))
  right = [
    np.mean(np.argmax(linear.scores(vectors[1]), axis=1) == labels[1])
    for linear in found
  ]
  best = int(np.argmax(right))  # The weakest of equals.
  return found[best], GRID[best]
