"""Training metrics as clu collections: sums, which `compute` divides."""

from clu import metrics
import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Ratio(metrics.Metric):
  """Σ numerator / Σ denominator over everything merged so far."""

  numerator: jax.Array
  denominator: jax.Array

  @classmethod
  def from_model_output(cls, numerator, denominator, **_):
    return cls(jnp.float32(numerator), jnp.float32(denominator))

  @classmethod
  def empty(cls):
    return cls(jnp.float32(0), jnp.float32(0))

  def merge(self, other):
    return type(self)(
      self.numerator + other.numerator, self.denominator + other.denominator
    )

  def compute(self):
    return self.numerator / self.denominator


def _per(denominator: str, numerator: str):
  return Ratio.from_fun(
    lambda **outputs: {
      'numerator': outputs[numerator],
      'denominator': outputs[denominator],
    }
  )


def _mean(name: str):
  return Ratio.from_fun(
    lambda **outputs: {'numerator': outputs[name], 'denominator': 1.0}
  )


def _sum(name: str):
  return Ratio.from_fun(
    lambda **outputs: {'numerator': outputs[name], 'denominator': 1.0}
  )


# Means over the updates of a call, with dropout; nats.
LanguageModelMetrics = metrics.Collection.create(
  loss=_mean('loss'),
  nll_per_sentence=_per('sentences', 'reconstruction'),
  nll_per_token=_per('tokens', 'reconstruction'),
  tokens=_sum('tokens'),
  grad_norm=_mean('grad_norm'),
  learning_rate=_mean('learning_rate'),
)
StreamMetrics = metrics.Collection.create(
  loss=_mean('loss'),
  nll_per_token=_per('tokens', 'reconstruction'),
  tokens=_sum('tokens'),
  grad_norm=_mean('grad_norm'),
  learning_rate=_mean('learning_rate'),
)
SentenceVaeMetrics = metrics.Collection.create(
  loss=_mean('loss'),
  reconstruction_per_sentence=_per('sentences', 'reconstruction'),
  kl_per_sentence=_per('sentences', 'kl'),
  nll_per_token=_per('tokens', 'reconstruction'),
  tokens=_sum('tokens'),
  grad_norm=_mean('grad_norm'),
  learning_rate=_mean('learning_rate'),
  kl_weight=_mean('kl_weight'),
)
