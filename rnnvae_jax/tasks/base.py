"""The contract of a task, the capabilities that it may have, and the registry.

A task knows what is minimised, what is measured and what a trained model can
do. Training, evaluation, tables and commands ask for capabilities, never for a
task's name:

  Trained       parameters are learnt by gradient descent
  Fitted        parameters are counted or solved for, in one pass
  CarriesState  reads a text as one stream, its state carried along
  Scores        gives a sentence a likelihood, exact or bounded
  Generates     writes text, token by token
  HasLatents    encodes text into latent vectors and decodes them
  Predicts      gives a sentence a label
"""

import abc
from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, ClassVar, NamedTuple

from clu import metrics as clu_metrics
import jax
import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.objectives import posteriors

Batch = dict[str, Any]  # See `data.batches.gather`.
Values = dict[str, np.ndarray]  # By name, float64[N, ...] of a split's rows.


class Figure(NamedTuple):
  """How a figure of results.json is shown.

  Attributes:
    name: its key in results.json.
    label: what `evaluate` prints before it; figures -> str where it depends on
      them, '' where they leave it out.
    form: of `str.format`, for its value, or value -> str.
    title: a short name, for the columns of tables; '': not shown there.
  """

  name: str
  label: str | Callable[[Mapping[str, Any]], str]
  form: str | Callable[[Any], str]
  title: str = ''

  def show(self, value: Any) -> str:
    """The value as text; a file has no infinity, null stands for it."""
    if value is None:
      return 'inf'
    return self.form(value) if callable(self.form) else self.form.format(value)


@dataclasses.dataclass(frozen=True)
class Samples:
  """Posterior samples that an evaluation draws for each sentence.

  Attributes:
    count: how many; tasks without latents ignore it.
    chunk: how many are decoded at a time, which bounds the memory.
    shuffled: whether each sentence is decoded from another one's latents too;
      the batch then has that sentence's batch as 'partners'.
  """

  count: int = 1
  chunk: int = 1
  shuffled: bool = False


ONE_SAMPLE = Samples()


class Task(abc.ABC):
  """What every task has.

  Attributes:
    FRAGMENTS: the config keys of the task and of the models it builds; see
      `config.schema`.
    FIGURES: what `evaluate` prints, in this order.
    FIELDS: arrays of a batch that it reads beside `inputs`, `targets`, `mask`,
      `index` and `weights`: of 'label' and 'tags'.
    TINY_CORPUS: the corpus of `:tiny` where none is named.
  """

  FRAGMENTS: ClassVar[tuple[type, ...]]
  FIGURES: ClassVar[tuple[Figure, ...]]
  FIELDS: ClassVar[tuple[str, ...]] = ()
  TINY_CORPUS: ClassVar[str] = 'grammar'

  @classmethod
  def check(cls, config: Any) -> None:
    """Checks keys of several components against each other.

    Raises:
      ValueError: the config cannot run.
    """
    del config

  @classmethod
  def shrink(cls, config: Any) -> None:
    """What `:tiny` changes beside the sizes that fragments declare."""
    del config

  @abc.abstractmethod
  def evaluate(
    self,
    params: Any,
    batch: Batch,
    key: jax.Array,
    extras: Any,
    samples: Samples = ONE_SAMPLE,
  ) -> dict[str, jax.Array]:
    """Values of each row of a batch, [B, ...] each, without dropout."""

  @abc.abstractmethod
  def summarise(
    self, values: Values, split: corpora.Split, config: Any, final: bool = False
  ) -> dict[str, Any]:
    """The figures of a split from the values of all its rows.

    Args:
      values: of the rows, in the split's order.
      split: that was evaluated.
      config: of the run.
      final: whether this is an evaluation, not a validation of training: then
        figures that cost more may be added.
    """

  def samples(self, config: Any) -> Samples:
    """How many posterior samples an evaluation draws; a validation draws 1."""
    del config
    return Samples()

  def warnings(self, figures: Mapping[str, Any]) -> Sequence[str]:
    """Sentences on figures that a user should not overlook."""
    del figures
    return ()


