"""The output layer and its loss as one differentiable function."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnvae_jax.ops import members, products

# Largest size of the logits that exist at a time. Larger chunks gain nothing
# once the products are large. With smaller chunks the kernel's gradient, a sum
# over chunks, is written more often.
_LOGITS_BYTES = 2**28
# The same on a CPU in evaluation and for a teacher: there all operations on the
# logits follow each other without a product in between, so the logits should
# stay in the CPU's caches.
_CACHE_BYTES = 2**23
# Sums over rows are computed as products with so many rows of ones: the fast
# path of products needs more than one row.
_SUM_ROWS = 8
# On a GPU the matrix units want multiples of so many columns. If XLA has to pad
# them, it copies the logits' gradient at every update.
_COLUMNS = 16
# The bias of a column that only fills up; its exponential is 0.
_NO_WORD = -1e30
# Largest sum of exponentials that is used: a weight divided by it is still far
# above the smallest float32.
_LARGEST_TOTAL = 2.0**100


class Options(NamedTuple):
  """How the loss is computed; its value changes only by rounding."""

  precision: str = 'float32'  # See `products.PRECISIONS`.
  # Increasing numbers of rows with a weight, one program branch for each;
  # (): all rows.
  row_counts: tuple[int, ...] = ()
  logits_bytes: int = 0  # Largest size of logits; 0: chosen by platform.
  through_teacher: bool = False  # Whether the teacher's table has a gradient.


class Teacher(NamedTuple):
  """A second target distribution, computed from word embeddings.

  The augmented loss of Inan et al., arXiv:1611.01462, section 3. For each
  target it adds the weight times
  KL(softmax(E e / temperature) || softmax(logits / temperature)), where e is
  the target's row of the table E.
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

  The result is that of a dense layer and a cross-entropy, at a lower cost:

  - Rows of weight 0 (padding) are sorted to the end. The products run over the
    smallest of a few static row counts that covers all other rows.
  - Logits exist for one chunk of rows at a time. If gradients are needed, those
    of all inputs are computed in the same pass, so that logits are never kept.
    Memory does not grow with rows x V.
  - Barriers keep XLA from fusing the exponentials into the products, where
    they would be computed twice.

  Args:
    hidden: float[N, H].
    kernel: float[H, V]; an embedding table transposed when they are tied.
    bias: float[V].
    targets: int[N], in [0, V).
    weights: float[N], constants: no gradient flows to them.
    options: how the loss is computed.
    smoothing: float[], the share of each label that is spread evenly over all V
      words in the sum (Szegedy et al., arXiv:1512.00567), a constant; None: 0.
    teacher: adds its divergence to the sum; None: no teacher.

  Returns:
    float32[], Σ weight x nats plus the smoothing's and the teacher's terms; it
    can be differentiated. float32[N], the nats of each row, 0 if its weight is
    0; they cannot be differentiated. Both, and the gradients of kernel and
    bias, are nan if more rows have a weight than the last of `row_counts`.

  Raises:
    ValueError: the shapes or the row counts do not fit together.
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
  if smoothing is None and teacher is None:
    kernel, bias = _filled_up(kernel, bias)
  return _loss(
    options, smoothing, teacher, hidden, kernel, bias, targets, weights
  )


