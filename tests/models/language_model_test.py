"""The language model against PyTorch, its own decoder and its guarantees."""

import functools
import itertools

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnvae_jax.data import vocab
from rnnvae_jax.models import language_model, recurrent
from rnnvae_jax.models.cells import elman, gru, lstm
from rnnvae_jax.ops import noise, sampling

EPS = np.finfo(np.float32).eps
HIDDEN, ROWS, EMBEDDING, TIME, LATENT, VOCAB = 4, 5, 6, 7, 9, 13
LENGTHS = np.array([7, 3, 0, 5, 2])
CELLS = {'gru': gru.GRU, 'lstm': lstm.LSTM, 'elman': elman.Elman}


@functools.cache
def make(
  cell='gru',
  num_layers=1,
  vocab_size=VOCAB,
  embedding_size=EMBEDDING,
  **options,
):
  stack = recurrent.Recurrent(CELLS[cell](HIDDEN), num_layers=num_layers)
  return language_model.LanguageModel(
    vocab_size, embedding_size, stack, **options
  )


@functools.cache
def batch(time=TIME, seed=0):
  """inputs, targets, mask; the padding is PAD."""
  rng = np.random.default_rng(seed)
  mask = np.arange(time)[None, :] < LENGTHS[:, None]
  words = rng.integers(vocab.UNK + 1, VOCAB, size=(ROWS, TIME))
  words = np.pad(words, ((0, 0), (0, time - TIME)))
  last = np.arange(time)[None, :] == LENGTHS[:, None] - 1
  targets = np.where(last, vocab.EOS, np.where(mask, words, vocab.PAD))
  bos = np.full((ROWS, 1), vocab.BOS)
  inputs = np.concatenate([bos, targets[:, :-1]], axis=1)
  return np.int32(inputs * mask), np.int32(targets), mask


