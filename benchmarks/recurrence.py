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
from collections.abc import Callable, Collection
import functools
import itertools
import statistics
import time
from typing import Any

from absl import app, flags
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from rnnvae_jax.config import build as config_build
from rnnvae_jax.models import build
from rnnvae_jax.ops import backends
from rnnvae_jax.training import compiler

torch = harness.with_torch('torch')
torch_peers = harness.with_torch('benchmarks.torch_peers')

_CELLS = flags.DEFINE_list('cells', ['elman', 'gru', 'lstm'], 'Which cells.')
_BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['32'], 'Rows.')
_LENGTHS = flags.DEFINE_list('lengths', ['24', '60'], 'Time steps.')
_HIDDEN_SIZES = flags.DEFINE_list('hidden_sizes', ['256'], 'Units.')
BACKENDS = flags.DEFINE_list('backends', [], 'Of ours; empty: all.')

_CALLS = 5  # Calls in a turn; a single call is too short for the clock.
_TORCH = {'elman': 'RNN', 'gru': 'GRU', 'lstm': 'LSTM'}
_FLAX = {
  'elman': nn.SimpleCell,
  'gru': nn.GRUCell,
  'lstm': nn.OptimizedLSTMCell,
}


def stacks(
  cell: str,
  features: int,
  precision: str,
  names: Collection[str] = (),
  bidirectional: bool = False,
  left_out: dict[str, str] | None = None,
) -> dict[str, nn.Module]:
  """Our layer on the backends that run this cell on this machine.

  Args:
    cell: name of the cell.
    features: H.
    precision: of the products' operands.
    names: backends; empty: all.
    bidirectional: whether the layer reads in both directions.
    left_out: receives why other backends do not run it.
  """
  config = config_build.default('language_model')
  config.model.cell = cell
  config.model.precision = precision
  found = {}
  for backend in set(names or backends.BACKENDS) - {'auto'}:
    config.model.backend = backend
    try:
      found[backend] = build.recurrent(config, features, bidirectional)
    except ValueError as error:  # This backend does not run it.
      if left_out is not None:
        left_out[backend] = str(error)
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

  # With the options that our training steps have; on a CPU there are none.
  options = compiler.options(jax.default_backend())

  @functools.partial(jax.jit, compiler_options=options)
  def gradients(params, x, cotangent):
    loss = lambda params, x: jnp.sum(layer(params, x) * cotangent)
    with jax.default_matmul_precision(exact):
      return jax.grad(loss, argnums=(0, 1))(params, x)

  arrays = jax.device_put((params, x, cotangent))
  return lambda turn: [gradients(*arrays) for _ in range(_CALLS)][-1]


def torch_rnn(cell: str, x: np.ndarray, cotangent: np.ndarray):
  """PyTorch's layer: (x, cotangent float[B, T, H]) -> `run(turn)`."""
  device = torch_peers.device()
  make = getattr(torch.nn, _TORCH[cell])
  layer = make(x.shape[-1], x.shape[-1], batch_first=True).to(device)
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
  start = time.time()
  torch_threads = torch_peers.set_threads() if torch_peers else None
  environment = harness.environment(
    precision=harness.PRECISION.value, torch_threads=torch_threads
  )
  report: dict[str, Any] = {
    'ours': collections.defaultdict(dict),
    'peers': collections.defaultdict(dict),
    'ratio': {},
    'environment': environment,
  }
  rows: dict[str, dict[str, str]] = {}
  cases = itertools.product(
    _CELLS.value,
    *(map(int, f.value) for f in (_BATCH_SIZES, _LENGTHS, _HIDDEN_SIZES)),
  )
  for cell, *shape in cases:
    if time.time() - start > harness.seconds_allowed():
      print('No time is left for the other cases.')
      break
    case = '{} B{} T{} H{}'.format(cell, *shape)
    _measure(case, cell, shape, report, rows)
    harness.write(report)  # A run that is cut off keeps what it has.
  harness.publish('A recurrent layer, forward and backward', rows, report)


def _measure(case, cell, shape, report, rows) -> None:
  """Times the contestants of a case; adds to the report and the table."""
  rng = np.random.default_rng(0)
  arrays = rng.standard_normal((2, *shape), np.float32)
  layers = stacks(cell, shape[-1], harness.PRECISION.value, BACKENDS.value)
  contestants: dict[str, Callable[[int], Any]] = {}
  for name, stack in layers.items():
    try:
      run = ours(stack, *arrays)
      jax.block_until_ready(run(0))
    except Exception as error:  # One backend must not cost the others.
      report['ours'][name][case] = {'error': harness.first_line(error)}
      print(f'{case} {name}: {harness.first_line(error)}')
    else:
      contestants[name] = run
  backends_that_run = list(contestants)
  contestants |= harness.peers(
    {
      'torch': lambda: torch_rnn(cell, *arrays),
      'flax_rnn': lambda: flax_rnn(cell, *arrays),
    }
  )
  timings = harness.interleave(contestants, harness.REPETITIONS.value)
  median = lambda name: np.median(timings[name].turns)
  fastest = min(backends_that_run, key=median, default=None)
  for name, timing in timings.items():
    figure = harness.spread(1e3 * timing.turns / _CALLS)
    row = {'ms': harness.brief(figure), 'time over ours': ''}
    if fastest is not None:
      over_ours = harness.ratio(timing, timings[fastest])
      row['time over ours'] = f'{over_ours:.2f}'
    rows[f'{case} {name}'] = row
    if name in backends_that_run:
      report['ours'][name][case] = figure
    elif fastest is None:
      report['peers'][name][case] = figure
    else:
      report['peers'][name][case] = figure | {'time_over_ours': over_ours}
  report['ratio'] = {
    name: statistics.geometric_mean(
      [f['time_over_ours'] for f in of_case.values() if 'time_over_ours' in f]
    )
    for name, of_case in report['peers'].items()
    if any('time_over_ours' in f for f in of_case.values())
  }


if __name__ == '__main__':
  app.run(main)
