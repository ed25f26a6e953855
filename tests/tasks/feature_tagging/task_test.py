"""The linear tagger: sums of weights, gradients by counts, and learning."""

import collections

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import batches, corpora
from rnnvae_jax.models import word_features
from rnnvae_jax.ops import crf
from rnnvae_jax.tasks import _tags
from rnnvae_jax.tasks.feature_tagging import task as task_lib
from tests import helpers, tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

TEXT = 'Anna B-PER\nBerg I-PER\nsaw O\nOslo B-LOC\n\nBerg B-PER\nleft O\n'


class FeatureTaggingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir()
    for split in ('train', 'valid', 'test'):
      folder.create_file(f'{split}.txt', TEXT)
    self.config = helpers.make_config(
      'feature_tagging',
      **{
        'corpus.columns': True,
        'corpus.protocol': 'mikolov',
        'corpus.tag_scheme': 'bio',
        'corpus.max_characters': 6,
        'model.num_features': 997,
      },
    )
    config_build.validate(self.config)
    settings = dict(self.config.corpus)
    settings.pop('name')
    corpus = corpora.build(
      folder.full_path, fields=task_lib.FeatureTagging.FIELDS, **settings
    )
    self.task = task_lib.FeatureTagging.build(
      self.config, corpus.vocab, corpus.labels
    )
    self.batch = batches.gather(
      batches.put(corpus.splits['train']),
      jnp.array([0, 1, -1]),
      batches.Bucket(6),
    )
    self.words = _tags.words_of(self.batch)
    hashed = jax.jit(word_features.hashed, static_argnums=(3, 4))
    self.features = hashed(
      self.words.chars,
      self.words.chars_mask,
      self.words.mask,
      self.task.model.alphabet,
      997,
    )
    self.scalars = helpers.make_hyperparameters(self.config)

  def loss(self, params):
    key = jax.random.key(0)
    return self.task.loss(params, self.batch, self.scalars, key, {})[0]

  def test_emissions_are_sums_of_the_weights_of_features(self):
    params = self.task.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    table = np.float32(rng.normal(size=(997, len(self.task.labels))))
    params['params']['features']['embedding'] = table
    got, _ = jax.jit(self.task.model.apply)(params, self.words)
    want = table[np.asarray(self.features)]
    np.testing.assert_allclose(
      got, want.sum(axis=2), rtol=0, atol=np.max(tolerances.one_sum(want, 2))
    )

  def test_the_gradient_is_expected_less_observed_counts(self):
    params = self.task.init(jax.random.key(0))
    grad = jax.jit(jax.grad(self.loss))(params)['params']['features'][
      'embedding'
    ]
    emissions, weights = jax.jit(self.task.model.apply)(params, self.words)
    marginals = jax.jit(crf.marginals)
    shares = np.asarray(marginals(emissions, self.words.mask, weights))
    tags = np.asarray(self.batch['tags'])
    want: dict = collections.defaultdict(float)
    for b, t in zip(*np.nonzero(self.words.mask), strict=True):
      for feature in np.asarray(self.features)[b, t].tolist():
        for tag in range(len(self.task.labels)):
          seen = int(tags[b, t]) == tag
          # The loss is of one of two sentences.
          want[feature, tag] += (float(shares[b, t, tag]) - seen) / 2
    dense = np.zeros(grad.shape)
    for place, value in want.items():
      dense[place] = value
    # Sums of at most six tokens, whose shares are sums over five steps.
    np.testing.assert_allclose(
      grad, dense, rtol=0, atol=tolerances.chain(*[8] * 8)
    )

  def test_the_tags_are_learnt(self):
    params = self.task.init(jax.random.key(0))
    step = jax.jit(
      lambda p: jax.tree.map(
        lambda x, g: x - 0.1 * g, p, jax.grad(self.loss)(p)
      )
    )
    for _ in range(30):
      params = step(params)
    batch = {k: v for k, v in self.batch.items() if k != 'token_counts'}
    found = jax.jit(self.task.tag)(params, batch, {})
    mask = np.asarray(self.words.mask)
    np.testing.assert_array_equal(
      found.tags[:, 0][mask], _tags.without_end(self.batch['tags'])[mask]
    )


if __name__ == '__main__':
  absltest.main()
