"""The benchmarks run, and their contestants do the same work."""

import json
import math
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, flagsaver, parameterized
import jax
import numpy as np
import pytest
import torch

from benchmarks import (
  classification,
  decode,
  flax_peer,
  harness,
  limits,
  loss_memory,
  ours,
  random_field,
  recipe,
  recurrence,
  scaling,
  step_throughput,
  tagging,
  torch_best,
  torch_peers,
)
from rnnvae_jax.data import vocab

EPS = float(np.finfo(np.float32).eps)
# Scripts with flags that make them small, and who must be in their reports.
SCRIPTS = (
  (
    step_throughput,
    {'hidden_size': 7, 'batch_size': 3, 'torch_compile': False},
    {'torch_eager', 'torch_best', 'flax_rnn', 'flax_sorted'},
  ),
  (
    recurrence,
    {
      'cells': ['lstm'],
      'batch_sizes': ['2'],
      'lengths': ['3'],
      'hidden_sizes': ['5'],
    },
    {'torch', 'flax_rnn'},
  ),
  (
    loss_memory,
    {'tokens': 6, 'vocab_size': 11, 'features': 5},
    {'plain'},
  ),
  (
    decode,
    {'hidden_size': 7, 'sentences': 3, 'max_length': 4},
    {'torch_eager', 'torch_gumbel'},
  ),
  (
    classification,
    {'hidden_size': 5, 'texts': 6, 'batch_size': 3},
    {'torch_eager', 'torch_sorted', 'torch_padded'},
  ),
  (
    tagging,
    {
      'hidden_size': 5,
      'sentences_a_turn': 6,
      'batch_size': 3,
      'different_words': 20,
    },
    {'torch_eager', 'torch_sorted'},
  ),
  (random_field, {'cases': ['2x3x4']}, {'scan'}),
)


def setUpModule():
  # Threads that wait for each other crawl where tests share the cores.
  torch.set_num_threads(1)
  # Compilation is most of the time here, and no figure is kept.
  jax.config.update('jax_disable_most_optimizations', True)


def tearDownModule():
  jax.config.update('jax_disable_most_optimizations', False)


def write_text(folder: pathlib.Path, lengths: list[int]) -> str:
  """A corpus of sentences of so many words."""
  rng = np.random.default_rng(0)
  for split, count in (('train', 60), ('valid', 2), ('test', 2)):
    lines = [
      ' '.join(rng.choice(list('abcdefgh'), size=rng.choice(lengths)))
      for _ in range(count)
    ]
    (folder / f'{split}.txt').write_text('\n'.join(lines) + '\n')
  return str(folder)


