"""The contract of a task, the capabilities that it may have, and the registry.

A task defines the loss, the figures and the abilities of a trained model.
Training, evaluation, tables and commands ask for capabilities, never for a
task's name:

  Trained       parameters are learnt by gradient descent
  Fitted        parameters are counted or solved for, in one pass
  CarriesState  reads a text as one stream, its state carried along
  Scores        gives a sentence a likelihood, exact or bounded
  Generates     writes text, token by token
  WritesLabels  writes text of a label
  Translates    writes a text for a source text, token by token
  HasLatents    encodes text into latent vectors and decodes them
  Predicts      gives a sentence a label
  Tags          gives each word of a sentence a tag
  WordVectors   has vectors of words that no layer reads
"""

import abc
from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, ClassVar, NamedTuple

from clu import metrics as clu_metrics
import jax
import numpy as np

from rnnvae_jax.data import corpora, spellings
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.objectives import posteriors

Batch = dict[str, Any]  # See `data.batches.gather`.
Values = dict[str, np.ndarray]  # By name, float64[N, ...] of a split's rows.


class Figure(NamedTuple):
  """How a figure of results.json is shown.

  Attributes:
    name: the figure's key in results.json.
    label: the text that `evaluate` prints before the figure, or figures -> str
      if it depends on other figures; '' leaves the figure out.
    form: a format string for the value, or value -> str.
    title: a short name, for the columns of tables; '': not in tables.
  """

  name: str
  label: str | Callable[[Mapping[str, Any]], str]
  form: str | Callable[[Any], str]
  title: str = ''

  def show(self, value: Any) -> str:
    """The value as text; None stands for infinity, which JSON does not have."""
    if value is None:
      return 'inf'
    return self.form(value) if callable(self.form) else self.form.format(value)


@dataclasses.dataclass(frozen=True)
class Samples:
  """Posterior samples that an evaluation draws for each sentence.

  Attributes:
    count: number of samples; tasks without latents ignore it.
    chunk: number of samples that are decoded at a time, which bounds memory.
    shuffled: whether each sentence is also decoded from the latents of another
      sentence; the batch then has the batch of those sentences as 'partners'.
  """

  count: int = 1
  chunk: int = 1
  shuffled: bool = False


ONE_SAMPLE = Samples()


class Task(abc.ABC):
  """The interface of every task.

  Attributes:
    FRAGMENTS: the config keys of the task and of the models it builds; see
      `config.schema`.
    FIGURES: the figures that `evaluate` prints, in this order.
    FIELDS: arrays of a batch that the task reads in addition to `inputs`,
      `targets`, `mask`, `index` and `weights`: 'label', 'tags', 'source' or
      'chars'.
    PER_TOKEN: values of `evaluate` that a row has for each token, [B, T, ...];
      those of shorter batches are filled up with 0.
    TINY_CORPUS: the corpus of `:tiny` if no corpus is named.
  """

  FRAGMENTS: ClassVar[tuple[type, ...]]
  FIGURES: ClassVar[tuple[Figure, ...]]
  FIELDS: ClassVar[tuple[str, ...]] = ()
  PER_TOKEN: ClassVar[frozenset[str]] = frozenset()
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
    """Changes for `:tiny` in addition to the sizes that fragments declare."""
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
      values: values of all rows, in the split's order.
      split: the split that was evaluated.
      config: config of the run.
      final: True for an evaluation, which may add expensive figures; False for
        a validation during training.
    """

  def summarise_label(
    self, values: Values, split: corpora.Split, config: Any
  ) -> dict[str, Any]:
    """The figures of the sentences of one label.

    There may be many labels: a task leaves out figures that take long.

    Args:
      values: of the label's sentences.
      split: these sentences alone.
      config: of the run.
    """
    return self.summarise(values, split, config)

  def samples(self, config: Any) -> Samples:
    """The posterior samples of an evaluation; a validation draws one."""
    del config
    return Samples()

  def warnings(self, figures: Mapping[str, Any]) -> Sequence[str]:
    """Warnings about figures, for the user."""
    del figures
    return ()


class Trained(Task):
  """A task whose parameters are learnt by gradient descent.

  Attributes:
    metrics: the metrics that training reports; `tokens` is one of them.
    backend: name of the backend that runs the recurrence; '' if there is none.
    backend_reason: what that backend runs of the cell, or why, for the log.
    inner_steps: largest number of updates of `inner_parts` alone before an
      update of the other parameters; 0: all parameters are updated together.
    inner_parts: names on the first level of the parameter tree.
    frozen_parts: names on the first level of parameters that are not trained.
    row_extras: names of extras that have a row for each row of a batch; the
      others are of the whole batch.
  """

  metrics: type[clu_metrics.Collection]
  backend: str = ''
  backend_reason: str = ''
  inner_steps: int = 0
  inner_parts: tuple[str, ...] = ()
  frozen_parts: tuple[str, ...] = ()
  row_extras: tuple[str, ...] = ()

  @classmethod
  @abc.abstractmethod
  def build(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str] = (),
  ) -> 'Trained':
    """Builds the task that a config describes.

    Args:
      config: config of the run.
      vocab: vocabulary of the run's text.
      labels: names of the classes or tags, in the order of their ids.
    """

  @abc.abstractmethod
  def init(self, key: jax.Array) -> Any:
    """The parameters before the first update."""

  def initial_extras(self) -> dict[str, Any]:
    """Initial state of what the objective adapts apart from the parameters."""
    return {}

  def extras_from_text(
    self, params: Any, split: corpora.Split
  ) -> dict[str, jax.Array]:
    """Values of `initial_extras` that depend on the text or the first weights.

    Args:
      params: the parameters before the first update, pretrained ones included.
      split: the training split.
    """
    del params, split
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
    """The loss that an update minimises.

    The rows of a batch may be divided among devices: sums over rows are
    `ops.rows.total`s.

    Args:
      params: the parameters.
      batch: see `data.batches.gather`.
      hyperparameters: the traced scalars, as returned by `schedule`.
      key: random key of the update.
      extras: state that the objective adapts.

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
    """The hyperparameters at a step, with the task's schedules applied."""
    del step
    return hyperparameters

  def learning_rate_step(self, hyperparameters: Any, step: jax.Array):
    """The current step of the learning rate's schedule, and its length."""
    return step, hyperparameters.train.num_steps

  @abc.abstractmethod
  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    """The number whose smallest value over validations chooses a checkpoint.

    Args:
      figures: figures of a validation.
      config: config of the run; `train.select_by` names a figure.
    """

  def training_warnings(self, figures: Mapping[str, Any]) -> Sequence[str]:
    """Warnings about a validation during training, for the user."""
    del figures
    return ()

  @abc.abstractmethod
  def report(self, figures: Mapping[str, Any]) -> str:
    """Describes the figures of a validation, for the log."""

  def after_validation(
    self,
    state: Any,
    figures: Mapping[str, Any],
    config: Any,
    fresh: Callable[[], Any],
  ) -> tuple[Any, bool]:
    """Lets the task change the state after a validation.

    Args:
      state: state of training, after `state.step` updates.
      figures: figures of the validation.
      config: config of the run.
      fresh: () -> a newly initialised state.

    Returns:
      The state, and whether the validation may choose a checkpoint; it may not
      in a preparatory phase.
    """
    del figures, config, fresh
    return state, True


