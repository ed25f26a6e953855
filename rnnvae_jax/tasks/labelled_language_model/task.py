"""Maximum likelihood of sentences given their labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax import errors
from rnnvae_jax.config import schema
from rnnvae_jax.data import labels as labels_lib
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import build as model_build
from rnnvae_jax.models import labelled_language_model, language_model
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.objectives import losses
from rnnvae_jax.ops import noise, rows
from rnnvae_jax.tasks import _likelihood, _metrics, base


@schema.fragment('model')
class ConditionConfig:
  """How the model reads the label."""

  label_size: int = schema.field(32, "Size of a label's vector.", low=1, tiny=4)


@schema.fragment('generate', free=schema.Free.ALWAYS)
class LabelConfig:
  """Whose sentences are written and scored."""

  label: str = schema.field(
    '',
    "The label that sentences are given; '': all labels are equally probable "
    'beforehand.',
  )


@schema.fragment('train')
class SelectConfig:
  """Which validation figure chooses the checkpoint."""

  select_by: str = schema.field(
    'nll_per_sentence',
    'The validation figure that chooses the checkpoint: the lowest '
    'nll_per_sentence, given the label, or the highest accuracy.',
    choices=('nll_per_sentence', 'accuracy'),
  )


class LabelledLanguageModel(
  _likelihood.Recurrent, base.Scores, base.WritesLabels, base.Predicts
):
  """p(sentence | label), and by Bayes' rule p(label | sentence).

  All labels are equally probable beforehand. Where no label is given, texts are
  written and scored by the mixture of all: exactly, since the probabilities of
  the labels given the words so far are part of the state.
  """

  FRAGMENTS = (
    model_build.RecurrentConfig,
    ConditionConfig,
    *cells.fragments(),
    model_build.DropoutConfig,
    losses.LabelSmoothingConfig,
    labels_lib.LabelConfig,
    LabelConfig,
    SelectConfig,
  )
  FIGURES = (
    *_likelihood.FIGURES,
    base.Figure(
      'mixture_nll_per_sentence', 'nll, the label not given', '{:.3f}'
    ),
    base.Figure('accuracy', "accuracy of Bayes' rule", '{:.2%}', 'accuracy'),
  )
  FIELDS = ('label',)

  def __init__(
    self,
    model: labelled_language_model.LabelledLanguageModel,
    labels: Sequence[str],
    *,
    vocab: vocab_lib.Vocabulary | None = None,
    label: str = '',
    initialise: Callable | None = None,
  ):
    """Creates the task.

    Args:
      model: the Flax module.
      labels: names of the classes, in the order of their ids.
      vocab: vocabulary of the text, for figures per character.
      label: whose sentences are written and scored; '': those of all labels.
      initialise: (params, key) -> initial params; None: those of the modules.

    Raises:
      ValueError: `label` is none of the labels.
    """
    if label and label not in labels:
      raise ValueError(errors.unknown('config.generate.label', label, labels))
    self.model = model
    self.metrics = _metrics.LanguageModelMetrics
    self.backend = model.decoder.stack.backend
    self.backend_reason = model.decoder.stack.backend_reason
    self.labels = tuple(labels)
    self._options: dict[str, Any] = {'vocab': vocab, 'initialise': initialise}
    self._vocab, self._initialise = vocab, initialise
    # Ids of the labels that texts without a label may have.
    chosen = [label] if label else self.labels
    self._chosen = np.array([self.labels.index(x) for x in chosen], np.int32)

  @classmethod
  def check(cls, config: Any) -> None:
    if config.corpus.stream:
      raise ValueError(
        'config.corpus.stream = True: a stream has no sentences to be '
        'labelled. Legal: False.'
      )
    if config.corpus.unlabelled:
      raise ValueError(
        f'config.corpus.unlabelled = {config.corpus.unlabelled!r}: each '
        "sentence is read together with its label. Legal: ''."
      )

  @classmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'LabelledLanguageModel':
    if not labels:
      raise ValueError(
        f'The sentences of {config.corpus.name!r} have no labels.'
      )
    model = config.model
    decoder = language_model.LanguageModel(
      vocab_size=len(vocab),
      embedding_size=model.embedding_size,
      stack=model_build.recurrent(config, model.hidden_size),
      tied_embeddings=model.tied_embeddings,
      inputless=model.inputless,
      locked_dropout=config.dropout.locked,
      latent_size=model.label_size,
      latent_every_step=True,
      output_bias=model.output_bias,
      precision=model.precision,
    )
    return cls(
      labelled_language_model.LabelledLanguageModel(decoder, len(labels)),
      labels,
      vocab=vocab,
      label=config.generate.label,
      initialise=_likelihood.initialiser(config),
    )

  def given(self, label: str) -> 'LabelledLanguageModel':
    return LabelledLanguageModel(
      self.model, self.labels, label=label, **self._options
    )

  def init(self, key: jax.Array) -> Any:
    batch = _likelihood.tiny_batch()
    arrays = jnp.zeros(1, jnp.int32), *_likelihood.arrays(batch)
    return _likelihood.init(self.model, arrays, self._initialise, key)

  def loss(self, params, batch, hyperparameters, key, extras):
    rates = noise.rates(hyperparameters.dropout)
    reading: Any = self.model.apply(
      noise.drop_weights(params, rates.weight, key, 'recurrent'),
      batch['label'],
      *_likelihood.arrays(batch),
      rates=rates,
      keys=noise.row_keys(key, batch['index']),
      token_counts=batch['token_counts'],
      smoothing=hyperparameters.objective.label_smoothing,
    )
    sums = {
      'reconstruction': rows.total(jnp.sum(reading.nll)),
      **_likelihood.counts(batch),
    }
    return rows.total(reading.total) / sums['sentences'], (sums, extras)

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats given the label; mixture_nll; predicted int[B].

    The nll of texts without labels is that of the mixture, or given the one
    label that was chosen.
    """
    del key, extras, samples  # The likelihood is exact.
    every = np.arange(len(self.labels))
    if 'label' not in batch:
      nll = self._nll_of(params, batch, self._chosen)
      return {'nll': _mixture(nll)}
    nll = self._nll_of(params, batch, every)
    own = jnp.take_along_axis(nll, batch['label'][:, None], axis=1)
    return {
      'nll': own[:, 0],
      'mixture_nll': _mixture(nll),
      'predicted': jnp.argmin(nll, axis=1),
    }

  def summarise(self, values, split, config, final=False):
    del config, final
    return {
      **_likelihood.exact_figures(values, split, self._vocab),
      'mixture_nll_per_sentence': float(np.mean(values['mixture_nll'])),
      'accuracy': float(np.mean(values['predicted'] == split.fields['label'])),
    }

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _likelihood.unknown_warnings(figures)

  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    name = config.train.select_by
    return (-1 if name == 'accuracy' else 1) * float(figures[name])

  def report(self, figures: Mapping[str, Any]) -> str:
    return f'{_likelihood.report(figures)}, accuracy {figures["accuracy"]:.2%}'

  def predict(self, params, batch, extras):
    del extras
    nll = self._nll_of(params, batch, np.arange(len(self.labels)))
    return jax.nn.log_softmax(-nll, axis=1)

  def start(self, params, batch_size, latents=None):
    """States [B, C, ...] of C labels, their log-probabilities, and nats ahead.

    The last are the log-probabilities of every token that may follow under each
    label, float[B, C, V]: the next token's changes those of the labels.
    """
    del params, latents
    count = len(self._chosen)
    zero = self.model.decoder.stack.zero_carry(batch_size * count)
    rows = (batch_size, count)
    return (
      jax.tree.map(lambda x: x.reshape(*rows, *x.shape[1:]), zero),
      jnp.full(rows, -jnp.log(jnp.float32(count))),
      jnp.zeros((*rows, self.model.decoder.vocab_size)),
    )

  def step(self, params, carry, tokens, latents=None):
    del latents
    states, weights, ahead = carry
    rows = weights.shape
    seen = jnp.take_along_axis(ahead, tokens[:, None, None], axis=2)[:, :, 0]
    weights = jax.nn.log_softmax(weights + seen, axis=1)
    labels = jnp.broadcast_to(self._chosen[None], rows).reshape(-1)
    after: Any = self.model.apply(
      params,
      jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states),
      jnp.repeat(tokens, rows[1]),
      labels,
      method='step',
    )
    states, logits = after
    ahead = jax.nn.log_softmax(logits, axis=1).reshape(*rows, -1)
    states = jax.tree.map(lambda x: x.reshape(*rows, *x.shape[1:]), states)
    mixed = jax.nn.logsumexp(weights[:, :, None] + ahead, axis=1)
    return (states, weights, ahead), mixed

  def _nll_of(self, params, batch, labels: np.ndarray) -> jax.Array:
    """Nats of each sentence given each label: float[B, C]."""

    def given(label):
      reading: Any = self.model.apply(
        params,
        jnp.full(len(batch['inputs']), label),
        *_likelihood.arrays(batch),
        token_counts=batch['token_counts'],
      )
      return jnp.sum(reading.nll, axis=1)

    return jax.lax.map(given, jnp.asarray(labels)).T


def _mixture(nll: jax.Array) -> jax.Array:
  """Nats under equally probable labels: float[B, C] -> float[B]."""
  count = jnp.float32(nll.shape[1])
  return jnp.log(count) - jax.nn.logsumexp(-nll, axis=1)
