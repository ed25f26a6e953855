"""The sentence VAE: no sentence sees another, no decoder reads ahead."""

import functools

from absl.testing import absltest, parameterized
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import vocab
from rnnvae_jax.models import language_model, recurrent, sentence_vae
from rnnvae_jax.models.cells import elman, gru, lstm
from rnnvae_jax.ops import noise

EPS = np.finfo(np.float32).eps
HIDDEN, ROWS, EMBEDDING, TIME, ENCODER_HIDDEN = 4, 5, 6, 7, 8
LATENT, VOCAB = 9, 13
LENGTHS = np.array([7, 3, 0, 5, 2])
CELLS = {'gru': gru.GRU, 'lstm': lstm.LSTM, 'elman': elman.Elman}


def stack(cell, features, num_layers, bidirectional=False):
  return recurrent.Recurrent(
    CELLS[cell](features),
    num_layers=num_layers,
    bidirectional=bidirectional,
  )


@functools.cache
def make(cell, num_layers, bidirectional):
  decoder = language_model.LanguageModel(
    VOCAB, EMBEDDING, stack(cell, HIDDEN, num_layers), latent_size=LATENT
  )
  return sentence_vae.SentenceVAE(
    decoder, stack(cell, ENCODER_HIDDEN, num_layers, bidirectional)
  )


@functools.cache
def batch(time=TIME):
  """inputs, targets, mask; the padding is PAD."""
  rng = np.random.default_rng(0)
  mask = np.arange(time)[None, :] < LENGTHS[:, None]
  words = rng.integers(vocab.UNK + 1, VOCAB, size=(ROWS, TIME))
  words = np.pad(words, ((0, 0), (0, time - TIME)))
  last = np.arange(time)[None, :] == LENGTHS[:, None] - 1
  targets = np.where(last, vocab.EOS, np.where(mask, words, vocab.PAD))
  bos = np.full((ROWS, 1), vocab.BOS)
  inputs = np.concatenate([bos, targets[:, :-1]], axis=1)
  return np.int32(inputs * mask), np.int32(targets), mask


@functools.cache
def parameters(model):
  shapes = jax.eval_shape(model.init, jax.random.key(0), *batch())
  rng = np.random.default_rng(0)
  draw = lambda leaf: np.float32(rng.uniform(-1, 1, size=leaf.shape))
  return jax.tree.map(draw, shapes)


def on_host(fn):
  """Compiled, with NumPy results: slicing them compiles nothing more."""
  compiled = jax.jit(fn)
  return lambda *args: jax.device_get(compiled(*args))


@functools.cache
def encode_of(model):
  """(params, tokens, mask) -> mean, log-variance, as a Gaussian's are read."""

  def encode(*args):
    outputs = model.apply(*args, method='encode')
    return tuple(jnp.split(outputs, 2, axis=-1))

  return on_host(encode)


@functools.cache
def decode_of(model):
  """(params, latents, inputs, targets, mask) -> float[B, T]."""
  return on_host(lambda *args: model.apply(*args, method='decode')[1])


@functools.cache
def parts_of(model):
  """(gradients, (nats per token, mean, log-variance)) given the noise."""

  def value(params, arrays, epsilon, weights):
    inputs, targets, mask = arrays
    outputs = model.apply(params, targets, mask, method='encode')
    mean, log_var = jnp.split(outputs, 2, axis=-1)
    latents = mean + jnp.exp(0.5 * log_var) * epsilon
    total, nll, *_ = model.apply(
      params, latents, inputs, targets, mask, method='decode'
    )
    kl = 0.5 * (mean**2 + jnp.expm1(log_var) - log_var)
    weighed = jnp.sum(jnp.sum(kl, axis=1) * weights)
    return total + weighed, (nll, mean, log_var)

  return on_host(jax.grad(value, has_aux=True))


WEIGHTS = np.float32([1.0, -0.5, 0.7, 2.0, -1.0])


