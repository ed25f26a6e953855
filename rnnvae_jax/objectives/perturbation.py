"""Adversarial and virtual adversarial perturbations of word vectors.

'Adversarial training methods for semi-supervised text classification' (Miyato,
Dai & Goodfellow, arXiv:1605.07725): a classifier is trained to keep its answer
where the vectors of a text's words are moved a little, in the worst direction.
All functions are about one small step from where the model stands, so no
gradient flows through the direction itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rnnvae_jax.config import schema

WEIGHTS = ('objective.adversarial_weight', 'objective.virtual_weight')
# Below this size a direction is taken to have no length.
_SMALLEST = 1e-30


def _perturbs(flat: Mapping[str, Any]) -> bool:
  return any(flat.get(name, 0.0) for name in WEIGHTS)


_PERTURBS = schema.Condition(
  _perturbs,
  lambda flat: (
    'it is read only where config.objective.adversarial_weight or '
    'config.objective.virtual_weight is set'
  ),
  '`objective.adversarial_weight` or `objective.virtual_weight` is set',
)
_SEARCHES = schema.is_unset('objective.random_perturbation')


@schema.fragment('objective')
class PerturbationConfig:
  """Losses at perturbed word vectors, besides the loss at the vectors."""

  adversarial_weight: float = schema.field(
    0.0,
    'Weight of the nats of the label where the word vectors are moved so that '
    'these nats grow fastest.',
    low=0,
    traced=True,
    off=0.0,
  )
  virtual_weight: float = schema.field(
    0.0,
    'Weight of the divergence between the predictions at the word vectors and '
    'where these are moved so that it grows fastest. It needs no label.',
    low=0,
    traced=True,
    off=0.0,
  )
  perturbation_norm: float = schema.field(
    5.0,
    'Euclidean norm of the perturbation of a text, over all its words.',
    low=0,
    traced=True,
    only_if=_PERTURBS,
  )
  virtual_step: float = schema.field(
    0.1,
    'Norm of the step by which the direction of fastest growth of the '
    'divergence is found.',
    low=1e-6,
    traced=True,
    only_if=(schema.is_set('objective.virtual_weight'), _SEARCHES),
  )
  virtual_iterations: int = schema.field(
    1,
    'How often this direction is improved (power iterations).',
    low=1,
    only_if=(schema.is_set('objective.virtual_weight'), _SEARCHES),
  )
  random_perturbation: bool = schema.field(
    False,
    'The word vectors are moved in a random direction instead: the control.',
    only_if=_PERTURBS,
  )


def scaled(direction: jax.Array, mask: jax.Array, norm: jax.Array) -> jax.Array:
  """Gives the direction of each text a norm.

  Args:
    direction: float[B, T, E].
    mask: bool[B, T], True on words that may move.
    norm: float[], the norm over the words of a text together.

  Returns:
    float[B, T, E], 0 where the mask is False. It is 0 for a text whose
    direction is 0, and finite for every finite direction.
  """
  direction = jnp.where(mask[:, :, None], direction, 0.0)
  # Divided by the largest element first: squares of small ones would vanish.
  largest = jnp.max(jnp.abs(direction), axis=(1, 2), keepdims=True, initial=0)
  direction = direction / jnp.maximum(largest, _SMALLEST)
  square = jnp.sum(jnp.square(direction), axis=(1, 2), keepdims=True)
  return norm * direction / jnp.sqrt(square + _SMALLEST)


def divergence(p: jax.Array, q: jax.Array) -> jax.Array:
  """KL(p || q) of log-probabilities float[B, C], in nats: float[B]."""
  return jnp.sum(jnp.exp(p) * (p - q), axis=-1)


def adversarial(
  nll: Callable[[jax.Array], jax.Array],
  x: jax.Array,
  mask: jax.Array,
  norm: jax.Array,
) -> jax.Array:
  """The perturbation in whose direction the nats of the labels grow fastest.

  Args:
    nll: word vectors float[B, T, E] -> nats of each text's label, float[B].
      The parameters in it are taken to be constant.
    x: float[B, T, E], the word vectors.
    mask: bool[B, T], True on words that may move.
    norm: see `scaled`.

  Returns:
    float[B, T, E], without a gradient.
  """
  gradient = jax.grad(lambda x: jnp.sum(nll(x)))(jax.lax.stop_gradient(x))
  return jax.lax.stop_gradient(scaled(gradient, mask, norm))


def virtual(
  log_probs: Callable[[jax.Array], jax.Array],
  target: jax.Array,
  x: jax.Array,
  mask: jax.Array,
  draws: jax.Array,
  norm: jax.Array,
  step: jax.Array,
  iterations: int = 1,
) -> jax.Array:
  """The perturbation in whose direction the predictions change fastest.

  The divergence has no gradient at the word vectors themselves. Its gradient a
  small step away is the Hessian times this step, so that each iteration turns
  the direction towards the Hessian's first eigenvector.

  Args:
    log_probs: word vectors float[B, T, E] -> float[B, C]. The parameters in it
      are taken to be constant.
    target: float[B, C], the log-probabilities at x.
    x: float[B, T, E], the word vectors.
    mask: bool[B, T], True on words that may move.
    draws: float[B, T, E], normal draws, the first direction.
    norm: see `scaled`.
    step: float[], the norm of the small step.
    iterations: number of iterations.

  Returns:
    float[B, T, E], without a gradient.
  """
  x, target = jax.lax.stop_gradient((x, target))
  growth = jax.grad(
    lambda moved: jnp.sum(divergence(target, log_probs(x + moved)))
  )
  direction = draws
  for _ in range(iterations):
    direction = growth(scaled(direction, mask, step))
  return jax.lax.stop_gradient(scaled(direction, mask, norm))