def _filled_up(kernel, bias):
  """On a GPU appends columns of words that have no probability."""
  extra = -kernel.shape[1] % _COLUMNS
  if jax.default_backend() != 'gpu' or not extra:
    return kernel, bias
  kernel = jnp.pad(kernel, [(0, 0), (0, extra)])
  return kernel, jnp.pad(bias, (0, extra), constant_values=_NO_WORD)


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
  # Each array comes with a flag, whether it is differentiated; unused here.
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
  """((total, nats of the rows), gradients) over the rows with a weight."""
  rows = hidden.shape[0]
  counts = options.row_counts or (rows,)
  # Rows with a weight come first, in their original order.
  order = jnp.argsort(weights == 0, stable=True)
  hidden, targets, weights = hidden[order], targets[order], weights[order]
  num_real = members.largest(jnp.sum(weights != 0, dtype=jnp.int32))
  # If there are more rows than `row_counts` allows, nan is returned instead of
  # ignoring some rows. The weights make all gradients nan, too.
  is_whole = num_real <= counts[-1]
  weights = jnp.where(is_whole, weights, jnp.nan)
  branch = jnp.searchsorted(jnp.array(counts), num_real, method='compare_all')

  def over_rows(count):
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

  branches = [functools.partial(over_rows, count) for count in counts]
  (total, nll), grads = jax.lax.switch(branch, branches)
  nll = jnp.where(is_whole, nll, jnp.nan)
  back = lambda x: jnp.zeros_like(x).at[order].set(x, unique_indices=True)
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
  """The result of `_compacted` for all given rows, in `chunks` chunks."""
  rows = hidden.shape[0]
  kernel_rounded = products.rounded(kernel, options.precision)
  on_chunk = functools.partial(
    _one_chunk, options, with_grads, smoothing, teacher, kernel_rounded, bias
  )
  if chunks == 1:
    return on_chunk(hidden, targets, weights)
  size = -(-rows // chunks)

  def cut(array):
    pad = [(0, size * chunks - rows)] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, pad).reshape(chunks, size, *array.shape[1:])

  def body(sums, chunk):
    (total, nll), grads = on_chunk(*chunk)
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

  # Relative to the target's logit, these sums are at least 1. Finding the
  # largest logit first would take one more pass over all logits. It is needed
  # only if a sum is too large, that is if a word is e**69 times as probable as
  # the target.
  loop = relative_to(chosen)
  fits = members.all_true(jnp.all(loop[-1] < _LARGEST_TOTAL))

  def relative_to_largest(_):
    largest = jnp.max(product + bias[None, :], axis=-1)
    return jnp.bool_(True), relative_to(largest)

  _, (shift, exponentials, total) = jax.lax.while_loop(
    lambda loop: ~loop[0], relative_to_largest, (fits, loop)
  )
  nll = jnp.where(weights == 0, 0.0, jnp.log(total) + (shift - chosen))
  loss = jnp.sum(weights * nll)
  if smoothing is not None:
    mean_column = jnp.mean(kernel, axis=1, dtype=jnp.float32)
    mean_logit = jnp.sum(hidden * mean_column[None], axis=1) + jnp.mean(bias)
    uniform_nll = jnp.log(total) + shift - mean_logit
    difference = jnp.where(weights == 0, 0.0, uniform_nll - nll)
    loss += smoothing * jnp.sum(weights * difference)
  if teacher is not None:
    logits = product + bias[None, :]
    augmentation, d_augmented, d_table = _augmentation(
      options, teacher, logits, targets, weights
    )
    loss += augmentation
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
  """The weighted sum of a chunk's divergences from the teacher.

  Returns:
    float[], the sum; its gradient with respect to the logits; its gradient with
    respect to the teacher's table, or None.
  """
  precision, temperature = options.precision, teacher.temperature
  table = products.rounded(teacher.table, precision)
  own = table[targets]
  product = products.contract(own, table, 1, 1, precision)
  taught = jax.lax.optimization_barrier(product) / temperature
  given = logits / temperature
  taught_exp, taught_total, taught_log = _exponentials(taught)
  given_exp, given_total, given_log = _exponentials(given)
  # The teacher's minus the model's log-probabilities are surplus + constant.
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
  """For each row of float[N, V]: exp(x - max), its sum, and log sum exp(x)."""
  shift = jnp.max(x, axis=-1)
  values = jax.lax.optimization_barrier(jnp.exp(x - shift[:, None]))
  total = jnp.sum(values, axis=-1)
  return values, total, shift + jnp.log(total)
