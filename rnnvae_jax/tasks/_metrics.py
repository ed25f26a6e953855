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


def per(denominator: str, numerator: str) -> type[Ratio]:
  """One sum over another: names among the sums that a task's loss returns."""
  return Ratio.from_fun(
    lambda **outputs: {
      'numerator': outputs[numerator],
      'denominator': outputs[denominator],
    }
  )


def mean(name: str) -> type[Ratio]:
  """The mean over updates of what is one number an update."""
  return Ratio.from_fun(
    lambda **outputs: {'numerator': outputs[name], 'denominator': 1.0}
  )


def total(name: str) -> type[Ratio]:
  """A sum, whose mean over updates is shown."""
  return Ratio.from_fun(
    lambda **outputs: {'numerator': outputs[name], 'denominator': 1.0}
  )


# Means over the updates of a call, with dropout; nats.
LanguageModelMetrics = metrics.Collection.create(
  loss=mean('loss'),
  nll_per_sentence=per('sentences', 'reconstruction'),
  nll_per_token=per('tokens', 'reconstruction'),
  tokens=total('tokens'),
  grad_norm=mean('grad_norm'),
  learning_rate=mean('learning_rate'),
)
StreamMetrics = metrics.Collection.create(
  loss=mean('loss'),
  nll_per_token=per('tokens', 'reconstruction'),
  tokens=total('tokens'),
  grad_norm=mean('grad_norm'),
  learning_rate=mean('learning_rate'),
)
SentenceVaeMetrics = metrics.Collection.create(
  loss=mean('loss'),
  reconstruction_per_sentence=per('sentences', 'reconstruction'),
  kl_per_sentence=per('sentences', 'kl'),
  nll_per_token=per('tokens', 'reconstruction'),
  tokens=total('tokens'),
  grad_norm=mean('grad_norm'),
  learning_rate=mean('learning_rate'),
  kl_weight=mean('kl_weight'),
)
