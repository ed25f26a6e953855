"""Stacks against PyTorch's, and what padding and other rows do not change."""

import functools

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.models import recurrent
from rnnvae_jax.models.cells import elman, gru, lstm
from rnnvae_jax.ops import noise, recurrence

EPS = np.finfo(np.float32).eps
HIDDEN, ROWS, FEATURES, TIME = 4, 5, 6, 7
LENGTHS = np.array([7, 3, 1, 5, 2])

KINDS = {
  'gru': gru.GRU(HIDDEN),
  'gru_before': gru.GRU(HIDDEN, reset_after=False),
  'lstm': lstm.LSTM(HIDDEN),
  'tanh': elman.Elman(HIDDEN),
  'relu': elman.Elman(HIDDEN, activation='relu'),
}


def make_stack(kind, num_layers, bidirectional, **options):
  return recurrent.Recurrent(
    KINDS[kind], num_layers=num_layers, bidirectional=bidirectional, **options
  )


def random_like(tree, seed, scale=1.0):
  rng = np.random.default_rng(seed)
  draw = lambda leaf: np.float32(scale * rng.uniform(-1, 1, size=leaf.shape))
  return jax.tree.map(draw, tree)


def mask_of(lengths, time=TIME):
  return np.arange(time)[None, :] < np.asarray(lengths)[:, None]


@functools.cache
def case(kind, num_layers, bidirectional):
  """params, x, carry, and what weighs the final states and outputs."""
  stack = make_stack(kind, num_layers, bidirectional)
  x = np.empty((ROWS, TIME, FEATURES))
  params = jax.eval_shape(stack.init, jax.random.key(0), x, mask_of(LENGTHS))
  carry = jax.eval_shape(lambda: stack.zero_carry(ROWS))
  outputs = np.empty((ROWS, TIME, HIDDEN * (1 + bidirectional)))
  return (
    random_like(params, seed=0, scale=HIDDEN**-0.5),
    *random_like((x, carry), seed=1),
    random_like((carry, outputs), seed=2),
  )


def on_host(fn):
  """Compiled, with NumPy results: slicing them compiles nothing more."""
  compiled = jax.jit(fn)
  return lambda *args: jax.device_get(compiled(*args))


@functools.cache
def compiled(kind, num_layers, bidirectional):
  """(gradients, final states, outputs at the real tokens), one program."""
  stack = make_stack(kind, num_layers, bidirectional)

  def run(params, x, mask, carry, weights):
    def value(params, x, carry):
      after, outputs = stack.apply(params, x, mask, carry)
      results = after, outputs * mask[:, :, None]
      terms = jax.tree.map(lambda w, r: jnp.sum(w * r), weights, results)
      return sum(jax.tree.leaves(terms)), results

    grads, results = jax.grad(value, (0, 1, 2), has_aux=True)(params, x, carry)
    return grads, *results

  return on_host(run)


def roundings(num_layers, bidirectional, time=TIME):
  """What float32 may lose of an element, in EPS of the largest one.

  Forward and back through T steps of each layer, each a product over its
  inputs and states and a dozen operations. Gradients of weights sum over B T.
  """
  width = max(FEATURES, HIDDEN * (1 + bidirectional)) + HIDDEN
  return 2 * time * num_layers * (width + 12) + ROWS * time


def assert_close(got, want, allowed):
  """Leaf by leaf, in EPS of its largest element, or of 1.

  1 is the size of the states and cotangents that all is computed from.
  """
  chex.assert_trees_all_equal_shapes(got, want)

  def check(got, want):
    scale = max(1.0, np.max(np.abs(want)))
    error = np.max(np.abs(np.float64(got) - np.float64(want)))
    np.testing.assert_array_less(error, allowed * EPS * scale)

  jax.tree.map(check, got, want)


# Every cell with one, two and three layers, in one and in both directions.
COVERING = (
  ('gru', 1, False),
  ('gru', 2, True),
  ('gru', 3, False),
  ('lstm', 1, True),
  ('lstm', 2, False),
  ('lstm', 3, True),
  ('tanh', 1, False),
  ('tanh', 2, True),
  ('relu', 1, True),
  ('relu', 3, False),
)


def torch_stack(torch, kind, num_layers, bidirectional):
  """PyTorch's stack in float64, all weights exact in float32."""
  options = {'nonlinearity': kind} if kind in ('tanh', 'relu') else {}
  make = {'gru': torch.nn.GRU, 'lstm': torch.nn.LSTM}.get(kind, torch.nn.RNN)
  torch.manual_seed(0)
  return make(
    FEATURES,
    HIDDEN,
    num_layers,
    bidirectional=bidirectional,
    batch_first=True,
    dtype=torch.float32,
    **options,
  ).double()


