"""The output layer and its loss against NumPy in float64."""

import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import cross_entropy
from tests import helpers

EPS = np.finfo(np.float32).eps
# Each operand of a product at most half of it, and hence a product one.
BFLOAT16_EPS = float(jnp.finfo(jnp.bfloat16).eps)
ROWS, HIDDEN, VOCAB = 43, 7, 11
COUNTS = 15, 28, ROWS
ONE_CHUNK = cross_entropy.Options(row_counts=COUNTS)


def options_of(rows_a_chunk, **more):
  return ONE_CHUNK._replace(logits_bytes=4 * VOCAB * rows_a_chunk, **more)


def arguments(scale=1.0, seed=0, real=None):
  """hidden, kernel, bias, targets and weights, of which `real` are not 0."""
  rng = np.random.default_rng(seed)
  hidden = np.float32(scale * rng.normal(size=(ROWS, HIDDEN)))
  kernel = np.float32(rng.normal(size=(HIDDEN, VOCAB)))
  bias = np.float32(rng.normal(size=VOCAB))
  targets = np.int32(rng.integers(VOCAB, size=ROWS))
  # Of all signs and sizes.
  weights = rng.normal(size=ROWS) * 10.0 ** rng.integers(-2, 2, size=ROWS)
  real = ROWS // 2 if real is None else real
  weights[rng.permutation(ROWS)[real:]] = 0
  return hidden, kernel, bias, targets, np.float32(weights)


def exact_logits(hidden, kernel, bias, product_eps=0.0):
  """The logits in float64, and how far they may be off."""
  hidden, kernel, bias = np.float64(hidden), np.float64(kernel), bias
  sizes = np.abs(hidden) @ np.abs(kernel) + np.abs(bias)
  # H products, H - 1 additions and the bias, each rounded once; second powers
  # of the operands' roundings are far below H EPS.
  allowed = (EPS * (HIDDEN + 1) + product_eps) * sizes
  return hidden @ kernel + bias, allowed


def exact(hidden, kernel, bias, targets, weights, product_eps=0.0):
  """(value, allowed error): total, nats of rows, and the three gradients."""
  logits, logit_error = exact_logits(hidden, kernel, bias, product_eps)
  hidden, kernel, weights = map(np.float64, (hidden, kernel, weights))
  one_hot = np.eye(VOCAB)[targets]
  top = logits.max(axis=1, keepdims=True)
  normaliser = np.log(np.exp(logits - top).sum(axis=1, keepdims=True)) + top
  real = weights != 0
  nll = (normaliser - logits)[np.arange(ROWS), targets] * real
  # The normaliser is off by at most the worst logit of its row, and rounds
  # when the maximum is taken off, in V additions, exp and log, and when the
  # maximum is put back.
  error = logit_error.max(axis=1, keepdims=True) + EPS * (
    VOCAB + 8 + np.abs(top) + np.abs(normaliser)
  )
  nll_error = (2 * error[:, 0] + EPS * np.abs(nll)) * real
  size = np.abs(weights)
  total_error = size @ (nll_error + EPS * (ROWS + 1) * np.abs(nll))

  softmax = np.exp(logits - normaliser)
  grads = (softmax - one_hot) * weights[:, None]
  # The exponent is off by two such errors; softmax and one-hot may cancel.
  sizes = (softmax + one_hot) * size[:, None]
  grads_error = softmax * np.expm1(2 * error) * size[:, None] + 4 * EPS * sizes
  sums = [
    (
      grads @ kernel.T,
      grads_error @ np.abs(kernel).T,
      sizes @ np.abs(kernel).T,
    ),
    (
      hidden.T @ grads,
      np.abs(hidden).T @ grads_error,
      np.abs(hidden).T @ sizes,
    ),
  ]
  # The products that follow sum V or N terms.
  product = EPS * (VOCAB + ROWS) + product_eps
  return [
    (weights @ nll, total_error),
    (nll, nll_error),
    *((sum_, off + product * size) for sum_, off, size in sums),
    (
      grads.sum(axis=0),
      grads_error.sum(axis=0) + EPS * ROWS * sizes.sum(axis=0),
    ),
  ]


