"""Which backend runs which cell where, and what is said when none does."""

from unittest import mock

from absl.testing import absltest, parameterized
import jax

from rnnvae_jax.models.cells import gru, lstm
from rnnvae_jax.ops import backends, rules
from rnnvae_jax.ops.cluster import build
from rnnvae_jax.ops.native import library

PLAIN = lstm.LSTM(4).spec
PEEPHOLES = lstm.LSTM(4, peepholes=True).spec
CLIPPED = lstm.LSTM(4, cell_clip=1.0).spec
GRU = gru.GRU(4).spec
GRU_BEFORE = gru.GRU(4, reset_after=False).spec
RULELESS = rules.Spec('minimal')


class ChooseTest(parameterized.TestCase):
  @parameterized.parameters(
    ('auto', GRU, 'float32', 'cpu', 'fused'),
    ('auto', PLAIN, 'float32', 'cpu', 'fused'),
    ('auto', PLAIN, 'float32', 'tpu', 'fused'),
    ('auto', PLAIN, 'float32', 'gpu', 'fused'),
    ('auto', PLAIN, 'tf32', 'gpu', 'fused'),
    ('auto', PLAIN, 'bfloat16', 'gpu', 'fused'),
    ('auto', PEEPHOLES, 'float32', 'gpu', 'fused'),
    ('auto', CLIPPED, 'float32', 'gpu', 'fused'),
    ('auto', GRU, 'float32', 'gpu', 'fused'),
    ('scan', CLIPPED, 'bfloat16', 'tpu', 'scan'),
    ('fused', PEEPHOLES, 'tf32', 'cpu', 'fused'),
    ('auto', RULELESS, 'float32', 'cpu', 'scan'),
    ('auto', RULELESS, 'bfloat16', 'gpu', 'scan'),
    ('scan', RULELESS, 'float32', 'tpu', 'scan'),
  )
  def test_takes_what_fits(self, backend, cell, precision, platform, want):
    got = backends.choose(backend, cell, precision, platform)
    self.assertEqual(got, want)

  @parameterized.parameters(
    ('native', GRU, 'float32', 'gpu', 'it needs a CPU'),
    ('native', PEEPHOLES, 'float32', 'cpu', 'it runs LSTMs without peepholes'),
    ('native', CLIPPED, 'float32', 'cpu', 'it runs LSTMs without peepholes'),
    ('native', GRU_BEFORE, 'float32', 'cpu', 'GRUs with reset_after'),
    ('native', GRU, 'bfloat16', 'cpu', 'it computes in float32'),
    ('cluster', GRU, 'bfloat16', 'cpu', 'its kernels need an NVIDIA GPU'),
    ('cluster', PLAIN, 'float32', 'gpu', 'its operands are bfloat16 or tf32'),
    ('cluster', PEEPHOLES, 'tf32', 'gpu', 'without peepholes'),
    ('cluster', RULELESS, 'tf32', 'gpu', 'it runs GRUs that reset after'),
    ('fused', RULELESS, 'float32', 'cpu', 'minimal has no hand-derived rule'),
  )
  def test_says_why_one_does_not_fit_and_what_would(
    self, backend, cell, precision, platform, why
  ):
    with self.assertRaises(ValueError) as raised:
      backends.choose(backend, cell, precision, platform)
    message = str(raised.exception)
    self.assertStartsWith(message, f'backend = {backend!r} does not fit: ')
    self.assertIn(why, message)
    _, legal = message.removesuffix('.').split('Legal here: ')
    for other in set(legal.split(', ')) - {'native'}:  # Needs a compiler.
      backends.choose(other, cell, precision, platform)
    always = {'auto', 'scan'} if cell is RULELESS else {'auto', 'scan', 'fused'}
    self.assertContainsSubset(always, legal.split(', '))
    self.assertNotIn(backend, legal.split(', '))

  def test_what_cannot_drop_states_is_not_taken_where_they_are_dropped(self):
    # Or dropout.recurrent would be without effect.
    choose = lambda backend, cell: backends.choose(
      backend, cell, 'float32', 'gpu', drops_states=True
    )
    self.assertEqual(choose('auto', PLAIN), 'fused')
    self.assertEqual(choose('scan', PLAIN), 'scan')
    for backend, cell in (('cluster', GRU),):
      with self.assertRaisesRegex(ValueError, 'not support dropout on states'):
        choose(backend, cell)

  @parameterized.parameters(
    (GRU, 'float32', 'cpu', 128, True, 'native'),
    (PLAIN, 'tf32', 'cpu', 1024, True, 'native'),
    (GRU, 'float32', 'cpu', 127, True, 'fused'),
    (GRU, 'float32', 'cpu', 128, False, 'fused'),  # An unmeasured CPU.
    (GRU, 'bfloat16', 'cpu', 128, True, 'fused'),
    (GRU, 'float32', 'gpu', 128, True, 'fused'),
    (PEEPHOLES, 'float32', 'cpu', 128, True, 'fused'),
    (RULELESS, 'float32', 'cpu', 128, True, 'scan'),
    (GRU, 'bfloat16', 'gpu', 256, False, 'cluster'),
    (PLAIN, 'tf32', 'gpu', 256, False, 'cluster'),
    (GRU, 'bfloat16', 'gpu', 1024, False, 'fused'),
  )
  def test_auto_takes_handwritten_layers_where_they_were_measured_faster(
    self, cell, precision, platform, size, is_fastest, want
  ):
    hopper = mock.Mock(compute_capability='9.0')
    with (
      mock.patch.object(library, 'obstacle', lambda cell: ''),
      mock.patch.object(library, 'is_fastest', lambda: is_fastest),
      mock.patch.object(build, 'obstacle', lambda: ''),
      mock.patch.object(jax, 'devices', lambda: [hopper]),
    ):
      got = backends.choose('auto', cell, precision, platform, size=size)
    self.assertEqual(got, want)

  def test_auto_goes_on_without_a_library_that_cannot_be_built(self):
    with (
      mock.patch.object(library, 'obstacle', lambda cell: 'no compiler'),
      mock.patch.object(library, 'is_fastest', lambda: True),
    ):
      got = backends.choose('auto', GRU, 'float32', 'cpu', size=128)
    self.assertEqual(got, 'fused')

  def test_of_a_library_that_cannot_be_built_it_says_why(self):
    with (
      mock.patch.object(library, 'obstacle', lambda cell: f'no {cell}'),
      self.assertRaisesRegex(ValueError, "'native' does not fit: no gru"),
    ):
      backends.choose('native', GRU, 'float32', 'cpu')

  def test_says_what_runs_and_that_a_rule_is_missing(self):
    self.assertEqual(
      backends.reason('scan', RULELESS),
      'cell minimal has no hand-derived rule: nn.scan',
    )
    for backend in set(backends.BACKENDS) - {'auto'}:
      sentence = backends.reason(backend, PLAIN)
      self.assertIn('lstm', sentence)
      self.assertNotIn('no hand-derived rule', sentence)

  def test_offers_the_nearest_name(self):
    with self.assertRaisesRegex(ValueError, "Did you mean 'fused'") as raised:
      backends.choose('fuse', GRU, 'float32', 'cpu')
    for backend in backends.BACKENDS:
      self.assertIn(backend, str(raised.exception))


if __name__ == '__main__':
  absltest.main()
