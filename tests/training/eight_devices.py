"""Tests that need eight devices; `devices_test.py` runs them.

What one device computes is the oracle for what several do. Losses may differ by
the rounding of sums over rows, once an update.
"""

import json
import os
import re
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import build as config_build
from rnnvae_jax.config import files
from rnnvae_jax.objectives import losses
from rnnvae_jax.ops import rows
from rnnvae_jax.training import (
  devices,
  loop,
  optimizers,
  population,
  preparation,
  step,
)
from rnnvae_jax.training import (
  hyperparameters as hyperparameters_lib,
)
from rnnvae_jax.training import state as state_lib

import tolerances

EPS = tolerances.EPS
B, H, Z = 24, 5, 3
COLLECTIVE = re.compile(
  r'^\s*\S+ = (.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|'
  r'collective-permute)(?:-start)?\(',
  re.MULTILINE,
)


def exchanges(program):
  """The types of what a compiled program's devices exchange."""
  return COLLECTIVE.findall(program.as_text())


def mesh_of(count, axis=rows.AXIS):
  return jax.sharding.Mesh(np.array(jax.devices()[:count]), (axis,))


class RowsTest(parameterized.TestCase):
  """Sums, their gradients and the rows' places, against NumPy's of all rows."""

  @parameterized.parameters(2, 4, 8)
  def test_the_gradient_of_a_batch_is_the_mean_of_the_shares(self, count):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(B, H)), rng.normal(size=H)

    def share(x, w):
      def loss(w):
        # A mean over all rows that each row's term reads, as batch
        # normalisation does, and a term without rows.
        y = x @ w
        center = rows.total(jnp.sum(y)) / B
        return rows.total(jnp.sum((y - center) ** 3)) + jnp.sum(w**2)

      value, grad = jax.value_and_grad(loss)(w)
      return value, rows.mean(grad)

    each = devices.ALL
    run = devices.divided(
      share, mesh_of(count), (devices.ROWS, each), (each, each)
    )
    value, grad = jax.jit(run)(jnp.float32(x), jnp.float32(w))
    y = x @ w
    off = y - y.mean()
    np.testing.assert_allclose(
      value, np.sum(off**3) + np.sum(w**2), rtol=0, atol=self.bound(off**3, w)
    )
    want = 3 * (off**2) @ (x - x.mean(axis=0)) + 2 * w
    terms = 3 * (off**2)[:, None] * np.abs(x - x.mean(axis=0))
    np.testing.assert_allclose(
      grad, want, rtol=0, atol=self.bound(terms, w) * H
    )

  def bound(self, terms, w):
    """Sums of rows, each of sums of H, read by a cube."""
    size = np.sum(np.abs(terms)) + np.sum(np.abs(w)) + np.sum(w**2)
    return tolerances.chain(B, B, 3 * H) * size

  def test_every_row_is_on_one_device_in_its_order(self):
    x = jnp.arange(B * H).reshape(B, H)

    def both(x, all_rows):
      return rows.all_of(x), rows.own(all_rows), rows.own(all_rows.T, axis=1)

    part = devices.ROWS
    run = devices.divided(
      both,
      mesh_of(4),
      (part, devices.ALL),
      (devices.ALL, part, devices.Spec(None, rows.AXIS)),
    )
    for got, want in zip(run(x, x), (x, x, x.T), strict=True):
      np.testing.assert_array_equal(got, want)

  def test_a_discrepancy_compares_the_samples_of_all_rows(self):
    rng = np.random.default_rng(1)
    x, y = np.float32(rng.normal(size=(2, B, Z)))
    weights = np.float32(np.arange(B) < B - 2)
    part = devices.ROWS
    run = devices.divided(
      losses.maximum_mean_discrepancy,
      mesh_of(8),
      (part, part, part),
      devices.ALL,
    )
    got = jax.jit(run)(x, y, weights)
    want = losses.maximum_mean_discrepancy(x, y, weights)
    # Three means of kernels of at most 1, the last of them twice.
    np.testing.assert_allclose(
      got, want, rtol=0, atol=4 * tolerances.chain(B, B, Z)
    )


def tiny(name, **overrides):
  config = files.load(f'configs/{name}.py:tiny')
  config.update_from_flattened_dict(
    {'train.batch_size': 8, 'evaluate.split': 'none'} | overrides
  )
  return config


def curves(config, workdir):
  """Trains; the figures of each step, and the last state's environment."""
  loop.train(config, workdir)
  with open(os.path.join(workdir, 'metrics.jsonl')) as file:
    lines = [json.loads(line) for line in file]
  with open(os.path.join(workdir, 'environment.json')) as file:
    return lines, json.load(file)


# Longest sentences of the corpora of `:tiny`, and a recurrence's sums.
TOKENS, SIZE = 40, 64
VAE = {'objective.free_bits': 1.0}
BATCHES = (
  ('gru_lm', {}),
  ('ptb_lm', {'corpus.name': 'grammar'}),
  ('gru_vae', VAE | {'objective.free_bits_per': 'batch'}),
  ('gru_vae', VAE | {'objective.free_bits_per': 'latent'}),
  (
    'gru_vae',
    {
      'model.posterior': 'batch_norm',
      'objective.mmd_weight': 2.0,
      # Normalised means have no gradient with respect to their bias. Adam would
      # make whole steps of its rounding, which running statistics see.
      'optimizer.name': 'sgd',
    },
  ),
  ('gru_vae', {'train.inner_steps': 4}),
  ('seq2seq', {}),
  ('tagger', {}),
  ('recurrent_classifier', {}),
  ('labelled_language_model', {}),
)