def from_torch(module, of):
  """Our tree of the arrays `of(parameter)`; biases still in two parts."""
  gru = module.mode == 'GRU'
  tree = {}
  for layer in range(module.num_layers):
    for direction in range(1 + module.bidirectional):
      suffix = f'l{layer}' + ('_reverse' if direction else '')
      ih, hh, b_ih, b_hh = (
        np.array(of(getattr(module, f'{name}_{suffix}')))
        for name in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')
      )
      cell = {'recurrent_kernel': hh.T}
      if gru:
        cell['recurrent_bias'] = b_hh[2 * HIDDEN :].copy()
        b_hh[2 * HIDDEN :] = 0
      tree[f'layer_{layer}' + ('_reverse' if direction else '')] = {
        'kernel': ih.T,
        'bias': (b_ih, b_hh),
        'cell': cell,
      }
  return {'params': tree}


def merge_biases(tree, merge):
  is_pair = lambda node: isinstance(node, tuple)
  pick = lambda node: merge(*node) if is_pair(node) else node
  return jax.tree.map(pick, tree, is_leaf=is_pair)


class TorchParityTest(parameterized.TestCase):
  @parameterized.parameters(*COVERING)
  def test_outputs_states_and_gradients_match(self, kind, layers, both):
    torch = pytest.importorskip('torch')
    module = torch_stack(torch, kind, layers, both)
    params = merge_biases(
      from_torch(module, lambda p: np.float32(p.detach().numpy())), np.add
    )
    _, x, carry, weights = case(kind, layers, both)
    mask = mask_of(LENGTHS)
    weights = weights[0], weights[1] * mask[:, :, None]
    got = compiled(kind, layers, both)(params, x, mask, carry, weights)

    # Layers and their directions are rows of one array, for h and for c.
    def states(carry):
      flat = [direction for layer in carry for direction in layer]
      return [np.float64(each) for each in zip(*flat, strict=True)]

    def tensor(array):
      return torch.tensor(np.float64(array), requires_grad=True)

    their_x, before = tensor(x), [tensor(each) for each in states(carry)]
    packed, after = module(
      torch.nn.utils.rnn.pack_padded_sequence(
        their_x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
      ),
      tuple(before) if kind == 'lstm' else before[0],
    )
    after = after if kind == 'lstm' else (after,)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(
      packed, batch_first=True, total_length=TIME
    )
    value = (outputs * torch.tensor(weights[1])).sum()
    for weight, each in zip(states(weights[0]), after, strict=True):
      value = value + (torch.tensor(weight) * each).sum()
    value.backward()

    # The gradient of a sum of biases is that of either.
    of_params = merge_biases(
      from_torch(module, lambda p: p.grad.numpy()), lambda ih, hh: ih
    )
    want = (
      (of_params, their_x.grad.numpy(), [each.grad.numpy() for each in before]),
      [each.detach().numpy() for each in after],
      outputs.detach().numpy(),
    )
    (of_params, of_x, of_carry), got_after, got_outputs = got
    got = (of_params, of_x, states(of_carry)), states(got_after), got_outputs
    assert_close(got, want, roundings(layers, both))


class PaddingTest(parameterized.TestCase):
  """Row 2 has no tokens at all; it keeps its carry."""

  lengths = np.array([7, 3, 0, 5, 2])

  def run_case(self, name, x=None):
    params, own_x, carry, weights = case(*name)
    return compiled(*name)(
      params, own_x if x is None else x, mask_of(self.lengths), carry, weights
    )

  @parameterized.parameters(*COVERING)
  def test_what_lies_there_changes_nothing(self, *name):
    poisoned = case(*name)[1].copy()
    poisoned[~mask_of(self.lengths)] = 1e6
    got, want = self.run_case(name, poisoned), self.run_case(name)
    chex.assert_trees_all_equal(got, want)
    self.assertTrue(np.all(np.isfinite(got[0][1])))

  @parameterized.parameters(*COVERING)
  def test_an_empty_row_keeps_its_carry_and_teaches_nothing(self, *name):
    (_, of_x, of_carry), after, _ = self.run_case(name)
    _, _, carry, (weights, _) = case(*name)
    pick = lambda tree: jax.tree.map(lambda leaf: leaf[2], tree)
    chex.assert_trees_all_equal(pick(after), pick(carry))
    chex.assert_trees_all_equal(pick(of_carry), pick(weights))
    np.testing.assert_array_equal(of_x[2], np.zeros((TIME, FEATURES)))

  @parameterized.parameters(*COVERING)
  def test_permuting_the_rows_permutes_the_results(self, *name):
    order = np.array([4, 2, 0, 3, 1])
    params, *rest = case(*name)
    x, mask, carry, weights = jax.tree.map(
      lambda leaf: leaf[order], (rest[0], mask_of(self.lengths), *rest[1:])
    )
    (of_params, *of_rows), *results = self.run_case(name)
    want = jax.tree.map(lambda leaf: leaf[order], (of_rows, results))
    (got_of_params, *of_rows), *results = compiled(*name)(
      params, x, mask, carry, weights
    )
    # Rows do not mix; only sums over them are in another order.
    allowed = roundings(name[1], name[2])
    assert_close((of_rows, results), want, allowed)
    assert_close(got_of_params, of_params, allowed)

  @parameterized.parameters(
    ('gru', 2, True), ('lstm', 3, True), ('tanh', 2, True)
  )
  def test_a_padded_batch_equals_the_unpadded_one(self, *name):
    length = 3
    params, x, carry, (of_after, of_outputs) = case(*name)
    run, lengths = compiled(*name), [length] * ROWS
    cut = lambda array: array[:, :length]
    (of_params, of_x, of_carry), after, outputs = run(
      params, x, mask_of(lengths), carry, (of_after, of_outputs)
    )
    padded = (of_params, cut(of_x), of_carry), after, cut(outputs)
    unpadded = run(
      params,
      cut(x),
      mask_of(lengths, time=length),
      carry,
      (of_after, cut(of_outputs)),
    )
    assert_close(padded, unpadded, roundings(name[1], name[2], length))


