"""A window of words against a loop over it."""

from absl.testing import absltest, parameterized
import jax
import numpy as np

from rnnvae_jax.models.cells import feed_forward

ROWS, TIME, FEATURES, HIDDEN = 3, 7, 4, 5
LENGTHS = np.array([7, 2, 0])


def make(window, direct):
  stack = feed_forward.FeedForward(
    HIDDEN, FEATURES, window=window, direct=direct
  )
  rng = np.random.default_rng(0)
  x = np.float32(rng.normal(size=(ROWS, TIME, FEATURES)))
  mask = np.arange(TIME)[None] < LENGTHS[:, None]
  return stack, jax.jit(stack.init)(jax.random.key(0), x, mask), x, mask


class FeedForwardTest(parameterized.TestCase):
  @parameterized.product(window=(1, 2, 4, 9), direct=(False, True))
  def test_equals_a_loop_over_windows(self, window, direct):
    stack, params, x, mask = make(window, direct)
    _, outputs = jax.jit(stack.apply)(params, x, mask)
    self.assertEqual(outputs.shape, (ROWS, TIME, stack.output_size))
    layer = params['params']['hidden']
    kernel, bias = np.float64(layer['kernel']), np.float64(layer['bias'])
    for row in range(ROWS):
      for time in range(TIME):
        seen = [
          np.asarray(x[row, t]) if t >= 0 else np.zeros(FEATURES)
          for t in range(time - window + 1, time + 1)
        ]
        seen = np.concatenate(seen)
        wanted = np.tanh(seen @ kernel + bias)
        if direct:
          wanted = np.concatenate([wanted, seen])
        np.testing.assert_allclose(
          outputs[row, time], wanted, rtol=1e-5, atol=1e-6
        )

  @parameterized.product(window=(1, 2, 4, 9), cut=(1, 3, 6))
  def test_a_carry_split_anywhere_gives_the_same(self, window, cut):
    stack, params, x, mask = make(window, False)
    apply = jax.jit(stack.apply)
    carry, whole = apply(params, x, mask)
    between, first = apply(params, x[:, :cut], mask[:, :cut])
    after, second = apply(params, x[:, cut:], mask[:, cut:], between)
    parts = np.concatenate([first, second], axis=1)
    real = np.asarray(mask)
    # Sums of N F products of size 1 or so, in another order.
    allowed = 9 * FEATURES * np.finfo(np.float32).eps
    np.testing.assert_allclose(parts[real], whole[real], atol=allowed)
    np.testing.assert_array_equal(carry[0][0][0], after[0][0][0])


if __name__ == '__main__':
  absltest.main()
