"""Norms of gradients through time against closed forms and differences."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.analysis import gradients

SIZE, STEPS = 5, 12


class NormsTest(parameterized.TestCase):
  @parameterized.parameters(0.7, 1.0, 1.2)
  def test_of_a_linear_step_they_are_powers_of_the_radius(self, radius):
    step = gradients.elman_step(radius, SIZE, 'linear', jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (STEPS, SIZE))
    got = gradients.norms(step, (jnp.zeros(SIZE),), inputs)
    np.testing.assert_allclose(got, radius ** np.arange(STEPS + 1), rtol=1e-5)
    self.assertAlmostEqual(
      gradients.slope(np.asarray(got)), np.log(radius), places=5
    )

  @parameterized.parameters('elman', 'lstm')
  def test_they_are_those_of_the_whole_way_at_once(self, kind):
    key = jax.random.key(0)
    if kind == 'elman':
      step = gradients.elman_step(1.1, SIZE, 'tanh', key)
      carry = (0.1 * jnp.ones(SIZE),)
    else:
      step = gradients.lstm_step(1.1, SIZE, 1.0, key)
      carry = (0.1 * jnp.ones(SIZE), 0.2 * jnp.ones(SIZE))
    inputs = jax.random.normal(key, (STEPS, SIZE))
    got = gradients.norms(step, carry, inputs)
    number = len(carry) * SIZE

    def last(flat):
      now = tuple(jnp.split(flat, len(carry)))
      for x in inputs:
        now = step(now, x)
      return jnp.concatenate(now)

    jacobian = jax.jacrev(last)(jnp.concatenate(carry))
    wanted = jnp.linalg.norm(jacobian) / number**0.5
    np.testing.assert_allclose(got[-1], wanted, rtol=1e-5)
    self.assertEqual(got[0], 1.0)

  def test_of_the_matrix_they_are_those_of_differences(self):
    kernel = 1.1 * jax.random.orthogonal(jax.random.key(0), SIZE)
    inputs = jax.random.normal(jax.random.key(1), (STEPS, SIZE))
    carry = jnp.zeros(SIZE)
    got = gradients.matrix_gradient_norms(kernel, carry, inputs)
    self.assertLen(got, STEPS)
    # One step does not read the matrix but times the first state, 0.
    self.assertEqual(got[0], 0.0)

    def last(kernel):
      h = np.zeros(SIZE)
      for x in np.float64(inputs):
        h = x + h @ kernel
      return h.sum()

    squares, here = 0.0, np.float64(kernel)
    for place in np.ndindex(here.shape):
      sides = []
      for move in (1e-6, -1e-6):
        moved = here.copy()
        moved[place] += move
        sides.append(last(moved))
      squares += ((sides[0] - sides[1]) / 2e-6) ** 2
    np.testing.assert_allclose(got[-1], squares**0.5, rtol=1e-4)

  def test_clipping_leaves_what_is_small(self):
    norms = np.array([0.5, 5.0, 50.0])
    np.testing.assert_array_equal(gradients.clipped(norms, 5.0), [0.5, 5, 5])


if __name__ == '__main__':
  absltest.main()
