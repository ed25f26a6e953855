"""The model against PyTorch, and what may not change its scores."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import vocab
from rnnvae_jax.models import classifier
from rnnvae_jax.models.encoders import averaging
from rnnvae_jax.ops import noise

import tolerances

VOCAB, EMBEDDING, HIDDEN, CLASSES = 13, 5, 7, 3
# Words of each sentence, one of them without any, and the unknown word.
SENTENCES = (
  [5, 9, 12, 4, vocab.UNK, 5],
  [7],
  [],
  [vocab.UNK, 10, 11],
  [vocab.UNK],
)
LONGEST = max(map(len, SENTENCES))
# Roundings of the longest sums: of words, of features and of units.
TERMS = LONGEST + EMBEDDING + HIDDEN


def make_model(composition='mean', **options):
  sizes = {'head_layers': 2, 'head_size': HIDDEN, **options}
  encoder = averaging.Averaging(composition)
  return classifier.Classifier(VOCAB, EMBEDDING, CLASSES, encoder, **sizes)


def make_batch(sentences=SENTENCES, padding=2):
  """inputs (bos and the words) and mask, int and bool[B, T]."""
  length = max(map(len, sentences)) + 1 + padding
  inputs = np.full((len(sentences), length), vocab.PAD)
  mask = np.zeros(inputs.shape, bool)
  for row, words in enumerate(sentences):
    inputs[row, : len(words) + 1] = [vocab.BOS, *words]
    mask[row, : len(words) + 1] = True
  return jnp.asarray(inputs), jnp.asarray(mask)


def make_params(model, scale=3.0):
  # Larger than they begin, so that units are off and saturated, and biases too.
  params = jax.jit(model.init)(jax.random.key(0), *make_batch())
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.float32(scale * x + rng.normal(0, 0.3, x.shape)), params
  )


def scores_of_torch(torch, model, params, sentences):
  """Scores in float64 by EmbeddingBag and Linear; parameters as tensors."""
  tensors = jax.tree.map(
    lambda x: torch.tensor(np.float64(x), requires_grad=True), params
  )['params']
  bag = torch.nn.functional.embedding_bag
  words = [word for sentence in sentences for word in sentence]
  starts = np.cumsum([0, *map(len, sentences)])[:-1]
  x = bag(
    torch.tensor(words),
    tensors['embedding']['embedding'],
    torch.tensor(starts),
    mode=model.encoder.composition,
    # What is left out of sums and means.
    padding_idx=None if model.counts_unknown else vocab.UNK,
  )
  act = getattr(torch, model.activation)
  for number in range(model.head_layers):
    layer = tensors[f'layer_{number}']
    x = act(x @ layer['kernel'] + layer['bias'])
  return tensors, x @ tensors['output']['kernel'] + tensors['output']['bias']


class AveragingTest(parameterized.TestCase):
  @parameterized.parameters(
    ('mean', False, 2, 'relu'),
    ('mean', True, 1, 'tanh'),
    ('sum', False, 0, 'relu'),
    ('sum', True, 2, 'tanh'),
  )
  def test_scores_and_gradients_match_torch(self, how, counts, layers, act):
    torch = pytest.importorskip('torch')
    model = make_model(
      composition=how,
      counts_unknown=counts,
      head_layers=layers,
      activation=act,
    )
    params = make_params(model)
    weights = np.random.default_rng(2).normal(size=(len(SENTENCES), CLASSES))
    tensors, theirs = scores_of_torch(torch, model, params, SENTENCES)
    (theirs * torch.tensor(weights)).sum().backward()
    their_grads = jax.tree.map(lambda x: x.grad.numpy(), {'params': tensors})

    @jax.jit
    def value(params):
      scores = model.apply(params, *make_batch())
      return jnp.sum(scores * jnp.float32(weights)), scores

    ours = lambda params: jax.grad(value, has_aux=True)(params)
    allowed = tolerances.spread(ours, params, TERMS)
    tolerances.assert_close(
      ours(params), (their_grads, theirs.detach().numpy()), allowed
    )

  def test_a_sentence_without_words_has_the_scores_of_nothing(self):
    for composition in averaging.COMPOSITIONS:
      model = make_model(composition=composition)
      params = make_params(model)
      apply = jax.jit(
        lambda params, model=model: model.apply(params, *make_batch())
      )
      scores, allowed = apply(params), tolerances.spread(apply, params, TERMS)
      inner, x = params['params'], np.zeros(EMBEDDING)
      for number in range(2):
        layer = inner[f'layer_{number}']
        x = np.maximum(x @ np.float64(layer['kernel']) + layer['bias'], 0)
      want = x @ np.float64(inner['output']['kernel']) + inner['output']['bias']
      # The second has no words, the last unknown ones alone.
      for row in (2, 4):
        tolerances.assert_close(scores[row], want, allowed)

  def test_padding_and_other_sentences_change_nothing(self):
    model = make_model()
    params = make_params(model)
    apply = jax.jit(model.apply)
    scores = apply(params, *make_batch())
    allowed = tolerances.spread(
      lambda params: apply(params, *make_batch()), params, TERMS
    )
    for padding in (0, 5):
      padded = apply(params, *make_batch(padding=padding))
      tolerances.assert_close(padded, scores, allowed)
    alone = apply(params, *make_batch(SENTENCES[3:4]))
    tolerances.assert_close(alone[0], scores[3], allowed)

  def test_what_stands_behind_the_mask_is_not_read(self):
    model = make_model(counts_unknown=True)
    params = make_params(model)
    inputs, mask = make_batch()
    other = jnp.where(mask, inputs, 8)
    apply = jax.jit(model.apply)
    np.testing.assert_array_equal(
      apply(params, inputs, mask), apply(params, other, mask)
    )

  def test_the_order_of_words_does_not_matter(self):
    model = make_model()
    params = make_params(model)
    shuffled = [sentence[::-1] for sentence in SENTENCES]
    apply = jax.jit(model.apply)
    of_shuffled = lambda params: apply(params, *make_batch(shuffled))
    allowed = tolerances.spread(of_shuffled, params, TERMS)
    scores = apply(params, *make_batch())
    tolerances.assert_close(of_shuffled(params), scores, allowed)


class WordDropoutTest(parameterized.TestCase):
  """With one feature that is 1 for every word, and no layer but the output."""

  def setUp(self):
    super().setUp()
    self.rates = noise.Rates(word=jnp.float32(0.4))
    self.count = 4_000
    self.keys = noise.row_keys(jax.random.key(3), jnp.arange(self.count))

  def compositions(self, composition, values):
    """The composed value of each row of a sentence of words with values."""
    model = classifier.Classifier(
      4 + len(values), 1, 1, averaging.Averaging(composition)
    )
    table = jnp.float32([*[0.0] * 4, *values])[:, None]
    output = {'kernel': jnp.ones((1, 1)), 'bias': jnp.zeros(1)}
    params = {'params': {'embedding': {'embedding': table}, 'output': output}}
    inputs, mask = make_batch([list(range(4, 4 + len(values)))])
    arrays = (jnp.repeat(x, self.count, axis=0) for x in (inputs, mask))
    scores = model.apply(params, *arrays, rates=self.rates, keys=self.keys)
    return np.asarray(scores[:, 0], np.float64)

  def test_the_mean_is_that_of_the_words_that_are_kept(self):
    values = (1.0, 2.0, 4.0)
    means = self.compositions('mean', values)
    subsets = {}
    for bits in range(8):
      kept = [v for i, v in enumerate(values) if bits >> i & 1]
      mean = round(sum(kept) / len(kept), 4) if kept else 0.0
      share = 0.6 ** len(kept) * 0.4 ** (3 - len(kept))
      subsets[mean] = subsets.get(mean, 0.0) + share
    got, counts = np.unique(np.round(means, 4), return_counts=True)
    self.assertContainsSubset(got.tolist(), subsets)
    for mean, count in zip(got.tolist(), counts, strict=True):
      p = subsets[mean]
      deviation = np.sqrt(p * (1 - p) / self.count)
      self.assertLess(abs(count / self.count - p), 5 * deviation)

  def test_the_expected_sum_is_the_sum_of_all_words(self):
    sums = self.compositions('sum', (1.0, 2.0, 4.0))
    variance = (1 + 4 + 16) * 0.4 / 0.6
    error = abs(np.mean(sums) - 7.0)
    self.assertLess(error, 5 * np.sqrt(variance / self.count))
    # A word is there as a whole, scaled up, or not at all.
    parts = sums * 0.6
    allowed = tolerances.chain(3, 3) * 7 / 0.6
    np.testing.assert_allclose(parts, np.round(parts), rtol=0, atol=allowed)


if __name__ == '__main__':
  absltest.main()
