"""Small tasks on a ragged batch, their nats from logits on in float64."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import batches, corpora, vocab
from rnnvae_jax.ops import noise
from rnnvae_jax.tasks import base

import helpers
import tolerances

VOCAB = 17
LENGTHS = np.int32([4, 2, 6, 1, 5])
ROWS = np.int32([2, 0, batches.BLANK, 4, 1])
REAL = ROWS != batches.BLANK
LATENTS = 3
SAMPLES = 9
EMBEDDING, HIDDEN, ENCODER_HIDDEN = 10, 8, 7
# Nats are sums of sums: of a batch's tokens, of a softmax, of a logit, of six
# steps of the decoder, of the posterior's layer and of six of the encoder.
RTOL = tolerances.chain(
  sum(LENGTHS),
  VOCAB,
  EMBEDDING + HIDDEN,
  6 * (EMBEDDING + HIDDEN + LATENTS),
  ENCODER_HIDDEN,
  6 * (EMBEDDING + ENCODER_HIDDEN),
)
_SIZES = {'model.embedding_size': EMBEDDING, 'model.hidden_size': HIDDEN}
_VAE_SIZES = {
  'model.latent_size': LATENTS,
  'model.encoder_hidden_size': ENCODER_HIDDEN,
  'model.latent_every_step': True,
}


def make_split() -> corpora.Split:
  ends = np.cumsum(LENGTHS)
  tokens = np.random.default_rng(0).integers(4, VOCAB, ends[-1]).astype('i4')
  tokens[ends - 1] = vocab.EOS
  offsets = (ends - LENGTHS).astype('i4')
  return corpora.Split(tokens, offsets, LENGTHS, 0, 0, {})


def make_config(kind: str, **overrides: Any) -> Any:
  sizes = _SIZES | (_VAE_SIZES if kind == 'sentence_vae' else {})
  return helpers.make_config(kind, **(sizes | overrides))


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  logits = logits - logits.max(axis=-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def evaluator(task, count: int, chunk: int, shuffled: bool = False):
  """(params, batch, key, extras) -> values, compiled."""
  samples = base.Samples(count, chunk, shuffled)
  return jax.jit(functools.partial(task.evaluate, samples=samples))


class Model:
  """A task, its parameters and a batch, in float64 from its logits on."""

  def __init__(self, kind: str, **overrides: Any):
    config = make_config(kind, **overrides)
    self.task = helpers.make_task(config, VOCAB)
    self.hyperparameters = self.task.schedule(
      helpers.make_hyperparameters(config), jnp.int32(0)
    )
    # Large enough for a posterior far from the prior.
    init = jax.jit(self.task.init)
    self.params = jax.tree.map(lambda x: 2 * x, init(jax.random.key(0)))
    corpus = batches.put(make_split())
    self.batch = batches.gather(corpus, jnp.asarray(ROWS), batches.Bucket(6))
    self.key = jax.random.key(1)

  @functools.cached_property
  def _step(self):
    return jax.jit(self.task.step)

  def nll(self, latents=None):
    """Nats of each row, token by token as in sampling: float64[B]."""
    if latents is not None:
      latents = jnp.asarray(latents, jnp.float32)
    carry = self.task.start(self.params, len(ROWS), latents)
    total = np.zeros(len(ROWS))
    for t in range(6):
      inputs, targets = self.batch['inputs'][:, t], self.batch['targets'][:, t]
      carry, logits = self._step(self.params, carry, inputs, latents)
      chosen = log_softmax(logits)[np.arange(len(ROWS)), np.asarray(targets)]
      total -= np.where(self.batch['mask'][:, t], chosen, 0)
    return total

  def posterior(self):
    """Mean and log-variance, float64[B, Z]."""
    encode = jax.jit(self.task.latents.encode)
    encoded = encode(self.params, self.batch, self.task.initial_extras())
    return tuple(np.asarray(x, np.float64) for x in encoded[:2])

  def noise(self, *samples, site='latents'):
    keys = noise.row_keys(self.key, jnp.asarray(ROWS))
    drawn = noise.normal(keys, site, (*samples, LATENTS))
    return np.asarray(drawn, np.float64)

  def loss(self, **extras):
    return jax.jit(self.task.loss)(
      self.params,
      self.batch,
      self.hyperparameters,
      self.key,
      self.task.initial_extras() | extras,
    )

  def evaluate(self, count: int, chunk: int = 4):
    evaluate = evaluator(self.task, count, chunk)
    extras = self.task.initial_extras()
    values = evaluate(self.params, self.batch, self.key, extras)
    return {k: np.asarray(v, np.float64) for k, v in values.items()}
