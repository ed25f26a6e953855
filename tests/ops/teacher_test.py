"""The augmented loss of Inan et al. (arXiv:1611.01462) in the output layer."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import cross_entropy

import tolerances

ROWS, HIDDEN, VOCAB, SIZE = 17, 5, 11, 4
TEMPERATURE, WEIGHT = 3.0, 1.7
# The total is a sum over rows of sums over words of products.
RTOL = tolerances.chain(ROWS, VOCAB, HIDDEN)


def arguments(seed=0):
  rng = np.random.default_rng(seed)
  hidden = np.float32(rng.normal(size=(ROWS, HIDDEN)))
  kernel = np.float32(rng.normal(size=(HIDDEN, VOCAB)))
  bias = np.float32(rng.normal(size=VOCAB))
  targets = np.int32(rng.integers(VOCAB, size=ROWS))
  weights = np.float32(rng.uniform(size=ROWS) * (rng.uniform(size=ROWS) > 0.3))
  table = np.float32(rng.normal(size=(VOCAB, SIZE)))
  return tuple(
    map(jnp.asarray, (hidden, kernel, bias, targets, weights, table))
  )


def total(
  hidden, kernel, bias, table, targets, weights, weight=WEIGHT, **options
):
  teacher = None
  if weight is not None:
    teacher = cross_entropy.Teacher(
      table, jnp.float32(TEMPERATURE), jnp.float32(weight)
    )
  return cross_entropy.linear_cross_entropy(
    hidden,
    kernel,
    bias,
    targets,
    weights,
    cross_entropy.Options(**options),
    teacher=teacher,
  )


def softmax(x):
  exponentials = np.exp(x - x.max(axis=1, keepdims=True))
  return exponentials / exponentials.sum(axis=1, keepdims=True)


def exact(hidden, kernel, bias, targets, weights, table):
  """In float64: the sum, and its gradients by equation 3.4 of the paper.

  Equation 3.4 is the gradient by the logits, (y_hat - y~) / temperature; that
  by the table is checked against differences.
  """
  hidden, kernel, bias, weights, table = map(
    np.float64, (hidden, kernel, bias, weights, table)
  )
  logits = hidden @ kernel + bias
  given = softmax(logits / TEMPERATURE)
  taught = softmax(table[targets] @ table.T / TEMPERATURE)
  own = softmax(logits)
  nll = -np.log(own[np.arange(ROWS), targets])
  divergence = np.sum(taught * (np.log(taught) - np.log(given)), axis=1)
  d_logits = own - np.eye(VOCAB)[targets]
  d_logits += WEIGHT * (given - taught) / TEMPERATURE
  d_logits *= weights[:, None]
  return (
    weights @ (nll + WEIGHT * divergence),
    nll * (weights != 0),
    (d_logits @ kernel.T, hidden.T @ d_logits, d_logits.sum(axis=0)),
  )


class TeacherTest(parameterized.TestCase):
  @parameterized.parameters(
    {},
    {'logits_bytes': 4 * VOCAB * 3},
    {'row_counts': (14, ROWS)},
    {'through_teacher': True},
  )
  def test_equals_the_paper_s_equations(self, **options):
    hidden, kernel, bias, targets, weights, table = arguments()
    (value, nll), grads = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(
      hidden, kernel, bias, table, targets, weights, **options
    )
    wanted = exact(hidden, kernel, bias, targets, weights, table)
    np.testing.assert_allclose(value, wanted[0], rtol=RTOL)
    # Perplexity is that of the labels alone.
    # They are differences of logits, of this size.
    size = np.max(np.abs(hidden) @ np.abs(kernel) + np.abs(bias))
    np.testing.assert_allclose(nll, wanted[1], rtol=0, atol=RTOL * size)
    for got, want in zip(grads, wanted[2], strict=True):
      np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

  @parameterized.parameters({}, {'logits_bytes': 4 * VOCAB * 3})
  def test_without_weight_it_is_the_cross_entropy(self, **options):
    hidden, kernel, bias, targets, weights, table = arguments()
    of = jax.value_and_grad(total, (0, 1, 2), has_aux=True)
    (value, _), grads = of(
      hidden, kernel, bias, table, targets, weights, weight=0.0, **options
    )
    (plain, _), of_plain = of(
      hidden, kernel, bias, table, targets, weights, weight=None, **options
    )
    np.testing.assert_allclose(value, plain, rtol=RTOL)
    for got, want in zip(grads, of_plain, strict=True):
      atol = RTOL * np.max(np.abs(want))
      np.testing.assert_allclose(got, want, rtol=0, atol=atol)

  def test_no_gradient_flows_to_the_teacher_unless_it_is_asked_for(self):
    hidden, kernel, bias, targets, weights, table = arguments()
    grad = jax.grad(total, 3, has_aux=True)
    stopped, _ = grad(hidden, kernel, bias, table, targets, weights)
    np.testing.assert_array_equal(stopped, 0.0)

  @parameterized.parameters({}, {'logits_bytes': 4 * VOCAB * 3})
  def test_gradients_of_the_teacher_are_those_of_differences(self, **options):
    *others, targets, weights, table = arguments()
    got, _ = jax.grad(total, 3, has_aux=True)(
      *others, table, targets, weights, through_teacher=True, **options
    )
    step = 1e-5
    for row, column in ((0, 0), (3, 2), (10, 3), (targets[0], 1)):
      moved = []
      for sign in (1, -1):
        there = np.float64(table)
        there[row, column] += sign * step
        moved.append(exact(*others, targets, weights, there)[0])
      wanted = (moved[0] - moved[1]) / (2 * step)
      np.testing.assert_allclose(got[row, column], wanted, rtol=1e-4, atol=1e-5)

  def test_a_tied_table_has_the_sum_of_both_uses(self):
    hidden, _, bias, targets, weights, table = arguments()
    hidden = hidden[:, :SIZE]
    both, _ = jax.grad(
      lambda t: total(
        hidden, t.T, bias, t, targets, weights, through_teacher=True
      ),
      has_aux=True,
    )(table)
    as_kernel, _ = jax.grad(total, 1, has_aux=True)(
      hidden, table.T, bias, table, targets, weights
    )
    as_teacher, _ = jax.grad(total, 3, has_aux=True)(
      hidden, table.T, bias, table, targets, weights, through_teacher=True
    )
    np.testing.assert_allclose(
      both,
      as_kernel.T + as_teacher,
      rtol=0,
      atol=RTOL * np.max(np.abs(as_kernel.T) + np.abs(as_teacher)),
    )

  def test_at_its_optimum_the_output_matrix_is_in_the_embeddings_space(self):
    # Section 4.1 of the paper: at a high temperature the minimum of the
    # divergence maps hidden states into the space that embeddings span (and a
    # constant, which no softmax sees). That of the cross-entropy does not. The
    # divergence alone, to which the augmented loss goes as its weight grows.
    rng = np.random.default_rng(0)
    rows = 60
    hidden = np.float32(rng.normal(size=(rows, HIDDEN)))
    table = np.float32(rng.normal(size=(VOCAB, SIZE)))
    targets = np.int32(np.argmax(hidden @ rng.normal(size=(HIDDEN, VOCAB)), 1))
    weights, bias = jnp.ones(rows), jnp.zeros(VOCAB)
    hidden, table, targets = map(jnp.asarray, (hidden, table, targets))
    temperature = 100.0
    scale = temperature**2 * VOCAB / rows

    def augmented(kernel):
      loss = lambda teacher: cross_entropy.linear_cross_entropy(
        hidden, kernel, bias, targets, weights, teacher=teacher
      )[0]
      teacher = cross_entropy.Teacher(
        table, jnp.float32(temperature), jnp.float32(scale)
      )
      return loss(teacher) - loss(None)

    def plain(kernel):
      loss, _ = cross_entropy.linear_cross_entropy(
        hidden, kernel, bias, targets, weights
      )
      return loss / rows + 1e-3 * jnp.sum(jnp.square(kernel))

    def outside(loss):
      """Share of the minimiser that is outside of the space."""
      descend = lambda _, kernel: kernel - 0.3 * jax.grad(loss)(kernel)
      start = jnp.asarray(rng.normal(size=(HIDDEN, VOCAB)), jnp.float32)
      kernel = np.asarray(jax.lax.fori_loop(0, 1_000, descend, start)).T
      basis = np.linalg.qr(np.column_stack([table, np.ones(VOCAB)]))[0]
      rest = kernel - basis @ (basis.T @ kernel)
      return np.linalg.norm(rest) / np.linalg.norm(kernel)

    self.assertLess(outside(augmented), 0.02)
    self.assertGreater(outside(plain), 0.3)


if __name__ == '__main__':
  absltest.main()