def value_and_grads(hidden, kernel, bias, targets, weights, options=ONE_CHUNK):
  def value(hidden, kernel, bias):
    return cross_entropy.linear_cross_entropy(
      hidden, kernel, bias, targets, weights, options
    )

  values, grads = jax.value_and_grad(value, (0, 1, 2), has_aux=True)(
    hidden, kernel, bias
  )
  return *values, *grads


@functools.cache
def compiled(options=ONE_CHUNK):
  fn = jax.jit(functools.partial(value_and_grads, options=options))
  return lambda *args: jax.device_get(fn(*args))


@functools.cache
def compiled_values(options=ONE_CHUNK):
  """Without gradients: another program."""

  def values(*args):
    return cross_entropy.linear_cross_entropy(*args, options)

  return jax.jit(values)


class LinearCrossEntropyTest(parameterized.TestCase):
  def check(self, got, want):
    for value, (expected, allowed) in zip(got, want, strict=True):
      self.assertEqual(value.dtype, jnp.float32)
      self.assertEqual(value.shape, expected.shape)
      error = np.abs(np.float64(value) - expected)
      self.assertLessEqual(np.max(error - allowed), 0.0)

  @parameterized.parameters(0.1, 1.0, 30.0)
  def test_values_and_gradients_match_float64(self, scale):
    args = arguments(scale)
    want = exact(*args)
    self.check(compiled()(*args), want)
    self.check(compiled_values()(*args), want[:2])

  @parameterized.parameters('float32', 'bfloat16')
  def test_columns_that_fill_up_the_kernel_on_a_gpu_change_nothing(
    self, precision
  ):
    # Their exponentials are 0, so the bounds hold as they are.
    args = arguments()
    options = ONE_CHUNK._replace(precision=precision)
    eps = BFLOAT16_EPS if precision == 'bfloat16' else 0.0
    fn = lambda *args: value_and_grads(*args, options)
    with helpers.on_platform('gpu'):
      program = str(jax.make_jaxpr(fn)(*args))
      got = jax.jit(fn)(*args)
    self.assertIn(f'[{HIDDEN},16]', program)
    self.check(got, exact(*args, product_eps=eps))

  def test_runs_as_it_is_without_a_compilation(self):
    args = arguments()
    got = value_and_grads(*map(jnp.asarray, args))
    self.check(got, exact(*args))

  def test_more_rows_than_promised_are_no_number(self):
    options = cross_entropy.Options(row_counts=(5, 9))
    for real, poisoned in ((9, False), (10, True)):
      total, nll, *grads = compiled(options)(*arguments(real=real))
      self.assertEqual(np.isnan(total), poisoned)
      _, *of_weights = grads
      for grad in of_weights:
        self.assertEqual(np.all(np.isnan(grad)), poisoned)
        self.assertEqual(np.any(np.isnan(grad)), poisoned)
      self.assertEqual(np.all(np.isnan(nll)), poisoned)

  @parameterized.parameters(((5, 5),), ((9, 5),), ((0, 5),), ((5, ROWS + 1),))
  def test_refuses_row_counts_that_do_not_increase_up_to_the_rows(self, counts):
    options = cross_entropy.Options(row_counts=counts)
    with self.assertRaisesRegex(ValueError, 'Row counts must increase'):
      cross_entropy.linear_cross_entropy(*arguments(), options)

  @parameterized.parameters(
    *sorted({0, 1, *COUNTS, *(count + 1 for count in COUNTS[:-1])})
  )
  def test_no_row_is_left_out_whatever_their_number(self, real):
    for seed in range(3):
      args = arguments(seed=seed, real=real)
      want = exact(*args)
      got = compiled()(*args)
      self.check(got, want)
      self.check(compiled_values()(*args), want[:2])
      _, nll, of_hidden, *_ = got
      counts = args[-1] != 0
      np.testing.assert_array_equal(nll != 0, counts)
      np.testing.assert_array_equal(np.any(of_hidden != 0, axis=1), counts)

  def test_without_rows_that_count_all_is_zero(self):
    for part in compiled()(*arguments(real=0)):
      np.testing.assert_array_equal(part, np.zeros_like(part))

  def test_what_rows_of_weight_zero_hold_changes_nothing(self):
    hidden, kernel, bias, targets, weights = arguments()
    want = compiled()(hidden, kernel, bias, targets, weights)
    hidden, targets = hidden.copy(), targets.copy()
    hidden[weights == 0] = 1e6
    targets[weights == 0] = 3
    got = compiled()(hidden, kernel, bias, targets, weights)
    for one, two in zip(got, want, strict=True):
      np.testing.assert_array_equal(one, two)

  @parameterized.parameters(1, 8, ROWS - 1)
  def test_several_chunks_are_one(self, rows_a_chunk):
    options = options_of(rows_a_chunk)
    for real in (0, 1, COUNTS[0], ROWS):
      args = arguments(real=real)
      want = exact(*args)
      self.check(compiled(options)(*args), want)

  def test_several_chunks_are_one_without_gradients(self):
    args = arguments()
    self.check(compiled_values(options_of(8))(*args), exact(*args)[:2])

  @parameterized.parameters(8, 2 * ROWS)
  def test_bfloat16_loses_what_its_operands_do(self, rows_a_chunk):
    fn = compiled(options_of(rows_a_chunk, precision='bfloat16'))
    for scale in (0.1, 1.0):
      args = arguments(scale)
      got = fn(*args)
      self.check(got, exact(*args, product_eps=BFLOAT16_EPS))
      # Products are rounded indeed.
      with self.assertRaises(AssertionError):
        self.check(got, exact(*args))

  def test_the_gradient_is_that_of_the_total_times_what_it_is_given(self):
    args = arguments()

    @jax.jit
    def grads(hidden, *rest):
      value = lambda x: cross_entropy.linear_cross_entropy(x, *rest)[0]
      return jax.grad(lambda x: jnp.sin(value(x)))(hidden), value(hidden)

    got, total = grads(*args)
    _, _, of_hidden, *_ = compiled()(*args)
    # Each of a factor, a product and a cosine whose argument is as uncertain
    # as the total.
    (_, allowed), *_ = exact(*args)
    np.testing.assert_allclose(
      got,
      np.cos(np.float64(total)) * of_hidden,
      rtol=8 * EPS,
      atol=(allowed + 8 * EPS) * np.max(np.abs(of_hidden)),
    )

  def test_of_uniform_logits_is_the_log_of_the_vocabulary_size(self):
    _, kernel, _, targets, weights = arguments()
    hidden, bias = jnp.zeros((ROWS, HIDDEN)), jnp.zeros(VOCAB)
    _, nll = compiled_values()(hidden, kernel, bias, targets, weights)
    np.testing.assert_allclose(
      nll, np.log(VOCAB) * (weights != 0), rtol=2 * EPS
    )

  @parameterized.parameters(60.0, 69.0, 70.0, 87.4, 88.0, 88.6, 90.0)
  def test_the_gradient_of_an_improbable_target_is_whole(self, distance):
    # exp(distance) is near the largest float32, its inverse near the smallest.
    bias = jnp.array([0.0, distance, -5.0])
    hidden, kernel = jnp.zeros((1, HIDDEN)), jnp.zeros((HIDDEN, 3))
    *_, of_bias = compiled(cross_entropy.Options())(
      hidden, kernel, bias, jnp.array([0]), jnp.array([1.0])
    )
    np.testing.assert_allclose(of_bias, [-1, 1, 0], atol=4 * EPS)

  def test_logits_of_ten_thousand_overflow_nothing(self):
    args = arguments(scale=1e4)
    got = compiled()(*args)
    self.assertTrue(all(np.all(np.isfinite(part)) for part in got))
    self.assertGreater(np.max(got[1]), 1e4)

  @parameterized.parameters(
    ((5, 7), (6, 11), (11,), (5,), (5,)),
    ((5, 7), (11, 7), (11,), (5,), (5,)),
    ((5, 7), (7, 11), (7,), (5,), (5,)),
    ((5, 7), (7, 11), (11, 1), (5,), (5,)),
    ((5, 7), (7, 11), (11,), (4,), (5,)),
    ((5, 7), (7, 11), (11,), (5, 1), (5,)),
    ((5, 7), (7, 11), (11,), (5,), (4,)),
    ((5, 7), (7, 11), (11,), (5,), (5, 1)),
    ((5, 7), (7, 11), (11,), (5,), ()),
    ((5, 3, 7), (7, 11), (11,), (5,), (5,)),
  )
  def test_names_the_shapes_that_it_refuses(self, *shapes):
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    with self.assertRaisesRegex(
      ValueError, r'linear_cross_entropy wants'
    ) as raised:
      cross_entropy.linear_cross_entropy(*arrays)
    hidden, kernel, bias, targets, weights = shapes
    self.assertEndsWith(
      str(raised.exception),
      f'got {hidden}, {kernel}, {bias}, {targets} and {weights}.',
    )


