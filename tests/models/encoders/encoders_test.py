"""Encoders that read words in order, against PyTorch and by hand."""

import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import vocab
from rnnvae_jax.models import classifier, recurrent
from rnnvae_jax.models.cells import gru, lstm
from rnnvae_jax.models.encoders import base, concatenation, convolution
from rnnvae_jax.models.encoders import recurrent as recurrent_encoder
from rnnvae_jax.ops import noise

import tolerances

VOCAB, EMBEDDING, HIDDEN, CLASSES = 13, 5, 7, 3
SENTENCES = (
  [5, 9, vocab.UNK, 12, 4, 8, 5],
  [7],
  [],
  [vocab.UNK, 10, 11],
  [vocab.UNK],
)
LONGEST = max(map(len, SENTENCES)) + 1
# Roundings of the longest sums; a recurrence rounds at every step anew.
TERMS = LONGEST * (EMBEDDING + HIDDEN)


def stack(cell='gru', **options):
  kind = {'gru': gru.GRU, 'lstm': lstm.LSTM}[cell]
  return recurrent.Recurrent(kind(HIDDEN), **options)


def recurrent_with(pooling='last', gradient_steps=0, **options):
  layers = stack(**options)
  return recurrent_encoder.RecurrentEncoder(layers, pooling, gradient_steps)


ENCODERS = {
  'concatenation': concatenation.Concatenation(4),
  'convolution': convolution.Convolution((1, 3), 6),
  'last': recurrent_with(),
  'mean': recurrent_with('mean', bidirectional=True),
  'max': recurrent_with('max', cell='lstm', num_layers=2),
  'truncated': recurrent_with('mean', 3),
}


def make_model(encoder, counts_unknown=False):
  return classifier.Classifier(
    VOCAB, EMBEDDING, CLASSES, encoder, counts_unknown
  )


def make_batch(sentences=SENTENCES, padding=2):
  """inputs (bos and the words) and mask, int and bool[B, T]."""
  length = max(map(len, sentences)) + 1 + padding
  inputs = np.full((len(sentences), length), vocab.PAD)
  mask = np.zeros(inputs.shape, bool)
  for row, words in enumerate(sentences):
    inputs[row, : len(words) + 1] = [vocab.BOS, *words]
    mask[row, : len(words) + 1] = True
  return inputs, mask


@functools.cache
def make_params(model):
  params = jax.jit(model.init)(jax.random.key(0), *make_batch())
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: np.float32(1.5 * x + rng.normal(0, 0.2, x.shape)), params
  )


@functools.cache
def make_apply(model):
  return jax.jit(model.apply)


def known(sentence):
  return [word for word in sentence if word != vocab.UNK]


def scores_of_torch(torch, params, sentences, vector):
  """Scores in float64; vector(tensors, float[T, E]) is a text's vector."""
  tensors = jax.tree.map(
    lambda x: torch.tensor(np.float64(x), requires_grad=True), params
  )['params']
  table, output = tensors['embedding']['embedding'], tensors['output']
  texts = [
    vector(tensors.get('encoder'), table[sentence]) for sentence in sentences
  ]
  return tensors, torch.stack(texts) @ output['kernel'] + output['bias']


def compare_with_torch(torch, model, sentences, vector):
  """Compares scores and gradients; `sentences` is what the encoder reads."""
  params = make_params(model)
  weights = np.random.default_rng(2).normal(size=(len(SENTENCES), CLASSES))
  tensors, theirs = scores_of_torch(torch, params, sentences, vector)
  (theirs * torch.tensor(weights)).sum().backward()
  their_grads = jax.tree.map(
    lambda x: np.zeros(x.shape) if x.grad is None else x.grad.numpy(),
    {'params': tensors},
  )

  @jax.jit
  def value(params):
    scores = model.apply(params, *make_batch())
    return jnp.sum(scores * jnp.float32(weights)), scores

  ours = lambda params: jax.grad(value, has_aux=True)(params)
  allowed = tolerances.spread(ours, params, TERMS)
  tolerances.assert_close(
    ours(params), (their_grads, theirs.detach().numpy()), allowed
  )


class TorchTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_concatenation(self, counts):
    torch = pytest.importorskip('torch')

    def vector(_, x):
      x = x[:4]
      return torch.cat([x, x.new_zeros(4 - len(x), EMBEDDING)]).flatten()

    read = SENTENCES if counts else [known(s) for s in SENTENCES]
    model = make_model(ENCODERS['concatenation'], counts)
    compare_with_torch(torch, model, read, vector)

  @parameterized.parameters(False, True)
  def test_convolution(self, counts):
    torch = pytest.importorskip('torch')

    def vector(tensors, x):
      pooled = []
      for width in (1, 3):
        kernel = tensors[f'kernel_{width}'].reshape(width, EMBEDDING, 6)
        y = torch.nn.functional.conv1d(
          x.T[None] if len(x) else x.new_zeros(1, EMBEDDING, 1),
          kernel.permute(2, 1, 0),
          tensors[f'bias_{width}'],
          padding=width - 1,
        )
        pooled.append(torch.relu(y[0]).max(dim=1).values)
      return torch.cat(pooled)

    read = SENTENCES if counts else [known(s) for s in SENTENCES]
    model = make_model(ENCODERS['convolution'], counts)
    compare_with_torch(torch, model, read, vector)

  @parameterized.product(
    cell=('gru', 'lstm'), pooling=recurrent_encoder.POOLINGS
  )
  @pytest.mark.slow
  def test_recurrent(self, cell, pooling):
    torch = pytest.importorskip('torch')
    both = cell == 'lstm'
    encoder = recurrent_with(
      pooling, cell=cell, num_layers=2, bidirectional=both
    )

    def layer(weights, x, reverse):
      """Outputs in the order of the words, by PyTorch's cell."""
      make = torch.nn.GRUCell if cell == 'gru' else torch.nn.LSTMCell
      module = make(x.shape[1], HIDDEN).double()
      values = {
        'weight_ih': weights['kernel'].T,
        'weight_hh': weights['cell']['recurrent_kernel'].T,
        'bias_ih': weights['bias'],
        'bias_hh': bias_of(weights['cell']),
      }
      state, outputs = None, []
      for step in reversed(range(len(x))) if reverse else range(len(x)):
        state = torch.func.functional_call(
          module, values, (x[step : step + 1], state)
        )
        outputs.append((state if cell == 'gru' else state[0])[0])
      return torch.stack(outputs[::-1] if reverse else outputs)

    def bias_of(weights):
      """GRUCell adds this to the recurrent product; it has no LSTM's."""
      if cell == 'lstm':
        return torch.zeros(4 * HIDDEN, dtype=torch.float64)
      zeros = torch.zeros(2 * HIDDEN, dtype=torch.float64)
      return torch.cat([zeros, weights['recurrent_bias']])

    def vector(tensors, x):
      for number in range(2):
        x = torch.cat(
          [
            layer(tensors[f'layer_{number}{end}'], x, reverse=bool(end))
            for end in (('', '_reverse') if both else ('',))
          ],
          dim=1,
        )
      if pooling == 'mean':
        return x.mean(dim=0)
      if pooling == 'max':
        return x.max(dim=0).values
      return torch.cat([x[-1, :HIDDEN], x[0, HIDDEN:]])

    read = [[vocab.BOS, *known(sentence)] for sentence in SENTENCES]
    compare_with_torch(torch, make_model(encoder), read, vector)


