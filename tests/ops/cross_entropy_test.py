from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import cross_entropy

EPS = np.finfo(np.float32).eps
ROWS, HIDDEN, VOCAB = 5, 7, 11


def arguments(scale=1.0, rows=ROWS, seed=0):
  """hidden, kernel, bias and targets; two rows share a target."""
  rng = np.random.default_rng(seed)
  hidden = np.float32(scale * rng.normal(size=(rows, HIDDEN)))
  kernel = np.float32(rng.normal(size=(VOCAB, HIDDEN)))
  bias = np.float32(rng.normal(size=VOCAB))
  targets = np.append(rng.integers(VOCAB, size=rows - 2), [3, 3])
  return hidden, kernel, bias, np.int32(targets)


def exact_logits(hidden, kernel, bias):
  """The logits in float64, and how far float32 may be from them."""
  hidden, kernel, bias = np.float64(hidden), np.float64(kernel), bias
  sizes = np.abs(hidden) @ np.abs(kernel).T + np.abs(bias)
  # H products, H - 1 additions and the bias, each rounded once.
  return hidden @ kernel.T + bias, EPS * (HIDDEN + 1) * sizes


def exact(hidden, kernel, bias, targets, cotangent):
  """(value, allowed error) of the loss and of its three gradients."""
  logits, logit_error = exact_logits(hidden, kernel, bias)
  one_hot = np.eye(VOCAB)[targets]
  top = logits.max(axis=1, keepdims=True)
  normaliser = np.log(np.exp(logits - top).sum(axis=1, keepdims=True)) + top
  nll = (normaliser - logits)[np.arange(len(targets)), targets]
  # The normaliser is off by at most the worst logit of its row, and rounds
  # when the maximum is taken off, in V additions, exp and log, and when the
  # maximum is put back.
  error = logit_error.max(axis=1, keepdims=True) + EPS * (
    VOCAB + 8 + np.abs(top) + np.abs(normaliser)
  )
  nll_error = 2 * error[:, 0] + EPS * np.abs(nll)

  softmax = np.exp(logits - normaliser)
  weight = cotangent[:, None]
  grads = (softmax - one_hot) * weight
  # The exponent is off by two such errors; softmax and one-hot may cancel.
  sizes = (softmax + one_hot) * np.abs(weight)
  grads_error = softmax * np.abs(weight) * 2 * error + 4 * EPS * sizes
  sums = [
    (grads @ kernel, grads_error @ np.abs(kernel), sizes @ np.abs(kernel)),
    (
      grads.T @ hidden,
      grads_error.T @ np.abs(hidden),
      sizes.T @ np.abs(hidden),
    ),
    (grads.sum(axis=0), grads_error.sum(axis=0), sizes.sum(axis=0)),
  ]
  # The products that follow sum at most V terms.
  return [
    (nll, nll_error),
    *((total, off + EPS * VOCAB * size) for total, off, size in sums),
  ]


def value_and_grads(hidden, kernel, bias, targets, cotangent):
  fn = lambda *args: cross_entropy.linear_cross_entropy(*args, targets)
  nll, pull = jax.vjp(fn, hidden, kernel, bias)
  return nll, *pull(cotangent)


compiled = jax.jit(value_and_grads)