class SmoothingTest(absltest.TestCase):
  def test_is_a_mean_over_labels(self):
    """Of a label's nats with its share, and of all words' with the rest."""
    args, share = arguments(), 0.3

    def total(*args, smoothing=None):
      return cross_entropy.linear_cross_entropy(*args, ONE_CHUNK, smoothing)

    run = jax.jit(
      jax.value_and_grad(total, (0, 1, 2), has_aux=True),
    )
    smoothed = run(*args, smoothing=jnp.float32(share))
    plain = run(*args)
    np.testing.assert_array_equal(smoothed[0][1], plain[0][1])  # Nats of rows.
    every = [
      run(*args[:3], np.full(ROWS, word, np.int32), args[4])
      for word in range(VOCAB)
    ]
    pick = lambda result: (result[0][0], *result[1])
    want = jax.tree.map(
      lambda own, *others: (1 - share) * own + share * sum(others) / VOCAB,
      pick(plain),
      *map(pick, every),
    )
    scale = max(np.max(np.abs(x)) for x in jax.tree.leaves(want))
    jax.tree.map(
      lambda got, want: np.testing.assert_allclose(
        got, want, atol=100 * EPS * scale
      ),
      pick(smoothed),
      want,
    )

  def test_of_none_is_none(self):
    args = arguments()
    for share, same in ((0.0, True), (0.1, False)):
      total, _ = cross_entropy.linear_cross_entropy(
        *args, ONE_CHUNK, jnp.float32(share)
      )
      want, _ = compiled_values()(*args)
      self.assertEqual(bool(np.isclose(total, want, rtol=1e-6)), same)


