"""Perturbations against closed forms of linear models."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.objectives import perturbation

import tolerances

ROWS, LENGTH, SIZE, CLASSES = 4, 6, 3, 2
COUNTS = 6, 3, 1, 0  # Words that may move; the last text has none.
TERMS = LENGTH * SIZE


def mask():
  return jnp.arange(LENGTH)[None] < jnp.array(COUNTS)[:, None]


def draw(*shape, seed=0):
  return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def norms(moved):
  return np.sqrt(np.sum(np.float64(moved) ** 2, axis=(1, 2)))


class Linear:
  """log p = log_softmax(sum of w . x over words), its parts known exactly."""

  def __init__(self):
    self.weights = draw(LENGTH, SIZE, CLASSES, seed=1)
    self.x = draw(ROWS, LENGTH, SIZE, seed=2)

  def log_probs(self, x):
    kept = jnp.where(mask()[:, :, None], x, 0.0)
    return jax.nn.log_softmax(jnp.einsum('bte,tec->bc', kept, self.weights))

  def nll(self, labels):
    return lambda x: (
      -jnp.take_along_axis(self.log_probs(x), labels[:, None], axis=1)[:, 0]
    )


class ScaledTest(parameterized.TestCase):
  @parameterized.parameters(5.0, 0.3)
  def test_the_norm_is_exact_over_the_words_that_may_move(self, norm):
    direction = draw(ROWS, LENGTH, SIZE)
    moved = perturbation.scaled(direction, mask(), jnp.float32(norm))
    np.testing.assert_allclose(
      norms(moved)[:3], norm, rtol=tolerances.chain(TERMS, 4)
    )
    np.testing.assert_array_equal(np.asarray(moved)[~np.asarray(mask())], 0)
    # The direction is the same.
    np.testing.assert_allclose(
      np.asarray(moved)[1, :3] / norm,
      np.asarray(direction)[1, :3] / norms(direction[1:2, :3])[0],
      rtol=tolerances.chain(TERMS, 6),
    )

  @parameterized.parameters(1e-25, 1e25)
  def test_the_size_of_the_direction_does_not_matter(self, size):
    direction = draw(ROWS, LENGTH, SIZE)
    scaled = lambda direction: perturbation.scaled(
      direction, mask(), jnp.float32(2)
    )
    np.testing.assert_allclose(
      scaled(size * direction),
      scaled(direction),
      rtol=tolerances.chain(TERMS, 6),
    )

  def test_no_direction_gives_no_perturbation(self):
    nothing = jnp.zeros((ROWS, LENGTH, SIZE))
    moved = perturbation.scaled(nothing, mask(), jnp.float32(5))
    np.testing.assert_array_equal(moved, nothing)


class AdversarialTest(absltest.TestCase):
  def test_it_is_the_gradient_of_a_linear_model(self):
    model, labels = Linear(), jnp.array([0, 1, 1, 0])
    norm = jnp.float32(0.7)
    got = perturbation.adversarial(model.nll(labels), model.x, mask(), norm)
    # Of two classes the gradient is p(other) (w_other - w_label): its direction
    # is that of the difference, whatever x is.
    weights = np.float64(model.weights)
    for row, (label, count) in enumerate(zip(labels, COUNTS, strict=True)):
      want = weights[:count, :, 1 - label] - weights[:count, :, label]
      want = 0.7 * want / max(np.sqrt(np.sum(want**2)), 1e-9)
      np.testing.assert_allclose(
        got[row, :count], want, rtol=0, atol=8 * TERMS * tolerances.EPS
      )
      np.testing.assert_array_equal(got[row, count:], 0)

  def test_it_raises_the_nats_more_than_other_directions(self):
    model, labels = Linear(), jnp.array([0, 1, 1, 0])
    norm, nll = jnp.float32(0.05), model.nll(labels)
    worst = nll(model.x + perturbation.adversarial(nll, model.x, mask(), norm))
    for seed in range(20):
      other = perturbation.scaled(
        draw(ROWS, LENGTH, SIZE, seed=10 + seed), mask(), norm
      )
      self.assertTrue(np.all(worst[:3] > nll(model.x + other)[:3]))


class VirtualTest(absltest.TestCase):
  def virtual(self, model, norm, step=1e-2, iterations=1):
    return perturbation.virtual(
      model.log_probs,
      model.log_probs(model.x),
      model.x,
      mask(),
      draw(ROWS, LENGTH, SIZE, seed=3),
      jnp.float32(norm),
      jnp.float32(step),
      iterations,
    )

  def test_it_is_the_only_direction_that_matters_to_a_linear_model(self):
    # Of two classes the Hessian is p q d d' with d = w_1 - w_0, so one
    # iteration finds d, up to its sign and to what rounding leaves of a
    # divergence of the order of the step's square.
    model = Linear()
    got = self.virtual(model, 1.0)
    difference = np.float64(model.weights[:, :, 1] - model.weights[:, :, 0])
    for row, count in enumerate(COUNTS[:3]):
      d = difference[:count] / np.sqrt(np.sum(difference[:count] ** 2))
      cosine = np.sum(np.float64(got[row, :count]) * d)
      self.assertAlmostEqual(abs(cosine), 1.0, delta=1e-3)
    np.testing.assert_array_equal(got[3], 0)

  def test_its_norm_is_exact(self):
    for norm in (0.0, 2.0):
      np.testing.assert_allclose(
        norms(self.virtual(Linear(), norm))[:3],
        norm,
        rtol=tolerances.chain(TERMS, 4),
      )

  def test_the_divergence_is_0_without_a_perturbation(self):
    model = Linear()
    target = model.log_probs(model.x)
    moved = model.x + self.virtual(model, 0.0)
    np.testing.assert_array_equal(
      perturbation.divergence(target, model.log_probs(moved)), 0
    )

  def test_the_divergence_against_float64(self):
    p, q = (
      jax.nn.log_softmax(draw(ROWS, CLASSES, seed=seed)) for seed in (5, 6)
    )
    exact = [np.float64(x) for x in (p, q)]
    want = np.sum(np.exp(exact[0]) * (exact[0] - exact[1]), axis=1)
    np.testing.assert_allclose(
      perturbation.divergence(p, q), want, rtol=0, atol=20 * tolerances.EPS
    )


if __name__ == '__main__':
  absltest.main()