def random_like(tree, seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  draw = lambda leaf: np.float32(scale * rng.uniform(-1, 1, size=leaf.shape))
  return jax.tree.map(draw, tree)


LATENTS = random_like(np.empty((ROWS, LATENT)), seed=3)


@functools.cache
def parameters(model):
  shapes = jax.eval_shape(model.init, jax.random.key(0), *batch(), LATENTS)
  return random_like(shapes)


def rates_of(
  embedding=0.0,
  hidden=0.0,
  output=0.0,
  word=0.0,
  word_type=0.0,
  recurrent=0.0,
):
  rates = embedding, hidden, output, word, word_type, recurrent
  return noise.Rates(*map(jnp.float32, rates))


def on_host(fn, **options):
  """Compiled, with NumPy results: slicing them compiles nothing more."""
  compiled = jax.jit(fn, **options)
  return lambda *args: jax.device_get(compiled(*args))


@functools.cache
def nll_of(model):
  """(params, inputs, targets, mask, latents, rates, keys) -> float[B, T]."""
  return on_host(lambda *args: model.apply(*args)[1])


@functools.cache
def step_of(model):
  return on_host(functools.partial(model.apply, method='step'))


@functools.cache
def start_of(model):
  apply = functools.partial(model.apply, method='start')
  return on_host(apply, static_argnums=1)


@functools.cache
def grads_of(model):
  """((of params, of latents), float[B, T] nats) of their sum."""

  def value(params, latents, arrays):
    reading = model.apply(params, *arrays, latents)
    return reading.total, reading.nll

  fn = on_host(jax.grad(value, argnums=(0, 1), has_aux=True))

  def run(params, arrays, latents=LATENTS):
    return fn(params, latents, arrays)

  return run


def roundings(num_layers, time=TIME):
  """What float32 may lose of an element, in EPS of the largest one.

  Forward and back through T steps of each layer and of the output layer, each
  a product over inputs and states and a dozen operations; sums over V in the
  loss, and over B T in the weights' gradients.
  """
  width = EMBEDDING + LATENT + HIDDEN
  return 2 * time * (num_layers + 1) * (width + 12) + 2 * VOCAB + ROWS * time


def assert_close(got, want, allowed):
  """Leaf by leaf, in EPS of its largest element, or of 1."""
  chex.assert_trees_all_equal_shapes(got, want)

  def check(got, want):
    scale = max(1.0, np.max(np.abs(want)))
    error = np.max(np.abs(np.float64(got) - np.float64(want)))
    np.testing.assert_array_less(error, allowed * EPS * scale)

  jax.tree.map(check, got, want)


def options(names):
  values = {
    'tied': {'tied_embeddings': True},
    'latent': {'latent_size': LATENT},
    'every': {'latent_size': LATENT, 'latent_every_step': True},
    'skip': {'latent_size': LATENT, 'latent_to_output': True},
    'inputless': {'inputless': True},
  }
  return {k: v for name in names.split() for k, v in values[name].items()}


# Every cell with one, two and three layers, each option somewhere.
COVERING = (
  ('gru', 1, ''),
  ('gru', 2, 'tied latent'),
  ('gru', 3, 'every'),
  ('lstm', 1, 'latent'),
  ('lstm', 2, 'every inputless skip'),
  ('lstm', 3, 'tied'),
  ('elman', 1, 'every tied'),
  ('elman', 2, ''),
  ('elman', 3, 'latent'),
)
SOME = (COVERING[0], COVERING[8])


class LikelihoodTest(parameterized.TestCase):
  @parameterized.parameters(*COVERING)
  def test_steps_one_after_the_other_equal_the_parallel_pass(
    self, cell, num_layers, names
  ):
    model = make(cell, num_layers, **options(names))
    params, (inputs, targets, mask) = parameters(model), batch()
    want = nll_of(model)(params, inputs, targets, mask, LATENTS)
    carry, parts = start_of(model)(params, ROWS, LATENTS), []
    for time in range(TIME):
      carry, logits = step_of(model)(params, carry, inputs[:, time], LATENTS)
      self.assertEqual(logits.shape, (ROWS, VOCAB))
      logits = np.float64(logits)
      chosen = logits[np.arange(ROWS), targets[:, time]]
      parts.append(np.log(np.exp(logits).sum(axis=1)) - chosen)
    got = np.stack(parts, axis=1) * mask
    assert_close(got, want, roundings(num_layers))
    np.testing.assert_array_equal(want[~mask], np.zeros((~mask).sum()))
    self.assertGreater(np.min(want[mask]), 0)

  @parameterized.parameters(*COVERING)
  def test_a_later_token_changes_nothing_before_it(
    self, cell, num_layers, names
  ):
    model = make(cell, num_layers, **options(names))
    params = parameters(model)
    inputs, targets, _ = batch()
    mask = np.ones((ROWS, TIME), bool)
    want = nll_of(model)(params, inputs, targets, mask, LATENTS)
    for time in range(TIME):
      other_inputs, other_targets = inputs.copy(), targets.copy()
      other_targets[:, time:] = (targets[:, time:] + 1) % VOCAB
      other_inputs[:, time + 1 :] = other_targets[:, time:-1]
      got = nll_of(model)(params, other_inputs, other_targets, mask, LATENTS)
      np.testing.assert_array_equal(got[:, :time], want[:, :time])
      self.assertTrue(np.all(got[:, time] != want[:, time]))

  def test_values_and_gradients_match_torch(self):
    torch = pytest.importorskip('torch')
    model = make('gru', 1)
    params, (inputs, targets, mask) = parameters(model), batch()
    rows = LENGTHS > 0  # PyTorch refuses sentences without tokens.
    (got_grads, _), got = grads_of(model)(params, (inputs, targets, mask))

    stack = torch.nn.GRU(
      EMBEDDING, HIDDEN, batch_first=True, dtype=torch.float64
    )
    tensor = lambda x: torch.tensor(np.float64(x), requires_grad=True)
    ours = jax.tree.map(tensor, params['params'])
    gate_bias = torch.zeros(2 * HIDDEN, dtype=torch.float64)
    layer = ours['recurrent']['layer_0']
    cell = layer['cell']
    theirs = {
      'weight_ih_l0': layer['kernel'].T,
      'weight_hh_l0': cell['recurrent_kernel'].T,
      'bias_ih_l0': layer['bias'],
      'bias_hh_l0': torch.cat([gate_bias, cell['recurrent_bias']]),
    }
    x = ours['embedding']['embedding'][torch.tensor(inputs[rows])]
    packed = torch.nn.utils.rnn.pack_padded_sequence(
      x, torch.tensor(LENGTHS[rows]), batch_first=True, enforce_sorted=False
    )
    packed, _ = torch.func.functional_call(stack, theirs, (packed,))
    hidden, _ = torch.nn.utils.rnn.pad_packed_sequence(
      packed, batch_first=True, total_length=TIME
    )
    logits = hidden @ ours['output_kernel'] + ours['output_bias']
    nll = torch.nn.functional.cross_entropy(
      logits.flatten(0, 1),
      torch.tensor(np.int64(targets[rows])).flatten(),
      reduction='none',
    ).reshape(-1, TIME)
    nll[torch.tensor(mask[rows])].sum().backward()
    want = nll.detach().numpy() * mask[rows]
    want_grads = jax.tree.map(lambda leaf: leaf.grad.numpy(), ours)
    assert_close(got[rows], want, roundings(1))
    assert_close(got_grads['params'], want_grads, roundings(1))


class PaddingTest(parameterized.TestCase):
  @parameterized.parameters(*SOME)
  def test_other_ids_there_change_neither_values_nor_gradients(
    self, cell, num_layers, names
  ):
    model = make(cell, num_layers, **options(names))
    params, (inputs, targets, mask) = parameters(model), batch()
    others = np.random.default_rng(1).integers(VOCAB, size=(2, ROWS, TIME))
    poisoned = [
      np.where(mask, clean, other).astype(np.int32)
      for clean, other in zip((inputs, targets), others, strict=True)
    ]
    run = grads_of(model)
    got = run(params, (*poisoned, mask))
    want = run(params, (inputs, targets, mask))
    # Where its positions scatter, the embeddings' gradient only adds zeros.
    chex.assert_trees_all_equal(got, want)
    np.testing.assert_array_equal(got[0][1][2], np.zeros(LATENT))

  @parameterized.parameters(*SOME)
  def test_a_longer_batch_changes_neither_values_nor_gradients(
    self, cell, num_layers, names
  ):
    model, time = make(cell, num_layers, **options(names)), TIME + 4
    params, run = parameters(model), grads_of(model)
    grads, got = run(params, batch(time))
    want = run(params, batch())
    assert_close((grads, got[:, :TIME]), want, roundings(num_layers, time))
    np.testing.assert_array_equal(got[:, TIME:], np.zeros((ROWS, 4)))

  @parameterized.parameters(*SOME)
  def test_permuting_the_rows_permutes_the_results(
    self, cell, num_layers, names
  ):
    model = make(cell, num_layers, **options(names))
    params, run = parameters(model), grads_of(model)
    order = np.array([4, 2, 0, 3, 1])
    (of_params, of_latents), nll = run(params, batch())
    got = run(
      params,
      tuple(array[order] for array in batch()),
      LATENTS[order],
    )
    want = (of_params, of_latents[order]), nll[order]
    assert_close(got, want, roundings(num_layers))


class TiedEmbeddingsTest(parameterized.TestCase):
  @parameterized.parameters(HIDDEN, EMBEDDING)
  def test_the_gradient_is_the_sum_of_both_uses(self, embedding_size):
    size = {'embedding_size': embedding_size}
    tied = make('elman', 1, **size, tied_embeddings=True)
    untied = make('elman', 1, **size)
    params = parameters(tied)['params']
    self.assertNotIn('output_kernel', params)
    self.assertEqual('projection' in params, embedding_size != HIDDEN)
    table = params['embedding']['embedding']
    # Logits are (h P) E^T: an untied kernel P E^T.
    projection = np.eye(HIDDEN, dtype=np.float32)
    if embedding_size != HIDDEN:
      projection = params['projection']['kernel']
    self.assertEqual(projection.shape, (HIDDEN, embedding_size))
    split = {k: v for k, v in params.items() if k != 'projection'}
    split['output_kernel'] = projection @ table.T

    (got, _), got_nll = grads_of(tied)({'params': params}, batch())
    (grads, _), nll = grads_of(untied)({'params': split}, batch())
    want = jax.tree.map(np.asarray, grads['params'])
    of_kernel = want.pop('output_kernel')
    want['embedding']['embedding'] = (
      want['embedding']['embedding'] + of_kernel.T @ projection
    )
    if embedding_size != HIDDEN:
      want['projection'] = {'kernel': of_kernel @ table}
    assert_close((got['params'], got_nll), (want, nll), roundings(1))


class LatentsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('gru', 1, 1),
    ('gru', 3, 3),
    ('elman', 2, 2),
    ('lstm', 1, 2),
    ('lstm', 3, 6),
  )
  def test_set_every_state_of_every_layer(self, cell, num_layers, num_states):
    model = make(cell, num_layers, latent_size=LATENT)
    params = parameters(model)
    carry = start_of(model)(params, ROWS, LATENTS)
    zero = model.stack.zero_carry(ROWS)
    chex.assert_trees_all_equal_shapes(carry, zero)
    initial = jax.tree.map(np.float64, params['params']['initial'])
    values = np.tanh(LATENTS @ initial['kernel'] + initial['bias'])
    want = np.split(values, num_states, axis=1)
    # A product over Z, the bias and tanh.
    got = jax.tree.leaves(carry)
    assert_close(got, want, LATENT + 8)

  def test_a_language_model_begins_with_zeros(self):
    model = make('lstm', 3)
    got = start_of(model)(parameters(model), ROWS)
    chex.assert_trees_all_equal(got, model.stack.zero_carry(ROWS))

  def test_at_every_step_are_more_inputs(self):
    once = make('gru', 2, latent_size=LATENT)
    every = make('gru', 2, latent_size=LATENT, latent_every_step=True)
    params = jax.tree.map(np.copy, parameters(every))
    kernel = params['params']['recurrent']['layer_0']['kernel']
    self.assertEqual(kernel.shape, (EMBEDDING + LATENT, 3 * HIDDEN))
    with_latents = nll_of(every)(params, *batch(), LATENTS)
    kernel[EMBEDDING:] = 0
    without = nll_of(every)(params, *batch(), LATENTS)
    params['params']['recurrent']['layer_0']['kernel'] = kernel[:EMBEDDING]
    want = nll_of(once)(params, *batch(), LATENTS)
    assert_close(without, want, roundings(2))
    self.assertGreater(np.max(np.abs(with_latents - want)), 0.01)

  def test_skipped_to_the_output_are_more_inputs_of_that(self):
    plain = make('gru', 1, latent_size=LATENT)
    skipping = make('gru', 1, latent_size=LATENT, latent_to_output=True)
    params = jax.tree.map(np.copy, parameters(skipping))
    values = params['params']
    kernel = values['output_kernel']
    self.assertEqual(kernel.shape, (HIDDEN + LATENT, VOCAB))
    with_latents = nll_of(skipping)(params, *batch(), LATENTS)
    values['output_kernel'] = kernel[:HIDDEN]
    want = nll_of(plain)(params, *batch(), LATENTS)
    kernel[HIDDEN:] = 0
    values['output_kernel'] = kernel
    without = nll_of(skipping)(params, *batch(), LATENTS)
    assert_close(without, want, roundings(1))
    self.assertGreater(np.max(np.abs(with_latents - want)), 0.01)


