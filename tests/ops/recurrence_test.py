"""The fused recurrence against the scanned cells, and what it guarantees."""

import functools

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.models import recurrent
from rnnvae_jax.models.cells import elman, gru, lstm, mlstm
from rnnvae_jax.ops import recurrence

EPS = np.finfo(np.float32).eps
HIDDEN, ROWS, FEATURES, TIME, MEMBERS = 4, 5, 6, 7, 3
CLIP = 0.4

CELLS = {
  'tanh': functools.partial(elman.Elman, HIDDEN),
  'relu': functools.partial(elman.Elman, HIDDEN, activation='relu'),
  'sigmoid': functools.partial(elman.Elman, HIDDEN, activation='sigmoid'),
  'gru': functools.partial(gru.GRU, HIDDEN),
  'gru_before': functools.partial(gru.GRU, HIDDEN, reset_after=False),
  'lstm': functools.partial(lstm.LSTM, HIDDEN),
  'lstm_peepholes': functools.partial(lstm.LSTM, HIDDEN, peepholes=True),
  'lstm_clipped': functools.partial(lstm.LSTM, HIDDEN, cell_clip=CLIP),
  'lstm_clipped_peepholes': functools.partial(
    lstm.LSTM, HIDDEN, peepholes=True, cell_clip=CLIP
  ),
  'mlstm': functools.partial(mlstm.MultiplicativeLSTM, HIDDEN),
  'mlstm_peepholes': functools.partial(
    mlstm.MultiplicativeLSTM, HIDDEN, peepholes=True
  ),
}
# Of the rows, one case after the other; TIME is no multiple of the blocks.
LENGTHS = {
  'ragged': (7, 0, 3, 5, 1),
  'short': (2, 5, 0, 1, 5),
  'full': (7,) * ROWS,
  'empty': (0,) * ROWS,
}
BLOCKS = (0, 1, 3, 4)


def some_options(name, reverse):
  """Two ways to run: both directions of a cell together meet all blocks."""
  first = list(CELLS).index(name) + 2 * reverse
  return tuple(
    recurrence.Options(reverse, block=BLOCKS[(first + more) % len(BLOCKS)])
    for more in (0, 1)
  )


COVERING = tuple(
  (name, options)
  for name in CELLS
  for reverse in (False, True)
  for options in some_options(name, reverse)
)
SOME = (
  ('tanh', recurrence.Options(block=1)),
  ('gru', recurrence.Options(block=3)),
  ('gru_before', recurrence.Options(reverse=True, block=0)),
  ('lstm_clipped_peepholes', recurrence.Options(reverse=True, block=4)),
)


def mask_of(lengths, time=TIME):
  return np.arange(time)[:, None] < np.asarray(lengths)[None, :]


def draw(rng, *shape):
  return np.float32(rng.uniform(-1, 1, size=shape))


def case(name, time=TIME, seed=0):
  """weights, x, state, and what weighs the final states and the outputs."""
  rng, make = np.random.default_rng(seed), CELLS[name]
  columns = make.func.num_gates * HIDDEN
  weights = {
    'kernel': draw(rng, FEATURES, columns),
    'bias': draw(rng, columns),
    'recurrent_kernel': draw(rng, HIDDEN, columns),
  }
  if name == 'gru':
    weights['recurrent_bias'] = draw(rng, HIDDEN)
  if name.endswith('peepholes'):
    weights['peepholes'] = draw(rng, 3, HIDDEN)
  weights = {key: HIDDEN**-0.5 * value for key, value in weights.items()}
  states = lambda: tuple(
    draw(rng, ROWS, HIDDEN) for _ in range(make.func.num_states)
  )
  state, of_after = states(), states()
  of_outputs = draw(rng, TIME, ROWS, HIDDEN)
  x = draw(rng, TIME, ROWS, FEATURES)
  longer = lambda array: np.pad(array, ((0, time - TIME), (0, 0), (0, 0)))
  return weights, longer(x), state, (of_after, longer(of_outputs))