def certain(weights: recipe.Weights) -> recipe.Weights:
  """The weights with a posterior so narrow that its noise is below rounding."""
  bias = weights['posterior_bias'].copy()
  bias[len(bias) // 2 :] = 2 * math.log(EPS)
  return {**weights, 'posterior_bias': bias}


def ending_with_bias(bias: float):
  """An edit of the weights: so much for the end mark."""

  def edit(weights):
    biases = weights['output_bias'].copy()
    biases[vocab.EOS] = bias
    return {**weights, 'output_bias': biases}

  return edit


class ScriptsTest(parameterized.TestCase):
  @parameterized.parameters(*SCRIPTS)
  @pytest.mark.slow
  def test_reports_ours_peers_ratios_and_environment(
    self, script, sizes, names
  ):
    folder = pathlib.Path(self.create_tempdir().full_path)
    if script is step_throughput:
      sizes = {**sizes, 'corpus': write_text(folder, lengths=[2])}
    path = folder / 'report.json'
    with (
      flagsaver.flagsaver(json=str(path), repetitions=2, **sizes),
      mock.patch.multiple(limits, CPU_SIZE=8, COPIED=16),
    ):
      script.main([])
    report = json.loads(path.read_text())
    self.assertEqual(set(report), {'ours', 'peers', 'ratio', 'environment'})
    self.assertNotEmpty(report['ours'])
    self.assertEqual(set(report['peers']), names)
    self.assertEqual(set(report['ratio']), names)
    for ratio in report['ratio'].values():
      self.assertGreater(ratio, 0)
    self.assertContainsSubset(
      {'command', 'commit', 'device', 'cores', 'python', 'jax', 'torch'},
      set(report['environment']),
    )


class TrainingTest(absltest.TestCase):
  """Losses of 20 steps by each contestant, in nats a sentence."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
    config = ours.make_config(
      write_text(folder, lengths=[2, 4]), hidden_size=7, batch_size=3
    )
    config.train.num_buckets = 1  # So that batches hold padding.
    trainer = ours.make_trainer(config, certain)
    blocks = [trainer.block(0)]
    best, _ = torch_best.make(trainer.weights, blocks, compiles=False)
    contestants = {
      'ours': trainer.run,
      'torch_eager': torch_peers.eager(trainer.weights, blocks),
      'torch_best': best,
      'flax_rnn': flax_peer.make(trainer.weights, blocks),
    }
    losses = {
      name: np.array(run(0), np.float64) for name, run in contestants.items()
    }
    cls.ours = losses.pop('ours')
    cls.peers = losses

  @pytest.mark.slow
  def test_equal_weights_have_the_same_loss(self):
    for name, losses in self.peers.items():
      # Some 15 x 12 + 3 x 16 terms, each rounded a few times.
      np.testing.assert_allclose(losses[0], self.ours[0], 8 * EPS, 0, name)

  @pytest.mark.slow
  def test_flax_trains_as_ours(self):
    # Rounding of a gradient near 0 becomes an update of Adam.
    np.testing.assert_allclose(self.peers['flax_rnn'], self.ours, 1e-5)

  @pytest.mark.slow
  def test_pytorch_trains_almost_as_ours(self):
    # Its GRU has a second bias for two gates, which learns as well: a change
    # of at most one learning rate a step in one of the two.
    for name in ('torch_eager', 'torch_best'):
      np.testing.assert_allclose(self.peers[name], self.ours, 1e-3, 0, name)
    self.assertLess(self.ours[-5:].mean(), self.ours[:5].mean() - 1e-3)


class DecodeTest(parameterized.TestCase):
  @parameterized.parameters((50.0, 1), (-50.0, 6))
  def test_all_stop_at_the_end_mark_or_the_limit(self, bias, length):
    config = ours.make_config(hidden_size=7)
    run, weights = ours.make_sampler(
      config, 13, count=5, max_length=6, edit=ending_with_bias(bias)
    )
    np.testing.assert_array_equal(run(0), [length] * 5)
    model = torch_peers.SentenceVae(weights)
    for draw in (decode.multinomial, decode.gumbel):
      drawn = decode.sampler(model, 5, 6, draw)(0)
      np.testing.assert_array_equal(drawn, [length] * 5)


class LossTest(absltest.TestCase):
  def test_both_have_the_same_value_and_gradients(self):
    arrays = loss_memory.make_arrays(tokens=7, vocab_size=19, features=5)
    (value, grads), (plain_value, plain_grads) = (
      jax.value_and_grad(loss, argnums=(0, 1, 2))(*arrays)
      for loss in loss_memory.CONTESTANTS.values()
    )
    np.testing.assert_allclose(value, plain_value, 8 * EPS)
    for grad, plain_grad in zip(grads, plain_grads, strict=True):
      # Sums of at most 19 terms, none of them above 4.
      np.testing.assert_allclose(grad, plain_grad, 0, 19 * 4 * EPS)


class RecipeTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    lengths = (2, 2, 5, 4)
    sentences = [10 * i + np.arange(n) + 4 for i, n in enumerate(lengths)]
    self.block = [sentences[:2], sentences[2:]]

  def test_shuffling_keeps_every_sentence(self):
    dealt = recipe.shuffle(self.block, np.random.default_rng(0))
    flat = lambda block: sorted(
      tuple(sentence) for batch in block for sentence in batch
    )
    self.assertEqual(flat(dealt), flat(self.block))
    self.assertEqual([len(batch) for batch in dealt], [2, 2])

  def test_padding_shifts_the_inputs_by_one(self):
    padded = recipe.pad([np.array([7, 8, 2])], multiple=4)
    np.testing.assert_array_equal(padded.inputs, [[vocab.BOS, 7, 8, 0]])
    np.testing.assert_array_equal(padded.targets, [[7, 8, 2, 0]])
    np.testing.assert_array_equal(padded.lengths, [3])

  def test_counts_operations_of_real_tokens(self):
    weights = {
      f'{name}_{kind}_kernel': np.zeros((rows, 6))
      for name in ('encoder', 'decoder')
      for kind, rows in (('input', 3), ('state', 2))
    }
    weights |= {
      'output_kernel': np.zeros((2, 11)),
      'posterior_kernel': np.zeros((2, 8)),
      'initial_kernel': np.zeros((4, 2)),
    }
    per_token = 2 * (18 + 12) + 22
    want = 6 * (13 * per_token + 4 * (16 + 8))
    self.assertEqual(recipe.flops(weights, self.block), want)


class ScalingTest(absltest.TestCase):
  @pytest.mark.slow
  def test_every_run_is_a_population_that_learns(self):
    run = scaling.make_run(B=2, T=3, H=4, V=9, N=2)
    before, after = run(0), [run(0) for _ in range(9)][-1]
    self.assertEqual(before.shape[0], 2)
    self.assertLess(np.mean(after), np.mean(before))

  def test_exponents_are_slopes_from_a_size_on(self):
    sizes = [1, 2, 4, 8, 16]
    milliseconds = [7.0, 7.0, 8.0, 32.0, 128.0]  # The square, from 4 on.
    exponents = scaling.exponents(sizes, milliseconds)
    self.assertEqual(list(exponents), ['1', '2', '4'])
    self.assertAlmostEqual(exponents['4'], 2.0)
    # Least squares in closed form.
    x, y = np.log2(sizes[1:]), np.log2(milliseconds[1:])
    slope = np.sum((x - x.mean()) * y) / np.sum((x - x.mean()) ** 2)
    self.assertAlmostEqual(exponents['2'], slope)


class HarnessTest(absltest.TestCase):
  def test_contestants_take_turns_after_a_pass_of_their_own(self):
    calls = []
    run = lambda name: lambda turn: calls.append(f'{name}{turn}')
    timings = harness.interleave({'a': run('a'), 'b': run('b')}, 2)
    self.assertEqual(calls, ['a0', 'a1', 'b0', 'b1', 'a0', 'b0', 'b1', 'a1'])
    self.assertLen(timings['a'].turns, 2)

  def test_a_ratio_is_the_median_over_the_turns(self):
    timing = lambda *seconds: harness.Timing(0.0, np.array(seconds))
    ratio = harness.ratio(timing(2.0, 9.0, 8.0), timing(1.0, 1.0, 2.0))
    self.assertEqual(ratio, 4.0)


if __name__ == '__main__':
  absltest.main()
