"""Two independent directions of a language model, embeddings shared."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import schema
from rnnvae_jax.data import vocab
from rnnvae_jax.models import build
from rnnvae_jax.models.cells import base
from rnnvae_jax.ops import noise

ROWS, TIME, V = 3, 6, 11
LENGTHS = np.array([6, 3, 1])


def configure(both):
  config = schema.Schema(
    [
      build.RecurrentConfig,
      build.LanguageModelConfig,
      build.DropoutConfig,
      *base.fragments(),
    ]
  ).default()
  config.model.cell = 'lstm'
  config.model.embedding_size, config.model.hidden_size = 5, 4
  config.model.both_directions = both
  return config


def batch(words):
  """Inputs, targets and mask of sentences of these words and eos."""
  inputs = np.full((ROWS, TIME), vocab.PAD)
  targets = np.full((ROWS, TIME), vocab.PAD)
  for row, (sentence, length) in enumerate(zip(words, LENGTHS, strict=True)):
    sentence = [*sentence[: length - 1], vocab.EOS]
    targets[row, :length] = sentence
    inputs[row, :length] = [vocab.BOS, *sentence[:-1]]
  return tuple(map(jnp.asarray, (inputs, targets, targets != vocab.PAD)))


class BothDirectionsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.model = build.language_model(configure(True), V)
    self.words = np.random.default_rng(0).integers(4, V, (ROWS, TIME - 1))
    self.arrays = batch(self.words)
    self.params = jax.jit(self.model.init)(jax.random.key(0), *self.arrays)

  def one(self, stack, arrays):
    """A model of one direction with the weights of a stack."""
    weights = dict(self.params['params'])
    weights['recurrent'] = weights[stack]
    weights.pop('backward')
    model = build.language_model(configure(False), V)
    return model.apply({'params': weights}, *arrays)

  @pytest.mark.slow
  def test_each_is_a_model_of_its_own_order(self):
    reading = self.model.apply(self.params, *self.arrays)
    forward = self.one('recurrent', self.arrays)
    lengths = LENGTHS - 1
    reverse = [w[:n][::-1] for w, n in zip(self.words, lengths, strict=True)]
    backward = self.one('backward', batch(reverse))
    np.testing.assert_allclose(reading.nll, forward.nll, rtol=1e-6)
    np.testing.assert_allclose(reading.backward_nll, backward.nll, rtol=1e-6)
    np.testing.assert_allclose(
      reading.total, forward.total + backward.total, rtol=1e-6
    )


class DropoutTest(absltest.TestCase):
  @pytest.mark.slow
  def test_each_direction_has_masks_of_its_own(self):
    model = build.language_model(configure(True), V)
    arrays = batch(np.full((ROWS, TIME - 1), 5))  # The same both ways.
    params = jax.jit(model.init)(jax.random.key(0), *arrays)['params']
    params = {'params': params | {'backward': params['recurrent']}}
    keys = noise.row_keys(jax.random.key(1), jnp.arange(ROWS))
    for site in ('embedding', 'output'):
      rates = noise.Rates(*[None] * len(noise.Rates._fields))
      for rate, alike in ((None, True), (jnp.float32(0.5), False)):
        reading = model.apply(
          params, *arrays, rates=rates._replace(**{site: rate}), keys=keys
        )
        same = np.allclose(reading.nll[0], reading.backward_nll[0], rtol=1e-6)
        self.assertEqual(same, alike, site)


class WeightDropTest(absltest.TestCase):
  def test_falls_on_both(self):
    model = build.language_model(configure(True), V)
    arrays = batch(np.full((ROWS, TIME - 1), 5))
    params = jax.jit(model.init)(jax.random.key(0), *arrays)
    dropped = noise.drop_weights(
      params, jnp.float32(0.5), jax.random.key(1), 'recurrent', 'backward'
    )
    for stack in ('recurrent', 'backward'):
      layer = dropped['params'][stack]['layer_0']
      zeros = np.mean(np.asarray(layer['cell']['recurrent_kernel']) == 0)
      # Three standard deviations of 64 draws.
      self.assertAlmostEqual(zeros, 0.5, delta=3 * 0.5 / 8)


if __name__ == '__main__':
  absltest.main()
