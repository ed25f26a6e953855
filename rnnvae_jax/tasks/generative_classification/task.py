"""A label from language models of the classes, by Bayes' rule."""

from collections.abc import Mapping, Sequence
import json
import os
from typing import Any

import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import corpora
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks import _calibration, _classes, base
from rnnvae_jax.tasks.ngrams import counts as counts_lib

_FILE = 'classes.json'  # Written last.


@schema.fragment('model.generative')
class GenerativeConfig:
  """The language models of the classes, and how they are compared."""

  order: int = schema.field(3, 'Tokens of the longest n-gram.', low=1, high=20)
  smoothing: str = schema.field(
    'modified_kneser_ney',
    'How n-grams that were never seen get probability.',
    choices=('modified_kneser_ney', 'kneser_ney'),
  )
  per_token: bool = schema.field(
    False,
    "Whether a text's log-likelihoods are divided by its number of tokens "
    'before they are compared, so that long texts are no surer than short '
    'ones.',
  )
  threshold: bool = schema.field(
    False,
    'Whether an offset for each class is fitted to the validation split, too; '
    'else it is the log of its share of the training split.',
    only_if=schema.is_set('model.generative.calibrated'),
  )
  calibrated: bool = schema.field(
    True,
    'Whether scores are multiplied by the number that gives the labels of the '
    'validation split their highest likelihood.',
  )


class GenerativeClassification(base.Fitted, base.Predicts):
  """p(class | text) from p(text | class) and p(class).

  Mesnil et al. 2015, 'Ensemble of generative and discriminative techniques for
  sentiment analysis of movie reviews', section 2.1. The models share one
  vocabulary, so that their likelihoods are of the same events.
  """

  FRAGMENTS = (GenerativeConfig, labels_lib.LabelConfig)
  FIGURES = _classes.FIGURES
  FIELDS = ('label',)

  def __init__(
    self,
    models: Sequence[counts_lib.NGrams],
    priors: np.ndarray,
    per_token: bool,
    calibration: _calibration.Calibration,
    labels: Sequence[str],
  ):
    """Creates the task.

    Args:
      models: of the classes.
      priors: float64[C], log p(class), nats.
      per_token: see `GenerativeConfig`.
      calibration: of the scores.
      labels: names of the classes.
    """
    self.labels = tuple(labels)
    self._models = tuple(models)
    self._priors = priors
    self._per_token = per_token
    self._calibration = calibration

  @classmethod
  def check(cls, config: Any) -> None:
    _classes.check_fitted(config)

  @classmethod
  def fit(
    cls, config: Any, corpus: corpora.Corpus
  ) -> 'GenerativeClassification':
    _classes.check_labels(config, corpus.labels)
    settings, num_classes = config.model.generative, len(corpus.labels)
    train, valid = corpus.splits['train'], corpus.splits['valid']
    targets = train.fields['label']
    # The class of each token.
    class_of_token = np.repeat(targets, train.lengths)
    models = [
      counts_lib.NGrams.fit(
        train.tokens[class_of_token == number],
        len(corpus.vocab),
        settings.order,
        settings.smoothing,
      )
      for number in range(num_classes)
    ]
    shares = np.bincount(targets, minlength=num_classes) / len(targets)
    task = cls(
      models,
      np.log(shares),
      settings.per_token,
      _calibration.none(num_classes),
      corpus.labels,
    )
    if settings.calibrated:
      task._calibration = _calibration.fit(
        task.scores(valid.tokens, valid.lengths),
        valid.fields['label'],
        settings.threshold,
      )
    return task

  def save(self, workdir: str) -> None:
    for number, model in enumerate(self._models):
      model.save(_path(workdir, number))
    content = {
      'priors': self._priors.tolist(),
      'per_token': self._per_token,
      'scale': self._calibration.scale,
      'offsets': self._calibration.offsets.tolist(),
    }
    path = os.path.join(workdir, _FILE)
    with open(f'{path}.partial', 'w', encoding='utf-8') as file:
      json.dump(content, file)
    os.replace(f'{path}.partial', path)

  @classmethod
  def load(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
    workdir: str,
  ) -> 'GenerativeClassification':
    del config, vocab
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
      raise FileNotFoundError(
        f'The run in {workdir!r} has no models of its classes yet: {path} does '
        'not exist. The command that began it fits them.'
      )
    models = [
      counts_lib.NGrams.load(_path(workdir, number))
      for number in range(len(labels))
    ]
    try:
      with open(path, encoding='utf-8') as file:
        content = json.load(file)
      return cls(
        models,
        np.array(content['priors']),
        content['per_token'],
        _calibration.Calibration(
          content['scale'], np.array(content['offsets'])
        ),
        labels,
      )
    except (ValueError, KeyError) as error:
      raise ValueError(f'{path} is damaged: {error}.') from error

  @classmethod
  def is_fitted(cls, workdir: str) -> bool:
    return os.path.exists(os.path.join(workdir, _FILE))

  def describe(self) -> str:
    counted = (
      f'{label}: ' + ', '.join(f'{len(o.keys):,}' for o in model.orders)
      for label, model in zip(self.labels, self._models, strict=True)
    )
    return 'distinct n-grams of each order, ' + '; '.join(counted)

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats of the label, and predicted int[B], the likeliest."""
    del key, samples
    return _classes.values(self.predict(params, batch, extras), batch)

  def summarise(self, values, split, config, final=False):
    del config, final
    return _classes.summary(values, split, self.labels)

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _classes.warnings(figures)

  def predict(self, params, batch, extras):
    del params, extras

    def log_probs(tokens, lengths):
      return self._calibration.log_probs(self.scores(tokens, lengths))

    return _classes.on_host(log_probs, batch, len(self.labels))

  def scores(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """log p(text | class), of a token if so configured, plus log p(class).

    Args:
      tokens: int[T], sentences one after the other, each ended by eos.
      lengths: int[N], eos counted.

    Returns:
      float64[N, C], nats.
    """
    starts = np.cumsum(lengths) - lengths
    nats = [
      np.add.reduceat(model.log_probs(tokens), starts) for model in self._models
    ]
    scores = np.stack(nats, axis=1)
    if self._per_token:
      scores = scores / lengths[:, None]
    return scores + self._priors


def _path(workdir: str, number: int) -> str:
  """Where the model of a class is kept; names of classes may be any text."""
  return os.path.join(workdir, f'class_{number}.npz')
