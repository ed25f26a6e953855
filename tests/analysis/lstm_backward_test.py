"""The LSTM's backward pass derived by hand, against automatic gradients."""

import functools

from absl.testing import absltest, parameterized
import jax
import numpy as np

from rnnvae_jax.analysis import lstm_backward

H, F, T = 4, 3, 6


class LstmBackwardTest(parameterized.TestCase):
  @parameterized.parameters('scan', 'fused')
  def test_the_equations_are_the_gradient(self, backend):
    rng = np.random.default_rng(0)
    x, d_outputs = rng.normal(size=(T, F)), rng.normal(size=(T, H))
    params = lstm_backward.random_params(rng, H, F)
    stack = lstm_backward.layer(H, backend)
    got, got_x = lstm_backward.automatic(stack, params, x, d_outputs)
    layer = params['params']['layer_0']
    want, want_x = lstm_backward.by_hand(layer, x, d_outputs)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    jax.tree.map(close, got, want)
    close(got_x, want_x)


if __name__ == '__main__':
  absltest.main()
