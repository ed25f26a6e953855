"""Which backend runs which cell where, and what is said when none does."""

from absl.testing import absltest, parameterized

from rnnvae_jax.ops import backends, rules

PLAIN = rules.Cell('lstm')
PEEPHOLES = rules.Cell('lstm', peepholes=True)
CLIPPED = rules.Cell('lstm', cell_clip=1.0)
GRU = rules.Cell('gru')


class ChooseTest(parameterized.TestCase):
  @parameterized.parameters(
    ('auto', GRU, 'float32', 'cpu', 'fused'),
    ('auto', PLAIN, 'float32', 'cpu', 'fused'),
    ('auto', PLAIN, 'float32', 'tpu', 'fused'),
    ('auto', PLAIN, 'float32', 'gpu', 'cudnn'),
    ('auto', PLAIN, 'tf32', 'gpu', 'cudnn'),
    ('auto', PLAIN, 'bfloat16', 'gpu', 'fused'),
    ('auto', PEEPHOLES, 'float32', 'gpu', 'fused'),
    ('auto', CLIPPED, 'float32', 'gpu', 'fused'),
    ('auto', GRU, 'float32', 'gpu', 'fused'),
    ('scan', CLIPPED, 'bfloat16', 'tpu', 'scan'),
    ('fused', PEEPHOLES, 'tf32', 'cpu', 'fused'),
    ('pallas', GRU, 'bfloat16', 'gpu', 'pallas'),
    ('cudnn', PLAIN, 'tf32', 'gpu', 'cudnn'),
  )
  def test_takes_what_fits(self, backend, cell, precision, platform, want):
    got = backends.choose(backend, cell, precision, platform)
    self.assertEqual(got, want)

  @parameterized.parameters(
    ('pallas', GRU, 'float32', 'cpu', 'its kernels need an NVIDIA GPU'),
    ('pallas', GRU, 'float32', 'tpu', 'its kernels need an NVIDIA GPU'),
    ('cudnn', PLAIN, 'float32', 'cpu', 'it needs an NVIDIA GPU'),
    ('cudnn', GRU, 'float32', 'gpu', 'LSTMs without peepholes and clipping'),
    ('cudnn', PEEPHOLES, 'tf32', 'gpu', 'without peepholes'),
    ('cudnn', CLIPPED, 'tf32', 'gpu', 'clipping only'),
    ('cudnn', PLAIN, 'bfloat16', 'gpu', 'it computes in float32 or tf32 only'),
  )
  def test_says_why_one_does_not_fit_and_what_would(
    self, backend, cell, precision, platform, why
  ):
    with self.assertRaises(ValueError) as raised:
      backends.choose(backend, cell, precision, platform)
    message = str(raised.exception)
    self.assertStartsWith(
      message, f'config.model.backend = {backend!r} does not fit: '
    )
    self.assertIn(why, message)
    _, legal = message.removesuffix('.').split('Legal here: ')
    for other in legal.split(', '):
      backends.choose(other, cell, precision, platform)
    self.assertContainsSubset(('auto', 'scan', 'fused'), legal.split(', '))
    self.assertNotIn(backend, legal.split(', '))

  def test_what_cannot_drop_states_is_not_taken_where_they_are_dropped(self):
    # Or dropout.recurrent would be without effect.
    choose = lambda backend, cell: backends.choose(
      backend, cell, 'float32', 'gpu', drops_states=True
    )
    self.assertEqual(choose('auto', PLAIN), 'fused')
    self.assertEqual(choose('scan', PLAIN), 'scan')
    for backend, cell in (('cudnn', PLAIN), ('pallas', GRU)):
      with self.assertRaisesRegex(ValueError, 'no config.dropout.recurrent'):
        choose(backend, cell)

  def test_offers_the_nearest_name(self):
    with self.assertRaisesRegex(ValueError, "Did you mean 'fused'") as raised:
      backends.choose('fuse', GRU, 'float32', 'cpu')
    for backend in backends.BACKENDS:
      self.assertIn(backend, str(raised.exception))


if __name__ == '__main__':
  absltest.main()
