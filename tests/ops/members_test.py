"""Counts that all members of a population agree on."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import members


class LargestTest(parameterized.TestCase):
  @parameterized.parameters((), (3,), (2, 3), (2, 3, 4))
  def test_is_one_number_under_any_number_of_vmaps(self, *shape):
    counts = np.random.default_rng(0).permutation(np.prod(shape, dtype=int))
    fn = members.largest
    for _ in shape:
      # Refused by `vmap` if there were one number for each.
      fn = jax.vmap(fn, out_axes=None)
    got = fn(jnp.asarray(counts.reshape(shape)))
    self.assertEqual(got.shape, ())
    self.assertEqual(got, counts.max())

  def test_a_count_that_is_the_same_for_all_stays_so(self):
    count = jnp.int32(5)
    fn = lambda x: (members.largest(count), x)
    got, _ = jax.vmap(fn, out_axes=(None, 0))(jnp.zeros(3))
    self.assertEqual(got, 5)


if __name__ == '__main__':
  absltest.main()
