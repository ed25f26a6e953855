"""Gradients through time: how they vanish, explode, and are clipped.

Bengio, Simard & Frasconi 1994; Pascanu et al., arXiv:1211.5063: the gradient of
a state with respect to the state k steps earlier is a product of k Jacobians.
If a step is linear with rho times an orthogonal matrix, the norm of that
product is rho**k. A squashing activation makes it smaller. In an LSTM the cell
state passes gradients on through the forget gates.
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
  """Norms of d(last state) / d(state k steps earlier) for every k.

  Args:
    step: (carry, float[F]) -> carry, for a single row.
    carry: float[H] each, before the first step.
    inputs: float[T, F].

  Returns:
    float[T + 1], for k from 0 to T: the Frobenius norm of the product of the
    last k Jacobians, divided by the norm of the identity.
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
  """h = f(x + h U), where U is `radius` times a random orthogonal matrix.

  The activation 'linear' is the identity.
  """
  kernel = radius * jax.random.orthogonal(key, size)
  f = elman.ACTIVATIONS.get(activation, lambda x: x)
  return lambda carry, x: (f(x + carry[0] @ kernel),)


def lstm_step(
  radius: float, size: int, forget_bias: float, key: jax.Array
) -> Step:
  """An LSTM whose recurrent blocks are `radius` times orthogonal matrices."""
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
  """Norms of the recurrent matrix's gradient, by sequence length.

  Args:
    kernel: float[H, H], the matrix U of h = x + h U.
    carry: float[H], h before the first step.
    inputs: float[T, H].

  Returns:
    float[T], for lengths 1 to T: the norm of d sum(last h) / dU.
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
  """The slope of the least-squares line through log norm by step."""
  steps = np.arange(len(norms_by_step))
  return float(np.polyfit(steps, np.log(norms_by_step), 1)[0])


def cliff_error(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
  """Squared error of a one-unit network with a cliff.

  Pascanu et al., figure 6.
  h = w sigmoid(h) + b starts at .5; after 50 steps sigmoid(h) should be .7.
  Where the map has two stable fixed points, the error jumps along a line of
  (w, b) on which h changes from one of them to the other.

  Args:
    weights: w and b, float[] each.

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
  """Gradient descent with clipping by norm (Pascanu et al., algorithm 1).

  Args:
    error: the function of two weights to minimise.
    start: the weights before the first step.
    rate: learning rate.
    steps: number of updates.
    threshold: largest norm of a gradient; inf: no clipping.

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
  _, (visited, errors) = jax.lax.scan(step, loop, None, length=steps + 1)
  return jnp.stack(visited, axis=-1), errors
