"""Encoder-decoders and attention against PyTorch, NumPy and brute force."""

import functools
import itertools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import vocab
from rnnvae_jax.models import attention as attention_lib
from rnnvae_jax.models import encoder_decoder, language_model, recurrent
from rnnvae_jax.models.cells import gru, lstm
from rnnvae_jax.ops import sampling

import tolerances

EPS = np.finfo(np.float32).eps
HIDDEN, ROWS, EMBEDDING, TIME, SOURCE_TIME, VOCAB, SOURCES = (
  4,
  3,
  6,
  5,
  7,
  9,
  11,
)
LENGTHS, SOURCE_LENGTHS = np.array([5, 2, 3]), np.array([3, 7, 1])
CELLS = {'gru': gru.GRU, 'lstm': lstm.LSTM}


@functools.cache
def make(kind='none', cell='gru', both=False, bridge='dense', **options):
  stack = recurrent.Recurrent(CELLS[cell](HIDDEN))
  encoder = stack.clone(bidirectional=both)
  size = (2 if both else 1) * HIDDEN * CELLS[cell].num_states
  attention = None
  if kind != 'none':
    attention = attention_lib.Attention(kind, HIDDEN)
  decoder = language_model.LanguageModel(
    VOCAB,
    EMBEDDING,
    stack,
    latent_size=size if bridge == 'dense' else 0,
    attention=attention,
    **options,
  )
  return encoder_decoder.EncoderDecoder(
    decoder, encoder, SOURCES, EMBEDDING, bridge
  )


@functools.cache
def batch(time=TIME, source_time=SOURCE_TIME):
  """source, source_mask, inputs, targets, mask; the padding is PAD."""
  rng = np.random.default_rng(0)

  def sentences(lengths, longest, length, size):
    words = rng.integers(vocab.UNK + 1, size, (ROWS, longest))
    words = np.pad(words, ((0, 0), (0, length - longest)))
    at = np.arange(length)[None, :]
    words = np.where(at == lengths[:, None] - 1, vocab.EOS, words)
    mask = at < lengths[:, None]
    return np.int32(words * mask), mask

  source, source_mask = sentences(
    SOURCE_LENGTHS, SOURCE_TIME, source_time, SOURCES
  )
  targets, mask = sentences(LENGTHS, TIME, time, VOCAB)
  bos = np.full((ROWS, 1), vocab.BOS)
  inputs = np.concatenate([bos, targets[:, :-1]], axis=1)
  return source, source_mask, np.int32(inputs * mask), targets, mask


@functools.cache
def parameters(model):
  shapes = jax.eval_shape(model.init, jax.random.key(0), *batch())
  rng = np.random.default_rng(1)
  draw = lambda leaf: np.float32(rng.uniform(-1, 1, size=leaf.shape))
  return jax.tree.map(draw, shapes)


@functools.cache
def grads_of(model):
  """(params, *batch) -> gradients of the sum of nats, float[B, T] nats."""

  def value(params, *arrays):
    reading = model.apply(params, *arrays)
    return reading.total, reading.nll

  run = jax.jit(jax.grad(value, has_aux=True))
  return lambda *args: jax.device_get(run(*args))


def assert_close(got, want, allowed):
  """Leaf by leaf, in EPS of its largest element, or of 1."""

  def check(got, want):
    scale = max(1.0, np.max(np.abs(want)))
    error = np.max(np.abs(np.float64(got) - np.float64(want)))
    np.testing.assert_array_less(error, allowed * EPS * scale)

  jax.tree.map(check, got, want)


# What float32 may lose: forward and back through the steps of both stacks, the
# output layer and attention, each a product over inputs and states and a dozen
# operations, and sums over S, V and B T.
STEPS = TIME + SOURCE_TIME + 4
ROUNDINGS = (
  2 * STEPS * (EMBEDDING + 3 * HIDDEN + 12)
  + 2 * (VOCAB + SOURCE_TIME)
  + ROWS * (TIME + SOURCE_TIME)
)


def torch_layer(torch, layer, x, lengths, start):
  """Outputs float[B, T, H] and last states of a GRU with our parameters."""
  cell = layer['cell']
  stack = torch.nn.GRU(
    x.shape[-1], HIDDEN, batch_first=True, dtype=torch.float64
  )
  gate_bias = torch.zeros(2 * HIDDEN, dtype=torch.float64)
  theirs = {
    'weight_ih_l0': layer['kernel'].T,
    'weight_hh_l0': cell['recurrent_kernel'].T,
    'bias_ih_l0': layer['bias'],
    'bias_hh_l0': torch.cat([gate_bias, cell['recurrent_bias']]),
  }
  packed = torch.nn.utils.rnn.pack_padded_sequence(
    x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
  )
  packed, last = torch.func.functional_call(stack, theirs, (packed, start))
  outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(
    packed, batch_first=True, total_length=x.shape[1]
  )
  return outputs, last[0]