class TrainingTest(parameterized.TestCase):
  def check_curves(self, name, steps, counts, overrides):
    ends = {
      'train.num_steps': steps,
      'train.eval_every': steps // 2,
      'train.steps_per_call': 1,
    }
    of_one = None
    for count in (1, *counts):
      config = tiny(name, devices=count, **ends, **overrides)
      lines, environment = curves(config, self.create_tempdir().full_path)
      self.assertEqual(environment['devices'], count)
      of_one = of_one or lines
      self.assertEqual(
        [line['step'] for line in lines], [line['step'] for line in of_one]
      )
      for line, want in zip(lines, of_one, strict=True):
        self.assertEqual(line.keys(), want.keys())
        for key in line.keys() - {'time', 'step'}:
          np.testing.assert_allclose(
            line[key],
            want[key],
            # Each update so far has rounded the sums of a batch.
            rtol=line['step'] * tolerances.chain(8 * TOKENS, SIZE),
            atol=line['step'] * tolerances.chain(8 * TOKENS),
            err_msg=f'{key} of step {line["step"]} on {count} devices',
          )

  @parameterized.parameters('gru_lm', 'gru_vae')
  @pytest.mark.slow
  def test_fifty_losses_are_those_of_one_device(self, name):
    self.check_curves(name, 50, (2, 4, 8), {})

  @parameterized.parameters(*BATCHES)
  @pytest.mark.slow
  def test_every_loss_is_of_the_whole_batch(self, name, overrides):
    self.check_curves(name, 6, (4,), overrides)

  @pytest.mark.slow
  def test_goes_on_with_another_number_of_devices(self):
    workdir = self.create_tempdir().full_path
    ends = {
      'train.eval_every': 3,
      'train.steps_per_call': 3,
      'optimizer.schedule': 'constant',
    }
    curves(tiny('gru_lm', **ends, **{'train.num_steps': 3}), workdir)
    more = {'train.num_steps': 6, 'devices': 2}
    lines, _ = curves(tiny('gru_lm', **ends, **more), workdir)
    other = self.create_tempdir().full_path
    want, _ = curves(tiny('gru_lm', **ends, **more | {'devices': 1}), other)
    self.assertEqual([x['step'] for x in lines], [x['step'] for x in want])
    np.testing.assert_allclose(
      lines[-1]['valid/nll_per_sentence'],
      want[-1]['valid/nll_per_sentence'],
      rtol=6 * tolerances.chain(8 * TOKENS, SIZE),
    )


class ProgramTest(absltest.TestCase):
  @pytest.mark.slow
  def test_gradients_meet_in_one_exchange_an_update(self):
    config = tiny('gru_lm', devices=4)
    corpus = preparation.build_corpus(config)
    kind = config_build.task(config.model.kind)
    task = kind.build(config, corpus.vocab)
    tx = optimizers.build(config)
    split, mesh = corpus.splits['train'], devices.for_rows(config)
    feeding = preparation.feeding(config, split, mesh)
    program = step.make_train_step(
      task, tx, feeding.buckets, 'constant', feeding.gather, mesh=mesh
    )
    state = state_lib.abstract(task, tx)
    compiled = program.lower(
      state,
      feeding.schedule.put(split),
      *map(jnp.asarray, feeding.schedule.steps(0, 2)),
      hyperparameters_lib.build(config_build.keys_of(config), config),
    ).compile()
    of_arrays = [t for t in exchanges(compiled) if re.search(r'\[\d', t)]
    self.assertLen(of_arrays, 1)
    shapes = re.findall(r'f32\[([\d,]+)\]', of_arrays[0])
    want = [','.join(map(str, x.shape)) for x in jax.tree.leaves(state.params)]
    self.assertCountEqual(shapes, want)

  @pytest.mark.slow
  def test_trials_exchange_nothing(self):
    """And each trains as it does on one device."""
    config = tiny('gru_lm', **{'train.num_steps': 6, 'train.eval_every': 3})
    corpus = preparation.build_corpus(config)
    trials = []
    for seed in range(6):
      trial = config.copy_and_resolve_references()
      trial.seed = seed
      trials.append(trial)
    programs = []
    make = population.make_population_step

    def keep(*args, mesh=None, **kwargs):
      advance = make(*args, mesh=mesh, **kwargs)

      def run(*args):
        if not programs:
          programs.append(advance.lower(*args).compile())
        return advance(*args)

      return run

    with mock.patch.object(population, 'make_population_step', keep):
      # Two slots of eight have no trial, in two of the four devices.
      results = self.trained(trials, corpus, 4)
    self.assertEqual(exchanges(programs[0]), [])
    for got, want in zip(results, self.trained(trials, corpus, 1), strict=True):
      self.assertEqual(got.steps, want.steps)
      np.testing.assert_allclose(
        got.best['nll_per_sentence'],
        want.best['nll_per_sentence'],
        rtol=6 * tolerances.chain(8 * TOKENS, SIZE),
      )

  def trained(self, trials, corpus, count):
    for trial in trials:
      trial.devices = count
    return population.train(trials, corpus, size=len(trials))


if __name__ == '__main__':
  absltest.main()
