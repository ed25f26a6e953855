"""Rows of a table, and their gradient, against NumPy."""

from absl.testing import absltest, parameterized
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.models import embeddings
from rnnvae_jax.ops import embedding
from tests import helpers

EPS = float(np.finfo(np.float32).eps)


def arguments(count, size):
  """rows float[N, 3] and ids int[N], not all of which occur."""
  rng = np.random.default_rng(count)
  rows = rng.normal(size=(count, 3)) * 10.0 ** rng.integers(-2, 2, (count, 1))
  return np.float32(rows), np.int32(rng.integers(size, size=count) // 2 * 2)


class SumsByIdTest(parameterized.TestCase):
  @parameterized.product(count=(1, 2, 8, 9, 64, 65, 600), size=(1, 4, 59))
  def test_are_the_sums_in_float64(self, count, size):
    rows, ids = arguments(count, size)
    want, magnitudes = np.zeros((2, size, 3))
    np.add.at(want, ids, np.float64(rows))
    np.add.at(magnitudes, ids, np.abs(np.float64(rows)))
    got = jax.jit(embedding.sums_by_id, static_argnums=2)(rows, ids, size)
    # A sum of n terms is off by n roundings at most, in any order.
    error = np.abs(np.float64(got) - want)
    self.assertLessEqual(np.max(error - count * EPS * magnitudes), 0.0)

  def test_need_no_atomic_addition(self):
    lowered = jax.jit(embedding.sums_by_id, static_argnums=2).lower(
      *arguments(30, 7), 7
    )
    # The only scatter writes each place once.
    text = lowered.as_text()
    self.assertEqual(text.count('"stablehlo.scatter"('), 1)
    self.assertIn('unique_indices = true', text)


class EmbedTest(parameterized.TestCase):
  def test_on_a_gpu_is_that_of_flax(self):
    ids = arguments(30, 7)[1].reshape(5, 6)
    d_rows = np.random.default_rng(0).normal(size=(5, 6, 3))
    theirs, ours = nn.Embed(7, 3), embeddings.Embed(7, 3)
    params = ours.init(jax.random.key(0), ids)

    def rows_and_gradient(module):
      rows, gradient = jax.vjp(lambda p: module.apply(p, ids), params)
      return rows, *gradient(jnp.float32(d_rows))

    want_rows, want = rows_and_gradient(theirs)
    with helpers.on_platform('gpu'):
      rows, got = rows_and_gradient(ours)
    np.testing.assert_array_equal(rows, want_rows)
    terms = np.zeros((7, 3))
    np.add.at(terms, ids, np.abs(d_rows))
    # Both sums are off by as many roundings as there are rows.
    got, want = (np.float64(x['params']['embedding']) for x in (got, want))
    self.assertLessEqual(np.max(np.abs(got - want) - 60 * EPS * terms), 0.0)

  def test_elsewhere_is_flax_s_program(self):
    ids = np.zeros((2, 3), np.int32)
    theirs, ours = nn.Embed(7, 3), embeddings.Embed(7, 3)
    params = ours.init(jax.random.key(0), ids)
    text = lambda module: str(jax.make_jaxpr(module.apply)(params, ids))
    self.assertEqual(text(ours), text(theirs))


if __name__ == '__main__':
  absltest.main()
