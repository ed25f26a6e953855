"""The loss of GloVe and its updates against NumPy in float64."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.tasks.word_vectors import adagrad

import helpers

SIZE, FEATURES, BATCH = 5, 3, 8
WEIGHTING = adagrad.Weighting(x_max=4.0, alpha=0.75)
RATE = 0.3
EPS = np.finfo(np.float32).eps
STEP = jax.jit(adagrad.step, static_argnums=3)


def entries(steps=None, seed=0):
  """Entries with repeated words, and values on both sides of x_max."""
  rng = np.random.default_rng(seed)
  shape = (BATCH,) if steps is None else (steps, BATCH)
  return adagrad.Entries(
    np.int32(rng.integers(SIZE, size=shape)),
    np.int32(rng.integers(SIZE, size=shape)),
    np.float32(rng.uniform(0.1, 9, shape)),
  )


def first_state():
  state = adagrad.init(jax.random.key(0), SIZE, FEATURES)
  return state._replace(table=state.table * 4)


def numpy_gradients(table, some):
  """The loss, and (row, its gradient) of each word and context."""
  loss, gradients = 0.0, []
  for i, j, x in zip(*some, strict=True):
    w, c = table[i], table[SIZE + j]
    scale = min(x / WEIGHTING.x_max, 1) ** WEIGHTING.alpha
    residual = w[:-1] @ c[:-1] + w[-1] + c[-1] - np.log(x)
    loss += 0.5 * scale * residual**2
    gradients.append((i, scale * residual * np.append(c[:-1], 1)))
    gradients.append((SIZE + j, scale * residual * np.append(w[:-1], 1)))
  return loss, gradients


def numpy_step(table, squares, some):
  """A step, entry by entry: sums of squares first, then the weights."""
  loss, gradients = numpy_gradients(table, some)
  squares, table = squares.copy(), table.copy()
  for row, gradient in gradients:
    squares[row] += (RATE * gradient) ** 2
  for row, gradient in gradients:
    table[row] -= RATE * gradient / np.sqrt(squares[row])
  return table, squares, loss


class LossTest(absltest.TestCase):
  def test_gradient_is_that_of_automatic_differentiation(self):
    state, some = first_state(), entries()

    @jax.jit
    def total(table):
      losses, _ = adagrad.loss(
        table[some.rows], table[SIZE + some.columns], some.values, WEIGHTING
      )
      return losses.sum()

    # What the steps below are compared with.
    want = np.zeros(state.table.shape)
    for row, gradient in numpy_gradients(np.float64(state.table), some)[1]:
      want[row] += gradient
    got = jax.grad(total)(state.table)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

  def test_an_exact_prediction_has_no_loss(self):
    words = jnp.float32([[1, 2, 0.5]])
    contexts = jnp.float32([[3, -1, 0.25]])
    values = jnp.exp(jnp.float32([1.75]))
    loss = jax.jit(adagrad.loss, static_argnums=3)
    losses, slopes = loss(words, contexts, values, WEIGHTING)
    np.testing.assert_allclose(losses, 0, atol=(4 * EPS) ** 2)
    np.testing.assert_allclose(slopes, 0, atol=4 * EPS)


class StepTest(parameterized.TestCase):
  @parameterized.parameters('cpu', 'gpu')
  def test_is_that_of_float64(self, platform):
    state, some = first_state(), entries()
    table, squares = np.float64(state.table), np.float64(state.squares)
    want = numpy_step(table, squares, some)
    with helpers.on_platform(platform):
      state, loss = jax.jit(lambda *args: adagrad.step(*args, RATE, WEIGHTING))(
        state, some
      )
    # Sums of at most 16 products of numbers of the order of 1 to 10.
    np.testing.assert_allclose(state.table, want[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.squares, want[1], rtol=1e-5)
    np.testing.assert_allclose(loss, want[2], rtol=1e-5)

  def test_entries_of_value_0_change_nothing(self):
    state, some = first_state(), entries()
    empty = some._replace(values=np.zeros(BATCH, np.float32))
    same, loss = STEP(state, empty, RATE, WEIGHTING)
    np.testing.assert_array_equal(same.table, state.table)
    np.testing.assert_array_equal(same.squares, state.squares)
    self.assertEqual(loss, 0)

  def test_a_program_of_steps_is_steps(self):
    many = entries(steps=6)
    state, losses = first_state(), []
    for k in range(6):
      some = adagrad.Entries(*(array[k] for array in many))
      state, loss = STEP(state, some, RATE, WEIGHTING)
      losses.append(loss)
    got, sums = adagrad.steps(first_state(), many, RATE, WEIGHTING)
    np.testing.assert_allclose(got.table, state.table, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sums, losses, rtol=1e-5)

  def test_a_matrix_of_low_rank_is_recovered(self):
    rng = np.random.default_rng(4)
    words, contexts = rng.normal(size=(2, SIZE, 2))
    logs = words @ contexts.T + 1
    i, j = np.indices(logs.shape).reshape(2, 1, -1)
    some = adagrad.Entries(
      np.int32(i), np.int32(j), np.float32(np.exp(logs).reshape(1, -1))
    )
    many = adagrad.Entries(*(np.tile(a, (2_000, 1)) for a in some))
    state, sums = adagrad.steps(first_state(), many, 0.5, WEIGHTING)
    self.assertLess(sums[-1], 1e-4 * sums[0])
    w, c = np.split(np.asarray(state.table), 2)
    found = w[:, :-1] @ c[:, :-1].T + w[:, -1:] + c[:, -1]
    np.testing.assert_allclose(found, logs, atol=0.1)


if __name__ == '__main__':
  absltest.main()
