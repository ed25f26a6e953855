"""Random fields against sums over all sequences, float64 loops and PyTorch."""

import itertools
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.ops import crf
from tests import helpers, tolerances

LENGTHS = (4, 2, 0, 1, 5)  # One row is blank; all rows are padded.
LENGTH, TAGS = 6, 3


def random_field(seed=0, scale=2.0):
  """Emissions, mask, tags and weights, float32 NumPy."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: np.float32(scale * rng.normal(size=shape))
  emissions = draw(len(LENGTHS), LENGTH, TAGS)
  mask = np.arange(LENGTH)[None] < np.array(LENGTHS)[:, None]
  tags = rng.integers(TAGS, size=mask.shape).astype(np.int32)
  weights = crf.Weights(draw(TAGS, TAGS), draw(TAGS), draw(TAGS))
  return emissions, mask, tags, weights


def score(emissions, tags, weights):
  """The definition, in float64, of one sequence without padding."""
  if not len(tags):
    return 0.0
  transitions, start, end = map(np.float64, weights)
  total = start[tags[0]] + end[tags[-1]]
  total += sum(np.float64(emissions[t, k]) for t, k in enumerate(tags))
  return total + sum(transitions[i, j] for i, j in itertools.pairwise(tags))


def all_sequences(emissions, weights, length):
  """(score, tags) of every sequence, the best first."""
  found = [
    (score(emissions, tags, weights), tags)
    for tags in itertools.product(range(TAGS), repeat=length)
  ]
  return sorted(found, key=lambda pair: -pair[0])


def magnitude(emissions, weights):
  """What roundings of a score are relative to."""
  largest = sum(float(np.max(np.abs(x))) for x in (emissions, *weights))
  return LENGTH * largest


# Compiled as wholes: one by one, their operations are far more programs.
log_partition, marginals, viterbi = map(
  jax.jit, (crf.log_partition, crf.marginals, crf.viterbi)
)
n_best = jax.jit(crf.n_best, static_argnums=3)


class CrfTest(parameterized.TestCase):
  @parameterized.product(scale=(0.1, 2.0, 10.0), platform=('cpu', 'gpu'))
  def test_partition_and_score_are_those_of_all_sequences(
    self, scale, platform
  ):
    emissions, mask, tags, weights = random_field(scale=scale)
    with helpers.on_platform(platform):
      logs = crf.log_partition(emissions, mask, weights)
      scores = crf.score(emissions, tags, mask, weights)
      nats = crf.nll(emissions, tags, mask, weights)
    allowed = tolerances.chain(*[2 + TAGS] * LENGTH) * (
      1 + magnitude(emissions, weights)
    )
    for b, length in enumerate(LENGTHS):
      totals = [s for s, _ in all_sequences(emissions[b], weights, length)]
      want = np.log(np.sum(np.exp(totals)))
      own = score(emissions[b], tags[b, :length], weights)
      self.assertAlmostEqual(float(logs[b]), want, delta=allowed)
      self.assertAlmostEqual(float(scores[b]), own, delta=allowed)
      self.assertAlmostEqual(float(nats[b]), want - own, delta=2 * allowed)

  def test_marginals_are_those_of_all_sequences(self):
    emissions, mask, _, weights = random_field()
    got = np.asarray(marginals(emissions, mask, weights))
    allowed = tolerances.chain(*[2 + TAGS] * LENGTH) * (
      1 + magnitude(emissions, weights)
    )
    for b, length in enumerate(LENGTHS):
      want = np.zeros((LENGTH, TAGS))
      sequences = all_sequences(emissions[b], weights, length)
      shares = np.exp([s for s, _ in sequences])
      for share, (_, tags) in zip(
        shares / shares.sum(), sequences, strict=True
      ):
        want[np.arange(length), list(tags)] += share
      np.testing.assert_allclose(got[b], want, rtol=0, atol=allowed)

  def test_without_weights_tags_are_those_of_a_softmax(self):
    emissions, mask, tags, _ = random_field(scale=3.0)
    x = np.asarray(emissions, np.float64)
    logs = x - np.log(np.sum(np.exp(x), axis=2, keepdims=True))
    real = np.asarray(mask)
    allowed = tolerances.chain(TAGS, LENGTH) * (1 + np.abs(x).max())
    close = lambda got, want: np.testing.assert_allclose(
      got, want, rtol=0, atol=LENGTH * allowed
    )
    own = np.take_along_axis(logs, np.asarray(tags)[:, :, None], 2)[:, :, 0]
    close(crf.nll(emissions, tags, mask, None), -np.sum(own * real, axis=1))
    close(crf.marginals(emissions, mask, None), np.exp(logs) * real[:, :, None])
    best, totals = crf.viterbi(emissions, mask, None)
    np.testing.assert_array_equal(best, np.argmax(x, axis=2) * real)
    close(totals, np.sum(np.max(x, axis=2) * real, axis=1))
    ranked, scores = crf.n_best(emissions, mask, None, 2)
    np.testing.assert_array_equal(ranked[:, 0], best)
    has_words = real.any(axis=1)
    close(scores[has_words, 0], totals[has_words])
    # The same as a field whose weights are 0.
    zeros = jnp.zeros(TAGS)
    field = crf.Weights(jnp.zeros((TAGS, TAGS)), zeros, zeros)
    close(
      crf.log_partition(emissions, mask, None),
      crf.log_partition(emissions, mask, field),
    )
    allowed = crf.Weights(*(np.asarray(w) > 1 for w in field))
    for none, zero in zip(
      crf.constrained(None, allowed),
      crf.constrained(field, allowed),
      strict=True,
    ):
      np.testing.assert_array_equal(none, zero)

  def test_many_tags_have_the_same_best_sequence(self):
    emissions, mask, _, weights = random_field()
    few = crf.viterbi(emissions, mask, weights)
    with mock.patch.object(crf, '_MOST_TERMS', TAGS - 1):
      many = crf.viterbi(emissions, mask, weights)
    for got, want in zip(many, few, strict=True):
      np.testing.assert_array_equal(got, want)

  @parameterized.parameters(0, 1, 2)
  def test_viterbi_and_n_best_are_the_best_of_all(self, seed):
    emissions, mask, _, weights = random_field(seed)
    tags, totals = viterbi(emissions, mask, weights)
    count = 7
    ranked, scores = n_best(emissions, mask, weights, count)
    allowed = tolerances.chain(LENGTH) * magnitude(emissions, weights)
    for b, length in enumerate(LENGTHS):
      want = all_sequences(emissions[b], weights, length)
      np.testing.assert_array_equal(tags[b, :length], want[0][1])
      np.testing.assert_array_equal(tags[b, length:], 0)
      self.assertAlmostEqual(float(totals[b]), want[0][0], delta=allowed)
      if not length:
        continue
      for n in range(count):
        if n >= len(want):
          self.assertEqual(scores[b, n], -np.inf)
          continue
        self.assertAlmostEqual(float(scores[b, n]), want[n][0], delta=allowed)
        np.testing.assert_array_equal(ranked[b, n, :length], want[n][1])

  def test_gradient_is_that_of_pytorch(self):
    torch = self._torch()
    emissions, mask, tags, weights = random_field()
    cotangent = np.float32([1.0, -0.5, 2.0, 0.7, 0.3])

    @jax.jit
    @jax.grad
    def ours(arrays):
      emissions, *weights = arrays
      nats = crf.nll(emissions, tags, mask, crf.Weights(*weights))
      return jnp.sum(cotangent * nats)

    leaves = [
      torch.tensor(np.float64(x), requires_grad=True)
      for x in (emissions, *weights)
    ]
    x, transitions, start, end = leaves
    total = torch.tensor(0.0, dtype=torch.float64)
    for b, length in enumerate(LENGTHS):
      if not length:
        continue
      alpha = start + x[b, 0]
      own = start[tags[b, 0]] + x[b, 0, tags[b, 0]]
      for t in range(1, length):
        alpha = torch.logsumexp(alpha[:, None] + transitions, 0) + x[b, t]
        own = own + transitions[tags[b, t - 1], tags[b, t]]
        own = own + x[b, t, tags[b, t]]
      own = own + end[tags[b, length - 1]]
      nats = torch.logsumexp(alpha + end, 0) - own
      total = total + float(cotangent[b]) * nats
    total.backward()
    want = [leaf.grad.numpy() for leaf in leaves]
    arrays = (emissions, *weights)
    allowed = tolerances.spread(ours, arrays, terms=8 * LENGTH)
    tolerances.assert_close(ours(arrays), tuple(want), allowed)

  def _torch(self):
    try:
      import torch
    except ImportError:
      self.skipTest('PyTorch is not installed.')
    return torch

  def test_gradient_is_that_of_finite_differences(self):
    emissions, mask, tags, weights = random_field(scale=1.0)
    loss = lambda w: jnp.sum(crf.nll(emissions, tags, mask, w))
    got = jax.tree.map(np.asarray, jax.jit(jax.grad(loss))(weights))

    def exact(weights):
      """Of all sequences, in float64."""
      total = 0.0
      for b, length in enumerate(LENGTHS):
        scores = [s for s, _ in all_sequences(emissions[b], weights, length)]
        own = score(emissions[b], tags[b, :length], weights)
        total += np.log(np.sum(np.exp(scores))) - own
      return total

    step = 1e-4
    for name in ('transitions', 'start', 'end'):
      for place in np.ndindex(got._asdict()[name].shape):
        moved = []
        for sign in (1, -1):
          array = np.float64(weights._asdict()[name])
          array[place] += sign * step
          moved.append(exact(weights._replace(**{name: array})))
        want = (moved[0] - moved[1]) / (2 * step)
        # Counts of at most 12 moves, each off by the roundings of its sums.
        allowed = (
          12
          * tolerances.chain(*[2 + TAGS] * 2 * LENGTH)
          * (1 + magnitude(emissions, weights))
        )
        self.assertAlmostEqual(
          float(got._asdict()[name][place]), want, delta=allowed
        )

  def test_padding_and_order_of_rows_change_nothing(self):
    emissions, mask, tags, weights = random_field()
    loss = jax.jit(lambda x, y, m: crf.nll(x, y, m, weights))
    want = loss(emissions, tags, mask)
    poisoned = np.where(mask[:, :, None], emissions, 1e6)
    longer = [
      np.pad(array, [(0, 0), (0, 3), *[(0, 0)] * (array.ndim - 2)])
      for array in (poisoned, tags, mask)
    ]
    allowed = tolerances.chain(*[2 + TAGS] * LENGTH) * (
      1 + magnitude(emissions, weights)
    )
    np.testing.assert_allclose(loss(*longer), want, rtol=0, atol=allowed)
    safe = np.where(mask[:, :, None], emissions, 5.0)
    grads = jax.jit(jax.grad(lambda x: jnp.sum(loss(x, tags, mask))))(safe)
    np.testing.assert_array_equal(np.asarray(grads)[~mask], 0.0)
    back = [array[::-1] for array in (emissions, tags, mask)]
    np.testing.assert_allclose(loss(*back), want[::-1], rtol=0, atol=allowed)

  def test_forbidden_moves_have_no_probability(self):
    emissions, mask, _, weights = random_field()
    allowed = crf.Weights(
      np.array([[True, True, False], [False, True, True], [True, False, True]]),
      np.array([True, False, True]),
      np.array([True, True, False]),
    )
    limited = crf.constrained(weights, allowed)
    is_legal = lambda tags: (
      allowed.start[tags[0]]
      and allowed.end[tags[-1]]
      and all(allowed.transitions[i, j] for i, j in itertools.pairwise(tags))
    )
    logs, p, (tags, _), (ranked, scores) = jax.device_get(
      (
        log_partition(emissions, mask, limited),
        marginals(emissions, mask, limited),
        viterbi(emissions, mask, limited),
        n_best(emissions, mask, limited, 30),
      )
    )
    bound = tolerances.chain(*[2 + TAGS] * LENGTH) * (
      1 + magnitude(emissions, weights)
    )
    for b, length in enumerate(LENGTHS):
      if not length:
        continue
      legal = [
        pair
        for pair in all_sequences(emissions[b], weights, length)
        if is_legal(pair[1])
      ]
      want = np.log(np.sum(np.exp([s for s, _ in legal])))
      self.assertAlmostEqual(float(logs[b]), want, delta=bound)
      np.testing.assert_array_equal(tags[b, :length], legal[0][1])
      found = int(np.sum(np.isfinite(scores[b])))
      self.assertEqual(found, min(len(legal), 30))
      for n in range(found):
        np.testing.assert_array_equal(ranked[b, n, :length], legal[n][1])
      self.assertEqual(p[b, 0, 1], 0.0)
      self.assertEqual(p[b, length - 1, 2], 0.0)
    of_weights = jax.grad(
      lambda w: jnp.sum(
        crf.log_partition(emissions, mask, crf.constrained(w, allowed))
      )
    )
    grads = jax.device_get(jax.jit(of_weights)(weights))
    np.testing.assert_array_equal(grads.transitions[~allowed.transitions], 0.0)

  def test_large_scores_are_finite_and_right(self):
    # Forward variables of a token are up to 60 nats apart.
    rng = np.random.default_rng(3)
    emissions = np.float32(rng.uniform(-30, 30, (2, 5, TAGS)))
    mask = np.ones((2, 5), bool)
    weights = crf.Weights(*(np.zeros(s, np.float32) for s in ((3, 3), 3, 3)))
    logs = log_partition(emissions, mask, weights)
    want = np.sum(np.logaddexp.reduce(np.float64(emissions), axis=2), axis=1)
    np.testing.assert_allclose(logs, want, rtol=tolerances.chain(*[8] * 5))
    total = lambda w: jnp.sum(crf.log_partition(emissions, mask, w))
    grads = jax.jit(jax.grad(total))(weights)
    self.assertAlmostEqual(float(jnp.sum(grads.transitions)), 8.0, places=4)


if __name__ == '__main__':
  absltest.main()
