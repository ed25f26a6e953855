"""What surrounds cuDNN's LSTM, with JAX's own reference in its place."""

from unittest import mock

from absl.testing import absltest, parameterized
import jax
from jax.experimental import rnn
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.models.cells import lstm
from rnnvae_jax.ops import recurrence, recurrence_cudnn

EPS = np.finfo(np.float32).eps
TIME, ROWS, FEATURES, HIDDEN = 7, 5, 3, 4
LENGTHS = np.array([7, 3, 0, 5, 1])
MASK = np.arange(TIME)[:, None] < LENGTHS


def reference(x, h, c, weights, lengths, *, precision, **options):
  """`rnn.lstm` for any platform; precision is what cuDNN makes of it."""
  del precision
  sizes = options['input_size'], options['hidden_size']
  unpacked = rnn.unpack_lstm_weights(weights, *sizes, 1, False)
  return rnn.lstm_ref(x, h, c, *unpacked, lengths, *sizes, 1, 0.0, False)


def case():
  """weights, x, state and what weighs the results."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: np.float32(rng.uniform(-1, 1, size=shape))
  weights = {
    'kernel': draw(FEATURES, 4 * HIDDEN),
    'recurrent_kernel': HIDDEN**-0.5 * draw(HIDDEN, 4 * HIDDEN),
    'bias': draw(4 * HIDDEN),
  }
  state, after = ((draw(ROWS, HIDDEN), draw(ROWS, HIDDEN)) for _ in range(2))
  x, outputs = draw(TIME, ROWS, FEATURES), draw(TIME, ROWS, HIDDEN)
  return (weights, x, state), (after, outputs)


def gradients(run, weigh):
  """(weights, x, state) -> their gradients, last state, outputs."""

  def value(weights, x, state):
    after, outputs = run(weights, x, state)
    results = after, outputs * MASK[:, :, None]
    terms = jax.tree.map(lambda w, r: jnp.sum(w * r), weigh, results)
    return sum(jax.tree.leaves(terms)), (results, outputs)

  return jax.grad(value, (0, 1, 2), has_aux=True)


class CudnnTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_values_and_gradients_are_those_of_the_loops(self, reverse):
    arguments, weigh = case()
    # Padding must not reach anything.
    arguments[1][~MASK] = 1e6
    cell, options = lstm.LSTM(HIDDEN).spec, recurrence.Options(reverse)
    fused = lambda weights, x, state: recurrence.run(
      cell, weights, x, MASK, state, options
    )
    cudnn = lambda weights, x, state: recurrence_cudnn.run(
      weights, x, MASK, state, reverse, 'float32'
    )
    with mock.patch.object(rnn, 'lstm', reference):
      got, (got_results, outputs) = jax.jit(gradients(cudnn, weigh))(*arguments)
    want, (want_results, _) = jax.jit(gradients(fused, weigh))(*arguments)
    self.assertTrue(np.all(np.isfinite(outputs)))
    # Through T steps and back, each a product and a dozen operations; the
    # weights' gradients sum over B T.
    roundings = 2 * TIME * (FEATURES + HIDDEN + 12) + ROWS * TIME

    def check(got, want):
      scale = max(1.0, np.max(np.abs(want)))
      error = np.max(np.abs(np.float64(got) - np.float64(want)))
      self.assertLess(error, roundings * EPS * scale)

    jax.tree.map(check, (got, got_results), (want, want_results))

  @parameterized.parameters(('float32', False), ('tf32', True))
  def test_cudnn_may_round_only_where_tf32_is_asked_for(self, precision, may):
    arguments, weigh = case()
    run = lambda weights, x, state: recurrence_cudnn.run(
      weights, x, MASK, state, True, precision
    )
    with mock.patch.object(
      rnn.gpu_rnn,  # What it asks of a GPU.
      'compute_rnn_workspace_reserve_space_sizes',
      lambda *sizes: (1, 1),
      create=True,
    ):
      program = str(jax.make_jaxpr(gradients(run, weigh))(*arguments))
    self.assertEqual(program.count('= rnn_fwd['), 1)
    self.assertEqual(program.count('= rnn_bwd['), 1)
    self.assertEqual(program.count(f'cudnn_allow_tf32={may}'), 2)

  def test_refuses_what_cudnn_does_not_compute(self):
    (weights, x, state), _ = case()
    with self.assertRaisesRegex(ValueError, "'bfloat16'.*float32, tf32"):
      recurrence_cudnn.run(weights, x, MASK, state, False, 'bfloat16')


if __name__ == '__main__':
  absltest.main()
