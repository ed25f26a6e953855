"""Cross-entropy training of a classifier of sentences."""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any

from clu import metrics as clu_metrics
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.config import schema
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import classifier, embeddings
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.models.encoders import base as encoders
from rnnvae_jax.objectives import losses, perturbation
from rnnvae_jax.ops import noise, rows
from rnnvae_jax.tasks import _calibration, _classes, _likelihood, _metrics, base
from rnnvae_jax.tasks.classification import settings


@schema.fragment('train')
class SelectConfig:
  """Which validation figure chooses the checkpoint."""

  select_by: str = schema.field(
    'accuracy',
    'The validation figure that chooses the checkpoint: the highest accuracy '
    'or macro_f1, the lowest nll_per_sentence.',
    choices=('accuracy', 'macro_f1', 'nll_per_sentence'),
  )


# Means over some updates, dropout on; nats.
_METRICS = {
  'loss': _metrics.mean('loss'),
  'nll_per_sentence': _metrics.per('sentences', 'nll'),
  'accuracy': _metrics.per('sentences', 'right'),
  'tokens': _metrics.total('tokens'),
  'grad_norm': _metrics.mean('grad_norm'),
  'learning_rate': _metrics.mean('learning_rate'),
}
Metrics = clu_metrics.Collection.create(**_METRICS)
JointMetrics = clu_metrics.Collection.create(
  **_METRICS, next_word_nll=_metrics.per('tokens', 'next_word_nll')
)