def assert_close(got, want, time, num_layers):
  """Leaf by leaf, in EPS of its largest element, or of 1.

  Forward and back through T steps of the encoder's and the decoder's layers
  and of the output layer, each a product over at most both directions'
  outputs and states and a dozen operations; sums over V in the loss, and over
  B T in the weights' gradients.
  """
  chex.assert_trees_all_equal_shapes(got, want)
  width = 2 * ENCODER_HIDDEN + ENCODER_HIDDEN
  allowed = (
    2 * time * (2 * num_layers + 1) * (width + 12) + 2 * VOCAB + ROWS * time
  )

  def check(got, want):
    scale = max(1.0, np.max(np.abs(want)))
    error = np.max(np.abs(np.float64(got) - np.float64(want)))
    np.testing.assert_array_less(error, allowed * EPS * scale)

  jax.tree.map(check, got, want)


SOME = (('gru', 1, False), ('lstm', 2, True), ('elman', 3, True))


@on_host
def epsilon_of(index):
  keys = noise.row_keys(jax.random.key(0), index)
  return noise.normal(keys, 'latents', (LATENT,))


class EncodeTest(parameterized.TestCase):
  @parameterized.product(
    cell=('gru', 'lstm', 'elman'),
    num_layers=(1, 2, 3),
    bidirectional=(False, True),
  )
  def test_a_posterior_depends_on_its_own_sentence_alone(self, **name):
    model = make(**name)
    params, run = parameters(model), encode_of(model)
    _, targets, mask = batch()
    want = run(params, targets, mask)
    self.assertEqual(want[0].shape, (ROWS, LATENT))
    self.assertEqual(want[1].shape, (ROWS, LATENT))
    # Other tokens, other lengths and other padding in all rows but one.
    others = np.int32((targets + 1) % VOCAB)
    other_mask = np.arange(TIME)[None, :] < np.array([[2], [7], [4], [0], [6]])
    changed = run(params, others, other_mask)
    for row in range(ROWS):
      keep = np.arange(ROWS)[:, None] == row
      got = run(
        params,
        np.where(keep & mask, targets, others),
        np.where(keep, mask, other_mask),
      )
      for part, own, other in zip(got, want, changed, strict=True):
        np.testing.assert_array_equal(part[row], own[row])
        self.assertTrue(np.all(other[row] != own[row]))
    order = np.array([4, 2, 0, 3, 1])
    permuted = run(params, targets[order], mask[order])
    want = tuple(part[order] for part in want)
    assert_close(permuted, want, TIME, name['num_layers'])

  @parameterized.parameters(*SOME)
  def test_reads_the_final_states_of_all_layers_and_directions(self, *name):
    model = make(*name)
    params = parameters(model)
    _, targets, mask = batch()
    embedded = params['params']['decoder']['embedding']['embedding'][targets]
    carry, _ = jax.jit(model.encoder.apply)(
      {'params': params['params']['encoder']}, embedded, mask
    )
    states = np.concatenate(jax.tree.leaves(carry), axis=1)
    cell, num_layers, bidirectional = name
    num_states = num_layers * (1 + bidirectional) * CELLS[cell].num_states
    self.assertEqual(states.shape, (ROWS, num_states * ENCODER_HIDDEN))
    posterior = jax.tree.map(np.float64, params['params']['posterior'])
    want = states @ posterior['kernel'] + posterior['bias']
    got = encode_of(model)(params, targets, mask)
    assert_close(np.concatenate(got, axis=1), want, TIME, num_layers)

  def test_of_no_tokens_is_the_bias(self):
    model = make('lstm', 2, True)
    params, (_, targets, mask) = parameters(model), batch()
    mean, log_var = encode_of(model)(params, targets, mask)
    empty = np.concatenate([mean, log_var], axis=1)[LENGTHS == 0][0]
    np.testing.assert_array_equal(empty, params['params']['posterior']['bias'])