class LinearCrossEntropyTest(parameterized.TestCase):
  def check(self, got, want):
    for value, (expected, allowed) in zip(got, want, strict=True):
      self.assertEqual(value.dtype, jnp.float32)
      self.assertEqual(value.shape, expected.shape)
      error = np.abs(np.float64(value) - expected)
      self.assertLessEqual(np.max(error - allowed), 0.0)

  @parameterized.product(scale=(0.1, 1.0, 30.0), jit=(False, True))
  def test_values_and_gradients_match_float64(self, scale, jit):
    args = arguments(scale)
    cotangent = np.float32([1.0, -0.5, 0.0, 40.0, 1e-3])
    fn = compiled if jit else value_and_grads
    self.check(fn(*args, cotangent), exact(*args, cotangent))

  def test_vmap_maps_every_argument(self):
    batches = [arguments(seed=seed) for seed in range(3)]
    cotangents = np.random.default_rng(3).normal(size=(3, ROWS))
    cotangents = np.float32(cotangents)
    stacked = [np.stack(parts) for parts in zip(*batches, strict=True)]
    fn = jax.jit(jax.vmap(value_and_grads))
    got = jax.device_get(fn(*stacked, cotangents))
    for i, args in enumerate(batches):
      self.check([part[i] for part in got], exact(*args, cotangents[i]))

  def test_vmap_over_the_weights_of_a_population_shares_the_rows(self):
    hidden, _, _, targets = arguments()
    members = [arguments(seed=seed)[1:3] for seed in range(3)]
    kernels, biases = (np.stack(parts) for parts in zip(*members, strict=True))
    fn = jax.vmap(cross_entropy.linear_cross_entropy, (None, 0, 0, None))
    got = jax.device_get(jax.jit(fn)(hidden, kernels, biases, targets))
    for i, (kernel, bias) in enumerate(members):
      want = exact(hidden, kernel, bias, targets, np.ones(ROWS))
      self.check([got[i]], want[:1])

  def test_a_row_of_weight_zero_has_no_gradient(self):
    args = arguments()
    cotangent = np.float32([1.0, 1.0, 0.0, 1.0, 1.0])
    _, got, *_ = compiled(*args, cotangent)
    np.testing.assert_array_equal(np.asarray(got)[2], np.zeros(HIDDEN))

  def test_of_uniform_logits_is_the_log_of_the_vocabulary_size(self):
    _, kernel, _, targets = arguments()
    hidden, bias = np.zeros((ROWS, HIDDEN), np.float32), np.zeros(VOCAB)
    got = cross_entropy.linear_cross_entropy(
      hidden, kernel, np.float32(bias), targets
    )
    np.testing.assert_allclose(got, np.full(ROWS, np.log(VOCAB)), rtol=2 * EPS)

  def test_logits_of_ten_thousand_overflow_nothing(self):
    args = arguments(scale=1e4)
    got = compiled(*args, np.ones(ROWS, np.float32))
    self.assertTrue(all(np.all(np.isfinite(part)) for part in got))
    self.assertGreater(np.max(got[0]), 1e4)

  @parameterized.parameters(
    ((5, 7), (11, 6), (11,), (5,)),
    ((5, 7), (7, 11), (11,), (5,)),
    ((5, 7), (11, 7), (7,), (5,)),
    ((5, 7), (11, 7), (11, 1), (5,)),
    ((5, 7), (11, 7), (11,), (4,)),
    ((5, 7), (11, 7), (11,), (5, 1)),
    ((5, 3, 7), (11, 7), (11,), (5,)),
  )
  def test_refuses_shapes_that_do_not_fit(self, hidden, kernel, bias, targets):
    with self.assertRaisesRegex(ValueError, r'linear_cross_entropy wants'):
      cross_entropy.linear_cross_entropy(
        jnp.zeros(hidden),
        jnp.zeros(kernel),
        jnp.zeros(bias),
        jnp.zeros(targets, jnp.int32),
      )

  def test_names_the_shapes_that_it_refuses(self):
    with self.assertRaisesRegex(
      ValueError, r'\(5, 7\), \(11, 6\), \(11,\) and \(5,\)'
    ):
      cross_entropy.linear_cross_entropy(
        jnp.zeros((5, 7)),
        jnp.zeros((11, 6)),
        jnp.zeros(11),
        jnp.zeros(5, jnp.int32),
      )


class LinearLogitsTest(absltest.TestCase):
  def test_match_float64(self):
    hidden, kernel, bias, _ = arguments()
    want, allowed = exact_logits(hidden, kernel, bias)
    got = cross_entropy.linear_logits(hidden, kernel, bias)
    self.assertEqual(got.shape, (ROWS, VOCAB))
    self.assertLessEqual(np.max(np.abs(np.float64(got) - want) / allowed), 1.0)


if __name__ == '__main__':
  absltest.main()
