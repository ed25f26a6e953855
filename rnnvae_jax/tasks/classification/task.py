"""Cross-entropy training of a classifier of sentences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clu import metrics as clu_metrics
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.objectives import losses
from rnnvae_jax.ops import noise
from rnnvae_jax.tasks import _classes, _likelihood, _metrics, base
from rnnvae_jax.tasks.classification import averaging


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
Metrics = clu_metrics.Collection.create(
  loss=_metrics.mean('loss'),
  nll_per_sentence=_metrics.per('sentences', 'nll'),
  accuracy=_metrics.per('sentences', 'right'),
  tokens=_metrics.total('tokens'),
  grad_norm=_metrics.mean('grad_norm'),
  learning_rate=_metrics.mean('learning_rate'),
)


class Classification(base.Trained, base.Predicts):
  """A sentence's label from the sum or the mean of its word vectors."""

  FRAGMENTS = (
    averaging.AveragingConfig,
    averaging.DropoutConfig,
    labels_lib.LabelConfig,
    losses.LabelSmoothingConfig,
    SelectConfig,
  )
  FIGURES = _classes.FIGURES
  FIELDS = ('label',)
  metrics = Metrics

  def __init__(
    self,
    model: averaging.Averaging,
    labels: Sequence[str],
    *,
    frozen_embeddings: bool = False,
    initialise: Callable | None = None,
  ):
    """Creates the task.

    Args:
      model: its Flax module.
      labels: names of the classes, in the order of their ids.
      frozen_embeddings: whether word vectors stay as they begin.
      initialise: (params, key) -> params, as they begin; None: as the modules
        say.
    """
    self.model = model
    self.labels = tuple(labels)
    self.frozen_parts = ('embedding',) if frozen_embeddings else ()
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
    return cls(
      averaging.Averaging(
        vocab_size=len(vocab),
        embedding_size=model.embedding_size,
        num_classes=len(labels),
        composition=model.composition,
        counts_unknown=model.unknown_words == 'counted',
        num_layers=model.num_layers,
        hidden_size=model.hidden_size,
        activation=model.activation,
        precision=model.precision,
      ),
      labels,
      frozen_embeddings=model.frozen_embeddings,
      initialise=_likelihood.initialiser(config),
    )

  def init(self, key: jax.Array) -> Any:
    batch = _likelihood.tiny_batch()
    arrays = batch['inputs'], batch['mask']
    return _likelihood.init(self.model, arrays, self._initialise, key)

  def loss(self, params, batch, hyperparameters, key, extras):
    log_probs = self._log_probs(
      params,
      batch,
      rates=noise.rates(hyperparameters.dropout),
      keys=noise.row_keys(key, batch['index']),
    )
    nll = _nll(log_probs, batch['label'])
    smoothing = hyperparameters.objective.label_smoothing
    minimised = nll
    if smoothing is not None:
      uniform = -jnp.mean(log_probs, axis=1)
      minimised = (1.0 - smoothing) * nll + smoothing * uniform
    weights = batch['weights']
    right = jnp.argmax(log_probs, axis=1) == batch['label']
    sums = {
      'nll': jnp.sum(weights * nll),
      'right': jnp.sum(weights * right),
      **_likelihood.counts(batch),
    }
    value = jnp.sum(weights * minimised) / sums['sentences']
    return value, (sums, extras)

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats of the label, and predicted int[B], the likeliest."""
    del key, extras, samples  # Nothing is drawn.
    return _classes.values(self._log_probs(params, batch), batch)

  def summarise(self, values, split, config, final=False):
    del config, final
    return _classes.summary(values, split, self.labels)

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
    del extras
    return self._log_probs(params, batch)

  def _log_probs(self, params, batch, **options):
    logits: Any = self.model.apply(
      params, batch['inputs'], batch['mask'], **options
    )
    return jax.nn.log_softmax(logits, axis=1)


def _nll(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Nats of each row's label: float[B, C], int[B] -> float[B]."""
  return -jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