class InvarianceTest(parameterized.TestCase):
  @parameterized.parameters(*ENCODERS)
  def test_padding_and_other_texts_change_nothing(self, name):
    model = make_model(ENCODERS[name])
    params = make_params(model)
    apply = make_apply(model)
    scores = apply(params, *make_batch())
    allowed = tolerances.spread(
      lambda params: apply(params, *make_batch()), params, TERMS
    )
    padded = apply(params, *make_batch(padding=5))
    tolerances.assert_close(padded, scores, allowed)
    alone = apply(params, *make_batch(SENTENCES[3:4], padding=6))
    tolerances.assert_close(alone[0], np.asarray(scores)[3], allowed)

  @parameterized.parameters(*ENCODERS)
  def test_ignored_words_are_as_if_they_were_not_there(self, name):
    model = make_model(ENCODERS[name])
    params = make_params(model)
    apply = make_apply(model)
    with_gaps = apply(params, *make_batch())
    allowed = tolerances.spread(
      lambda params: apply(params, *make_batch()), params, TERMS
    )
    without = apply(params, *make_batch([known(s) for s in SENTENCES]))
    tolerances.assert_close(with_gaps, without, allowed)

  @parameterized.parameters(*ENCODERS)
  def test_blank_rows_have_finite_scores_and_gradients(self, name):
    model = make_model(ENCODERS[name])
    params = make_params(model)
    inputs, mask = make_batch()
    blank = np.zeros_like(mask)
    value = lambda params: jnp.sum(model.apply(params, inputs, blank) ** 2)
    for leaf in jax.tree.leaves(jax.jit(jax.value_and_grad(value))(params)):
      self.assertTrue(np.all(np.isfinite(leaf)))

  def test_dropped_words_are_unknown_words(self):
    model = make_model(ENCODERS['last'], counts_unknown=True)
    params = make_params(model)
    inputs, mask = make_batch([[5, 9, 12]], padding=0)
    count = 2_000
    rates = noise.Rates(word=jnp.float32(0.3))
    keys = noise.row_keys(jax.random.key(4), jnp.arange(count))
    batch = (np.repeat(x, count, axis=0) for x in (inputs, mask))
    apply = make_apply(model)
    scores = apply(params, *batch, rates=rates, keys=keys)
    shares = {}
    for row in np.round(np.asarray(scores), 4).tolist():
      shares[tuple(row)] = shares.get(tuple(row), 0) + 1 / count
    expected = {}
    for bits in range(8):
      words = [
        w if bits >> i & 1 else vocab.UNK for i, w in enumerate((5, 9, 12))
      ]
      score = apply(params, *make_batch([words], padding=0))[0]
      kept = bits.bit_count()
      expected[tuple(np.round(np.asarray(score), 4).tolist())] = (
        0.7** kept * 0.3 ** (3 - kept)
      )
    self.assertContainsSubset(shares, expected)
    for score, share in expected.items():
      deviation = np.sqrt(share * (1 - share) / count)
      self.assertLess(abs(shares.get(score, 0) - share), 5 * deviation)


class GradientStepsTest(parameterized.TestCase):
  @parameterized.parameters(*recurrent_encoder.POOLINGS)
  def test_scores_stay_and_early_words_get_no_gradient(self, pooling):
    whole = make_model(recurrent_with(pooling))
    cut = make_model(recurrent_with(pooling, 3))
    params = make_params(whole)
    batch = make_batch([[5, 6, 7, 8, 9, 10], [11, 12]])

    def value(model, params):
      scores = model.apply(params, *batch)
      return jnp.sum(scores**2), scores

    grad = jax.grad(value, argnums=1, has_aux=True)
    outcome = jax.jit(lambda params: [grad(m, params) for m in (whole, cut)])
    (all_grads, scores), (grads, cut_scores) = outcome(params)
    allowed = tolerances.spread(outcome, params, TERMS)
    tolerances.assert_close(cut_scores, scores, allowed[0][1])
    table = lambda grads: np.asarray(grads['params']['embedding']['embedding'])
    # Of bos and six words the last three; of bos and two words all.
    for word in (5, 6, 7):
      np.testing.assert_array_equal(table(grads)[word], 0)
      self.assertTrue(np.any(table(all_grads)[word]))
    for word in (8, 9, 10, 11, 12):
      self.assertTrue(np.any(table(grads)[word]))
    if pooling == 'last':
      # The states before are constants, so later words' gradients are equal.
      tolerances.assert_close(
        table(grads)[8:],
        table(all_grads)[8:],
        allowed[0][0]['params']['embedding']['embedding'],
      )


class RegistryTest(absltest.TestCase):
  def test_every_module_is_an_encoder(self):
    names = ['averaging', 'concatenation', 'convolution', 'recurrent']
    self.assertEqual(list(base.REGISTRY), names)
    for name in names:
      self.assertTrue(issubclass(base.get(name), base.Encoder))

  def test_an_unknown_encoder_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'recurrent'):
      base.get('recurent')


if __name__ == '__main__':
  absltest.main()
