"""Matrix products against NumPy in float64."""

import functools

from absl.testing import absltest, parameterized
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import products

# Relative error of a product of two operands: half an eps for each of these,
# the rest for rounding the product itself and all K additions.
INNER = 5
FLOAT32_EPS = INNER * float(np.finfo(np.float32).eps)
EPS = {
  'float32': FLOAT32_EPS,
  'tf32': FLOAT32_EPS,  # These tests run on a CPU, which has no other.
  'bfloat16': FLOAT32_EPS + float(jnp.finfo(jnp.bfloat16).eps),
}


def draw(*shape):
  return np.float32(np.random.default_rng(0).normal(size=shape))


class ProductsTest(parameterized.TestCase):
  def check(self, got, a, b, precision):
    """That `got` is a @ b, element by element."""
    self.assertEqual(got.dtype, jnp.float32)
    a, b = np.float64(a), np.float64(b)
    error, allowed = np.abs(got - a @ b), np.abs(a) @ np.abs(b)
    self.assertLessEqual(np.max(error / allowed), EPS[precision])
    return np.max(error / allowed)

  @parameterized.product(
    precision=products.PRECISIONS, leading=((), (3,), (2, 3))
  )
  def test_dot_is_the_product_as_exact_as_its_precision(
    self, precision, leading
  ):
    a, b = draw(*leading, 4, INNER), draw(INNER, 7)
    error = self.check(products.dot(a, b, precision), a, b, precision)
    # Operands are rounded where they should be, and nowhere else.
    self.assertEqual(error > FLOAT32_EPS, precision == 'bfloat16')

  def test_dot_is_float32_unless_told(self):
    a, b = draw(4, INNER), draw(INNER, 7)
    np.testing.assert_array_equal(
      products.dot(a, b), products.dot(a, b, 'float32')
    )

  @parameterized.product(
    precision=products.PRECISIONS, a_axis=(0, 1), b_axis=(0, 1)
  )
  def test_contract_sums_over_the_given_axes(self, precision, a_axis, b_axis):
    a, b = draw(4, INNER), draw(INNER, 7)
    got = products.contract(
      a if a_axis else a.T, b.T if b_axis else b, a_axis, b_axis, precision
    )
    self.check(got, a, b, precision)

  @parameterized.parameters(
    ('float32', jnp.float32), ('tf32', jnp.float32), ('bfloat16', jnp.bfloat16)
  )
  def test_operands_may_be_rounded_beforehand(self, precision, dtype):
    a, b = draw(4, INNER), draw(INNER, 7)
    rounded = products.rounded(jnp.asarray(b), precision)
    self.assertEqual(rounded.dtype, dtype)
    np.testing.assert_array_equal(
      products.dot(a, rounded, precision), products.dot(a, b, precision)
    )

  @parameterized.product(
    precision=products.PRECISIONS, leading=((), (3,), (2, 3))
  )
  def test_dense_layers_and_their_gradients_round_what_dot_rounds(
    self, precision, leading
  ):
    layer = nn.Dense(
      7,
      precision=products.lax_precision(precision),
      dot_general=products.dense_product(precision),
    )
    x, kernel, weigh = draw(*leading, 4, INNER), draw(INNER, 7), draw(7)
    params = {'params': {'kernel': kernel, 'bias': np.zeros(7, np.float32)}}
    # The gradient by the outputs is not the same in all rows.
    weigh = np.float32(x[..., :1] * weigh)
    value = lambda params, x: jnp.sum(layer.apply(params, x) * weigh)
    output = jax.jit(layer.apply)(params, x)
    d_params, d_x = jax.jit(jax.grad(value, (0, 1)))(params, x)
    as_read = lambda a: np.float64(products.rounded(jnp.asarray(a), precision))
    rows, weigh_rows = x.reshape(-1, INNER), weigh.reshape(-1, 7)
    # The products of two rounded operands are exact or rounded once; then sums.
    for got, a, b in (
      (output, x, kernel),
      (d_x, weigh, kernel.T),
      (d_params['params']['kernel'], rows.T, weigh_rows),
    ):
      self.assertEqual(got.dtype, jnp.float32)
      a, b = as_read(a), as_read(b)
      allowed = a.shape[-1] * EPS['float32'] / INNER * (np.abs(a) @ np.abs(b))
      np.testing.assert_array_less(np.abs(got - a @ b), allowed)

  def test_float32_is_asked_for_where_it_is_not_the_default(self):
    for precision in products.PRECISIONS:
      asked = products.lax_precision(precision) == jax.lax.Precision.HIGHEST
      self.assertEqual(asked, precision == 'float32')
      program = jax.make_jaxpr(
        functools.partial(products.dot, precision=precision)
      )(draw(4, INNER), draw(INNER, 7))
      self.assertEqual('HIGHEST' in str(program), asked)


class FastPrecisionTest(parameterized.TestCase):
  @parameterized.parameters(
    ('flags\t\t: fpu avx2 avx512f\n', 'float32'),
    ('flags\t\t: fpu avx512f avx512_bf16\n', 'bfloat16'),
    ('model name\t: X\nflags\t\t: fpu amx_bf16 amx_tile\n', 'bfloat16'),
    ('Features\t: fp asimd bf16\n', 'float32'),
    ('bugs\t\t: avx512_bf16\nflags\t\t: fpu\n', 'float32'),
  )
  def test_is_what_the_instructions_of_the_cpu_allow(self, text, want):
    path = self.create_tempfile(content=text).full_path
    self.assertEqual(products.fast_precision(path), want)

  def test_where_the_cpu_is_not_described_it_is_float32(self):
    self.assertEqual(products.fast_precision('/no/such/file'), 'float32')


if __name__ == '__main__':
  absltest.main()
