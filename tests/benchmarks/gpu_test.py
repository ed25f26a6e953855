"""What the scripts of a run on a GPU add up and keep."""

import contextlib
import importlib.util
import io
import json
import pathlib
import types
from unittest import mock

from absl.testing import absltest, flagsaver

from benchmarks import harness
from benchmarks.gpu import collect, trace


class CollectTest(absltest.TestCase):
  def test_keeps_each_step_with_the_figures_that_it_wrote(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    file = folder / 'all.json'
    (folder / 'b.json').write_text('{"ours": 3}')
    collect.collect(folder, file, 'a', 1, 7)
    collect.collect(folder, file, 'b', 0, 9)
    want = {
      'a': {'status': 1, 'seconds': 7},
      'b': {'status': 0, 'seconds': 9, 'figures': {'ours': 3}},
    }
    self.assertEqual(json.loads(file.read_text()), want)


def event(name, start, duration):
  return types.SimpleNamespace(name=name, start_ns=start, duration_ns=duration)


class KernelsTest(absltest.TestCase):
  def test_are_added_up_by_name_over_the_streams_of_a_gpu(self):
    line = lambda name, *events: types.SimpleNamespace(name=name, events=events)
    plane = lambda name, *lines: types.SimpleNamespace(name=name, lines=lines)
    planes = [
      plane('/host:CPU', line('Stream', event('x', 0, 9_999))),
      plane(
        '/device:GPU:0',
        line('Stream #1', event('a', 5_000, 100), event('b', 6_000, 300)),
        line('Stream #2', event('a', 8_000, 1_000)),
        line('Steps', event('1', 0, 20_000)),
      ),
    ]
    got = trace.kernels(planes, updates=2)
    self.assertEqual(got['kernels'], 1.5)
    self.assertAlmostEqual(got['busy_us'], 1.4 / 2)
    self.assertAlmostEqual(got['span_us'], (9.0 - 5.0) / 2)
    self.assertEqual(list(got['longest']), ['a', 'b'])
    self.assertAlmostEqual(got['longest']['a']['us'], 1.1 / 2)
    self.assertEqual(got['longest']['a']['times'], 1.0)

  def test_without_a_gpu_are_said_to_be_missing(self):
    self.assertIsNone(trace.kernels([], updates=2)['kernels'])


MAKERS = {'torch': lambda: 'made', 'flax_rnn': lambda: 'made'}


class PeersTest(absltest.TestCase):
  def test_are_those_that_are_asked_for(self):
    for chosen, want in (
      (['all'], ['torch', 'flax_rnn']),
      (['flax_rnn'], ['flax_rnn']),
      ([], []),
    ):
      with flagsaver.flagsaver(peers=chosen):
        self.assertEqual(list(harness.peers(MAKERS)), want)

  def test_without_pytorch_are_left_out_and_named(self):
    printed = io.StringIO()
    with (
      mock.patch.object(importlib.util, 'find_spec', lambda name: None),
      contextlib.redirect_stdout(printed),
    ):
      self.assertEqual(list(harness.peers(MAKERS)), ['flax_rnn'])
    self.assertIn('PyTorch is not installed', printed.getvalue())
    self.assertIn('torch', printed.getvalue())


if __name__ == '__main__':
  absltest.main()