class InputlessTest(absltest.TestCase):
  def test_reads_no_tokens_but_the_latents(self):
    model = make('elman', 2, latent_size=LATENT, inputless=True)
    params, run = parameters(model), nll_of(model)
    inputs, targets, mask = batch()
    want = run(params, inputs, targets, mask, LATENTS)
    other = run(params, (inputs + 3) % VOCAB, targets, mask, LATENTS)
    np.testing.assert_array_equal(other, want)
    moved = run(params, inputs, targets, mask, -LATENTS)
    self.assertTrue(np.all((moved != want)[mask]))


@jax.jit
def row_keys(index):
  return noise.row_keys(jax.random.key(0), index)


class DropoutTest(parameterized.TestCase):
  """One program for all rates, and one without keys."""

  def run_model(self, rates, keys=None, arrays=None, latents=LATENTS):
    model = make('gru', 2, latent_size=LATENT)
    arrays = batch() if arrays is None else arrays
    return nll_of(model)(parameters(model), *arrays, latents, rates, keys)

  def keys_of(self, index):
    return row_keys(np.array(index))

  def test_without_keys_drops_nothing(self):
    got = self.run_model(rates_of(0.5, 0.5, 0.5, 0.5))
    np.testing.assert_array_equal(got, self.run_model(rates_of()))
    dry = self.run_model(rates_of(), self.keys_of(range(ROWS)))
    # Two programs of the same function.
    assert_close(got, dry, roundings(2))

  def test_without_rates_drops_nothing(self):
    got = self.run_model(None, self.keys_of(range(ROWS)))
    assert_close(got, self.run_model(rates_of()), roundings(2))

  @parameterized.parameters(
    'embedding', 'hidden', 'output', 'word', 'word_type', 'recurrent'
  )
  def test_each_rate_drops_something_of_its_own(self, name):
    keys = self.keys_of(range(ROWS))
    dry = self.run_model(rates_of(), keys)
    alone = self.run_model(rates_of(**{name: 0.5}), keys)
    # `weight` is a matter of the parameters, not of the module.
    every = dict.fromkeys(set(noise.Rates._fields) - {'weight'}, 0.5)
    without = self.run_model(rates_of(**(every | {name: 0.0})), keys)
    every = self.run_model(rates_of(**every), keys)
    self.assertGreater(np.max(np.abs(alone - dry)), 0.01)
    self.assertGreater(np.max(np.abs(every - without)), 0.01)

  def test_word_dropout_of_rate_one_reads_unk_after_bos(self):
    inputs, targets, mask = batch()
    unknown = np.full_like(inputs, vocab.UNK)
    unknown[:, 0] = inputs[:, 0]
    got = self.run_model(rates_of(word=1.0), self.keys_of(range(ROWS)))
    want = self.run_model(rates_of(), arrays=(unknown, targets, mask))
    assert_close(got, want, roundings(2))

  def test_of_a_sentence_depends_on_neither_the_batch_nor_the_padding(self):
    rates = rates_of(0.3, 0.4, 0.5, 0.6, 0.2)
    index = np.array([8, 3, 0, 5, 13])
    order = np.array([4, 2, 0, 3, 1])
    want = self.run_model(rates, self.keys_of(index))
    got = self.run_model(
      rates,
      self.keys_of(index[order]),
      tuple(array[order] for array in batch(TIME + 4)),
      LATENTS[order],
    )
    assert_close(got[:, :TIME], want[order], roundings(2))


