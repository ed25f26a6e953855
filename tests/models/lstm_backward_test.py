"""The LSTM's backward pass derived by hand, against automatic gradients.

The equations of Greff et al., arXiv:1503.04069, section II.B (and of lectures
since): with y the output, z the block input, bars before squashing,

  dy_t = D_t + R_z' dz_t+1 + R_i' di_t+1 + R_f' df_t+1 + R_o' do_t+1
  do_t = dy_t tanh(c_t) o'(o_t)
  dc_t = dy_t o_t tanh'(c_t) + p_o do_t + p_i di_t+1 + p_f df_t+1
         + dc_t+1 f_t+1
  df_t = dc_t c_t-1 f'(f_t);  di_t = dc_t z_t i'(i_t);  dz_t = dc_t i_t z'(z_t)
"""

import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.models import cells, recurrent

H, F, T = 4, 3, 6


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def by_hand(params, x, d_outputs):
  """Gradients of Σ d_outputs * outputs, of one row, in float64."""
  kernel, bias = params['kernel'], params['bias']
  recurrent_kernel = params['cell']['recurrent_kernel']
  p_i, p_f, p_o = params['cell']['peepholes']
  y, c = np.zeros((T + 1, H)), np.zeros((T + 1, H))
  i, f, z, o = (np.zeros((T + 2, H)) for _ in range(4))
  for t in range(1, T + 1):
    bar = x[t - 1] @ kernel + bias + y[t - 1] @ recurrent_kernel
    bar_i, bar_f, bar_z, bar_o = np.split(bar, 4)
    i[t] = sigmoid(bar_i + p_i * c[t - 1])
    f[t] = sigmoid(bar_f + p_f * c[t - 1])
    z[t] = np.tanh(bar_z)
    c[t] = z[t] * i[t] + c[t - 1] * f[t]
    o[t] = sigmoid(bar_o + p_o * c[t])
    y[t] = np.tanh(c[t]) * o[t]
  di, df, dz, do, dc = (np.zeros((T + 2, H)) for _ in range(5))
  for t in range(T, 0, -1):
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
  now = slice(1, T + 1)
  gates = np.concatenate([di[now], df[now], dz[now], do[now]], axis=1)
  grads = {
    'kernel': x.T @ gates,
    'bias': gates.sum(axis=0),
    'cell': {
      'recurrent_kernel': y[:T].T @ gates,
      'peepholes': np.stack(
        [
          (di[now] * c[:T]).sum(axis=0),
          (df[now] * c[:T]).sum(axis=0),
          (do[now] * c[now]).sum(axis=0),
        ]
      ),
    },
  }
  return grads, gates @ kernel.T


class LstmBackwardTest(parameterized.TestCase):
  @parameterized.parameters('scan', 'fused')
  def test_the_equations_are_the_gradient(self, backend):
    stack = recurrent.Recurrent(
      functools.partial(cells.LSTM, H, peepholes=True),
      H,
      num_gates=4,
      num_states=2,
      backend=backend,
    )
    rng = np.random.default_rng(0)
    x, d_outputs = rng.normal(size=(T, F)), rng.normal(size=(T, H))
    mask = jnp.ones((1, T), bool)
    shapes = jax.eval_shape(
      stack.init, jax.random.key(0), jnp.ones((1, T, F)), mask
    )
    params = jax.tree.map(lambda s: rng.normal(size=s.shape) / 2, shapes)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def grads(params, x):
      _, outputs = stack.apply(params, x, mask)
      return jnp.sum(outputs[0] * jnp.float32(d_outputs))

    float32 = functools.partial(jax.tree.map, np.float32)
    got, got_x = grads(float32(params), np.float32(x)[None])
    want, want_x = by_hand(params['params']['layer_0'], x, d_outputs)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    jax.tree.map(close, got['params']['layer_0'], want)
    close(got_x[0], want_x)


if __name__ == '__main__':
  absltest.main()
