"""Moves in latent space, against the model asked token by token."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import vocab
from rnnvae_jax.inference import moves
from rnnvae_jax.inference import run as run_lib

import helpers
import tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

WORDS = ('a', 'b', 'c', 'd', 'e')
EMBEDDING, HIDDEN, LATENTS, ENCODER = 6, 7, 5, 10


def make_run(**changes):
  config = helpers.make_config(
    'sentence_vae',
    **{
      'corpus.protocol': 'mikolov',
      'model.cell': 'gru',
      'model.embedding_size': EMBEDDING,
      'model.hidden_size': HIDDEN,
      'model.latent_size': LATENTS,
      'model.encoder_hidden_size': ENCODER,
      'model.latent_every_step': True,
      **changes,
    },
  )
  words = vocab.Vocabulary('word', (*vocab.SPECIALS, *WORDS))
  task = helpers.make_task(config, words)
  params = jax.tree.map(lambda x: 3 * x, jax.jit(task.init)(jax.random.key(0)))
  extras = task.initial_extras()
  return run_lib.Run(config, words, (), task, params, extras, 'none')


def expected(run, ids, z):
  """float64[V]: the sum of the probabilities at each place of a sentence."""
  step = jax.jit(run.task.step)
  z = jnp.asarray(z[None])
  carry, total = run.task.start(run.params, 1, z), 0.0
  for token in [run.begin_mark, *ids[:-1]]:
    carry, logits = step(run.params, carry, jnp.array([token]), z)
    logits = np.float64(logits[0])
    total += np.exp(logits - np.logaddexp.reduce(logits))
  return total


class MovesTest(parameterized.TestCase):
  def test_expected_words_are_sums_over_the_places(self):
    run = make_run()
    sentences = run.sentences(['a b e', 'c', 'd d a b c a'])
    latents = np.random.default_rng(0).normal(size=(3, LATENTS))
    latents = latents.astype(np.float32)
    counts = run.programs.word_counts(
      run.params, sentences, run.begin_mark, latents
    )
    length = max(map(len, sentences))
    # Logits of up to 10 in magnitude are sums of HIDDEN terms, after as many
    # steps; a probability is off by their absolute error.
    allowed = (
      length
      * 10
      * tolerances.chain(
        HIDDEN, length * (EMBEDDING + HIDDEN + LATENTS), len(run.vocab)
      )
    )
    for ids, z, row in zip(sentences, latents, counts, strict=True):
      np.testing.assert_allclose(row, expected(run, ids, z), atol=allowed)
      self.assertAlmostEqual(float(row.sum()), len(ids), places=4)
    changes = moves.word_changes(run, sentences, latents, -latents, 3)
    other = run.programs.word_counts(
      run.params, sentences, run.begin_mark, -latents
    )
    moved = (other - counts).mean(axis=0)[len(vocab.SPECIALS) :]
    order = np.argsort(-np.abs(moved))[:3]
    self.assertEqual([w for w, _ in changes], [WORDS[i] for i in order])
    np.testing.assert_allclose([c for _, c in changes], moved[order], atol=1e-6)

  def test_points_are_moved_along_directions_and_axes(self):
    run = make_run()
    points = np.ones((2, LATENTS), np.float32)
    direction = np.arange(LATENTS)
    moved = moves.shifted(run, points, direction, 2.0)
    np.testing.assert_array_equal(moved, points + 2 * direction)
    set_to = moves.with_latent(run, points, 3, -1.5)
    np.testing.assert_array_equal(set_to[0], [1, 1, 1, -1.5, 1])
    np.testing.assert_array_equal(points, 1)
    with self.assertRaisesRegex(ValueError, 'no latent 5: they are 0 to 4'):
      moves.with_latent(run, points, 5, 0.0)

  def test_on_a_sphere_they_stay_on_it(self):
    run = make_run(**{'model.posterior': 'von_mises_fisher'})
    points = np.eye(2, LATENTS, dtype=np.float32)
    deviation = run.task.latents.family.deviation
    for moved in (
      moves.shifted(run, points, np.ones(LATENTS), 0.5),
      moves.with_latent(run, points, 4, 2.0),
    ):
      # The root of a sum of LATENTS squares, and a division.
      np.testing.assert_allclose(
        np.linalg.norm(moved, axis=1), 1, rtol=tolerances.chain(LATENTS, 4)
      )
    raw = np.float64([1, 0, 0, 0, 2 * deviation])
    np.testing.assert_allclose(
      moved[0], raw / np.linalg.norm(raw), rtol=tolerances.chain(LATENTS, 4)
    )

  @pytest.mark.slow
  def test_a_traversal_decodes_each_value(self):
    run = make_run(**{'generate.max_length': 8})
    point = run.latents_of(run.sentences(['a b']))[0]
    texts = moves.traverse(run, point, 2, (-3.0, 0.0, 3.0))
    for value, text in zip((-3.0, 0.0, 3.0), texts, strict=True):
      changed = point.copy()
      changed[2] = value
      self.assertEqual([text], run.decode(changed[None]))


class AtlasTest(absltest.TestCase):
  def atlas(self):
    points = np.float32([[0, 0], [3, 4], [6, 8], [1, 0]])
    labels = {
      'kind': np.array(['x', 'y', 'y', '']),
      'size': np.array(['1'] * 4),
    }
    places = {'pca': np.arange(8.0).reshape(4, 2), 'tsne': -np.eye(4, 2)}
    return moves.Atlas(['a', 'b é', 'c', 'd'], labels, points, places)

  def test_what_is_written_is_read(self):
    folder = self.create_tempdir().full_path
    self.atlas().save(folder)
    read, want = moves.Atlas.load(folder), self.atlas()
    self.assertEqual(list(read.texts), list(want.texts))
    np.testing.assert_array_equal(read.points, want.points)
    self.assertEqual(set(read.labels), {'kind', 'size'})
    for name, values in want.labels.items():
      self.assertEqual(read.labels[name].tolist(), values.tolist())
    for name, places in want.places.items():
      np.testing.assert_array_equal(read.places[name], places)

  def test_neighbours_and_directions_are_those_of_the_points(self):
    atlas = self.atlas()
    self.assertEqual(
      atlas.nearest(np.float32([3, 4]), 3), [(1, 0.0), (3, 20**0.5), (0, 5.0)]
    )
    np.testing.assert_allclose(atlas.direction('kind', 'x', 'y'), [4.5, 6.0])
    with self.assertRaisesRegex(ValueError, "kind = 'z'"):
      atlas.direction('kind', 'x', 'z')


if __name__ == '__main__':
  absltest.main()
