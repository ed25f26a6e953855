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


class DescentTest(absltest.TestCase):
  def descend(self, threshold):
    return map(
      np.float64,
      gradients.descend(
        gradients.cliff_error, (5.0, -3.0), 0.5, 100, threshold
      ),
    )

  def test_errors_are_those_of_the_weights(self):
    way, errors = self.descend(0.1)
    np.testing.assert_array_equal(way[0], [5.0, -3.0])
    for (w, b), error in zip(way[::10], errors[::10], strict=True):
      h = 0.5
      for _ in range(50):
        h = w / (1 + np.exp(-h)) + b
      self.assertAlmostEqual(error, (1 / (1 + np.exp(-h)) - 0.7) ** 2, places=4)

  def test_a_cliff_throws_what_is_not_clipped_far_away(self):
    clipped, clipped_errors = self.descend(0.1)
    thrown, thrown_errors = self.descend(np.inf)
    step = lambda way: np.linalg.norm(np.diff(way, axis=0), axis=1)
    np.testing.assert_array_less(step(clipped), 0.5 * 0.1 * (1 + 1e-4))
    self.assertGreater(step(thrown).max(), 1.0)
    # The first step is as long as it may be, and goes the same way.
    free, short = thrown[1] - thrown[0], clipped[1] - clipped[0]
    np.testing.assert_allclose(
      short, 0.05 * free / np.linalg.norm(free), rtol=1e-4, atol=1e-6
    )
    self.assertLess(clipped_errors[-1], 0.02)
    self.assertGreater(thrown_errors[-1], 0.08)


if __name__ == '__main__':
  absltest.main()