def scanned(name, reverse, weights, x, mask, state, state_mask=None):
  """The reference, on the arguments of `recurrence.run`."""
  layer = recurrent.Layer(CELLS[name](), reverse=reverse, backend='scan')
  own = {key: weights[key] for key in ('kernel', 'bias')}
  cell = {key: weights[key] for key in weights if key not in own}
  swap = lambda array: jnp.swapaxes(array, 0, 1)
  after, outputs = layer.apply(
    {'params': {**own, 'cell': cell}}, swap(x), swap(mask), state, state_mask
  )
  return after, swap(outputs)


def fused(name, options, weights, x, mask, state, state_mask=None):
  spec = CELLS[name]().spec
  return recurrence.run(spec, weights, x, mask, state, options, state_mask)


def results_of(run, weights, x, mask, state, cotangents):
  """Gradients of weights, x and state; final states; outputs that count."""

  def value(weights, x, state):
    after, outputs = run(weights, x, mask, state)
    results = after, outputs * mask[:, :, None]
    terms = jax.tree.map(lambda w, r: jnp.sum(w * r), cotangents, results)
    return sum(jax.tree.leaves(terms)), results

  grads, results = jax.grad(value, (0, 1, 2), has_aux=True)(weights, x, state)
  return grads, *results


@functools.cache
def compiled(run, *how):
  fn = jax.jit(functools.partial(results_of, functools.partial(run, *how)))
  return lambda *args: jax.device_get(fn(*args))


def arguments_of(name):
  """Of `results_of`, after the function."""
  weights, x, state, cotangents = case(name)
  return weights, x, mask_of(LENGTHS['ragged']), state, cotangents


def on_case(run, name, how, lengths, time=TIME, x=None):
  weights, own_x, state, cotangents = case(name, time)
  x = own_x if x is None else x
  fn = compiled(run, name, how)
  return fn(weights, x, mask_of(lengths, time), state, cotangents)


# What float32 may lose of an element, in EPS of the largest one: forward and
# back through T steps, each a product over inputs and states and a dozen
# operations; gradients of weights sum over B T. Both sides lose as much.
ROUNDINGS = 2 * (2 * TIME * (FEATURES + HIDDEN + 12) + ROWS * TIME)


def errors(got, want):
  """Leaf by leaf, relative to its largest element, or to 1.

  1 is the size of the states and cotangents that all is computed from.
  """
  chex.assert_trees_all_equal_shapes(got, want)

  def worst(got, want):
    scale = max(1.0, np.max(np.abs(want)))
    return np.max(np.abs(np.float64(got) - np.float64(want))) / scale

  return np.array(jax.tree.leaves(jax.tree.map(worst, got, want)))


def assert_close(got, want):
  np.testing.assert_array_less(errors(got, want), ROUNDINGS * EPS)


