"""The backward pass of an LSTM, derived by hand and by automatic gradients.

The equations are those of Greff et al., arXiv:1503.04069, section II. y is the
output, z the block input, and D the gradient of the loss with respect to y:

  dy_t = D_t + R_z' dz_t+1 + R_i' di_t+1 + R_f' df_t+1 + R_o' do_t+1
  do_t = dy_t tanh(c_t) o'(o_t)
  dc_t = dy_t o_t tanh'(c_t) + p_o do_t + p_i di_t+1 + p_f df_t+1
         + dc_t+1 f_t+1
  df_t = dc_t c_t-1 f'(f_t);  di_t = dc_t z_t i'(i_t);  dz_t = dc_t i_t z'(z_t)
"""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.models import recurrent
from rnnvae_jax.models.cells import lstm


def layer(size: int, backend: str = 'scan') -> recurrent.Recurrent:
  """The library's LSTM with peepholes, to compare with `by_hand`."""
  return recurrent.Recurrent(lstm.LSTM(size, peepholes=True), backend=backend)


def random_params(rng: np.random.Generator, size: int, features: int) -> Any:
  """Draws parameters of `layer`, float64: {'params': {'layer_0': ...}}."""
  x, mask = jnp.ones((1, 1, features)), jnp.ones((1, 1), bool)
  shapes = jax.eval_shape(layer(size).init, jax.random.key(0), x, mask)
  draw = lambda shape: rng.normal(size=shape.shape) / 2
  return jax.tree.map(draw, shapes)


def automatic(
  stack: recurrent.Recurrent, params: Any, x: np.ndarray, d_outputs: np.ndarray
) -> tuple[Any, jax.Array]:
  """Computes the result of `by_hand` by `jax.grad`, in float32."""

  @jax.jit
  @functools.partial(jax.grad, argnums=(0, 1))
  def grads(params, x):
    outputs: Any = stack.apply(params, x, jnp.ones(x.shape[:2], bool))[1]
    return jnp.sum(outputs[0] * jnp.float32(d_outputs))

  param_grads, input_grads = grads(
    jax.tree.map(jnp.float32, params), jnp.float32(x)[None]
  )
  return param_grads['params']['layer_0'], input_grads[0]


def by_hand(
  params: Mapping[str, Any], x: np.ndarray, d_outputs: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
  """Gradients of Σ d_outputs * outputs, in NumPy and float64.

  Args:
    params: parameters of an LSTM with peepholes in `recurrent.Recurrent`:
      'kernel' [F, 4H], 'bias' [4H], and under 'cell' 'recurrent_kernel'
      [H, 4H] and 'peepholes' [3, H]. Gates are in the order i, f, z, o.
    x: float[T, F], a single sequence, read from a state of zeros.
    d_outputs: float[T, H].

  Returns:
    The gradients with respect to `params` and to `x`.
  """
  steps, size = d_outputs.shape
  kernel, bias = params['kernel'], params['bias']
  recurrent_kernel = params['cell']['recurrent_kernel']
  p_i, p_f, p_o = params['cell']['peepholes']
  y, c = np.zeros((steps + 1, size)), np.zeros((steps + 1, size))
  i, f, z, o = (np.zeros((steps + 2, size)) for _ in range(4))
  for t in range(1, steps + 1):
    bar = x[t - 1] @ kernel + bias + y[t - 1] @ recurrent_kernel
    bar_i, bar_f, bar_z, bar_o = np.split(bar, 4)
    i[t] = _sigmoid(bar_i + p_i * c[t - 1])
    f[t] = _sigmoid(bar_f + p_f * c[t - 1])
    z[t] = np.tanh(bar_z)
    c[t] = z[t] * i[t] + c[t - 1] * f[t]
    o[t] = _sigmoid(bar_o + p_o * c[t])
    y[t] = np.tanh(c[t]) * o[t]
  di, df, dz, do, dc = (np.zeros((steps + 2, size)) for _ in range(5))
  for t in range(steps, 0, -1):
    after = np.concatenate([di[t + 1], df[t + 1], dz[t + 1], do[t + 1]])
    dy = d_outputs[t - 1] + after @ recurrent_kernel.T
    do[t] = dy * np.tanh(c[t]) * o[t] * (1 - o[t])
    dc[t] = (
      dy * o[t] * (1 - np.tanh(c[t]) ** 2)
      + p_o * do[t]
      + p_i * di[t + 1]
      + p_f * df[t + 1]
      + dc[t + 1] * f[t + 1]
    )
    df[t] = dc[t] * c[t - 1] * f[t] * (1 - f[t])
    di[t] = dc[t] * z[t] * i[t] * (1 - i[t])
    dz[t] = dc[t] * i[t] * (1 - z[t] ** 2)
  now = slice(1, steps + 1)
  gates = np.concatenate([di[now], df[now], dz[now], do[now]], axis=1)
  param_grads = {
    'kernel': x.T @ gates,
    'bias': gates.sum(axis=0),
    'cell': {
      'recurrent_kernel': y[:steps].T @ gates,
      'peepholes': np.stack(
        [
          (di[now] * c[:steps]).sum(axis=0),
          (df[now] * c[:steps]).sum(axis=0),
          (do[now] * c[now]).sum(axis=0),
        ]
      ),
    },
  }
  return param_grads, gates @ kernel.T


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))