class Trained(Task):
  """A task whose parameters are learnt by gradient descent.

  Attributes:
    metrics: what training reports of a batch's sums; `tokens` among them.
    backend: which one runs the recurrence; '' where there is none.
    inner_steps: updates of `inner_parts` alone that come before one of the
      other parameters, at most; 0: all are updated at once, always.
    inner_parts: names of the first level of parameters.
    frozen_parts: likewise, of those that stay as they begin.
  """

  metrics: type[clu_metrics.Collection]
  backend: str = ''
  inner_steps: int = 0
  inner_parts: tuple[str, ...] = ()
  frozen_parts: tuple[str, ...] = ()

  @classmethod
  @abc.abstractmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'Trained':
    """The task that a config describes.

    Args:
      config: of the run.
      vocab: of its text.
      labels: names of its classes or tags, in the order of their ids.
    """

  @abc.abstractmethod
  def init(self, key: jax.Array) -> Any:
    """The parameters before the first update."""

  def initial_extras(self) -> dict[str, Any]:
    """What the objective adapts beside the parameters, before training."""
    return {}

  @abc.abstractmethod
  def loss(
    self,
    params: Any,
    batch: Batch,
    hyperparameters: Any,
    key: jax.Array,
    extras: Any,
  ) -> tuple[jax.Array, tuple[dict[str, jax.Array], Any]]:
    """What an update minimises.

    Args:
      params: the parameters.
      batch: see `data.batches.gather`.
      hyperparameters: the scalars of the schema, as `schedule` left them.
      key: of the update.
      extras: what the objective adapts.

    Returns:
      float[], the loss; sums over the batch for `metrics`; the new extras.
    """

  @classmethod
  def for_population(cls, config: Any) -> None:
    """Changes the config so that its program can be mapped over trials."""
    del config

  @classmethod
  def population_refusal(cls, config: Any) -> str:
    """Why this config cannot train as a population; '' if it can."""
    del config
    return ''

  def schedule(self, hyperparameters: Any, step: jax.Array) -> Any:
    """Hyperparameters with the task's scheduled ones as they are at a step."""
    del step
    return hyperparameters

  def learning_rate_step(self, hyperparameters: Any, step: jax.Array):
    """The step that the learning rate's schedule counts, and its length."""
    return step, hyperparameters.train.num_steps

  @abc.abstractmethod
  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    """The number whose smallest value over validations chooses a checkpoint.

    Args:
      figures: of a validation.
      config: of the run, whose `train.select_by` names a figure.
    """

  def training_warnings(self, figures: Mapping[str, Any]) -> Sequence[str]:
    """Sentences on a validation that a user should not overlook."""
    del figures
    return ()

  @abc.abstractmethod
  def report(self, figures: Mapping[str, Any]) -> str:
    """A validation in words, for the log."""

  def after_validation(
    self,
    state: Any,
    figures: Mapping[str, Any],
    config: Any,
    fresh: Callable[[], Any],
  ) -> tuple[Any, bool]:
    """What the task does at a validation.

    Args:
      state: of training, after `state.step` updates.
      figures: of the validation.
      config: of the run.
      fresh: () -> a state before training, with another's parameters.

    Returns:
      The state, and whether the validation may choose a checkpoint, which
      those of a preparatory phase may not.
    """
    del figures, config, fresh
    return state, True


class Fitted(Task):
  """A task whose parameters are counted or solved for, in one pass."""

  @classmethod
  @abc.abstractmethod
  def fit(cls, config: Any, corpus: corpora.Corpus) -> 'Fitted':
    """Fits the training split."""

  @abc.abstractmethod
  def save(self, workdir: str) -> None:
    """Writes what was fitted into a run's folder."""

  @classmethod
  @abc.abstractmethod
  def load(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
    workdir: str,
  ) -> 'Fitted':
    """Reads what `save` wrote.

    Raises:
      FileNotFoundError: nothing was fitted yet.
    """

  @classmethod
  @abc.abstractmethod
  def is_fitted(cls, workdir: str) -> bool:
    """Whether the folder holds what `save` writes."""

  @abc.abstractmethod
  def describe(self) -> str:
    """What was fitted, in words, for the log."""


class Scores:
  """Gives a sentence a likelihood.

  Attributes:
    score: the value of `evaluate` that is its negative log-likelihood, in nats.
  """

  score: ClassVar[str] = 'nll'


class Generates(abc.ABC):
  """Writes text, token by token."""

  @abc.abstractmethod
  def start(self, params: Any, batch_size: int, latents: Any = None) -> Any:
    """The carry before the first token."""

  @abc.abstractmethod
  def step(
    self, params: Any, carry: Any, tokens: jax.Array, latents: Any = None
  ) -> tuple[Any, jax.Array]:
    """carry, tokens int[B] -> carry, logits float[B, V]."""


class CarriesState(Generates):
  """Reads a text as one stream, the state carried from window to window."""

  @abc.abstractmethod
  def read(self, params: Any, batch: Batch, carry: Any = None) -> Any:
    """(params, batch, carry) -> a `models.language_model.Reading`."""


class Latents(NamedTuple):
  """How text becomes latent vectors and back.

  Attributes:
    size: Z.
    encode: (params, batch, extras) -> the posterior of each row.
    family: of the posterior: how it is drawn from, and more.
    draw_prior: (params, key[B], site) -> z float[B, Z].
  """

  size: int
  encode: Callable[..., posteriors.Posterior]
  family: posteriors.Family
  draw_prior: Callable[..., jax.Array]


class HasLatents(Generates):
  """Encodes text into latent vectors and decodes them."""

  latents: Latents


class Predicts(abc.ABC):
  """Gives a sentence a label.

  Attributes:
    labels: names of the classes, in the order of their ids.
  """

  labels: tuple[str, ...]

  @abc.abstractmethod
  def predict(self, params: Any, batch: Batch, extras: Any) -> jax.Array:
    """Log-probabilities of the labels: float[B, C], nats."""
