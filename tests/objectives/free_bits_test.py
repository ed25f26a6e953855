from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.objectives import free_bits

EPS = np.finfo(np.float32).eps

# Three sentences of two latents. Per sentence: 1, 5, 9; per latent: 1 and 4,
# the mean of the batch 5.
KL = np.float32([[0.0, 1.0], [2.0, 3.0], [1.0, 8.0]])
REAL = np.ones(3, np.float32)
# threshold -> value by hand, and the gradient to KL: which parts, in thirds,
# are above the threshold.
BY_HAND = {
  'batch': {
    0.0: (5.0, [[1, 1], [1, 1], [1, 1]]),
    4.5: (5.0, [[1, 1], [1, 1], [1, 1]]),
    6.0: (6.0, [[0, 0], [0, 0], [0, 0]]),
  },
  'sentence': {
    0.0: (5.0, [[1, 1], [1, 1], [1, 1]]),
    4.5: ((4.5 + 5 + 9) / 3, [[0, 0], [1, 1], [1, 1]]),
    6.0: ((6 + 6 + 9) / 3, [[0, 0], [0, 0], [1, 1]]),
  },
  'latent': {
    0.0: (5.0, [[1, 1], [1, 1], [1, 1]]),
    1.5: (1.5 + 4, [[0, 1], [0, 1], [0, 1]]),
    4.5: (4.5 + 4.5, [[0, 0], [0, 0], [0, 0]]),
  },
  'sentence_latent': {
    0.0: (5.0, [[1, 1], [1, 1], [1, 1]]),
    1.5: ((1.5 + 1.5 + 2 + 3 + 1.5 + 8) / 3, [[0, 0], [1, 1], [0, 1]]),
    4.5: ((5 * 4.5 + 8) / 3, [[0, 0], [0, 0], [0, 1]]),
  },
}
CASES = [
  (per, threshold, *case)
  for per, cases in BY_HAND.items()
  for threshold, case in cases.items()
]

VALUE_AND_GRAD = jax.jit(
  jax.value_and_grad(free_bits.penalised_kl), static_argnames='per'
)


class PenalisedKlTest(parameterized.TestCase):
  def test_every_variant_is_worked_out_by_hand(self):
    self.assertCountEqual(free_bits.PER, BY_HAND)

  @parameterized.parameters(CASES)
  def test_matches_the_hand_made_matrix(self, per, threshold, want, thirds):
    want = want, np.array(thirds) / 3
    for fn in (VALUE_AND_GRAD, jax.value_and_grad(free_bits.penalised_kl)):
      value, grad = fn(KL, threshold, per=per, weights=REAL)
      # At most six products of a share and a KL, and as many additions.
      np.testing.assert_allclose(value, want[0], rtol=8 * EPS)
      np.testing.assert_allclose(grad, want[1], rtol=2 * EPS)

  @parameterized.product(case=CASES, garbage=(0.0, 1e30, np.inf))
  def test_blank_rows_change_neither_value_nor_gradient(self, case, garbage):
    per, threshold, *_ = case
    value, grad = VALUE_AND_GRAD(KL, threshold, per, REAL)
    blank = np.full((1, 2), garbage, np.float32)
    padded = np.concatenate([KL[:1], blank, KL[1:], blank])
    weights = np.float32([1, 0, 1, 1, 0])
    padded_value, padded_grad = VALUE_AND_GRAD(padded, threshold, per, weights)
    np.testing.assert_allclose(padded_value, value, rtol=8 * EPS)
    chex.assert_trees_all_equal(padded_grad[np.array([0, 2, 3])], grad)
    chex.assert_trees_all_equal(
      padded_grad[np.array([1, 4])], jnp.zeros((2, 2))
    )

  @parameterized.parameters(*free_bits.PER)
  def test_a_population_has_a_threshold_for_each_trial(self, per):
    thresholds = np.float32(list(BY_HAND[per]))
    fn = jax.vmap(free_bits.penalised_kl, in_axes=(None, 0, None, None))
    got = jax.jit(fn, static_argnums=2)(KL, thresholds, per, REAL)
    want = [value for value, _ in BY_HAND[per].values()]
    np.testing.assert_allclose(got, want, rtol=8 * EPS)

  @parameterized.parameters(*free_bits.PER)
  def test_threshold_0_passes_the_gradient_of_a_collapsed_posterior(self, per):
    grad = jax.grad(free_bits.penalised_kl)(
      jnp.zeros((4, 3)), 0.0, per, jnp.ones(4)
    )
    chex.assert_trees_all_equal(grad, jnp.full((4, 3), 0.25))

  @parameterized.parameters(('batch', 2.0), ('sentence', 0.0), ('latent', 6.0))
  def test_a_blank_batch_has_no_nan(self, per, want):
    value, grad = VALUE_AND_GRAD(jnp.ones((4, 3)), 2.0, per, jnp.zeros(4))
    self.assertEqual(value, want)
    chex.assert_trees_all_equal(grad, jnp.zeros((4, 3)))

  def test_an_unknown_variant_is_told_the_nearest(self):
    with self.assertRaisesRegex(
      ValueError, "'latents' is unknown. Did you mean 'latent'.*Known: batch"
    ):
      free_bits.penalised_kl(KL, 0.0, 'latents', REAL)

  @parameterized.parameters(((4,),), ((3, 1),), ((),))
  def test_refuses_weights_of_another_batch(self, shape):
    with self.assertRaisesRegex(ValueError, r'got \(3, 2\) and \('):
      free_bits.penalised_kl(KL, 0.0, 'batch', jnp.ones(shape))


class EstimatedKlTest(absltest.TestCase):
  def test_a_negative_estimate_counts_as_it_is_without_a_threshold(self):
    kl = np.float32([[-1.0], [4.0], [3.0]])
    for per in free_bits.PER:
      value, grad = VALUE_AND_GRAD(kl, 0.0, per=per, weights=REAL)
      np.testing.assert_allclose(value, 2.0, rtol=4 * EPS)
      np.testing.assert_allclose(grad, 1 / 3, rtol=2 * EPS)


if __name__ == '__main__':
  absltest.main()