class DecodeTest(parameterized.TestCase):
  @parameterized.parameters(*SOME)
  def test_given_z_a_later_token_changes_nothing_before_it(self, *name):
    model = make(*name)
    params, run = parameters(model), decode_of(model)
    inputs, targets, _ = batch()
    mask = np.ones((ROWS, TIME), bool)
    latents, _ = encode_of(model)(params, targets, mask)
    want = run(params, latents, inputs, targets, mask)
    for time in range(TIME):
      other_inputs, other_targets = inputs.copy(), targets.copy()
      other_targets[:, time:] = (targets[:, time:] + 1) % VOCAB
      other_inputs[:, time + 1 :] = other_targets[:, time:-1]
      got = run(params, latents, other_inputs, other_targets, mask)
      np.testing.assert_array_equal(got[:, :time], want[:, :time])
      self.assertTrue(np.all(got[:, time] != want[:, time]))

  def test_is_the_conditional_language_model(self):
    model = make('lstm', 2, True)
    params, arrays = parameters(model), batch()
    latents = np.float32(np.random.default_rng(1).normal(size=(ROWS, LATENT)))
    own = {'params': params['params']['decoder']}
    want = jax.jit(model.decoder.apply)(own, *arrays, latents).nll
    got = decode_of(model)(params, latents, *arrays)
    np.testing.assert_array_equal(got, want)

  def test_steps_one_after_the_other_equal_the_parallel_pass(self):
    model = make('lstm', 2, True)
    params, (inputs, targets, mask) = parameters(model), batch()
    latents = np.float32(np.random.default_rng(1).normal(size=(ROWS, LATENT)))
    start = functools.partial(model.apply, method='start')
    carry = jax.jit(start, static_argnums=1)(params, ROWS, latents)
    step, parts = jax.jit(functools.partial(model.apply, method='step')), []
    for time in range(TIME):
      carry, logits = step(params, carry, inputs[:, time], latents)
      logits = np.float64(logits)
      chosen = logits[np.arange(ROWS), targets[:, time]]
      parts.append(np.log(np.exp(logits).sum(axis=1)) - chosen)
    want = decode_of(model)(params, latents, inputs, targets, mask)
    assert_close(np.stack(parts, axis=1) * mask, want, TIME, 2)


class WholeModelTest(absltest.TestCase):
  model = make('gru', 2, True)
  index = np.array([8, 3, 0, 5, 13])

  def run_model(self, arrays, order=slice(None)):
    epsilon, weights = epsilon_of(self.index[order]), WEIGHTS[order]
    params = parameters(self.model)
    return parts_of(self.model)(params, arrays, epsilon, weights)

  def test_other_ids_in_the_padding_change_neither_values_nor_gradients(self):
    inputs, targets, mask = batch()
    others = np.random.default_rng(1).integers(VOCAB, size=(2, ROWS, TIME))
    poisoned = [
      np.where(mask, clean, other).astype(np.int32)
      for clean, other in zip((inputs, targets), others, strict=True)
    ]
    got = self.run_model((*poisoned, mask))
    chex.assert_trees_all_equal(got, self.run_model(batch()))

  @pytest.mark.slow
  def test_neither_longer_nor_permuted_batches_change_a_sentence(self):
    # With its index a sentence takes its noise along.
    grads, values = self.run_model(batch())
    order = np.array([4, 2, 0, 3, 1])
    want = grads, [part[order] for part in values]
    arrays = tuple(array[order] for array in batch(TIME + 4))
    got_grads, (nll, mean, log_var) = self.run_model(arrays, order)
    got = got_grads, [nll[:, :TIME], mean, log_var]
    assert_close(got, want, TIME + 4, self.model.encoder.num_layers)
    np.testing.assert_array_equal(nll[:, TIME:], np.zeros((ROWS, 4)))

  def test_the_encoder_reads_through_the_embeddings_of_the_decoder(self):
    params = parameters(self.model)['params']
    self.assertSetEqual(set(params), {'decoder', 'encoder', 'posterior'})
    self.assertNotIn('embedding', params['encoder'])
    # eos is never an input of the decoder: the encoder alone moves its row.
    grads, _ = self.run_model(batch())
    of_eos = grads['params']['decoder']['embedding']['embedding'][vocab.EOS]
    self.assertTrue(np.all(of_eos != 0))


if __name__ == '__main__':
  absltest.main()
