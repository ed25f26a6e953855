"""Exact maximum likelihood of recurrent and feed-forward language models."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.models import build as model_build
from rnnvae_jax.models import language_model
from rnnvae_jax.models.cells import base as cells
from rnnvae_jax.objectives import losses, schedules
from rnnvae_jax.ops import cross_entropy, noise
from rnnvae_jax.ops import rows as rows_lib
from rnnvae_jax.tasks import _likelihood, _metrics, base


@schema.fragment('objective')
class ObjectiveConfig:
  """Terms that a language model's loss may have besides the likelihood.

  The augmented loss is from Inan et al., arXiv:1611.01462; the penalties are
  from Merity et al., arXiv:1708.02182, per token.
  """

  augmentation: float = schema.field(
    0.0,
    'Weight of the augmented loss.',
    low=0,
    traced=True,
    off=0.0,
  )
  teacher_temperature: float = schema.field(
    10.0,
    "Temperature of the augmented loss's teacher.",
    low=1e-3,
    traced=True,
    only_if=schema.is_set('objective.augmentation'),
  )
  final_teacher_temperature: float = schema.field(
    0.0,
    "The teacher's temperature at the end, approached linearly; 0: constant.",
    low=0,
    traced=True,
    only_if=schema.is_set('objective.augmentation'),
  )
  teacher_interval: int = schema.field(
    0,
    'Updates between copies of the embeddings that serve as teacher; 0: the '
    'teacher is the embeddings themselves.',
    low=0,
    only_if=schema.is_set('objective.augmentation'),
  )
  teacher_stop_gradient: bool = schema.field(
    True,
    'Whether no gradient flows into the teacher.',
    only_if=(
      schema.is_set('objective.augmentation'),
      schema.is_unset('objective.teacher_interval'),
    ),
  )
  activation_penalty: float = schema.field(
    0.0,
    "Weight of the mean square of the last layer's outputs.",
    low=0,
    traced=True,
    off=0.0,
  )
  temporal_penalty: float = schema.field(
    0.0,
    "Weight of the mean square of the outputs' change from step to step.",
    low=0,
    traced=True,
    off=0.0,
  )


class LanguageModel(_likelihood.Recurrent, base.Scores, base.CarriesState):
  """Models independent sentences, or a stream with a carried state."""

  FRAGMENTS = (
    model_build.RecurrentConfig,
    model_build.LanguageModelConfig,
    *cells.fragments(),
    model_build.DropoutConfig,
    losses.LabelSmoothingConfig,
    ObjectiveConfig,
    _likelihood.SelectConfig,
  )
  FIGURES = _likelihood.FIGURES

  def __init__(
    self,
    model: language_model.LanguageModel,
    *,
    vocab: vocab_lib.Vocabulary | None = None,
    rows: int = 0,
    teacher_interval: int = 0,
    through_teacher: bool = False,
    initialise: Callable | None = None,
  ):
    """Creates the task.

    Args:
      model: the Flax module.
      vocab: vocabulary of the text, for figures per character.
      rows: B, rows of a stream, whose state is carried; 0: sentences.
      teacher_interval: updates between copies of the embeddings that serve as
        teacher; 0: the teacher is the embedding table itself.
      through_teacher: whether gradients flow into the teacher.
      initialise: (params, key) -> initial params; None: those of the modules.
    """
    self.model = model
    self.metrics = (
      _metrics.StreamMetrics if rows else _metrics.LanguageModelMetrics
    )
    self.backend = model.stack.backend
    self.backend_reason = model.stack.backend_reason
    self._vocab = vocab
    self._rows = rows
    self.row_extras = ('carry',) if rows else ()
    self._teacher_interval = teacher_interval
    self._through_teacher = through_teacher
    self._initialise = initialise

  @classmethod
  def check(cls, config: Any) -> None:
    model, objective = config.model, config.objective
    penalties = objective.activation_penalty or objective.temporal_penalty
    is_direct = (
      model.cell == 'feed_forward' and config.model.feed_forward.direct
    )
    for wrong, message in (
      (
        model.both_directions and penalties,
        'config.model.both_directions = True with config.objective.'
        'activation_penalty or temporal_penalty: these are of one direction. '
        'Set them to 0.',
      ),
      (
        is_direct and penalties,
        'config.model.feed_forward.direct = True with config.objective.'
        'activation_penalty or temporal_penalty: these would also penalise the '
        'embedded words that the output layer reads. Set them to 0.',
      ),
      (
        config.corpus.stream and model.both_directions,
        'config.model.both_directions = True reads sentences in reverse; a '
        'stream has no end to begin at. Legal with config.corpus.stream: '
        'False.',
      ),
    ):
      if wrong:
        raise ValueError(message)

  @classmethod
  def shrink(cls, config: Any) -> None:
    if config.model.last_hidden_size:
      config.model.last_hidden_size = config.model.embedding_size

  @classmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'LanguageModel':
    del labels
    objective = config.objective
    return cls(
      model_build.language_model(config, len(vocab)),
      vocab=vocab,
      rows=config.train.batch_size if config.corpus.stream else 0,
      teacher_interval=objective.teacher_interval,
      through_teacher=not objective.teacher_stop_gradient,
      initialise=_likelihood.initialiser(config),
    )

  def init(self, key: jax.Array) -> Any:
    arrays = _likelihood.arrays(_likelihood.tiny_batch())
    return _likelihood.init(self.model, arrays, self._initialise, key)

  def initial_extras(self) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if self._rows:
      extras['carry'] = self.model.stack.zero_carry(self._rows)
    if self._teacher_interval:
      shape = self.model.vocab_size, self.model.embedding_size
      extras |= {'teacher': jnp.zeros(shape), 'teacher_age': jnp.int32(0)}
    return extras

  def schedule(self, hyperparameters: Any, step: jax.Array) -> Any:
    """Changes the teacher's temperature linearly over all steps."""
    objective = hyperparameters.objective
    if objective.augmentation is None:
      return hyperparameters
    final = objective.final_teacher_temperature
    temperature = objective.teacher_temperature
    return hyperparameters.replace(
      {
        'objective.teacher_temperature': schedules.anneal(
          'linear',
          step,
          start=temperature,
          end=jnp.where(final > 0, final, temperature),
          steps=hyperparameters.train.num_steps,
        )
      }
    )

  def loss(self, params, batch, hyperparameters, key, extras):
    objective = hyperparameters.objective
    rates = noise.rates(hyperparameters.dropout)
    teacher, changed = self._teach(params, objective, extras)
    reading = self._reading(
      noise.drop_weights(params, rates.weight, key, 'recurrent', 'backward'),
      batch,
      self._carried(batch, extras),
      rates=rates,
      keys=noise.row_keys(key, batch['index']),
      smoothing=objective.label_smoothing,
      teacher=teacher,
      through_teacher=self._through_teacher,
    )
    value = reading.total
    if objective.activation_penalty is not None:
      value += objective.activation_penalty * losses.activation(
        reading.dropped, batch['mask']
      )
    if objective.temporal_penalty is not None:
      value += objective.temporal_penalty * losses.temporal_activation(
        reading.outputs, batch['mask']
      )
    sums = {
      'reconstruction': rows_lib.total(jnp.sum(reading.nll)),
      **_likelihood.counts(batch),
    }
    if self._rows:
      changed['carry'] = jax.lax.stop_gradient(reading.carry)
    return rows_lib.total(value) / sums['sentences'], (sums, extras | changed)

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """nll float[B], nats, and backward_nll of a second model in reverse."""
    del key, extras, samples  # The likelihood is exact.
    reading = self._reading(params, batch)
    values = {'nll': jnp.sum(reading.nll, axis=1)}
    if reading.backward_nll is not None:
      values['backward_nll'] = jnp.sum(reading.backward_nll, axis=1)
    return values

  def summarise(self, values, split, config, final=False):
    del config, final
    return _likelihood.exact_figures(values, split, self._vocab)

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _likelihood.unknown_warnings(figures)

  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    return float(figures[config.train.select_by])

  def report(self, figures: Mapping[str, Any]) -> str:
    return _likelihood.report(figures)

  def read(self, params, batch, carry=None):
    return self._reading(params, batch, carry)

  def start(self, params, batch_size, latents=None):
    return self.model.apply(params, batch_size, latents, method='start')

  def step(self, params, carry, tokens, latents=None):
    return self.model.apply(params, carry, tokens, latents, method='step')

  def _reading(self, params, batch, carry=None, **options):
    return self.model.apply(
      params,
      *_likelihood.arrays(batch),
      carry=carry,
      token_counts=batch['token_counts'],
      **options,
    )

  def _carried(self, batch, extras):
    """The carry before a stream's windows; None for sentences."""
    if not self._rows:
      return None
    begins = batch['begins'][:, None]
    return jax.tree.map(lambda x: jnp.where(begins, 0, x), extras['carry'])

  def _teach(self, params, objective, extras):
    """The teacher, if there is one, and the extras that it changes."""
    if objective.augmentation is None:
      return None, {}
    table, changed = params['params']['embedding']['embedding'], {}
    if self._teacher_interval:
      old, age = extras['teacher'], extras['teacher_age']
      fresh = age % self._teacher_interval == 0
      table = jnp.where(fresh, jax.lax.stop_gradient(table), old)
      changed = {'teacher': table, 'teacher_age': age + 1}
    temperature = objective.teacher_temperature
    weight = objective.augmentation * temperature
    return cross_entropy.Teacher(table, temperature, weight), changed
