"""Code shared by taggers that are trained by the likelihood of tags."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from clu import metrics as clu_metrics
import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema
from rnnvae_jax.data import schemes, spellings
from rnnvae_jax.models import tagger
from rnnvae_jax.ops import crf, noise, rows
from rnnvae_jax.tasks import _likelihood, _metrics, _tags, base

# Means over some updates, dropout on; nats.
Metrics = clu_metrics.Collection.create(
  loss=_metrics.mean('loss'),
  nll_per_token=_metrics.per('words', 'nll'),
  tokens=_metrics.total('tokens'),
  grad_norm=_metrics.mean('grad_norm'),
  learning_rate=_metrics.mean('learning_rate'),
)


@schema.fragment('model')
class ConstraintConfig:
  """Which tags may follow each other."""

  constrained: bool = schema.field(
    False,
    "Moves between tags that the text's scheme does not have are forbidden.",
    only_if=schema.none_of('corpus.tag_scheme', 'none'),
  )


@schema.fragment('train')
class SelectConfig:
  """Which validation figure chooses the checkpoint."""

  select_by: str = schema.field(
    'f1',
    'The validation figure that chooses the checkpoint: the highest f1 of '
    'spans or accuracy, the lowest nll_per_token. Tags that mark no spans have '
    'no f1; their accuracy is used.',
    choices=('f1', 'accuracy', 'nll_per_token'),
  )


def allowed_moves(
  config: Any, labels: Sequence[str], scheme: str
) -> schemes.Allowed | None:
  """Which tags may follow each other; None: any."""
  if not config.model.constrained:
    return None
  return schemes.allowed(labels, scheme)


class TrainedTags(base.Trained, base.Tags):
  """The tags of a sentence's words, by a model that scores them."""

  FRAGMENTS: ClassVar[tuple[type, ...]] = (
    ConstraintConfig,
    schemes.TagConfig,
    SelectConfig,
  )
  FIGURES = _tags.FIGURES
  FIELDS = ('tags', spellings.FIELD)
  PER_TOKEN = frozenset({'predicted'})
  metrics = Metrics

  def __init__(
    self,
    model: nn.Module,
    labels: Sequence[str],
    speller: spellings.Speller,
    *,
    scheme: str = 'none',
    allowed: schemes.Allowed | None = None,
    initialise: Callable | None = None,
  ):
    """Creates the task.

    Args:
      model: its Flax module, which is called as `models.tagger.Tagger` is.
      labels: names of the tags, in the order of their ids.
      speller: turns words into characters.
      scheme: how tags mark spans.
      allowed: which moves are not forbidden; None: all.
      initialise: (params, key) -> params, as they begin; None: as the modules
        say.
    """
    self.model: Any = model
    self.labels = tuple(labels)
    self.speller = speller
    self.scheme = scheme
    self._initialise = initialise
    self._allowed: crf.Weights | None = None
    if allowed is not None:
      self._allowed = crf.Weights(*map(jnp.asarray, allowed))

  @classmethod
  def check(cls, config: Any) -> None:
    _tags.check_sentences(config)

  @classmethod
  def shrink(cls, config: Any) -> None:
    _tags.shrink(config, cls.TINY_CORPUS)

  def init(self, key: jax.Array) -> Any:
    ids = jnp.zeros((1, 2), jnp.int32)
    chars = jnp.zeros((1, 2, self.speller.width), jnp.int32)
    words = tagger.Words(ids, ids == 0, chars, chars == 0)
    return _likelihood.init(self.model, (words,), self._initialise, key)

  def loss(self, params, batch, hyperparameters, key, extras):
    rates = noise.rates(hyperparameters.dropout)
    params = noise.drop_weights(params, rates.weight, key, 'layers')
    keys = noise.row_keys(key, batch['index'])
    words = _tags.words_of(batch)
    emissions, weights = self._scores(params, words, rates, keys)
    tags = _tags.without_end(batch['tags'])
    nll = crf.nll(emissions, tags, words.mask, weights)
    total = rows.total(jnp.sum(batch['weights'] * nll))
    sums = {
      'nll': total,
      'words': jnp.maximum(
        rows.total(jnp.sum(words.mask, dtype=jnp.float32)), 1.0
      ),
      **_likelihood.counts(batch),
    }
    return total / sums['sentences'], (sums, extras)

  def evaluate(
    self, params, batch, key, extras, samples: base.Samples = base.ONE_SAMPLE
  ):
    """See `_tags.values`."""
    del key, extras, samples
    words = _tags.words_of(batch)
    emissions, weights = self._scores(params, words)
    return _tags.values(emissions, weights, words.mask, batch['tags'])

  def summarise(self, values, split, config, final=False):
    del config, final
    return _tags.summary(values, split, self.labels, self.scheme)

  def warnings(self, figures: Mapping[str, Any]) -> list[str]:
    return _tags.warnings(figures)

  def selection_value(self, figures: Mapping[str, Any], config: Any) -> float:
    name = config.train.select_by
    if name == 'f1' and 'f1' not in figures:
      name = 'accuracy'
    if name == 'nll_per_token':
      return float(figures.get(name, float('inf')))
    return -float(figures[name])

  def report(self, figures: Mapping[str, Any]) -> str:
    return _tags.report(figures)

  def tag(self, params, batch, extras, count=1):
    del extras
    words = _tags.words_of(batch)
    emissions, weights = self._scores(params, words)
    return _tags.tagged(emissions, weights, words.mask, count)

  def _scores(self, params, words, *options):
    """Emissions and the scores of tags beside each other."""
    found: Any = self.model.apply(params, words, *options)
    emissions, weights = found
    # Undefined where there is no word.
    emissions = jnp.where(words.mask[:, :, None], emissions, 0.0)
    if self._allowed is not None:
      weights = crf.constrained(weights, self._allowed)
    return emissions, weights