class ContextTest(parameterized.TestCase):
  """What is read at every step, against the same behind every input."""

  context = np.float32([[0.3, -0.7], [1, 0], [0.2, 0.9], [-1, 0.5], [0, 0]])

  @parameterized.parameters(
    ('gru', 2, False, 'fused'),
    ('gru_before', 1, True, 'scan'),
    ('lstm', 2, True, 'fused'),
    ('lstm', 1, False, 'scan'),
    ('tanh', 1, True, 'fused'),
  )
  def test_stands_behind_every_input(self, kind, layers, both, backend):
    _, x, carry, (of_after, of_outputs) = case(kind, layers, both)
    stack = make_stack(kind, layers, both, backend=backend)
    mask = mask_of(LENGTHS)
    wide = jax.eval_shape(recurrent.beside, x, self.context)
    params = jax.eval_shape(stack.init, jax.random.key(0), wide, mask)
    params = random_like(params, seed=0, scale=HIDDEN**-0.5)

    def value(params, x, carry, context, apart):
      if not apart:
        x, context = recurrent.beside(x, context), None
      after, outputs = stack.apply(params, x, mask, carry, context=context)
      results = after, outputs * mask[:, :, None]
      weights = of_after, of_outputs
      terms = jax.tree.map(lambda w, r: jnp.sum(w * r), weights, results)
      return sum(jax.tree.leaves(terms)), results

    both_ways = jax.jit(
      jax.grad(value, (0, 1, 2, 3), has_aux=True), static_argnums=4
    )
    arguments = params, x, carry, self.context
    got, want = (
      jax.device_get(both_ways(*arguments, apart)) for apart in (True, False)
    )
    # A context's gradient sums over time.
    assert_close(got, want, roundings(layers, both) + TIME)
    self.assertGreater(np.max(np.abs(got[0][3][0])), 0.01)

  @parameterized.parameters('scan', 'fused')
  def test_inputs_that_contexts_share_are_multiplied_once(self, backend):
    rows, time, features, samples = 3, 8, 512, 16
    stack = make_stack(
      'gru',
      1,
      False,
      backend=backend,
      options=recurrence.Options(block=0),  # XLA counts loops as one turn.
    )
    shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
    x, mask = shape(rows, time, features), jnp.ones((rows, time), bool)
    context = shape(rows, 2)
    run = lambda params, x, context: stack.apply(
      params, x, mask, context=context
    )
    wide = shape(rows, time, features + 2)
    params = jax.eval_shape(stack.init, jax.random.key(0), wide, mask)

    def operations(fn, *args):
      return jax.jit(fn).lower(*args).compile().cost_analysis()['flops']

    one = operations(run, params, x, context)
    many = operations(
      jax.vmap(run, (None, None, 0)), params, x, shape(samples, rows, 2)
    )
    self.assertGreater(one, 2 * rows * time * features * 3 * HIDDEN)
    self.assertLess(many, 2 * one)


@functools.cache
def applied(kind, num_layers, bidirectional, locked=False):
  """The stack alone, with and without dropout."""
  stack = make_stack(kind, num_layers, bidirectional, locked_dropout=locked)
  return on_host(stack.apply)


