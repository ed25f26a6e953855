"""An environment names its processor, and what two of them differ in."""

import pathlib
import subprocess
from unittest import mock

from absl.testing import absltest, parameterized

from rnnvae_jax.training import environment

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R)  Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: another
"""
VIRTUAL = """processor\t: 0
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu avx avx2 sha_ni
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd bf16 sve
CPU part\t: 0xd0c
"""
LSCPU = """Architecture:        aarch64
Model name:          Neoverse-V1
"""


BEFORE = {
  'commit': 'a',
  'device': 'cpu: AMD EPYC 7763',
  'instructions': ['avx2'],
  'cores': 1,
  'jax': '0.10.2',
  'torch': '2.13.0',
}


class ProcessorTest(parameterized.TestCase):
  def use(self, cpuinfo=None, **programs):
    """Pretends to be a machine with that /proc/cpuinfo and these programs."""
    folder = pathlib.Path(self.create_tempdir().full_path)
    if cpuinfo is not None:
      (folder / 'cpuinfo').write_text(cpuinfo)
    output = lambda command, *_: programs.get(command.split()[0], '')
    self.enter_context(mock.patch.object(environment, '_output', output))
    path = folder / 'cpuinfo'
    self.enter_context(mock.patch.object(environment, '_CPUINFO', path))

  @parameterized.parameters(
    (
      INTEL,
      'x86_64',
      'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz',
      ['avx2', 'avx512f', 'avx512_bf16', 'amx_tile', 'amx_bf16'],
    ),
    (VIRTUAL, 'x86_64', 'AMD EPYC (family 25, model 1)', ['avx2']),
    (ARM, 'aarch64', 'Neoverse-V1', ['asimd', 'bf16', 'sve']),
  )
  def test_is_read_from_linux(self, cpuinfo, machine, model, sets):
    self.use(cpuinfo, lscpu=LSCPU)
    with mock.patch.object(environment.platform, 'machine', lambda: machine):
      self.assertEqual(environment.cpu_model(), model)
      self.assertEqual(environment.instructions(), sets)

  def test_is_read_from_macos(self):
    self.use(sysctl='Apple M2 Pro')
    with mock.patch.object(environment.platform, 'machine', lambda: 'arm64'):
      self.assertEqual(environment.cpu_model(), 'Apple M2 Pro')
      self.assertEqual(environment.instructions(), ['asimd'])

  def test_of_an_unknown_system_is_its_architecture(self):
    self.use()
    with (
      mock.patch.object(environment.platform, 'processor', lambda: ''),
      mock.patch.object(environment.platform, 'machine', lambda: 'riscv64'),
    ):
      self.assertEqual(environment.cpu_model(), 'riscv64')
      self.assertEqual(environment.instructions(), [])

  def test_stands_in_the_device_of_a_cpu(self):
    self.use(INTEL)
    described = environment.describe()
    self.assertStartsWith(described['device'], 'cpu: Intel(R) Xeon(R)')
    self.assertIn('amx_tile', described['instructions'])
    self.assertGreaterEqual(described['cores'], 1)

  def test_of_a_gpu_is_the_device_kind(self):
    device = mock.Mock(platform='gpu', device_kind='NVIDIA H100 80GB HBM3')
    with mock.patch.object(environment.jax, 'devices', lambda: [device]):
      described = environment.describe()
    self.assertEqual(described['device'], 'gpu: NVIDIA H100 80GB HBM3')
    self.assertNotIn('instructions', described)


class OutputTest(absltest.TestCase):
  def test_a_program_that_is_missing_prints_nothing(self):
    self.assertEqual(environment._output('no-such-program --version'), '')

  def test_the_commit_is_that_of_the_package(self):
    folder = pathlib.Path(environment.__file__).parent
    head = subprocess.run(
      ['git', 'rev-parse', 'HEAD'],
      cwd=folder,
      capture_output=True,
      text=True,
      check=False,
    )
    if head.returncode:
      self.skipTest('not in a repository')
    commit = environment.describe()['commit']
    self.assertEqual(commit.removesuffix('-dirty'), head.stdout.strip())


class DifferencesTest(parameterized.TestCase):
  @parameterized.parameters(
    ({}, []),
    # Neither decides a bit of a training, or is known to.
    ({'commit': 'b', 'torch': None}, []),
    ({'cores': 2}, ['cores: 1 before, 2 now']),
    (
      {'device': 'gpu: H100', 'jax': '0.12.0'},
      [
        'device: cpu: AMD EPYC 7763 before, gpu: H100 now',
        'jax: 0.10.2 before, 0.12.0 now',
      ],
    ),
    (
      {'instructions': ['avx2', 'avx512f']},
      ['instructions: avx2 before, avx2 avx512f now'],
    ),
    ({'instructions': []}, ['instructions: avx2 before, none now']),
  )
  def test_are_named(self, change, expected):
    found = environment.differences(BEFORE, BEFORE | change)
    self.assertEqual(found, expected)

  @parameterized.parameters('cpu', 'cpu: cpu')
  def test_what_was_not_recorded_is_none(self, device):
    old = {'device': device, 'cores': 1}
    self.assertEmpty(environment.differences(old, BEFORE))
    gpu = {'device': 'gpu: H100', 'cores': 1}
    self.assertEqual(
      environment.differences(old, gpu), ['device: cpu before, gpu now']
    )


if __name__ == '__main__':
  absltest.main()
