r"""One recurrent layer, forward and backward, against PyTorch and Flax.

  python -m benchmarks.recurrence --json=recurrence.json
  python -m benchmarks.recurrence --cells=lstm --hidden_sizes=256,512,1024

Contestants: every backend of `models.recurrent`, torch.nn.{RNN,GRU,LSTM} (cuDNN
on a GPU) and flax.linen.RNN. Each computes the outputs of all steps from zero
states, and the gradients of a weighted sum of them with respect to the inputs
and all weights. No sentence is padded, so that all contestants do the same
work; inputs are as wide as the layer. A ratio is a contestant's time divided by
that of our fastest backend; the JSON has its geometric mean over the cases.
Times are in ms.
"""

import collections
from collections.abc import Callable
import contextlib
import functools
import itertools
import statistics
from typing import Any

from absl import app, flags
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import harness, torch_peers
from rnnvae_jax.config import build as config_build
from rnnvae_jax.models import build
from rnnvae_jax.ops import backends

_CELLS = flags.DEFINE_list('cells', ['elman', 'gru', 'lstm'], 'Which cells.')
_BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['32'], 'Rows.')
_LENGTHS = flags.DEFINE_list('lengths', ['24', '60'], 'Time steps.')
_HIDDEN_SIZES = flags.DEFINE_list('hidden_sizes', ['256'], 'Units.')

_CALLS = 5  # Calls in a turn; a single call is too short for the clock.
_TORCH = {'elman': torch.nn.RNN, 'gru': torch.nn.GRU, 'lstm': torch.nn.LSTM}
_FLAX = {
  'elman': nn.SimpleCell,
  'gru': nn.GRUCell,
  'lstm': nn.OptimizedLSTMCell,
}


def stacks(cell: str, features: int) -> dict[str, nn.Module]:
  """Our layer on every backend that runs this cell on this machine."""
  config = config_build.default('language_model')
  config.model.cell = cell
  config.model.hidden_size = features
  config.model.precision = harness.PRECISION.value
  found = {}
  for backend in set(backends.BACKENDS) - {'auto'}:
    config.model.backend = backend
    with contextlib.suppress(ValueError):  # This backend does not run it.
      found[backend] = build.language_model(config, vocab_size=4).stack
  return dict(sorted(found.items()))


def ours(stack: nn.Module, x: np.ndarray, cotangent: np.ndarray):
  """Our layer: (x, cotangent float[B, T, H]) -> `run(turn)`."""
  mask = jnp.ones(x.shape[:2], bool)
  params = jax.jit(stack.init)(jax.random.key(0), x, mask)
  return _jax(
    lambda params, x: stack.apply(params, x, mask)[1], params, x, cotangent
  )


def flax_rnn(cell: str, x: np.ndarray, cotangent: np.ndarray):
  """flax.linen.RNN: (x, cotangent float[B, T, H]) -> `run(turn)`."""
  is_bfloat16 = harness.PRECISION.value == 'bfloat16'
  dtype = jnp.bfloat16 if is_bfloat16 else jnp.float32
  module = _FLAX[cell](x.shape[-1], dtype=dtype)
  start = module.initialize_carry(jax.random.key(0), x[:, 0].shape)
  start = jax.tree.map(lambda state: state.astype(dtype), start)
  rnn = nn.RNN(module)
  layer = functools.partial(rnn.apply, initial_carry=start)
  params = jax.jit(rnn.init)(jax.random.key(0), x, initial_carry=start)
  return _jax(layer, params, x, cotangent)


def _jax(layer: Callable, params, x, cotangent) -> Callable:
  exact = 'highest' if harness.PRECISION.value == 'float32' else 'default'

  @jax.jit
  def gradients(params, x, cotangent):
    loss = lambda params, x: jnp.sum(layer(params, x) * cotangent)
    with jax.default_matmul_precision(exact):
      return jax.grad(loss, argnums=(0, 1))(params, x)

  arrays = jax.device_put((params, x, cotangent))
  return lambda turn: [gradients(*arrays) for _ in range(_CALLS)][-1]


def torch_rnn(cell: str, x: np.ndarray, cotangent: np.ndarray):
  """PyTorch's layer: (x, cotangent float[B, T, H]) -> `run(turn)`."""
  device = torch_peers.device()
  layer = _TORCH[cell](x.shape[-1], x.shape[-1], batch_first=True).to(device)
  x = torch.tensor(x, device=device, requires_grad=True)
  cotangent = torch.tensor(cotangent, device=device)
  leaves = [*layer.parameters(), x]

  def run(turn):
    with torch_peers.at_precision(harness.PRECISION.value):
      for _ in range(_CALLS):
        torch.autograd.grad(layer(x)[0].float(), leaves, cotangent)
    if device.type == 'cuda':
      torch.cuda.synchronize()

  return run


def main(_) -> None:
  torch_threads = torch_peers.set_threads()
  figures, rows = {}, {}
  ratios: dict[str, dict[str, float]] = {'torch': {}, 'flax_rnn': {}}
  cases = itertools.product(
    _CELLS.value,
    *(map(int, f.value) for f in (_BATCH_SIZES, _LENGTHS, _HIDDEN_SIZES)),
  )
  for cell, *shape in cases:
    case = '{} B{} T{} H{}'.format(cell, *shape)
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((2, *shape), np.float32)
    ours_by_backend = stacks(cell, shape[-1])
    timings = harness.interleave(
      {
        **{
          name: ours(stack, *arrays) for name, stack in ours_by_backend.items()
        },
        'torch': torch_rnn(cell, *arrays),
        'flax_rnn': flax_rnn(cell, *arrays),
      },
      harness.REPETITIONS.value,
    )
    fastest = min(
      ours_by_backend, key=lambda name: np.median(timings[name].turns)
    )
    figures[case] = {
      name: harness.spread(1e3 * timing.turns / _CALLS)
      for name, timing in timings.items()
    }
    for name, timing in timings.items():
      over_ours = harness.ratio(timing, timings[fastest])
      rows[f'{case} {name}'] = {
        'ms': harness.brief(figures[case][name]),
        'time over ours': f'{over_ours:.2f}',
      }
      if name in ratios:
        ratios[name][case] = over_ours
  of: dict[str, dict[str, Any]] = collections.defaultdict(dict)
  for case, times in figures.items():
    for name, figure in times.items():
      over = {'time_over_ours': ratios[name][case]} if name in ratios else {}
      of[name][case] = figure | over
  report = {
    'ours': {name: of[name] for name in of if name not in ratios},
    'peers': {name: of[name] for name in ratios},
    'ratio': {
      name: statistics.geometric_mean(values.values())
      for name, values in ratios.items()
    },
    'environment': harness.environment(
      precision=harness.PRECISION.value, torch_threads=torch_threads
    ),
  }
  harness.publish('A recurrent layer, forward and backward', rows, report)


if __name__ == '__main__':
  app.run(main)
