r"""Every backend on this device against `scan` in float32, and repeatability.

  python -m benchmarks.gpu.correctness --precision=bfloat16 --json=right.json

For each size, cell and backend that this device runs: the states and
outputs of a layer in both directions and all gradients, on rows of different
lengths, one of them empty. An error is the norm of the difference over the norm
of what `scan` computes in float32 on the same device. The file is written after
each case, so a run that is cut off keeps what it has.

`repeats` says whether two calls with the same arguments agree bit for bit.
"""

import itertools
import json
import sys
import time
from typing import Any

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, recurrence
from rnnvae_jax.training import compiler

# What rounding the operands of products may cost: a few times the unit roundoff
# of each format, times a dozen steps that pass it on.
_ALLOWED = {'float32': 1e-4, 'tf32': 1e-2, 'bfloat16': 5e-2}
_ROWS, _STEPS = 19, 13

_SIZES = flags.DEFINE_list('sizes', ['256'], 'Units of a layer.')


def compare(
  cell: str, size: int, precision: str, left_out: dict[str, str]
) -> dict[str, Any]:
  """Errors and repeatability of each backend, and why others are left out."""
  reference = recurrence.stacks(
    cell, size, 'float32', ['scan'], bidirectional=True
  )['scan']
  found = recurrence.stacks(
    cell,
    size,
    precision,
    recurrence.BACKENDS.value,
    bidirectional=True,
    left_out=left_out,
  )
  rng = np.random.default_rng(size)
  draw = lambda *shape: rng.standard_normal(shape, np.float32)
  x, weights = draw(_ROWS, _STEPS, size), draw(_ROWS, _STEPS, 2 * size)
  lengths = rng.integers(1, _STEPS + 1, _ROWS)
  lengths[:2] = 0, _STEPS
  mask = np.arange(_STEPS)[None] < lengths[:, None]
  carry = jax.tree.map(lambda s: draw(*s.shape), reference.zero_carry(_ROWS))
  params = jax.jit(reference.init)(jax.random.key(0), x, mask)
  arguments = params, x, carry, mask, weights
  want = jax.device_get(_gradients(reference)(*arguments))
  results: dict[str, Any] = {}
  for name, stack in found.items():
    try:
      run = _gradients(stack)
      got, again = (jax.device_get(run(*arguments)) for _ in range(2))
    except Exception as error:  # One backend must not cost the others.
      results[name] = {'error': harness.first_line(error)}
      continue
    values, gradients = map(_error, got, want)
    results[name] = {
      'values': values,
      'gradients': gradients,
      'right': max(values, gradients) <= _ALLOWED[precision],
      'repeats': _equal(got, again),
    }
  return results


def _gradients(stack):
  """Returns a function of a layer: (states and outputs, gradients)."""

  def loss(params, x, carry, mask, weights):
    after, outputs = stack.apply(params, x, mask, carry)
    outputs = jnp.where(mask[:, :, None], outputs, 0.0)
    total = jnp.sum(outputs * weights)
    total += sum(jnp.sum(jnp.sin(state)) for state in jax.tree.leaves(after))
    return total, (after, outputs)

  def run(*arguments):
    gradients, values = jax.grad(loss, (0, 1, 2), has_aux=True)(*arguments)
    return values, gradients

  options = compiler.options(jax.default_backend())
  return jax.jit(run, compiler_options=options)


def _error(got, want) -> float:
  flat = lambda tree: np.concatenate(
    [np.float64(x).ravel() for x in jax.tree.leaves(tree)]
  )
  got, want = flat(got), flat(want)
  error = np.linalg.norm(got - want) / np.linalg.norm(want)
  return float(error) if np.isfinite(error) else 1e30  # JSON has no nan.


def _equal(one, two) -> bool:
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def main(_) -> None:
  start, allowed = time.time(), harness.seconds_allowed()
  precision = harness.PRECISION.value
  report: dict[str, Any] = {
    'environment': harness.environment(),
    'allowed': _ALLOWED[precision],
    'layers': {},
    'left_out': {},
  }
  wrong = []
  sizes = map(int, _SIZES.value)
  for size, cell in itertools.product(sizes, ('gru', 'lstm')):
    if time.time() - start > allowed:
      print('No time is left for the other cases.')
      break
    case = f'{cell} H{size}'
    left_out = report['left_out'][case] = {}
    results = compare(cell, size, precision, left_out)
    report['layers'][case] = results
    print(case, precision, json.dumps(results), flush=True)
    wrong += [
      f'{case} {name}'
      for name, result in results.items()
      if not result.get('right')
    ]
    harness.write(report)
  if wrong:
    sys.exit(f'Wrong: {", ".join(wrong)}.')


if __name__ == '__main__':
  app.run(main)
