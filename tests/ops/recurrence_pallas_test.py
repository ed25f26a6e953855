"""The kernels, interpreted, against the loops they replace."""

import functools

from absl.testing import absltest, parameterized
import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.models.cells import elman, gru, lstm, mlstm
from rnnvae_jax.ops import recurrence, recurrence_pallas

# Two programs with idle rows, two tiles with idle columns.
TIME, ROWS, FEATURES, HIDDEN = 4, 18, 3, 70
LENGTHS = np.resize([4, 0, 1, 3, 2], ROWS)

CELLS = {
  'tanh': elman.Elman,
  'relu': functools.partial(elman.Elman, activation='relu'),
  'gru': gru.GRU,
  'gru_before': functools.partial(gru.GRU, reset_after=False),
  'lstm': lstm.LSTM,
  'lstm_peepholes': functools.partial(lstm.LSTM, peepholes=True, cell_clip=0.5),
  'mlstm': mlstm.MultiplicativeLSTM,
}
CUSTOM_CALL = '__gpu$xla.gpu.triton'


def case(cell):
  """weights, x, state and what weighs the results, all of size 1 or less."""
  hidden = cell.features
  columns = cell.num_gates * hidden
  shapes = {
    'kernel': (FEATURES, columns),
    'recurrent_kernel': (hidden, columns),
    'bias': (columns,),
  }
  lengths = {'recurrent_bias': (hidden,), 'peepholes': (3, hidden)}
  shapes |= {name: lengths[name] for name in cell.spec.rule.vectors}
  rng = np.random.default_rng(0)
  draw = lambda *shape: np.float32(rng.uniform(-1, 1, size=shape))
  weights = {name: draw(*shape) for name, shape in shapes.items()}
  weights['recurrent_kernel'] *= hidden**-0.5
  states = cell.num_states
  state = tuple(draw(ROWS, hidden) for _ in range(states))
  after = tuple(draw(ROWS, hidden) for _ in range(states))
  x, outputs = draw(TIME, ROWS, FEATURES), draw(TIME, ROWS, hidden)
  return (weights, x, state), (after, outputs)


def gradients(cell, options, weigh):
  """(weights, x, state) -> their gradients, last state, outputs."""
  mask = np.arange(TIME)[:, None] < LENGTHS

  def value(weights, x, state):
    after, outputs = recurrence.run(cell.spec, weights, x, mask, state, options)
    results = after, outputs * mask[:, :, None]
    terms = jax.tree.map(lambda w, r: jnp.sum(w * r), weigh, results)
    return sum(jax.tree.leaves(terms)), results

  return jax.jit(jax.grad(value, (0, 1, 2), has_aux=True))


def allowed(precision):
  """What rounding may lose of the largest element.

  Through T steps and back, each a product and a dozen operations; the weights'
  gradients sum over B T. Sums a hair apart may round to different bfloat16
  operands of the next product, which hands on no more than it gets.
  """
  operations = 2 * TIME * (FEATURES + HIDDEN + 12) + ROWS * TIME
  tolerance = operations * np.finfo(np.float32).eps
  if precision == 'bfloat16':
    tolerance += 2 * TIME * float(jnp.finfo(jnp.bfloat16).eps)
  return tolerance


def loops(jaxpr):
  """The length of every loop that multiplies matrices in its own body."""
  for equation in jaxpr.eqns:
    for part in equation.params.values():
      body = getattr(part, 'jaxpr', part)
      if not hasattr(body, 'eqns'):
        continue
      yield from loops(body)
      if equation.primitive.name == 'scan' and any(
        inner.primitive.name == 'dot_general' for inner in body.eqns
      ):
        yield equation.params['length']


class KernelsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('tanh', False, 'float32'),
    ('relu', True, 'bfloat16'),
    ('gru', True, 'float32'),
    ('gru_before', False, 'bfloat16'),
    ('gru_before', True, 'float32'),
    ('lstm', False, 'float32'),
    ('lstm_peepholes', True, 'float32'),
    ('mlstm', True, 'float32'),
  )
  def test_values_and_gradients_are_those_of_the_loops(
    self, kind, reverse, precision
  ):
    cell = CELLS[kind](HIDDEN)
    arguments, weigh = case(cell)
    options = recurrence.Options(reverse, precision, block=0)
    kernels = options._replace(loops='pallas', interpret=True)
    got = gradients(cell, kernels, weigh)(*arguments)
    want = gradients(cell, options, weigh)(*arguments)
    self.assert_close(got, want, precision)

  def assert_close(self, got, want, precision='float32'):
    def check(got, want):
      scale = max(1.0, np.max(np.abs(want)))
      error = np.max(np.abs(np.float64(got) - np.float64(want)))
      self.assertLess(error, allowed(precision) * scale)

    jax.tree.map(check, got, want)

  @pytest.mark.slow
  def test_a_population_is_its_members(self):
    cell = CELLS['tanh'](HIDDEN)
    (weights, x, state), weigh = case(cell)
    options = recurrence.Options(block=0, loops='pallas', interpret=True)
    run = gradients(cell, options, weigh)
    both = jax.tree.map(lambda w: np.stack([w, -w]), weights)
    got = jax.vmap(run, (0, None, None))(both, x, state)
    for member in range(2):
      pick = lambda leaf, member=member: leaf[member]
      want = run(jax.tree.map(pick, both), x, state)
      self.assert_close(jax.tree.map(pick, got), want)

  @parameterized.parameters(
    ('relu', 'float32'),
    ('gru', 'bfloat16'),
    ('gru_before', 'tf32'),
    ('lstm_peepholes', 'float32'),
    ('lstm', 'bfloat16'),
    ('mlstm', 'float32'),
  )
  # Newer versions of JAX announce that they will drop this lowering.
  @pytest.mark.filterwarnings('ignore:The Pallas Triton backend')
  def test_exports_for_cuda_without_a_gpu(self, kind, precision):
    cell = CELLS[kind](HIDDEN)
    arguments, weigh = case(cell)
    options = recurrence.Options(False, precision, block=0, loops='pallas')
    device = jax.sharding.AbstractDevice('NVIDIA H200', None, 'gpu')
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
    allow = [export.DisabledSafetyCheck.custom_call(CUSTOM_CALL)]
    with jax.sharding.use_abstract_mesh(mesh):
      program = export.export(
        gradients(cell, options, weigh),
        platforms=['cuda'],
        disabled_checks=allow,
      )(*arguments)
    self.assertEqual(program.mlir_module().count(f'@{CUSTOM_CALL}('), 2)

  @parameterized.product(
    hidden=(1, recurrence_pallas.TILE, 3 * recurrence_pallas.TILE),
    precision=('float32', 'bfloat16'),
  )
  def test_no_product_is_the_body_of_the_loop_over_time(
    self, hidden, precision
  ):
    # Which a loop of one turn would become when simplified.
    cell = CELLS['gru_before'](hidden)
    arguments, weigh = case(cell)
    options = recurrence.Options(
      precision=precision, block=0, loops='pallas', interpret=True
    )
    run = gradients(cell, options, weigh)
    lengths = list(loops(jax.make_jaxpr(run)(*arguments).jaxpr))
    self.assertLen(lengths, 4)  # Two products each way.
    self.assertGreaterEqual(min(lengths), 2)


if __name__ == '__main__':
  absltest.main()
