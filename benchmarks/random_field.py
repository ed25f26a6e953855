r"""A linear-chain random field alone, against a plain scan.

  python -m benchmarks.random_field --json=random_field.json

Milliseconds of the nats of tags with their gradient (`nll`), and of the best
tags (`viterbi`), for batches of some rows, words and tags.

  ours   `rnnvae_jax.ops.crf`: products of scaled exponentials, a gradient that
         is not the loop's, no pointers
  scan   `lax.scan` over time with logsumexp and an automatic gradient, and with
         a maximum and pointers

All rows have all words: padding, which ours skips, is not timed.
"""

from collections.abc import Callable
from typing import Any

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from rnnvae_jax.ops import crf

_CASES = flags.DEFINE_list(
  'cases',
  ['10x16x17', '10x48x17', '64x32x17', '10x32x45'],
  'Rows, words and tags of a batch.',
)
_CALLS = 50  # A turn's.
# Relative: the longest case is a chain of 48 sums of 17 terms.
_TOLERANCE = 48 * 17 * float(np.finfo(np.float32).eps)


def plain_nll(
  emissions: jax.Array, tags: jax.Array, weights: crf.Weights
) -> jax.Array:
  """Nats of each row's tags, without padding: float[B]."""

  def step(state, x):
    moves = state[:, :, None] + weights.transitions[None] + x[:, None]
    return jax.nn.logsumexp(moves, axis=1), None

  first = weights.start[None] + emissions[:, 0]
  rest = jnp.swapaxes(emissions[:, 1:], 0, 1)
  state, _ = jax.lax.scan(step, first, rest)
  logs = jax.nn.logsumexp(state + weights.end[None], axis=1)
  own = jnp.take_along_axis(emissions, tags[:, :, None], axis=2)[:, :, 0]
  moves = weights.transitions[tags[:, :-1], tags[:, 1:]]
  total = jnp.sum(own, axis=1) + jnp.sum(moves, axis=1)
  return logs - total - weights.start[tags[:, 0]] - weights.end[tags[:, -1]]


def plain_viterbi(emissions: jax.Array, weights: crf.Weights) -> jax.Array:
  """The best tags of each row, without padding: int[B, T]."""

  def forward(state, x):
    moves = state[:, :, None] + weights.transitions[None]
    return jnp.max(moves, axis=1) + x, jnp.argmax(moves, axis=1)

  def backward(tag, pointers):
    before = jnp.take_along_axis(pointers, tag[:, None], axis=1)[:, 0]
    return before, tag

  first = weights.start[None] + emissions[:, 0]
  rest = jnp.swapaxes(emissions[:, 1:], 0, 1)
  state, pointers = jax.lax.scan(forward, first, rest)
  last = jnp.argmax(state + weights.end[None], axis=1)
  begin, tags = jax.lax.scan(backward, last, pointers, reverse=True)
  return jnp.concatenate([begin[:, None], jnp.swapaxes(tags, 0, 1)], axis=1)


def contestants(
  rows: int, words: int, num_tags: int
) -> dict[str, dict[str, Callable[[], Any]]]:
  """By what is computed and by name, compiled functions of one batch."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  emissions = draw(rows, words, num_tags)
  weights = crf.Weights(
    draw(num_tags, num_tags), draw(num_tags), draw(num_tags)
  )
  tags = jnp.asarray(rng.integers(num_tags, size=(rows, words)), jnp.int32)
  mask = jnp.ones((rows, words), bool)

  def with_gradient(nll):
    total = lambda *arrays: jnp.sum(nll(*arrays))
    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    return lambda: run(emissions, weights)

  ours = jax.jit(lambda x, w: crf.viterbi(x, mask, w)[0])
  plain = jax.jit(plain_viterbi)
  return {
    'nll': {
      'ours': with_gradient(lambda x, w: crf.nll(x, tags, mask, w)),
      'scan': with_gradient(lambda x, w: plain_nll(x, tags, w)),
    },
    'viterbi': {
      'ours': lambda: ours(emissions, weights),
      'scan': lambda: plain(emissions, weights),
    },
  }


def check(what: str, found: dict[str, Callable[[], Any]]) -> None:
  """Raises AssertionError unless the contestants agree."""
  got, want = (jax.device_get(found[name]()) for name in ('ours', 'scan'))
  if what == 'viterbi':
    np.testing.assert_array_equal(got, want)
  else:
    np.testing.assert_allclose(got[0], want[0], rtol=_TOLERANCE)


def main(_) -> None:
  turns = harness.REPETITIONS.value
  report: dict[str, Any] = {'ours': {}, 'peers': {'scan': {}}, 'ratio': {}}
  rows, ratios = {}, []
  for case in _CASES.value:
    for what, found in contestants(*map(int, case.split('x'))).items():
      check(what, found)

      def many(turn, run=None):
        del turn
        for _ in range(_CALLS):
          result = run()
        return result

      repeated = {
        name: lambda turn, run=run: many(turn, run)
        for name, run in found.items()
      }
      timings = harness.interleave(repeated, turns)
      label = f'{what}, {case}'
      for name, timing in timings.items():
        kept = report['ours'] if name == 'ours' else report['peers'][name]
        kept[label] = {
          'milliseconds': harness.spread(1e3 * timing.turns / _CALLS)
        }
      ratio = harness.ratio(timings['scan'], timings['ours'])
      report['peers']['scan'][label]['time_over_ours'] = ratio
      ratios.append(ratio)
      spreads = (
        harness.spread(1e3 * timings[name].turns / _CALLS)
        for name in ('ours', 'scan')
      )
      cells = (
        '{median:.3f} ({low:.3f} to {high:.3f})'.format_map(s) for s in spreads
      )
      rows[label] = dict(
        zip(('ours, ms', 'scan, ms'), cells, strict=True),
        **{'time over ours': f'{ratio:.2f}'},
      )
  report['ratio']['scan'] = float(np.exp(np.mean(np.log(ratios))))
  report['environment'] = harness.environment(calls=_CALLS)
  harness.publish('A random field', rows, report)


if __name__ == '__main__':
  app.run(main)
