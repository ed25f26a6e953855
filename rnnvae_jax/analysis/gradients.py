"""Gradients through time: how they vanish, explode, and are clipped.

Bengio, Simard & Frasconi 1994; Pascanu et al., arXiv:1211.5063: the gradient of
a state by one k steps before is a product of k Jacobians. Where a step is
linear with an orthogonal matrix of spectral radius rho its norm is rho**k; a
squashing function shrinks it; an LSTM's cell passes it on through the forget
gates.
"""

from collections.abc import Callable

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import optax

from rnnvae_jax.models.cells import base, elman, lstm

Step = Callable[[base.Carry, jax.Array], base.Carry]


def norms(step: Step, carry: base.Carry, inputs: jax.Array) -> jax.Array:
  """Of the last state's gradient by the state k steps before it.

  Args:
    step: (carry, float[F]) -> carry, of one row.
    carry: float[H] each.
    inputs: float[T, F].

  Returns:
    float[T + 1], by k from 0 on: the Frobenius norm of the product of k
    Jacobians over that of the identity.
  """
  flat, unflatten = flatten_util.ravel_pytree(carry)

  def flat_step(flat, x):
    return flatten_util.ravel_pytree(step(unflatten(flat), x))[0]

  def forward(flat, x):
    return flat_step(flat, x), jax.jacfwd(flat_step)(flat, x)

  _, jacobians = jax.lax.scan(forward, flat, inputs)

  def backward(product, jacobian):
    product = product @ jacobian
    return product, jnp.linalg.norm(product)

  identity = jnp.eye(len(flat))
  _, product_norms = jax.lax.scan(backward, identity, jacobians, reverse=True)
  identity_norm = jnp.linalg.norm(identity)
  return (
    jnp.concatenate([identity_norm[None], product_norms[::-1]]) / identity_norm
  )


def elman_step(
  radius: float, size: int, activation: str, key: jax.Array
) -> Step:
  """h = f(x + h U), U orthogonal times `radius`; 'linear' f is the identity."""
  kernel = radius * jax.random.orthogonal(key, size)
  f = elman.ACTIVATIONS.get(activation, lambda x: x)
  return lambda carry, x: (f(x + carry[0] @ kernel),)


def lstm_step(
  radius: float, size: int, forget_bias: float, key: jax.Array
) -> Step:
  """An LSTM of orthogonal recurrent blocks times `radius`."""
  cell = lstm.LSTM(size)
  blocks = [jax.random.orthogonal(k, size) for k in jax.random.split(key, 4)]
  kernel = radius * jnp.concatenate(blocks, axis=1)
  params = {'params': {'recurrent_kernel': kernel}}
  bias = jnp.zeros((4, size)).at[1].set(forget_bias).ravel()

  def step(carry, x):
    gates = (jnp.tile(x, 4) + bias)[None]
    after = cell.apply(params, tuple(s[None] for s in carry), gates)
    return tuple(jnp.squeeze(s, 0) for s in jax.tree.leaves(after))

  return step


def matrix_gradient_norms(
  kernel: jax.Array, carry: jax.Array, inputs: jax.Array
) -> jax.Array:
  """Of the gradient of h_T by the matrix of h = x + h U, by length T.

  Args:
    kernel: float[H, H], U.
    carry: float[H], before the first step.
    inputs: float[T, H].

  Returns:
    float[T], for lengths 1 to T: the norm of d sum(h) / dU.
  """
  times = jnp.arange(len(inputs))

  def last(kernel, length):
    def step(h, now):
      x, time = now
      return jnp.where(time < length, x + h @ kernel, h), None

    return jnp.sum(jax.lax.scan(step, carry, (inputs, times))[0])

  gradient_norm = lambda length: jnp.linalg.norm(jax.grad(last)(kernel, length))
  return jax.lax.map(gradient_norm, times + 1)


def slope(norms_by_step: np.ndarray) -> float:
  """Of the logarithm of norms by their step, by least squares."""
  steps = np.arange(len(norms_by_step))
  return float(np.polyfit(steps, np.log(norms_by_step), 1)[0])


def cliff_error(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
  """Of one unit that is to be at .7 after 50 steps (Pascanu et al., figure 6).

  h = w sigmoid(h) + b from .5 on: where it has two fixed points the error
  jumps, along a line of (w, b), from one of them to the other.

  Args:
    weights: float[], w and b.

  Returns:
    float[], the squared error.
  """
  w, b = weights
  step = lambda h, _: (w * jax.nn.sigmoid(h) + b, None)
  h, _ = jax.lax.scan(step, jnp.full_like(w, 0.5), None, length=50)
  return jnp.square(jax.nn.sigmoid(h) - 0.7)


def descend(
  error: Callable[..., jax.Array],
  start: tuple[float, float],
  rate: float,
  steps: int,
  threshold: float,
) -> tuple[jax.Array, jax.Array]:
  """Gradient descent, clipped as training clips (Pascanu et al., algorithm 1).

  Args:
    error: of two weights.
    start: these, before the first step.
    rate: of learning.
    steps: their number.
    threshold: norm that no gradient is longer than; inf: not clipped.

  Returns:
    The weights float[steps + 1, 2], and their errors float[steps + 1].
  """
  optimizer = optax.chain(optax.clip_by_global_norm(threshold), optax.sgd(rate))
  weights = tuple(map(jnp.float32, start))

  def step(loop, _):
    weights, state = loop
    value, grads = jax.value_and_grad(error)(weights)
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(weights, updates), state), (weights, value)

  loop = weights, optimizer.init(weights)
  _, (way, errors) = jax.lax.scan(step, loop, None, length=steps + 1)
  return jnp.stack(way, axis=-1), errors