class RowNatsTest(parameterized.TestCase):
  """What cannot be differentiated says so; what merely exists may."""

  def nats(self, args):
    return lambda hidden: cross_entropy.linear_cross_entropy(hidden, *args[1:])

  @parameterized.parameters(False, True)
  def test_cannot_be_differentiated(self, jit):
    args = tuple(map(jnp.asarray, arguments()))
    for mix in (
      lambda total, nll: nll.sum(),
      lambda total, nll: total + nll[0],
    ):
      fn = lambda hidden, mix=mix: mix(*self.nats(args)(hidden))
      grad = jax.grad(jax.jit(fn) if jit else fn)
      with self.assertRaisesRegex(TypeError, 'nats of each row .* cannot be'):
        grad(args[0])

  def test_may_be_returned_beside_what_is_differentiated(self):
    args = tuple(map(jnp.asarray, arguments()))
    grad = jax.grad(jax.jit(self.nats(args)), has_aux=True)
    got, nll = grad(args[0])
    _, want_nll, want, *_ = compiled()(*args)
    # Two programs of the same function.
    atol = 64 * EPS * np.max(np.abs(want))
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)
    np.testing.assert_allclose(nll, want_nll, rtol=64 * EPS, atol=64 * EPS)

  def test_may_be_returned_from_a_loop_and_a_branch(self):
    args = tuple(map(jnp.asarray, arguments()))
    nats = self.nats(args)
    zeros = lambda hidden: (jnp.float32(0), jnp.zeros(ROWS))

    def looped(hidden):
      body = lambda total, _: (total + nats(hidden)[0], nats(hidden)[1])
      total, nll = jax.lax.scan(body, jnp.float32(0), length=1)
      return total, nll

    branched = lambda hidden: jax.lax.cond(
      args[0][0, 0] < jnp.inf, nats, zeros, hidden
    )
    _, _, want, *_ = compiled()(*args)
    for fn in (looped, branched):
      got, _ = jax.grad(jax.jit(fn), has_aux=True)(args[0])
      atol = 64 * EPS * np.max(np.abs(want))
      np.testing.assert_allclose(got, want, rtol=0, atol=atol)