class CarryTest(absltest.TestCase):
  name = 'lstm', 2, False

  def test_none_is_zeros(self):
    params, x, carry, _ = case(*self.name)
    zero = make_stack(*self.name).zero_carry(ROWS)
    chex.assert_trees_all_equal(zero, jax.tree.map(np.zeros_like, carry))
    run, mask = applied(*self.name), mask_of(LENGTHS)
    got, want = run(params, x, mask), run(params, x, mask, zero)
    chex.assert_trees_all_equal(got, want)

  def test_two_halves_equal_the_whole(self):
    params, x, carry, _ = case(*self.name)
    run, mask = applied(*self.name), mask_of(LENGTHS)
    want_carry, want = run(params, x, mask, carry)
    half, first = run(params, x[:, :3], mask[:, :3], carry)
    got_carry, second = run(params, x[:, 3:], mask[:, 3:], half)
    got = np.concatenate([first, second], axis=1)
    assert_close(
      (got_carry, got * mask[:, :, None]),
      (want_carry, want * mask[:, :, None]),
      roundings(2, False),
    )


def hidden_rate(rate):
  return noise.Rates(hidden=jnp.float32(rate))


def pass_through(name):
  """Weights that hand each layer's first inputs on, and no recurrence."""
  params = jax.tree.map(np.zeros_like, case(*name)[0])
  for layer in params['params'].values():
    kernel = layer['kernel']
    kernel[:] = np.eye(*kernel.shape)
  return params


class DropoutTest(parameterized.TestCase):
  def test_acts_between_layers_alone(self):
    name = 'tanh', 2, False
    params, x, carry, _ = case(*name)
    keys = jax.random.split(jax.random.key(0), ROWS)
    (first, second), outputs = ({}, {}), {}
    for rate in (0.0, 0.5):
      (first[rate], second[rate]), outputs[rate] = applied(*name)(
        params, x, mask_of(LENGTHS), carry, hidden_rate(rate), keys
      )
    # Neither the inputs of the first layer nor the outputs of the last.
    chex.assert_trees_all_equal(first[0.0], first[0.5])
    rows = np.arange(ROWS)
    np.testing.assert_array_equal(
      outputs[0.5][rows, LENGTHS - 1], second[0.5][0][0]
    )
    difference = np.abs(second[0.5][0][0] - second[0.0][0][0])
    self.assertTrue(np.all(np.max(difference, axis=1) > 0.01))
    without_keys = applied(*name)(
      params, x, mask_of(LENGTHS), carry, hidden_rate(0.5), None
    )
    chex.assert_trees_all_close(without_keys[1], outputs[0.0], rtol=8 * EPS)

  def test_drops_other_features_between_other_layers(self):
    name, rows = ('relu', 3, False), 83
    _, outputs = applied(*name)(
      pass_through(name),
      np.ones((rows, TIME, FEATURES), np.float32),
      np.ones((rows, TIME), bool),
      None,
      hidden_rate(0.5),
      jax.random.split(jax.random.key(0), rows),
    )
    survived = outputs != 0
    # Two independent masks let a quarter through; one mask twice, a half.
    error = 5 * np.sqrt(0.25 * 0.75 / survived.size)
    self.assertAlmostEqual(survived.mean(), 0.25, delta=error)
    self.assertTrue(np.any(survived != survived[:, :1]))

  def test_locked_drops_the_same_features_at_all_times(self):
    name = 'relu', 2, False
    _, outputs = applied(*name, locked=True)(
      pass_through(name),
      np.ones((ROWS, TIME, FEATURES), np.float32),
      np.ones((ROWS, TIME), bool),
      None,
      hidden_rate(0.5),
      jax.random.split(jax.random.key(0), ROWS),
    )
    np.testing.assert_array_equal(
      outputs, np.repeat(outputs[:, :1], TIME, axis=1)
    )
    self.assertGreater(len(np.unique(outputs[:, 0], axis=0)), 1)
    self.assertSetEqual(set(outputs.ravel().tolist()), {0.0, 2.0})

  @parameterized.parameters('scan', 'fused')
  def test_of_states_is_one_mask_for_all_times(self, backend):
    stack = make_stack('relu', 1, False, backend=backend)
    params = jax.tree.map(np.zeros_like, case('relu', 1, False)[0])
    cell = params['params']['layer_0']['cell']
    cell['recurrent_kernel'] = np.eye(HIDDEN, dtype=np.float32)
    # A state of ones that only its mask changes.
    _, outputs = stack.apply(
      params,
      np.zeros((ROWS, TIME, FEATURES), np.float32),
      np.ones((ROWS, TIME), bool),
      jax.tree.map(jnp.ones_like, stack.zero_carry(ROWS)),
      noise.Rates(recurrent=jnp.float32(0.5)),
      jax.random.split(jax.random.key(0), ROWS),
    )
    kept = outputs[:, :1] > 0
    want = np.where(kept, 2.0 ** np.arange(1, TIME + 1)[:, None], 0.0)
    np.testing.assert_array_equal(outputs, want)
    self.assertGreater(len(np.unique(kept, axis=0)), 1)
    self.assertBetween(np.mean(kept), 0.2, 0.8)


if __name__ == '__main__':
  absltest.main()
