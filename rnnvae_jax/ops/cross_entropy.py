"""The output layer and its loss as one differentiable function."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax.ops import members, products

# Logits of at most so many bytes exist at a time. Larger chunks gain nothing
# once the products are large; smaller ones write the kernel's gradient, which
# is summed over the chunks, more often.
_LOGITS_BYTES = 2**28
# On a CPU what its caches hold, where logits are passed over without products
# between: in evaluation, and for a teacher.
_CACHE_BYTES = 2**23
# A sum over rows as a product, whose fast path wants some rows of its own.
_SUM_ROWS = 8
# A weight divided by such a total is far from the smallest float32.
_LARGEST_TOTAL = 2.0**100


class Options(NamedTuple):
  """How the loss is computed; none changes its value, rounding apart."""

  precision: str = 'float32'  # See `products.PRECISIONS`.
  # How many rows may count, increasing: one program branch each. (): all.
  row_counts: tuple[int, ...] = ()
  logits_bytes: int = 0  # That exist at a time; 0: what the platform likes.
  through_teacher: bool = False  # Whether its table has a gradient.


class Teacher(NamedTuple):
  """What a model's distribution is drawn to besides the label.

  The augmented loss of Inan et al., arXiv:1611.01462, section 3: the divergence
  KL(softmax(E e / temperature) || softmax(logits / temperature)) of each
  target, e its own row of the table E, times the weight.
  """

  table: jax.Array  # float[V, E], word embeddings.
  temperature: jax.Array  # float[]
  weight: jax.Array  # float[]; alpha = gamma x temperature in the paper.


def linear_cross_entropy(
  hidden: jax.Array,
  kernel: jax.Array,
  bias: jax.Array,
  targets: jax.Array,
  weights: jax.Array,
  options: Options = Options(),  # noqa: B008  A constant.
  smoothing: jax.Array | None = None,
  teacher: Teacher | None = None,
) -> tuple[jax.Array, jax.Array]:
  """-log softmax(hidden @ kernel + bias)[target], summed with weights.

  What a dense layer and a cross-entropy compute, without their cost:

  - Rows of weight 0 (padding) are moved out of the way first; the products run
    over the smallest of a few static row counts that holds all others.
  - Logits exist for one chunk of rows at a time, and never after it: the
    gradients of all inputs are computed in the same pass, when gradients are
    asked for at all. So memory does not grow with rows x V.
  - Barriers keep XLA from fusing the exponentials into the products, where
    they would be computed twice.

  Args:
    hidden: float[N, H].
    kernel: float[H, V]; an embedding table transposed when they are tied.
    bias: float[V].
    targets: int[N], in [0, V).
    weights: float[N], constants: no gradient flows to them.
    options: how.
    smoothing: float[], the share of each label that is spread evenly over all V
      words in the sum (Szegedy et al., arXiv:1512.00567), a constant; None: 0.
    teacher: adds its divergence to the sum; None: there is none.

  Returns:
    float32[], Σ weight x nats and what is added to them, to be differentiated;
    and float32[N] nats of each row, 0 where the weight is, which cannot be. All
    are nan if more rows count than the last of `row_counts`, and so are the
    gradients of kernel and bias.

  Raises:
    ValueError: the shapes do not fit together, or the row counts to them.
    TypeError: the second result is differentiated.
  """
  if (
    hidden.ndim != 2
    or kernel.ndim != 2
    or hidden.shape[-1:] != kernel.shape[:1]
    or bias.shape != kernel.shape[1:]
    or not targets.shape == weights.shape == hidden.shape[:1]
  ):
    raise ValueError(
      'linear_cross_entropy wants hidden [N, H], kernel [H, V], bias [V], '
      f'targets [N] and weights [N], got {hidden.shape}, {kernel.shape}, '
      f'{bias.shape}, {targets.shape} and {weights.shape}.'
    )
  counts = options.row_counts
  if list(counts) != sorted({c for c in counts if 0 < c <= len(hidden)}):
    raise ValueError(
      f'Row counts must increase from 1 to N = {len(hidden)} at most, got '
      f'{counts}.'
    )
  return _loss(
    options, smoothing, teacher, hidden, kernel, bias, targets, weights
  )


def linear_logits(
  hidden: jax.Array,
  kernel: jax.Array,
  bias: jax.Array,
  precision: str = 'float32',
) -> jax.Array:
  """hidden float[N, H], kernel float[H, V], bias float[V] -> float[N, V]."""
  product = products.dot(hidden, kernel, precision)
  return product + bias[None, :]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(options, *args):
  return _compacted(options, False, *args)[0]


def _forward(options, *args):
  # Of each array also whether it is differentiated, which is not asked.
  is_pair = lambda x: isinstance(x, jax.custom_derivatives.CustomVJPPrimal)
  values = jax.tree.map(lambda x: x.value, args, is_leaf=is_pair)
  return _compacted(options, True, *values)


def _backward(options, grads, cotangents):
  del options
  total, row_cotangents = cotangents
  if not isinstance(row_cotangents, jax.custom_derivatives.SymbolicZero):
    raise TypeError(
      'The nats of each row that linear_cross_entropy returns cannot be '
      'differentiated; its weighted sum can.'
    )
  if isinstance(total, jax.custom_derivatives.SymbolicZero):
    total = jnp.float32(0)
  d_hidden, d_kernel, d_bias, *d_table = (grad * total for grad in grads)
  zero = jnp.float32(0)  # A teacher's temperature and weight are constants.
  d_teacher = Teacher(d_table[0], zero, zero) if d_table else None
  return None, d_teacher, d_hidden, d_kernel, d_bias, None, None


_loss.defvjp(_forward, _backward, symbolic_zeros=True)


def _compacted(
  options,
  with_grads,
  smoothing,
  teacher,
  hidden,
  kernel,
  bias,
  targets,
  weights,
):
  """((total, nats of the rows), gradients) over the rows that count."""
  rows = hidden.shape[0]
  counts = options.row_counts or (rows,)
  # Rows that count come first, in their order.
  order = jnp.argsort(weights == 0, stable=True)
  hidden, targets, weights = hidden[order], targets[order], weights[order]
  num_real = members.largest(jnp.sum(weights != 0, dtype=jnp.int32))
  # More rows than was promised: no silent loss of some. By the weights all
  # gradients are no numbers, too.
  is_whole = num_real <= counts[-1]
  weights = jnp.where(is_whole, weights, jnp.nan)
  branch = jnp.searchsorted(jnp.array(counts), num_real)

  def of(count):
    is_cached = teacher is not None or not with_grads
    limit = options.logits_bytes or _logits_bytes(is_cached)
    chunk = max(1, limit // (4 * kernel.shape[1]))
    (total, nll), grads = _chunked(
      options,
      with_grads,
      smoothing,
      teacher,
      -(-count // chunk),
      hidden[:count],
      kernel,
      bias,
      targets[:count],
      weights[:count],
    )
    fill = lambda x: jnp.pad(x, [(0, rows - count)] + [(0, 0)] * (x.ndim - 1))
    if with_grads:
      grads = fill(grads[0]), *grads[1:]
    return (total, fill(nll)), grads

  branches = [functools.partial(of, count) for count in counts]
  (total, nll), grads = jax.lax.switch(branch, branches)
  nll = jnp.where(is_whole, nll, jnp.nan)
  back = lambda x: jnp.zeros_like(x).at[order].set(x)
  if with_grads:
    grads = back(grads[0]), *grads[1:]
  return (total, back(nll)), grads


def _logits_bytes(is_cached: bool) -> int:
  on_cpu = jax.default_backend() == 'cpu'
  return _CACHE_BYTES if on_cpu and is_cached else _LOGITS_BYTES


def _chunked(
  options,
  with_grads,
  smoothing,
  teacher,
  chunks,
  hidden,
  kernel,
  bias,
  targets,
  weights,
):
  """The same with all rows, `chunks` chunks of them one after another."""
  rows = hidden.shape[0]
  kernel_rounded = products.rounded(kernel, options.precision)
  one = functools.partial(
    _one_chunk, options, with_grads, smoothing, teacher, kernel_rounded, bias
  )
  if chunks == 1:
    return one(hidden, targets, weights)
  size = -(-rows // chunks)

  def cut(array):
    pad = [(0, size * chunks - rows)] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, pad).reshape(chunks, size, *array.shape[1:])

  def body(sums, chunk):
    (total, nll), grads = one(*chunk)
    summed = (total, grads[1:])
    return jax.tree.map(jnp.add, sums, summed), (nll, grads[:1])

  zeros = [jnp.zeros_like(kernel), jnp.zeros_like(bias)] if with_grads else []
  if with_grads and teacher is not None and options.through_teacher:
    zeros.append(jnp.zeros_like(teacher.table))
  parts = jax.tree.map(cut, (hidden, targets, weights))
  start = jnp.float32(0), tuple(zeros)
  sums, (nll, d_hidden) = jax.lax.scan(body, start, parts)
  flat = lambda x: x.reshape(-1, *x.shape[2:])[:rows]
  total, d_weights = sums
  return (total, flat(nll)), (*jax.tree.map(flat, d_hidden), *d_weights)


def _one_chunk(
  options,
  with_grads,
  smoothing,
  teacher,
  kernel,
  bias,
  hidden,
  targets,
  weights,
):
  precision = options.precision
  product = products.dot(hidden, kernel, precision)
  product = jax.lax.optimization_barrier(product)
  chosen = (
    bias[targets]
    + jnp.take_along_axis(
      product, targets[:, None], axis=-1, mode='promise_in_bounds'
    )[:, 0]
  )

  def relative_to(shift):
    # The logits themselves are never written.
    logits = product + (bias[None, :] - shift[:, None])
    exponentials = jax.lax.optimization_barrier(jnp.exp(logits))
    return shift, exponentials, jnp.sum(exponentials, axis=-1)

  # Relative to the target's logit: such sums are at least 1. To find the
  # largest logit first would be one more pass over all of them, and is needed
  # only if they are too large: a word is e**69 times as probable as the target.
  loop = relative_to(chosen)
  fits = members.all_true(jnp.all(loop[-1] < _LARGEST_TOTAL))

  def again(_):
    largest = jnp.max(product + bias[None, :], axis=-1)
    return jnp.bool_(True), relative_to(largest)

  _, (shift, exponentials, total) = jax.lax.while_loop(
    lambda loop: ~loop[0], again, (fits, loop)
  )
  nll = jnp.where(weights == 0, 0.0, jnp.log(total) + (shift - chosen))
  loss = jnp.sum(weights * nll)
  if smoothing is not None:
    mean_column = jnp.mean(kernel, axis=1, dtype=jnp.float32)
    mean_logit = jnp.sum(hidden * mean_column[None], axis=1) + jnp.mean(bias)
    even = jnp.log(total) + shift - mean_logit
    more = jnp.where(weights == 0, 0.0, even - nll)
    loss += smoothing * jnp.sum(weights * more)
  if teacher is not None:
    logits = product + bias[None, :]
    more, d_augmented, d_table = _augmentation(
      options, teacher, logits, targets, weights
    )
    loss += more
  if not with_grads:
    return (loss, nll), ()
  rows = hidden.shape[0]
  # A comparison for each logit costs less than a scatter.
  is_target = jnp.arange(kernel.shape[1])[None, :] == targets[:, None]
  d_logits = exponentials * (weights / total)[:, None]
  if smoothing is None:
    d_logits -= jnp.where(is_target, weights[:, None], 0.0)
  else:
    labels = is_target * (1 - smoothing) + smoothing / kernel.shape[1]
    d_logits -= weights[:, None] * labels
  if teacher is not None:
    d_logits += d_augmented
  # Rounded once, for both products.
  d_logits = jax.lax.optimization_barrier(products.rounded(d_logits, precision))
  grads = (
    products.contract(d_logits, kernel, 1, 1, precision),
    products.outer(hidden, d_logits, precision),
    products.dot(jnp.ones((_SUM_ROWS, rows)), d_logits, precision)[0],
  )
  has_table = teacher is not None and options.through_teacher
  return (loss, nll), (*grads, d_table) if has_table else grads


def _augmentation(options, teacher, logits, targets, weights):
  """A chunk's divergences from the teacher, weighted and summed.

  Returns:
    float[], its gradient by the logits, and by the teacher's table or None.
  """
  precision, temperature = options.precision, teacher.temperature
  table = products.rounded(teacher.table, precision)
  own = table[targets]
  product = products.contract(own, table, 1, 1, precision)
  taught = jax.lax.optimization_barrier(product) / temperature
  given = logits / temperature
  taught_exp, taught_total, taught_log = _exponentials(taught)
  given_exp, given_total, given_log = _exponentials(given)
  # Of log probabilities, the teacher's minus the model's, but for a constant.
  surplus, constant = taught - given, given_log - taught_log
  mean_surplus = jnp.sum(taught_exp * surplus, axis=-1) / taught_total
  divergence = mean_surplus + constant
  factor = weights * teacher.weight
  scale = factor / temperature
  share = (scale / taught_total)[:, None]
  d_logits = given_exp * (scale / given_total)[:, None] - taught_exp * share
  d_table = None
  if options.through_teacher:
    d_taught = taught_exp * share * (surplus - mean_surplus[:, None])
    # The table is read twice: as all words, and as the targets.
    d_table = products.outer(d_taught, own, precision)
    d_own = products.dot(d_taught, table, precision)
    d_table = d_table.at[targets].add(d_own)
  return jnp.sum(factor * divergence), d_logits, d_table


def _exponentials(x):
  """exp(x - max), computed once; its sum; log sum exp(x): of float[N, V]."""
  shift = jnp.max(x, axis=-1)
  values = jax.lax.optimization_barrier(jnp.exp(x - shift[:, None]))
  total = jnp.sum(values, axis=-1)
  return values, total, shift + jnp.log(total)