class FusedTest(parameterized.TestCase):
  @parameterized.parameters(*COVERING)
  def test_values_and_gradients_equal_the_reference(self, name, options):
    for lengths in LENGTHS.values():
      want = on_case(scanned, name, options.reverse, lengths)
      assert_close(on_case(fused, name, options, lengths), want)

  @parameterized.parameters(
    'relu', 'gru', 'gru_before', 'lstm_peepholes', 'mlstm'
  )
  def test_a_mask_on_what_products_read_equals_the_reference(self, name):
    rng = np.random.default_rng(4)
    state_mask = np.float32(2.0 * rng.integers(2, size=(ROWS, HIDDEN)))
    for reverse in (False, True):
      how = functools.partial(scanned, state_mask=state_mask), name, reverse
      want = compiled(*how)(*arguments_of(name))
      options = recurrence.Options(reverse, block=3)
      how = functools.partial(fused, state_mask=state_mask), name, options
      assert_close(compiled(*how)(*arguments_of(name)), want)
      unmasked = on_case(scanned, name, reverse, LENGTHS['ragged'])
      self.assertGreater(np.max(errors(unmasked, want)), 0.01)

  @parameterized.parameters(False, True)
  def test_a_block_longer_than_all_time_is_one_block(self, reverse):
    options = recurrence.Options(reverse, block=TIME + 2)
    for lengths in LENGTHS.values():
      want = on_case(scanned, 'gru', reverse, lengths)
      assert_close(on_case(fused, 'gru', options, lengths), want)

  @parameterized.product(time=(1, 2, 3), reverse=(False, True))
  def test_a_window_shorter_than_a_block_equals_the_reference(
    self, time, reverse
  ):
    weights, x, state, (of_after, of_outputs) = case('gru')
    for lengths in ((time,) * ROWS, (0, 1, time, 0, 1), (0,) * ROWS):
      arguments = (
        weights,
        x[:time],
        mask_of(lengths, time),
        state,
        (of_after, of_outputs[:time]),
      )
      want = compiled(scanned, 'gru', reverse)(*arguments)
      options = recurrence.Options(reverse)
      assert_close(compiled(fused, 'gru', options)(*arguments), want)

  @parameterized.product(name=('tanh', 'gru', 'lstm', 'mlstm'), time=(1, 2, 3))
  def test_inputs_of_a_short_window_are_multiplied_once(self, name, time):
    rows, features = 8, 512
    cell = CELLS[name]()
    columns = cell.num_gates * HIDDEN
    shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
    weights = {
      'kernel': shape(features, columns),
      'bias': shape(columns),
      'recurrent_kernel': shape(HIDDEN, columns),
    }
    weights |= {key: shape(HIDDEN) for key in cell.spec.rule.vectors}
    run = functools.partial(recurrence.run, cell.spec)
    compiled_run = jax.jit(run).lower(
      weights,
      shape(time, rows, features),
      jax.ShapeDtypeStruct((time, rows), bool),
      (shape(rows, HIDDEN),) * cell.num_states,
    )
    operations = compiled_run.compile().cost_analysis()['flops']
    inputs = 2 * time * rows * features * columns
    # A step's recurrent products, and less than a hundred operations on every
    # gate of the block, which is less than a step's input product.
    others = 2 * rows * HIDDEN * columns + 100 * time * rows * columns
    self.assertLess(others, 2 * rows * features * columns)
    self.assertGreaterEqual(operations, inputs)
    self.assertLess(operations, inputs + others)

  def test_these_are_all_cells_blocks_and_options(self):
    for name in CELLS:
      mine = [options for cell, options in COVERING if cell == name]
      self.assertEqual({o.block for o in mine}, set(BLOCKS))
    ways = {(o.block, o.reverse) for _, o in COVERING}
    self.assertLen(ways, 2 * len(BLOCKS))

  @parameterized.parameters('lstm_clipped', 'lstm_clipped_peepholes')
  def test_the_clip_of_these_tests_cuts_some_cells_and_not_others(self, name):
    _, (_, c), _ = on_case(scanned, name, False, LENGTHS['full'])
    self.assertTrue(np.any(np.abs(c) == np.float32(CLIP)))
    self.assertTrue(np.any(np.abs(c) < np.float32(CLIP)))

  @parameterized.parameters(
    'tanh', 'gru', 'gru_before', 'lstm_clipped_peepholes'
  )
  def test_bfloat16_loses_what_its_operands_do(self, name):
    options = recurrence.Options(precision='bfloat16', block=3)
    got = on_case(fused, name, options, LENGTHS['ragged'])
    want = on_case(scanned, name, False, LENGTHS['ragged'])
    # Half an eps for each operand of the input's and of the state's product,
    # forward and back; then one product for each weight.
    allowed = (2 * 4 * TIME + 2) * 0.5 * float(jnp.finfo(jnp.bfloat16).eps)
    found = errors(got, want)
    np.testing.assert_array_less(found, allowed)
    # Products are rounded indeed.
    self.assertGreater(np.max(found), 4 * ROUNDINGS * EPS)