class LockedDropoutTest(absltest.TestCase):
  def test_drops_the_same_features_at_all_times(self):
    # Without a recurrence, one word again and again costs the same each time.
    model = make('elman', 1, locked_dropout=True)
    params = jax.tree.map(np.copy, parameters(model))
    cell = params['params']['recurrent']['layer_0']['cell']
    cell['recurrent_kernel'][:] = 0
    tokens = np.full((ROWS, TIME), vocab.UNK + 1, np.int32)
    mask = np.ones((ROWS, TIME), bool)
    rates = rates_of(embedding=0.5, output=0.5)
    keys = row_keys(np.arange(ROWS))
    nll = nll_of(model)(params, tokens, tokens, mask, None, rates, keys)
    np.testing.assert_allclose(
      nll, np.repeat(nll[:, :1], TIME, axis=1), rtol=roundings(1) * EPS
    )
    self.assertLen(np.unique(nll[:, 0]), ROWS)


class SamplingTest(absltest.TestCase):
  @pytest.mark.slow
  def test_sentences_come_as_often_as_their_likelihood_says(self):
    size, longest, rows = 5, 3, 20_011
    model = make('gru', 2, vocab_size=size)
    params = parameters(model)
    words = [i for i in range(size) if i != vocab.EOS]
    # Every sentence, with eos or cut before it, filled with eos.
    sentences = [
      (*some, *[vocab.EOS] * (longest - length))
      for length in range(longest + 1)
      for some in itertools.product(words, repeat=length)
    ]
    targets = np.int32(sentences)
    ended = np.cumsum(targets == vocab.EOS, axis=1) > 1
    bos = np.full((len(targets), 1), vocab.BOS, np.int32)
    inputs = np.concatenate([bos, targets[:, :-1]], axis=1)
    nll = nll_of(model)(params, inputs, targets, ~ended)
    probabilities = np.exp(-np.sum(np.float64(nll), axis=1))
    self.assertLen(sentences, 1 + 4 + 16 + 64)
    self.assertAlmostEqual(probabilities.sum(), 1.0, delta=size * 32 * EPS)

    tokens, _ = jax.jit(
      lambda params, keys: sampling.decode(
        lambda carry, last: model.apply(params, carry, last, method='step'),
        model.apply(params, rows, method='start'),
        keys,
        sampling.Settings(jnp.float32(1), jnp.int32(0), jnp.float32(1)),
        forbidden=jnp.zeros(size, bool),
        max_length=longest,
        bos=vocab.BOS,
        eos=vocab.EOS,
      )
    )(params, jax.random.split(jax.random.key(0), rows))
    place = size ** np.arange(longest)
    observed = np.bincount(tokens @ place, minlength=size**longest)
    observed = observed[targets @ place]
    self.assertEqual(observed.sum(), rows)
    expected = rows * probabilities
    # The approximation by chi-square wants about five expected in each cell.
    self.assertGreater(np.min(expected), 5)
    statistic = np.sum((observed - expected) ** 2 / expected)
    self.assertLess(statistic, stats.chi2.isf(1e-4, len(sentences) - 1))


if __name__ == '__main__':
  absltest.main()