class PopulationTest(parameterized.TestCase):
  """Members of a population; they differ in how many of their rows count."""

  reals = (COUNTS[0] - 1, 0, COUNTS[1])

  def members(self):
    return [arguments(seed=i, real=real) for i, real in enumerate(self.reals)]

  def check(self, fn, in_axes):
    shared, *_ = members = self.members()
    members = [
      [
        part if axis is None else own
        for axis, part, own in zip(in_axes, shared, member, strict=True)
      ]
      for member in members
    ]
    stacked = [
      parts[0] if axis is None else np.stack(parts)
      for axis, *parts in zip(in_axes, *members, strict=True)
    ]
    got = jax.device_get(jax.jit(jax.vmap(fn, in_axes))(*stacked))
    for number, member in enumerate(members):
      for part, (want, allowed) in zip(got, exact(*member), strict=False):
        error = np.abs(np.float64(part[number]) - want)
        self.assertLessEqual(np.max(error - allowed), 0.0)

  @parameterized.parameters(ROWS, 8)
  def test_under_vmap_is_a_loop_over_the_members(self, rows_a_chunk):
    options = options_of(rows_a_chunk)
    fn = functools.partial(value_and_grads, options=options)
    self.check(fn, (0,) * 5)

  def test_members_may_share_the_rows_or_the_weights(self):
    self.check(value_and_grads, (0, 0, 0, None, None))
    values = cross_entropy.linear_cross_entropy
    self.check(values, (None, 0, 0, None, None))
    self.check(values, (0, None, None, 0, 0))

  def assert_takes_one_branch(self, fn, *args):
    # `vmap` of a branch for each member would be all branches for all.
    self.assertTrue(' cond[' in str(jax.make_jaxpr(fn)(*args)))

  def test_all_members_take_one_branch(self):
    members = [np.stack(parts) for parts in zip(*self.members(), strict=True)]
    self.assert_takes_one_branch(jax.vmap(value_and_grads), *members)

  def test_populations_of_populations_take_one_branch(self):
    members = [np.stack(parts) for parts in zip(*self.members(), strict=True)]
    nested = [np.stack([part, part[::-1]]) for part in members]
    self.assert_takes_one_branch(jax.vmap(jax.vmap(value_and_grads)), *nested)


class MemoryTest(absltest.TestCase):
  def test_logits_exist_for_one_chunk_at_a_time(self):
    rows, hidden, vocab = 512, 8, 20_000
    shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
    args = shape(rows, hidden), shape(hidden, vocab), shape(vocab)
    targets = jax.ShapeDtypeStruct((rows,), jnp.int32)
    options = cross_entropy.Options(logits_bytes=2**22)

    def plain(hidden, kernel, bias, targets, weights, options):
      del options
      logits = cross_entropy.linear_logits(hidden, kernel, bias)
      chosen = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
      nll = jax.nn.logsumexp(logits, axis=1) - chosen
      return jnp.sum(weights * nll), nll

    def temporary_bytes(fn):
      fn = functools.partial(fn, options=options)
      grad = jax.jit(jax.grad(fn, (0, 1, 2), has_aux=True))
      program = grad.lower(*args, targets, shape(rows)).compile()
      return program.memory_analysis().temp_size_in_bytes

    of_plain = temporary_bytes(plain)
    self.assertGreaterEqual(of_plain, 4 * rows * vocab)
    ours = temporary_bytes(cross_entropy.linear_cross_entropy)
    self.assertLessEqual(ours, of_plain / 8)
    # A teacher's probabilities and the model's: both for one chunk at a time.
    teacher = cross_entropy.Teacher(
      jnp.ones((vocab, 8)), jnp.float32(10), jnp.float32(5)
    )
    augmented = functools.partial(
      cross_entropy.linear_cross_entropy, teacher=teacher
    )
    self.assertLess(temporary_bytes(augmented), 4 * rows * vocab)


class LinearLogitsTest(parameterized.TestCase):
  @parameterized.parameters(('float32', 0.0), ('bfloat16', BFLOAT16_EPS))
  def test_match_float64(self, precision, product_eps):
    hidden, kernel, bias, *_ = arguments()
    want, allowed = exact_logits(hidden, kernel, bias, product_eps)
    got = cross_entropy.linear_logits(hidden, kernel, bias, precision)
    self.assertEqual(got.shape, (ROWS, VOCAB))
    self.assertLessEqual(np.max(np.abs(np.float64(got) - want) / allowed), 1.0)


if __name__ == '__main__':
  absltest.main()
