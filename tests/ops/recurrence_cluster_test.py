"""The CUDA kernels, emulated on a CPU, against the scanned cells."""

import re
from unittest import mock

from absl.testing import absltest, parameterized
import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.models import recurrent
from rnnvae_jax.models.cells import gru, lstm
from rnnvae_jax.ops import backends, compiled, recurrence
from rnnvae_jax.ops.cluster import build, calls

FEATURES, TIME = 3, 4
CELLS = {'gru': gru.GRU, 'lstm': lstm.LSTM}
# The error of an operand relative to its size; the emulator's tf32 rounds,
# `scan` on a CPU computes it in float32.
ROUNDING = {'bfloat16': 2.0**-8, 'tf32': 2.0**-11}

needs_compiler = pytest.mark.skipif(
  not compiled.compiler(), reason='the emulator needs g++ or $CXX'
)


def case(cell, rows):
  """weights, x, state, and what weighs the results."""
  hidden = cell.features
  columns = cell.num_gates * hidden
  rng = np.random.default_rng(0)
  draw = lambda *shape: np.float32(rng.uniform(-1, 1, size=shape))
  weights = {
    'kernel': draw(FEATURES, columns),
    'bias': draw(columns),
    'recurrent_kernel': draw(hidden, columns) * hidden**-0.5,
  }
  if cell.spec.rule.vectors:
    weights['recurrent_bias'] = draw(hidden)
  states = lambda: tuple(draw(rows, hidden) for _ in range(cell.num_states))
  return (weights, draw(TIME, rows, FEATURES), states()), (
    states(),
    draw(TIME, rows, hidden),
  )


def scanned(cell, reverse, mask, weights, x, state):
  layer = recurrent.Layer(cell, reverse=reverse, backend='scan')
  own = {key: weights[key] for key in ('kernel', 'bias')}
  inner = {key: weights[key] for key in weights if key not in own}
  swap = lambda array: jnp.swapaxes(array, 0, 1)
  after, outputs = layer.apply(
    {'params': {**own, 'cell': inner}}, swap(x), swap(mask), state
  )
  return after, swap(outputs)


def looped(cell, options, mask, weights, x, state):
  return recurrence.run(cell.spec, weights, x, mask, state, options)


def gradients(run, cell, how, mask, weigh):
  """(weights, x, state) -> their gradients; last state and outputs."""

  def value(weights, x, state):
    after, outputs = run(cell, how, mask, weights, x, state)
    results = after, outputs * mask[:, :, None]
    terms = jax.tree.map(lambda w, r: jnp.sum(w * r), weigh, results)
    return sum(jax.tree.leaves(terms)), results

  return jax.jit(jax.grad(value, (0, 1, 2), has_aux=True))


