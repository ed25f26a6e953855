"""Cells and stacks against the published equations, in NumPy and float64."""

import functools
import importlib.util
import itertools
import pathlib

from absl.testing import absltest, parameterized
import jax
import numpy as np
import pytest

from rnnvae_jax.models import recurrent
from rnnvae_jax.models.cells import elman, gru, lstm, mlstm

EPS = np.finfo(np.float32).eps
LAYERS, HIDDEN, ROWS, TIME, FEATURES = 2, 3, 4, 5, 6
LENGTHS = (5, 0, 3, 1)
CLIP = 0.4


def load_toy():
  """The cell of `base_test`, which is no part of the package."""
  path = pathlib.Path(__file__).parent / 'toy' / 'minimal.py'
  spec = importlib.util.spec_from_file_location('minimal', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def elman_equations(activation, p, carry, gates):
  return (activation(gates + carry[0] @ p['recurrent_kernel']),)


def gru_after(p, carry, gates):
  (h,), x = carry, np.split(gates, 3, axis=1)
  u = np.split(h @ p['recurrent_kernel'], 3, axis=1)
  r, z = sigmoid(x[0] + u[0]), sigmoid(x[1] + u[1])
  n = np.tanh(x[2] + r * (u[2] + p['recurrent_bias']))
  return ((1 - z) * n + z * h,)


def gru_before(p, carry, gates):
  (h,), x = carry, np.split(gates, 3, axis=1)
  u_r, u_z, u_n = np.split(p['recurrent_kernel'], 3, axis=1)
  r, z = sigmoid(x[0] + h @ u_r), sigmoid(x[1] + h @ u_z)
  n = np.tanh(x[2] + (r * h) @ u_n)
  return ((1 - z) * n + z * h,)


def lstm_equations(clip, p, carry, gates):
  (h, c), x = carry, np.split(gates, 4, axis=1)
  u = np.split(h @ p['recurrent_kernel'], 4, axis=1)
  p_i, p_f, p_o = p.get('peepholes', np.zeros(3))
  i, f = sigmoid(x[0] + u[0] + p_i * c), sigmoid(x[1] + u[1] + p_f * c)
  c = np.clip(f * c + i * np.tanh(x[2] + u[2]), -clip, clip)
  o = sigmoid(x[3] + u[3] + p_o * c)
  return o * np.tanh(c), c


def mlstm_equations(clip, p, carry, gates):
  size = carry[0].shape[1]
  kernel = p['recurrent_kernel']
  m = gates[:, :size] * (carry[0] @ kernel[:, :size])
  rest = p | {'recurrent_kernel': kernel[:, size:]}
  return lstm_equations(clip, rest, (m, carry[1]), gates[:, size:])


def minimal_equations(p, carry, gates):
  (h,), x = carry, np.split(gates, 2, axis=1)
  u_z, u_n = np.split(p['recurrent_kernel'], 2, axis=1)
  z = sigmoid(x[0] + h @ u_z)
  n = np.tanh(x[1] + (z * h) @ u_n)
  return ((1 - z) * h + z * n,)


# name: (class, options, the equations)
CELLS = {
  'elman_tanh': (elman.Elman, {}, functools.partial(elman_equations, np.tanh)),
  'elman_relu': (
    elman.Elman,
    {'activation': 'relu'},
    functools.partial(elman_equations, lambda x: np.maximum(x, 0)),
  ),
  'elman_sigmoid': (
    elman.Elman,
    {'activation': 'sigmoid'},
    functools.partial(elman_equations, sigmoid),
  ),
  'gru_after': (gru.GRU, {}, gru_after),
  'gru_before': (gru.GRU, {'reset_after': False}, gru_before),
  'lstm': (lstm.LSTM, {}, functools.partial(lstm_equations, np.inf)),
  'lstm_peepholes': (
    lstm.LSTM,
    {'peepholes': True},
    functools.partial(lstm_equations, np.inf),
  ),
  'lstm_clipped_peepholes': (
    lstm.LSTM,
    {'peepholes': True, 'cell_clip': CLIP},
    functools.partial(lstm_equations, CLIP),
  ),
  'mlstm': (
    mlstm.MultiplicativeLSTM,
    {},
    functools.partial(mlstm_equations, np.inf),
  ),
  'mlstm_clipped_peepholes': (
    mlstm.MultiplicativeLSTM,
    {'peepholes': True, 'cell_clip': CLIP},
    functools.partial(mlstm_equations, CLIP),
  ),
  'minimal': (load_toy().Minimal, {}, minimal_equations),
}


def random_like(tree, seed=0):
  """Numbers of the spread of trained weights, none of them zero."""
  rng = np.random.default_rng(seed)
  draw = lambda leaf: np.float32(rng.uniform(-1, 1, size=leaf.shape))
  return jax.tree.map(draw, tree)


def numerical_gradient(fn, tree, step=1e-6):
  """Central differences of a float64 function, one number at a time.

  The error is near step**2, of the third derivative, plus 1e-16 / step.
  """
  leaves, structure = jax.tree.flatten(tree)
  leaves = [np.float64(leaf) for leaf in leaves]
  grads = []
  for leaf in leaves:
    grad = np.zeros_like(leaf)
    for i in np.ndindex(leaf.shape):
      here, sides = leaf[i], []
      for side in (step, -step):
        leaf[i] = here + side
        sides.append(fn(jax.tree.unflatten(structure, leaves)))
      leaf[i] = here
      grad[i] = (sides[0] - sides[1]) / (2 * step)
    grads.append(grad)
  return jax.tree.unflatten(structure, grads)


def worst_error(got, want):
  """The largest difference over all leaves, in units of EPS.

  Of each leaf relative to its largest element, or to 1, which is the size of
  the states and cotangents that it is computed from.
  """
  errors = jax.tree.map(
    lambda g, w: np.max(np.abs(g - w)) / max(1.0, np.max(np.abs(w))), got, want
  )
  return max(jax.tree.leaves(errors)) / EPS


class CellTest(parameterized.TestCase):
  @parameterized.parameters(*CELLS)
  def test_one_step_and_its_gradient_match_the_equations(self, name):
    make, options, equations = CELLS[name]
    cell = make(HIDDEN, **options)
    carry = (np.empty((ROWS, HIDDEN)),) * make.num_states
    gates = np.empty((ROWS, make.num_gates * HIDDEN))
    params = jax.eval_shape(cell.init, jax.random.key(0), carry, gates)
    args = random_like((params['params'], carry, gates))
    weights = random_like(carry, seed=1)

    def value(args, step):
      after = step(*args)
      return sum((w * a).sum() for w, a in zip(weights, after, strict=True))

    apply = lambda params, *rest: cell.apply({'params': params}, *rest)
    grads = jax.jit(jax.grad(functools.partial(value, step=apply)))(args)
    got = jax.jit(apply)(*args), grads
    want = (
      equations(*jax.tree.map(np.float64, args)),
      numerical_gradient(functools.partial(value, step=equations), args),
    )
    # A product over H, a dozen operations, back again, and a sum over B.
    roundings = 2 * (HIDDEN + 12) + ROWS
    self.assertLessEqual(worst_error(got, want), roundings)

  def test_the_clip_of_these_tests_cuts_some_cells_and_not_others(self):
    shapes = (
      {
        'peepholes': np.empty((3, HIDDEN)),
        'recurrent_kernel': np.empty((HIDDEN, 4 * HIDDEN)),
      },
      (np.empty((ROWS, HIDDEN)),) * 2,
      np.empty((ROWS, 4 * HIDDEN)),
    )
    args = jax.tree.map(np.float64, random_like(shapes))
    is_cut = lstm_equations(CLIP, *args)[1] != lstm_equations(np.inf, *args)[1]
    self.assertTrue(np.any(is_cut))
    self.assertFalse(np.all(is_cut))

  @parameterized.parameters(elman.Elman, gru.GRU, lstm.LSTM)
  def test_recurrent_kernels_begin_orthogonal_gate_by_gate(self, make):
    cell = make(HIDDEN)
    carry = (np.zeros((ROWS, HIDDEN)),) * make.num_states
    gates = np.zeros((ROWS, make.num_gates * HIDDEN))
    params = jax.jit(cell.init)(jax.random.key(0), carry, gates)['params']
    kernel = np.asarray(params.pop('recurrent_kernel'))
    blocks = np.split(kernel, make.num_gates, axis=1)
    for block in blocks:
      np.testing.assert_allclose(
        block @ block.T, np.eye(HIDDEN), rtol=0, atol=8 * HIDDEN * EPS
      )
    self.assertLen({block.tobytes() for block in blocks}, make.num_gates)
    # All else begins at zero.
    self.assertFalse(any(np.any(leaf) for leaf in jax.tree.leaves(params)))


def loop(equations, params, x, carry):
  """The stack, one sentence and one token at a time: sum of weighed results."""
  x, after = x.copy(), []
  for number, ((before,),) in enumerate(zip(carry, strict=True)):
    layer = params[f'layer_{number}']
    outputs = np.zeros((ROWS, TIME, HIDDEN))
    states = [state.copy() for state in before]
    for row, length in enumerate(LENGTHS):
      for time in range(length):
        gates = x[row, time] @ layer['kernel'] + layer['bias']
        old = tuple(state[row : row + 1] for state in states)
        new = equations(layer['cell'], old, gates[None])
        for state, value in zip(states, new, strict=True):
          state[row] = value[0]
        outputs[row, time] = new[0][0]
    after.append((tuple(states),))
    x = outputs
  return tuple(after), x


class StackTest(parameterized.TestCase):
  @parameterized.parameters(
    *itertools.product(
      ('elman_sigmoid', 'gru_before', 'lstm_clipped_peepholes'),
      ('scan', 'fused'),
    ),
    ('minimal', 'scan'),
  )
  @pytest.mark.slow
  def test_values_and_gradients_match_a_loop_over_tokens(self, name, backend):
    make, options, equations = CELLS[name]
    stack = recurrent.Recurrent(
      make(HIDDEN, **options),
      num_layers=LAYERS,
      backend=backend,
    )
    mask = np.arange(TIME)[None, :] < np.array(LENGTHS)[:, None]
    x = np.empty((ROWS, TIME, FEATURES))
    params = jax.eval_shape(stack.init, jax.random.key(0), x, mask)['params']
    carry = jax.eval_shape(lambda: stack.zero_carry(ROWS))
    args = params, x, carry = random_like((params, x, carry))
    outputs = np.empty((ROWS, TIME, HIDDEN))
    weights, of_outputs = random_like((carry, outputs), seed=1)
    of_outputs = of_outputs * mask[:, :, None]

    def value(after, outputs):
      terms = jax.tree.map(lambda w, a: (w * a).sum(), weights, after)
      return sum(jax.tree.leaves(terms)) + (of_outputs * outputs).sum()

    def ours(params, x, carry):
      after, outputs = stack.apply({'params': params}, x, mask, carry)
      return value(after, outputs), (after, outputs * mask[:, :, None])

    grad_fn = jax.jit(jax.grad(ours, argnums=(0, 1, 2), has_aux=True))
    grads, results = grad_fn(*args)
    want_results = loop(equations, *jax.tree.map(np.float64, args))
    want_grads = numerical_gradient(
      lambda args: value(*loop(equations, *args)), args
    )
    # Forward and back through all steps of all layers, each a product over
    # F and H and a dozen operations; the weights' gradients sum over B T.
    roundings = 2 * TIME * LAYERS * (FEATURES + HIDDEN + 12) + ROWS * TIME
    self.assertLessEqual(worst_error(results, want_results), roundings)
    self.assertLessEqual(worst_error(grads, want_grads), roundings)
    # The row without tokens has not moved.
    empty = LENGTHS.index(0)
    for after, before in zip(
      jax.tree.leaves(results[0]), jax.tree.leaves(carry), strict=True
    ):
      np.testing.assert_array_equal(after[empty], before[empty])


if __name__ == '__main__':
  absltest.main()