class Fitted(Task):
  """A task whose parameters are counted or solved for, in one pass."""

  @classmethod
  @abc.abstractmethod
  def fit(cls, config: Any, corpus: corpora.Corpus) -> 'Fitted':
    """Fits a model to the training split."""

  @classmethod
  def fit_in(
    cls, config: Any, corpus: corpora.Corpus, workdir: str
  ) -> 'Fitted':
    """`fit`, for tasks that keep what they have done in the run's folder.

    After a kill the same call goes on from there. Others begin anew.
    """
    del workdir
    return cls.fit(config, corpus)

  @abc.abstractmethod
  def save(self, workdir: str) -> None:
    """Saves the fitted model into a run's folder."""

  @classmethod
  @abc.abstractmethod
  def load(
    cls,
    config: Any,
    vocab: vocab_lib.Vocabulary,
    labels: Sequence[str],
    workdir: str,
  ) -> 'Fitted':
    """Loads a model that `save` wrote.

    Raises:
      FileNotFoundError: no model has been saved in the folder.
    """

  @classmethod
  @abc.abstractmethod
  def is_fitted(cls, workdir: str) -> bool:
    """Whether the folder has a model that `save` wrote."""

  @abc.abstractmethod
  def describe(self) -> str:
    """Describes the fitted model, for the log."""


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


class WritesLabels(Generates):
  """Writes text of a label.

  Attributes:
    labels: names of the classes, in the order of their ids.
  """

  labels: tuple[str, ...]

  @abc.abstractmethod
  def given(self, label: str) -> Any:
    """The same task, which writes texts of this label alone."""


class Translates(abc.ABC):
  """Writes a text for a source text, token by token.

  Its batches have `source` int32[B, S] and `source_mask` bool[B, S]; if it
  `Scores`, the likelihood of a sentence is given its source.
  """

  @abc.abstractmethod
  def encode(self, params: Any, batch: Batch) -> Any:
    """What is read of each source: a tree of arrays, rows first."""

  @abc.abstractmethod
  def begin(self, encoded: Any) -> Any:
    """The carry before the first token."""

  @abc.abstractmethod
  def follow(
    self, params: Any, carry: Any, tokens: jax.Array, encoded: Any
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
    family: family of the posterior, which draws samples.
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

  def calibrated(self, log_probs: np.ndarray, extras: Any) -> np.ndarray:
    """What `predict` returns where `evaluate` returns these 'log_probs'.

    The same array if predictions are not corrected: float[N, C], nats.
    """
    del extras
    return log_probs


class Tagged(NamedTuple):
  """The tags of a batch of sentences, of T - 1 words each at most."""

  tags: jax.Array  # int32[B, N, T - 1], the best sequence first.
  log_probs: jax.Array  # float[B, N], nats of each sequence; -inf: none.
  shares: jax.Array  # float[B, T - 1, K], the probability of each tag.


class Tags(abc.ABC):
  """Gives each word of a sentence a tag.

  Its batches have `chars` and `chars_mask`; see `data.batches.gather`. Its
  `evaluate` returns 'predicted' int[B, T - 1], the best tags.

  Attributes:
    labels: names of the tags, in the order of their ids.
    speller: turns words into characters.
    scheme: how tags mark spans, one of `schemes.SCHEMES`.
  """

  labels: tuple[str, ...]
  speller: spellings.Speller
  scheme: str

  @abc.abstractmethod
  def tag(
    self, params: Any, batch: Batch, extras: Any, count: int = 1
  ) -> Tagged:
    """The `count` best sequences of tags of each row."""


class WordVectors(abc.ABC):
  """Has vectors of words that no layer reads."""

  @abc.abstractmethod
  def word_vectors(self) -> tuple[np.ndarray, np.ndarray]:
    """Ids of words, int[N], and their vectors, float32[N, E]."""