def torch_scores(torch, kind, part, outputs, values):
  """float[B, T, S], from the equations of the two papers."""
  if kind == 'dot':
    return outputs @ values.transpose(1, 2)
  keys = values @ part['key']['kernel']
  if kind == 'general':
    return outputs @ keys.transpose(1, 2)
  hidden = (outputs @ part['query']['kernel'])[:, :, None] + keys[:, None]
  return torch.tanh(hidden + part['key']['bias']) @ part['score']


class TorchTest(parameterized.TestCase):
  @parameterized.parameters('none', 'additive', 'dot', 'general')
  def test_values_and_gradients_match(self, kind):
    torch = pytest.importorskip('torch')
    model = make(kind)
    params = parameters(model)
    source, source_mask, inputs, targets, mask = batch()
    got_grads, got = grads_of(model)(params, *batch())

    tensor = lambda x: torch.tensor(np.float64(x), requires_grad=True)
    ours = jax.tree.map(tensor, params['params'])
    decoder = ours['decoder']
    x = ours['embedding']['embedding'][torch.tensor(source)]
    zeros = torch.zeros((1, ROWS, HIDDEN), dtype=torch.float64)
    values, last = torch_layer(
      torch, ours['recurrent']['layer_0'], x, SOURCE_LENGTHS, zeros
    )
    initial = decoder['initial']
    start = torch.tanh(last @ initial['kernel'] + initial['bias'])
    y = decoder['embedding']['embedding'][torch.tensor(inputs)]
    hidden, _ = torch_layer(
      torch, decoder['recurrent']['layer_0'], y, LENGTHS, start[None]
    )
    if kind != 'none':
      part = decoder['attention']
      scores = torch_scores(torch, kind, part, hidden, values)
      scores = scores.masked_fill(
        ~torch.tensor(source_mask)[:, None], -torch.inf
      )
      context = torch.softmax(scores, dim=-1) @ values
      hidden = torch.tanh(
        torch.cat([context, hidden], dim=-1) @ part['output']['kernel']
      )
    logits = hidden @ decoder['output_kernel'] + decoder['output_bias']
    nll = torch.nn.functional.cross_entropy(
      logits.flatten(0, 1),
      torch.tensor(np.int64(targets)).flatten(),
      reduction='none',
    ).reshape(ROWS, TIME)
    nll[torch.tensor(mask)].sum().backward()
    assert_close(got, nll.detach().numpy() * mask, ROUNDINGS)
    want_grads = jax.tree.map(lambda leaf: leaf.grad.numpy(), ours)
    assert_close(got_grads['params'], want_grads, ROUNDINGS)


class PaddingTest(parameterized.TestCase):
  @parameterized.parameters(
    ('additive', 'gru', True, 'dense'),
    ('general', 'lstm', True, 'dense'),
    ('dot', 'lstm', False, 'copy'),
    ('none', 'gru', False, 'copy'),
  )
  def test_changes_neither_values_nor_gradients(self, *names):
    model = make(*names)
    params, run = parameters(model), grads_of(model)
    want_grads, want = run(params, *batch())
    got_grads, got = run(params, *batch(TIME + 2, SOURCE_TIME + 3))
    assert_close((got_grads, got[:, :TIME]), (want_grads, want), ROUNDINGS)
    np.testing.assert_array_equal(got[:, TIME:], 0)
    # Nor do other ids there.
    source, source_mask, *rest = batch()
    poisoned = np.where(source_mask, source, SOURCES - 1)
    assert_close(
      run(params, poisoned, source_mask, *rest), (want_grads, want), 1
    )

  def test_a_row_without_a_source_is_finite(self):
    model = make('general')
    source, source_mask, *rest = batch()
    nothing = source_mask & (np.arange(ROWS) > 0)[:, None]
    grads, nll = grads_of(model)(parameters(model), source, nothing, *rest)
    self.assertTrue(all(np.isfinite(x).all() for x in jax.tree.leaves(grads)))
    self.assertTrue(np.isfinite(nll).all())


class BridgeTest(parameterized.TestCase):
  def test_a_copy_is_the_last_state_of_the_encoder(self):
    model = make('none', 'lstm', False, 'copy')
    params = parameters(model)
    self.assertNotIn('initial', params['params']['decoder'])
    source, source_mask, *_ = batch()
    encoded = model.apply(params, source, source_mask, method='encode')
    stack = recurrent.Recurrent(lstm.LSTM(HIDDEN))
    part = {'params': params['params']['recurrent']}
    table = params['params']['embedding']['embedding']
    want, _ = stack.apply(part, table[source], source_mask)
    np.testing.assert_array_equal(encoded.carry, want)

  def test_states_at_every_step_change_every_step(self):
    # Only through them can a source matter if the first states are zeros.
    model = make('none', latent_every_step=True)
    params = jax.tree.map(np.copy, parameters(model))
    params['params']['decoder']['initial'] = jax.tree.map(
      np.zeros_like, params['params']['decoder']['initial']
    )
    source, source_mask, *rest = batch()
    _, nll = grads_of(model)(params, *batch())
    other = np.where(source == vocab.EOS, vocab.UNK, source)
    _, changed = grads_of(model)(params, other, source_mask, *rest)
    self.assertTrue(np.all((nll != changed) == rest[-1]))