class Classification(_likelihood.Recurrent, base.Predicts):
  """The label of a text, by an encoder and a layer that chooses a class."""

  FRAGMENTS = (
    settings.ClassifierConfig,
    *encoders.fragments(),
    *cells.fragments(),
    settings.DropoutConfig,
    settings.LinearGainConfig,
    settings.NextWordConfig,
    labels_lib.LabelConfig,
    losses.LabelSmoothingConfig,
    perturbation.PerturbationConfig,
    SelectConfig,
  )
  FIGURES = _classes.FIGURES
  FIELDS = ('label',)

  def __init__(
    self,
    model: classifier.Classifier,
    labels: Sequence[str],
    *,
    frozen_parts: tuple[str, ...] = (),
    standardised: bool = False,
    linear_gain: bool = False,
    virtual_iterations: int = 1,
    random_perturbation: bool = False,
    initialise: Callable | None = None,
  ):
    """Creates the task.

    Args:
      model: its Flax module.
      labels: names of the classes, in the order of their ids.
      frozen_parts: parts of the model that stay as they begin: 'embedding',
        'encoder'.
      standardised: whether word vectors keep their first mean and variance.
      linear_gain: whether labels are learnt after every word.
      virtual_iterations: see `perturbation.virtual`.
      random_perturbation: whether perturbations have random directions.
      initialise: (params, key) -> params, as they begin; None: as the modules
        say.
    """
    self.model = model
    self.metrics = JointMetrics if model.next_words else Metrics
    self.labels = tuple(labels)
    self.backend = model.encoder.backend
    self.backend_reason = model.encoder.backend_reason
    self.frozen_parts = frozen_parts
    self._standardised = standardised
    self._linear_gain = linear_gain
    self._virtual_iterations = virtual_iterations
    self._random_perturbation = random_perturbation
    self._initialise = initialise

  @classmethod
  def check(cls, config: Any) -> None:
    _classes.check_sentences(config)

  @classmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'Classification':
    _classes.check_labels(config, labels)
    model = config.model
    frozen = {
      'embedding': model.frozen_embeddings,
      'encoder': model.frozen_encoder,
    }
    return cls(
      classifier.Classifier(
        vocab_size=len(vocab),
        embedding_size=model.embedding_size,
        num_classes=len(labels),
        encoder=encoders.get(model.encoder).from_config(config),
        counts_unknown=model.unknown_words == 'counted',
        head_layers=model.head_layers,
        head_size=model.head_size,
        activation=model.activation,
        locked_dropout=config.dropout.locked,
        next_words=bool(config.objective.next_word_weight),
        precision=model.precision,
      ),
      labels,
      frozen_parts=tuple(name for name, is_set in frozen.items() if is_set),
      standardised=model.standardised_embeddings,
      linear_gain=config.objective.linear_gain,
      virtual_iterations=config.objective.virtual_iterations,
      random_perturbation=config.objective.random_perturbation,
      initialise=_likelihood.initialiser(config),
    )

  def init(self, key: jax.Array) -> Any:
    batch = _likelihood.tiny_batch()
    arrays = batch['inputs'], batch['mask']
    return _likelihood.init(self.model, arrays, self._initialise, key)

  def initial_extras(self) -> dict[str, Any]:
    extras: dict[str, Any] = {'temperature': jnp.float32(1.0)}
    if self._standardised:
      size = jnp.zeros(self.model.embedding_size)
      shares = jnp.zeros(self.model.vocab_size)
      extras['scaling'] = embeddings.Scaling(shares, size, size)
    return extras

  def extras_from_text(self, params, split):
    if not self._standardised:
      return {}
    words = split.tokens[split.tokens != vocab_lib.EOS]
    counts = np.bincount(words, minlength=self.model.vocab_size)
    frequencies = jnp.float32(counts / len(words))
    table = params['params']['embedding']['embedding']
    moments = embeddings.moments(table, frequencies)
    return {'scaling': embeddings.Scaling(frequencies, *moments)}

  def loss(self, params, batch, hyperparameters, key, extras):
    objective = hyperparameters.objective
    rates = noise.rates(hyperparameters.dropout)
    params = noise.drop_weights(params, rates.weight, key, 'encoder')
    keys = noise.row_keys(key, batch['index'])
    scaling = extras.get('scaling')
    x, mask = self._apply('embed', params, batch, rates, keys, scaling)

    def log_probs_of(params, x):
      logits: Any = self.model.apply(
        params, x, mask, rates, keys, scaling, method='classify'
      )
      return jax.nn.log_softmax(logits, axis=1)

    labels = batch['label']
    learnt = next_words = None
    if self.model.next_words:
      joint: Any = self.model.apply(
        params,
        x,
        mask,
        batch['targets'],
        batch['token_counts'],
        rates,
        keys,
        scaling,
        method='classify_and_read',
      )
      logits, next_words = joint
      log_probs = jax.nn.log_softmax(logits, axis=1)
    elif self._linear_gain:
      scored: Any = self.model.apply(
        params, x, mask, rates, keys, scaling, method='classify_each'
      )
      each, words = scored
      each = jax.nn.log_softmax(each, axis=2)
      log_probs, learnt = _linear_gain(each, words, labels)
    else:
      log_probs = log_probs_of(params, x)
    nll = _nll(log_probs, labels)
    learnt = minimised = nll if learnt is None else learnt
    if objective.label_smoothing is not None:
      uniform = -jnp.mean(log_probs, axis=1)
      smoothing = objective.label_smoothing
      minimised = (1.0 - smoothing) * learnt + smoothing * uniform
    keys = noise.site_keys(keys, 'perturbation')
    adversarial, virtual = self._perturbed(
      objective, labels, log_probs_of, params, x, mask, log_probs, keys
    )
    weights = batch['weights']
    labelled = weights * (labels != labels_lib.NONE)
    total = lambda values: rows.total(jnp.sum(values))
    sums = {
      'nll': total(labelled * nll),
      'right': total(labelled * (jnp.argmax(log_probs, axis=1) == labels)),
      **_likelihood.counts(batch),
      'sentences': jnp.maximum(total(labelled), 1.0),
    }
    value = total(labelled * (minimised + adversarial)) / sums['sentences']
    value += total(weights * virtual) / jnp.maximum(total(weights), 1.0)
    if next_words is not None:
      sums['next_word_nll'] = rows.total(next_words)
      per_word = sums['next_word_nll'] / jnp.maximum(sums['tokens'], 1.0)
      value += objective.next_word_weight * per_word
    return value, (sums, extras)

  def _perturbed(
    self, objective, labels, log_probs_of, params, x, mask, log_probs, keys
  ):
    """Weighted nats of labels and divergences at perturbed word vectors.

    Each is float[B], or 0 if the objective has no such term.
    """
    adversarial = virtual = jnp.float32(0.0)
    # A perturbation is a constant, and so is all that it is computed from.
    fixed = functools.partial(log_probs_of, jax.lax.stop_gradient(params))
    movable = mask.at[:, 0].set(False) if self.model.encoder.READS_BOS else mask
    norm = objective.perturbation_norm
    draw = lambda site: noise.normal(keys, site, x.shape[1:])
    if objective.adversarial_weight is not None:
      if self._random_perturbation:
        moved = perturbation.scaled(draw('adversarial'), movable, norm)
      else:
        moved = perturbation.adversarial(
          lambda x: _nll(fixed(x), labels), x, movable, norm
        )
      nll = _nll(log_probs_of(params, x + moved), labels)
      adversarial = objective.adversarial_weight * nll
    if objective.virtual_weight is not None:
      target, draws = jax.lax.stop_gradient(log_probs), draw('virtual')
      if self._random_perturbation:
        moved = perturbation.scaled(draws, movable, norm)
      else:
        step, iterations = objective.virtual_step, self._virtual_iterations
        moved = perturbation.virtual(
          fixed, target, x, movable, draws, norm, step, iterations
        )
      virtual = objective.virtual_weight * perturbation.divergence(
        target, log_probs_of(params, x + moved)
      )
    return adversarial, virtual

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats of the label, and predicted int[B], the likeliest."""
    del key, samples  # Nothing is drawn.
    return _classes.values(self._log_probs(params, batch, extras), batch)

  def summarise(self, values, split, config, final=False):
    del config
    figures = _classes.summary(values, split, self.labels)
    if not final:  # Of a validation; see `after_validation`.
      labels = split.fields['label']
      scale = _calibration.fit(values['log_probs'], labels).scale
      figures['temperature'] = 1.0 / scale
    return figures

  def summarise_label(self, values, split, config):
    return self.summarise(values, split, config, final=True)

  def after_validation(self, state, figures, config, fresh):
    """Keeps the temperature that fits the validation split best.

    It makes probabilities honest and does not change which label is likeliest
    (Guo et al., arXiv:1706.04599, section 4.2).
    """
    del config, fresh
    temperature = jnp.float32(figures['temperature'])
    return state.replace(
      extras=state.extras | {'temperature': temperature}
    ), True

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _classes.warnings(figures)

  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    name = config.train.select_by
    sign = 1 if name == 'nll_per_sentence' else -1
    return sign * float(figures[name])

  def report(self, figures: Mapping[str, Any]) -> str:
    return (
      f'accuracy {figures["accuracy"]:.2%}, macro F1 '
      f'{figures["macro_f1"]:.4f}, {figures["nll_per_sentence"]:.4f} nats a '
      'sentence'
    )

  def predict(self, params, batch, extras):
    log_probs = self._log_probs(params, batch, extras)
    return jax.nn.log_softmax(log_probs / extras['temperature'], axis=1)

  def calibrated(self, log_probs, extras):
    temperature = float(extras['temperature'])
    return _calibration.log_softmax(np.asarray(log_probs) / temperature)

  def _log_probs(self, params, batch, extras):
    scaling = extras.get('scaling')
    logits = self._apply('__call__', params, batch, None, None, scaling)
    return jax.nn.log_softmax(logits, axis=1)

  def _apply(self, method, params, batch, *options) -> Any:
    return self.model.apply(
      params, batch['inputs'], batch['mask'], *options, method=method
    )


def _linear_gain(
  log_probs: jax.Array, words: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Predictions after the last word, and nats of the label over all words.

  Args:
    log_probs: float[B, T, C], after each word.
    words: bool[B, T], which of them are of words.
    labels: int[B].

  Returns:
    float[B, C]; and float[B], the mean nats after a word, weighted by how many
    words have been read.
  """
  count = jnp.cumsum(words, axis=1)
  last = jnp.argmax(count, axis=1)
  final = jnp.take_along_axis(log_probs, last[:, None, None], axis=1)[:, 0]
  each = jnp.maximum(labels, 0)[:, None, None]
  nll = -jnp.take_along_axis(log_probs, each, axis=2)[:, :, 0]
  weights = jnp.where(words, count, 0).astype(nll.dtype)
  total = jnp.sum(weights * nll, axis=1)
  return final, total / jnp.maximum(jnp.sum(weights, axis=1), 1.0)


def _nll(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Nats of each row's label: float[B, C], int[B] -> float[B].

  A row without a label has some number.
  """
  labels = jnp.maximum(labels, 0)
  return -jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
