r"""XLA's cost estimates of the hot programs, against a committed baseline.

  python -m benchmarks.cost            compares, exits with 1 on a regression
  python -m benchmarks.cost --update   writes a new baseline

Floating-point operations, bytes accessed and temporary memory are read from the
compiled programs, so they do not vary from run to run. XLA counts the body of a
loop once, and a library call by its shapes. So the figures detect changes, but
do not measure speed. They belong to a version of XLA and a kind of device; for
another one run --update first.
"""

import functools
import pathlib

from absl import app
import jax
import jax.numpy as jnp

from benchmarks import baselines, ours
from rnnvae_jax.data import batches
from rnnvae_jax.models.cells import elman, gru, lstm
from rnnvae_jax.ops import cross_entropy, recurrence
from rnnvae_jax.training import environment, optimizers, step
from rnnvae_jax.training import state as state_lib

BASELINE = pathlib.Path(__file__).parent / 'results' / 'cost.json'
# A figure that grows by more than this share is a regression.
TOLERANCE = 0.02

_CELLS = {
  'elman': elman.Elman,
  'gru': gru.GRU,
  'gru_reset_before': functools.partial(gru.GRU, reset_after=False),
  'lstm': lstm.LSTM,
}


def measure() -> dict[str, dict[str, float]]:
  """Measures the costs: {program: {flops, bytes, temporary_bytes}}."""
  programs = {
    'vae_step': _vae_step(),
    'cross_entropy': _cross_entropy(rows=704, vocab_size=9_877),
    'cross_entropy_large': _cross_entropy(rows=8_192, vocab_size=100_000),
  }
  for name, make in _CELLS.items():
    programs[f'recurrence_{name}'] = _recurrence(make(256))
  return {name: _costs(lowered) for name, lowered in programs.items()}


def regressions(
  baseline: dict[str, dict[str, float]], now: dict[str, dict[str, float]]
) -> list[str]:
  """A line for each figure that has grown beyond the tolerance."""
  return [
    f'{program}: {name} {before:,.0f} -> {now[program][name]:,.0f}'
    for program, figures in baseline.items()
    for name, before in figures.items()
    if now[program][name] > (1.0 + TOLERANCE) * before
  ]


def key() -> str:
  """The device and the versions that a baseline belongs to."""
  cores = environment.cores()  # XLA divides loops among the cores.
  return f'{jax.default_backend()}, {cores} cores, jax {jax.__version__}'


def load() -> baselines.Baselines:
  """Loads all baselines, by `key`."""
  return baselines.load(BASELINE)


def _costs(lowered) -> dict[str, float]:
  compiled = lowered.compile()
  analysis = compiled.cost_analysis()
  return {
    'flops': analysis['flops'],
    'bytes': analysis['bytes accessed'],
    'temporary_bytes': compiled.memory_analysis().temp_size_in_bytes,
  }


def _shape(*axes, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(axes, dtype)


def _vae_step():
  """One update of the GRU sentence VAE of `recipe`, batch 32, 30 tokens."""
  config = ours.make_config()
  config.model.backend = 'fused'  # XLA counts the operations of its own code.
  task = ours.make_task(config, 9_877)
  tx = optimizers.build(config)
  integers = lambda *axes: _shape(*axes, dtype=jnp.int32)
  return step.make_train_step(
    task,
    tx,
    (batches.Bucket(30, (704,)),),
    config.optimizer.schedule,
  ).lower(
    state_lib.abstract(task, tx),
    batches.DeviceSplit(integers(9_999), *[integers(999)] * 3, integers()),
    integers(1, 32),
    integers(1),
    jax.eval_shape(lambda: ours.make_hyperparameters(config)),
  )


def _cross_entropy(rows, vocab_size):
  def loss(hidden, kernel, bias, targets, weights):
    return cross_entropy.linear_cross_entropy(
      hidden, kernel, bias, targets, weights
    )[0]

  return jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(
    _shape(rows, 256),
    _shape(256, vocab_size),
    _shape(vocab_size),
    _shape(rows, dtype=jnp.int32),
    _shape(rows),
  )


def _recurrence(cell, rows=32, length=24):
  size, gates = cell.features, cell.num_gates

  def loss(weights, x, mask, state):
    after, outputs = recurrence.run(cell.spec, weights, x, mask, state)
    return jnp.sum(outputs) + sum(map(jnp.sum, after))

  weights = {
    'kernel': _shape(300, gates * size),
    'bias': _shape(gates * size),
    'recurrent_kernel': _shape(size, gates * size),
  }
  for name in cell.spec.require_rule().vectors:
    weights[name] = _shape(size)
  return jax.jit(jax.grad(loss, (0, 1, 3))).lower(
    weights,
    _shape(length, rows, 300),
    _shape(length, rows, dtype=bool),
    (_shape(rows, size),) * cell.num_states,
  )


def main(_) -> None:
  now = measure()
  if baselines.UPDATE.value:
    baselines.update(BASELINE, key(), now)
    print(f'Written for {key()}: {BASELINE}')
    return
  baselines.compare(BASELINE, key(), now, regressions)


if __name__ == '__main__':
  app.run(main)