class DecodingTest(parameterized.TestCase):
  @parameterized.parameters('none', 'additive', 'general')
  def test_steps_equal_the_parallel_pass_and_the_likeliest_is_theirs(
    self, kind
  ):
    model = make(kind, both=True) if kind != 'none' else make()
    params = parameters(model)
    source, source_mask, inputs, targets, mask = batch()
    forbidden = np.zeros(VOCAB, bool)
    forbidden[[vocab.PAD, vocab.BOS]] = True
    nll, likeliest = model.apply(params, *batch(), forbidden, method='read')
    encoded = model.apply(params, source, source_mask, method='encode')
    step = jax.jit(functools.partial(model.apply, method='step'))
    carry = encoded.carry
    for time in range(TIME):
      carry, logits = step(params, carry, inputs[:, time], encoded)
      logits = np.float64(logits)
      chosen = logits[np.arange(ROWS), targets[:, time]]
      want = np.log(np.exp(logits).sum(axis=1)) - chosen
      real = mask[:, time]
      assert_close(np.asarray(nll)[real, time], want[real], ROUNDINGS)
      best = np.argmax(np.where(forbidden, -np.inf, logits), axis=1)
      np.testing.assert_array_equal(likeliest[real, time], best[real])

  def test_a_wide_beam_finds_the_best_of_all_sentences(self):
    model, longest = make('general'), 3
    # Larger weights than a model begins with, so that sources matter.
    params = jax.tree.map(lambda x: 2 * x, parameters(model))
    source, source_mask, *_ = batch()
    encoded = model.apply(params, source, source_mask, method='encode')
    step = jax.jit(functools.partial(model.apply, method='step'))
    words = [i for i in range(VOCAB) if i not in (vocab.PAD, vocab.BOS)]
    forbidden = np.isin(np.arange(VOCAB), words, invert=True)

    # Every sentence that ends within three tokens, and its log-probability.
    best = np.full(ROWS, -np.inf)
    answer = [None] * ROWS
    free = [i for i in words if i != vocab.EOS]
    for length in range(longest):
      for prefix in itertools.product(free, repeat=length):
        carry, total = encoded.carry, np.zeros(ROWS)
        last = np.full(ROWS, vocab.BOS, np.int32)
        for token in (*prefix, vocab.EOS):
          carry, logits = step(params, carry, last, encoded)
          logits = np.where(forbidden, -np.inf, np.float64(logits))
          total += logits[:, token] - np.log(np.exp(logits).sum(axis=1))
          last = np.full(ROWS, token, np.int32)
        for row in np.flatnonzero(total > best):
          best[row], answer[row] = total[row], (*prefix, vocab.EOS)

    size = len(free) ** (longest - 1)  # No prefix falls out of the beam.
    wide = jax.tree.map(lambda x: jnp.repeat(x, size, axis=0), encoded)
    tokens, lengths = sampling.beam_search(
      lambda carry, tokens: step(params, carry, tokens, wide),
      encoded.carry,
      rows=ROWS,
      beam_size=size,
      length_penalty=jnp.float32(0),
      forbidden=forbidden,
      max_length=longest,
      bos=vocab.BOS,
      eos=vocab.EOS,
    )
    got = [
      tuple(row[:n].tolist())
      for row, n in zip(np.asarray(tokens), np.asarray(lengths), strict=True)
    ]
    self.assertEqual(got, answer)


class AttentionTest(parameterized.TestCase):
  @parameterized.parameters('additive', 'dot', 'general')
  def test_weights_are_a_distribution_over_real_values(self, kind):
    model = attention_lib.Attention(kind, HIDDEN)
    rng = np.random.default_rng(0)
    outputs = np.float32(rng.normal(size=(ROWS, TIME, HIDDEN)))
    values = np.float32(rng.normal(size=(ROWS, SOURCE_TIME, HIDDEN)))
    _, mask, *_ = batch()

    def attend(module, outputs, values, mask):
      memory = module.remember(values, mask)
      return module(outputs, memory), module.weights(outputs, memory)

    (_, weights), _ = model.init_with_output(
      jax.random.key(0), outputs, values, mask, method=attend
    )
    real = np.broadcast_to(mask[:, None], weights.shape)
    np.testing.assert_array_equal(np.asarray(weights)[~real], 0)
    np.testing.assert_allclose(
      np.sum(weights, axis=-1), 1, rtol=tolerances.chain(SOURCE_TIME)
    )

  def test_dot_refuses_other_sizes(self):
    model = attention_lib.Attention('dot', HIDDEN)
    with self.assertRaisesRegex(ValueError, '4 features .* got 8'):
      model.init(
        jax.random.key(0),
        np.zeros((1, 2, 8), np.float32),
        np.ones((1, 2), bool),
        method='remember',
      )


if __name__ == '__main__':
  absltest.main()
