"""What is counted in programs that are compiled for a GPU, and how many."""

import json
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized
import pytest

from benchmarks import gpu_aot

# The host: a graph, then a loop of three passes with a graph, a copy, a branch
# and a loop of unknown length in each pass.
SEQUENCE = """\
000: kCommandBuffer [source | next=003 (1)]
    001: kCopy         [source | sink] kCopy
    002: kCustomKernel [source | sink] wrapped_transpose grid: [192, 1, 1]
003: kWhile         [prev=000 (1)  | sink]
condition:
    004: kCustomKernel [source | sink] loop_compare_fusion grid: [1, 1, 1]
  body:
    000: kCommandBuffer [source | next=009 (1)]
        005: kWhile        [prev=025 (1)  | next=033 (1) ]
condition:
            006: kCustomKernel [source | sink] loop_compare_fusion
          body:
            007: kCustomKernel [source | sink] gemm_fusion_dot_37
            008: kCustomKernel [source | sink] loop_select_fusion
    009: kAsyncStart    [source | sink] stream=computation_stream[0]
        011: kDynamicSliceFusion [source | sink] params=1, results=1
            010: kCopy [source | sink] kCopy
    012: kAsyncDone     [source | sink] async_id=9
    013: kConditional   [prev=000 (1) | next=000 (1)]
      branch_0:
        014: kCustomKernel [source | sink] loop_a
      branch_1:
        000: kCommandBuffer [source | sink]
            015: kCustomKernel [source | sink] loop_b
            016: kCustomKernel [source | sink] loop_c
    017: kWhile         [source | sink]
condition:
        018: kCustomKernel [source | sink] wrapped_not
      body:
        019: kCustomKernel [source | sink] loop_exponential_fusion
"""
METADATA = """\
thunk_metadata {
  thunk_info {
    profile_annotation: "while.7"
    thunk_id: 3
  }
  thunk_kind: "kWhile"
}
thunk_metadata {
  thunk_info {
    profile_annotation: "while.5"
    thunk_id: 5
  }
}
thunk_metadata {
  thunk_info {
    profile_annotation: "while.6"
    thunk_id: 17
  }
}
"""
HLO = """\
  %while.5 = (s32[]) while(%t), body=%b, "known_trip_count":{"n":"4"}}
  ROOT %while.7 = (s32[]) while(%t), body=%b, "known_trip_count":{"n":"3"}}
  %while.6 = (pred[]) while(%tuple.141), condition=%c, body=%b
  %scatter.1 = f32[9,3]{1,0} scatter(%a, %b, %c), unique_indices=true
  ROOT %scatter.2 = f32[9,3]{1,0} scatter(%a, %b, %c), index_vector_dim=1
"""
MESSAGES = """\
I1127 subprocess_compilation.cc:313] ptxas /tmp/a -o /tmp/b -v
ptxas info    : Compiling entry function '_forward_kernel' for 'sm_90a'
ptxas info    : Function properties for _forward_kernel
    64 bytes stack frame, 32 bytes spill stores, 40 bytes spill loads
ptxas info    : Used 102 registers, used 1 barriers
ptxas info    : Compiling entry function 'loop_add_fusion' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 200 registers, used 1 barriers
ptxas info    : Compiling entry function '_forward_kernel' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 99 registers, used 1 barriers
"""


class CountTest(absltest.TestCase):
  def test_counts_each_pass_of_a_loop_and_the_longest_branch(self):
    trips = gpu_aot.trip_counts(HLO, METADATA)
    self.assertEqual(trips, {3: 3, 5: 4})
    counts = gpu_aot.count(gpu_aot.parse(SEQUENCE), trips)
    # A pass: 4 of two kernels, 5 conditions, the branch of two, a condition.
    a_pass = 4 * 2 + 5 + 2 + 1
    self.assertEqual(
      counts,
      {
        'kernels': 1 + 4 + 3 * a_pass,
        'graph_launches': 1 + 3 * 2,
        # Conditions of the outer loop and of the unknown one; the copy.
        'launches': 4 + 3 * (1 + 1),
        'host_waits': 3 * 2,
        'copies': 1 + 3,
      },
    )

  def test_within_a_graph_nothing_waits_for_the_host(self):
    graph = '000: kCommandBuffer [source | sink]\n' + '\n'.join(
      '    ' + line for line in SEQUENCE.splitlines()
    )
    counts = gpu_aot.count(
      gpu_aot.parse(graph), gpu_aot.trip_counts(HLO, METADATA)
    )
    for name, value in (('graph_launches', 1), ('launches', 0)):
      self.assertEqual(counts[name], value)
    self.assertEqual(counts['host_waits'], 0)

  def test_finds_scatters_that_may_write_a_place_twice(self):
    self.assertEqual(gpu_aot.atomic_scatters(HLO), 1)

  def test_reads_the_assembler_s_report(self):
    self.assertEqual(
      gpu_aot.resources(MESSAGES),
      {'registers': {'_forward_kernel': 102}, 'spilled_bytes': 72},
    )

  def test_names_what_has_grown(self):
    before = {'a': {'kernels': 7, 'registers': {'f': 9, 'g': 8}}, 'b': {}}
    now = {'a': {'kernels': 6, 'registers': {'f': 10, 'h': 99}}, 'c': {}}
    self.assertEqual(
      gpu_aot.regressions(before, now), ['a: registers f 9 -> 10']
    )


class CompileTest(parameterized.TestCase):
  @parameterized.parameters('no_such_package.plugin', 'json.no_such_plugin')
  def test_says_what_is_missing(self, plugin):
    with (
      mock.patch.object(gpu_aot, 'PLUGIN', plugin),
      self.assertRaisesRegex(SystemExit, r'needs jax\[cuda13\]'),
    ):
      gpu_aot.main([])

  @parameterized.parameters('vae_step_float32', 'gru_256_bfloat16_cluster')
  @pytest.mark.slow
  def test_does_no_more_than_the_baseline(self, name):
    if not gpu_aot.is_installed():
      self.skipTest('Compiling for a GPU needs jax[cuda13].')
    baseline = gpu_aot.load().get(gpu_aot.key())
    if baseline is None:
      self.skipTest(f'There is no baseline of {gpu_aot.key()}.')
    done = subprocess.run(
      [sys.executable, '-m', 'benchmarks.gpu_aot', f'--programs={name}'],
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    counts = json.loads(done.stdout.splitlines()[0].removeprefix(name))
    self.assertEqual(counts['host_waits'], 0)


if __name__ == '__main__':
  absltest.main()