class PaddingTest(parameterized.TestCase):
  @parameterized.parameters(*COVERING)
  def test_rows_freeze_at_their_end(self, name, options):
    for lengths in LENGTHS.values():
      _, _, state, (of_after, _) = case(name)
      (_, of_x, of_state), after, outputs = on_case(
        fused, name, options, lengths
      )
      for row, length in enumerate(lengths):
        pick = lambda tree, row=row: [leaf[row] for leaf in tree]
        np.testing.assert_array_equal(of_x[length:, row], 0)
        if length:
          last = 0 if options.reverse else length - 1
          np.testing.assert_array_equal(after[0][row], outputs[last, row])
        else:
          chex.assert_trees_all_equal(pick(after), pick(state))
          chex.assert_trees_all_equal(pick(of_state), pick(of_after))

  @parameterized.parameters(*COVERING)
  def test_what_lies_in_the_padding_changes_nothing(self, name, options):
    for key in ('ragged', 'short', 'empty'):
      lengths = LENGTHS[key]
      _, x, _, _ = case(name)
      x[~mask_of(lengths)] = 1e6
      got = on_case(fused, name, options, lengths, x=x)
      want = on_case(fused, name, options, lengths)
      chex.assert_trees_all_equal(got, want)

  @parameterized.parameters(*SOME)
  def test_a_longer_batch_changes_nothing(self, name, options):
    for key in ('ragged', 'short'):
      lengths, time = LENGTHS[key], TIME + 4
      (of_weights, of_x, of_state), after, outputs = on_case(
        fused, name, options, lengths, time
      )
      got = (of_weights, of_x[:TIME], of_state), after, outputs[:TIME]
      assert_close(got, on_case(fused, name, options, lengths))
      np.testing.assert_array_equal(of_x[TIME:], 0)


class PopulationTest(parameterized.TestCase):
  """Members of a population, each with its own weights and lengths."""

  lengths = (LENGTHS['short'], LENGTHS['empty'], LENGTHS['ragged'])

  def members(self, name):
    members = []
    for seed, lengths in enumerate(self.lengths):
      weights, x, state, cotangents = case(name, seed=seed)
      members.append((weights, x, mask_of(lengths), state, cotangents))
    return members

  def assert_mapped(self, name, options, members, in_axes):
    fn = functools.partial(results_of, functools.partial(fused, name, options))
    stacked = tuple(
      jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
      if axis == 0
      else parts[0]
      for axis, *parts in zip(in_axes, *members, strict=True)
    )
    got = jax.device_get(jax.jit(jax.vmap(fn, in_axes))(*stacked))
    alone = compiled(fused, name, options)
    for number, member in enumerate(members):
      pick = lambda leaf, number=number: leaf[number]
      assert_close(jax.tree.map(pick, got), alone(*member))

  @parameterized.parameters(*SOME)
  def test_under_vmap_is_a_loop_over_the_members(self, name, options):
    members = self.members(name)
    self.assert_mapped(name, options, members, (0,) * 5)

  def test_members_may_share_the_batch(self):
    name, options = SOME[1]
    *_, (_, *shared) = self.members(name)
    members = [(weights, *shared) for weights, *_ in self.members(name)]
    self.assert_mapped(name, options, members, (0, None, None, None, None))

  def test_all_members_take_the_steps_of_the_longest(self):
    masks = np.stack([mask_of(lengths) for lengths in self.lengths])
    for mask, steps in zip(masks, (5, 0, 7), strict=True):
      self.assertEqual(recurrence.num_steps(mask), steps)
    # Refused by `vmap` if there were one number for each.
    steps = jax.vmap(recurrence.num_steps, out_axes=None)(masks)
    self.assertEqual(steps.shape, ())
    self.assertEqual(steps, 7)

  def test_populations_of_populations_take_one_number_of_steps(self):
    masks = np.stack([mask_of(lengths) for lengths in self.lengths])
    nested = np.stack([masks, masks & mask_of((4,) * ROWS)])
    steps = jax.vmap(recurrence.num_steps, out_axes=None)
    self.assertEqual(jax.vmap(steps, out_axes=None)(nested), 7)


if __name__ == '__main__':
  absltest.main()