@needs_compiler
class EmulatedTest(parameterized.TestCase):
  def check(self, kind, hidden, precision, reverse, rows):
    cell = CELLS[kind](hidden, parent=None)
    mask = np.arange(TIME)[:, None] < np.resize([TIME, 0, 1, 3, 2], rows)
    arguments, weigh = case(cell, rows)
    options = recurrence.Options(
      reverse, precision, block=0, loops='cluster', interpret=True
    )
    got = gradients(looped, cell, options, mask, weigh)(*arguments)
    want = gradients(scanned, cell, reverse, mask, weigh)(*arguments)
    # Against float32, in the norm of each array: an operand of 2 T products in
    # sequence is rounded, and its weights; errors are not amplified by more
    # than the products' norms, of about 1 here.
    self.assert_close(got, want, 2 * 2 * TIME * ROUNDING[precision])
    # Against the loops in XLA with the same operands. Sums that differ by
    # 2^-16 or less of their size round to neighbouring bfloat16 numbers in one
    # of 2^8 cases at most, an error of sqrt(2^-8) 2^-8 in norm.
    if precision == 'bfloat16':
      loops = options._replace(loops='xla')
      want = gradients(looped, cell, loops, mask, weigh)(*arguments)
      self.assert_close(got, want, 2.0**-12)

  def assert_close(self, got, want, tolerance):
    def check(got, want):
      got, want = np.float64(got), np.float64(want)
      error = np.linalg.norm(got - want)
      self.assertLess(error, tolerance * max(1e-3, np.linalg.norm(want)))

    jax.tree.map(check, got, want)

  @parameterized.parameters(
    ('gru', 'bfloat16', False, 18),
    ('lstm', 'bfloat16', True, 18),
    ('gru', 'tf32', True, 5),
    ('lstm', 'tf32', False, 5),
  )
  def test_values_and_gradients_are_those_of_scan(
    self, kind, precision, reverse, rows
  ):
    self.check(kind, 64, precision, reverse, rows)

  def test_other_numbers_of_units_are_padded(self):
    self.check('gru', 49, 'bfloat16', False, 3)

  @parameterized.parameters(
    ('gru', 128, 'bfloat16', True, 33),
    ('lstm', 128, 'tf32', False, 16),
    ('gru', 256, 'bfloat16', False, 18),
    ('gru', 256, 'bfloat16', True, 3),
    ('gru', 256, 'tf32', True, 18),
    ('lstm', 256, 'bfloat16', False, 18),
    ('lstm', 256, 'tf32', True, 5),
    ('gru', 384, 'bfloat16', True, 5),
    ('gru', 384, 'tf32', False, 5),
    ('lstm', 384, 'bfloat16', False, 5),
    ('gru', 512, 'bfloat16', False, 5),
    ('gru', 512, 'tf32', True, 5),
    ('lstm', 512, 'bfloat16', True, 5),
  )
  @pytest.mark.slow
  def test_larger_ones_are_those_of_scan(
    self, kind, hidden, precision, reverse, rows
  ):
    self.check(kind, hidden, precision, reverse, rows)

  def test_a_population_is_its_members(self):
    cell = gru.GRU(64, parent=None)
    mask = np.ones((TIME, 2), bool)
    (weights, x, state), weigh = case(cell, 2)
    options = recurrence.Options(
      precision='bfloat16', block=0, loops='cluster', interpret=True
    )
    run = gradients(looped, cell, options, mask, weigh)
    both = jax.tree.map(lambda w: np.stack([w, -w]), weights)
    got = jax.vmap(run, (0, None, None))(both, x, state)
    for member in range(2):
      pick = lambda leaf, member=member: leaf[member]
      want = run(jax.tree.map(pick, both), x, state)
      self.assert_close(jax.tree.map(pick, got), want, 1e-5)

  def test_a_call_of_the_wrong_shape_is_an_error_not_a_crash(self):
    name = calls.target('gru', 'bfloat16', 64, emulated=True)
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct((4, 2, 64), jnp.float32))
    flags = dict.fromkeys(('lstm', 'backward', 'reverse'), np.int32(0))
    kernel = jnp.zeros((64, 256), jnp.bfloat16)
    with self.assertRaisesRegex(Exception, 'arguments of another cell'):
      call(jnp.zeros((4, 2, 192)), kernel, **flags).block_until_ready()


class ChosenTest(parameterized.TestCase):
  def choose(self, size, capability='9.0', compiler='g++', precision='tf32'):
    device = mock.Mock(compute_capability=capability)
    with (
      mock.patch.object(jax, 'devices', return_value=[device]),
      mock.patch.object(compiled, 'compiler', return_value=compiler),
      mock.patch.object(build, 'is_built', return_value=False),
    ):
      cell = lstm.LSTM(size, parent=None).spec
      return backends.choose('cluster', cell, precision, 'gpu', size=size)

  @parameterized.parameters('9.0', '10.0', '12.0')
  def test_newer_gpus_run_it(self, capability):
    self.assertEqual(self.choose(256, capability), 'cluster')

  @parameterized.parameters(
    ({'capability': '8.9'}, 'compute capability 9.0'),
    ({'capability': 'gfx942'}, 'compute capability 9.0'),
    ({'compiler': ''}, 'rnnvae_jax.ops.cluster.build'),
    ({'size': 257}, '256 tf32 units at most'),
    ({'size': 513, 'precision': 'bfloat16'}, '512 bfloat16 units at most'),
  )
  def test_says_what_is_missing(self, changes, why):
    with self.assertRaisesRegex(ValueError, re.escape(why)):
      self.choose(**({'size': 256} | changes))


class ShippedTest(absltest.TestCase):
  def test_ptx_is_of_these_sources(self):
    self.assertEqual(
      build.archived_digest(),
      build.sources_digest(),
      'Run python -m rnnvae_jax.ops.cluster.build --ptx',
    )

  def test_every_size_has_both_directions(self):
    for cell in CELLS:
      for precision in calls.PRECISIONS:
        for size in build.sizes(cell, precision):
          text = build.ptx(build.kernel_name(cell, precision, size)).decode()
          for entry in ('forward_kernel', 'backward_kernel'):
            self.assertIn(f'.entry {entry}(', text)

  @needs_compiler
  def test_exports_for_cuda_without_a_gpu(self):
    # The host library is compiled, loaded and registered, too.
    cell = gru.GRU(64, parent=None)
    mask = np.ones((TIME, 2), bool)
    arguments, weigh = case(cell, 2)
    options = recurrence.Options(precision='bfloat16', block=0, loops='cluster')
    name = 'rnnvae_gru_bfloat16_64'
    program = export.export(
      gradients(looped, cell, options, mask, weigh),
      platforms=['cuda'],
      disabled_checks=[export.DisabledSafetyCheck.custom_call(name)],
    )(*arguments)
    self.assertEqual(program.mlir_module().count(f'@{name}('), 2)


if __name__ == '__main__':
  absltest.main()
