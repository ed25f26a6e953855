"""The compiler's options are those of the platform, and never an error."""

from unittest import mock

from absl.testing import absltest
import jax

from rnnvae_jax.training import compiler


class OptionsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    compiler.options.cache_clear()
    self.addCleanup(compiler.options.cache_clear)

  def test_a_cpu_and_a_tpu_have_none(self):
    self.assertIsNone(compiler.options('cpu'))
    self.assertIsNone(compiler.options('tpu'))

  def test_those_of_a_gpu_are_accepted_here(self):
    with self.assertNoLogs(level='WARNING'):
      options = compiler.options('gpu')
    self.assertEqual(dict(options), compiler._OPTIONS['gpu'])
    self.assertEqual(jax.jit(lambda: 1, compiler_options=options)(), 1)

  def test_what_this_version_does_not_know_is_left_out(self):
    known = {'xla_gpu_enable_command_buffer': 'FUSION'}
    for unknown in (
      {'xla_no_such_option': True},
      {'xla_gpu_exclude_nondeterministic_ops': 'perhaps'},
    ):
      compiler.options.cache_clear()
      with (
        mock.patch.dict(compiler._OPTIONS, gpu=unknown | known),
        self.assertLogs('absl', level='WARNING') as logs,
      ):
        self.assertEqual(compiler.options('gpu'), known)
      self.assertIn(next(iter(unknown)), str(logs.output))
    with mock.patch.dict(compiler._OPTIONS, gpu={'xla_no_such_option': True}):
      compiler.options.cache_clear()
      self.assertIsNone(compiler.options('gpu'))


if __name__ == '__main__':
  absltest.main()
