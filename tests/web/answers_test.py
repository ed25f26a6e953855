"""What the explorer answers, against the run itself."""

from concurrent import futures
import functools
import itertools

from absl.testing import absltest, parameterized
import numpy as np
import pytest

from rnnvae_jax.data import vocab
from rnnvae_jax.inference import moves
from rnnvae_jax.tasks import base
from rnnvae_jax.web import answers as answers_lib
from rnnvae_jax.web import typed
from tests.web import small_runs

import tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

TEXT, OTHER = 'a d e b', 'c c zebra'
# Of a token: sums over the vocabulary, a hidden layer and the steps before it.
RTOL = tolerances.chain(9, 7 + 6, 64 * (7 + 6 + small_runs.LATENTS), 64)


@functools.cache
def autoencoder():
  run = small_runs.make_run('sentence_vae')
  answers = answers_lib.Answers(run, small_runs.make_landmarks(run))
  return answers, run


@functools.cache
def language_model():
  run = small_runs.make_run('language_model')
  return answers_lib.Answers(run), run


class LatentsTest(parameterized.TestCase):
  def test_a_sentence_has_its_reconstruction_neighbours_and_place(self):
    answers, run = autoencoder()
    found = answers.sentence(OTHER)
    self.assertEqual(found.text, 'c c <unk>')
    self.assertEqual([found.reconstruction], run.reconstruct([OTHER]))
    points = np.float64(answers.landmarks.points)
    (here,) = np.float64(run.latents_of(run.sentences([OTHER])))
    apart = np.sqrt(np.square(points - here).sum(axis=1))
    np.testing.assert_allclose(
      [distance for distance, _, _ in found.nearest],
      np.sort(apart)[: len(found.nearest)],
      rtol=1e-4,
    )
    nearest = int(np.argmin(apart))
    self.assertEqual(found.nearest[0][1], small_runs.TEXTS[nearest])
    author = 'x' if nearest < len(points) // 2 else 'y'
    self.assertEqual(found.nearest[0][2], f'author: {author}')

  def test_a_landmark_is_its_own_nearest_and_where_the_map_has_it(self):
    answers, _ = autoencoder()
    for row in (0, 7):
      found = answers.sentence(small_runs.TEXTS[row])
      self.assertEqual(found.nearest[0][1], small_runs.TEXTS[row])
      np.testing.assert_allclose(
        found.place, answers.landmarks.places[row], atol=1e-4
      )

  def test_without_landmarks_there_is_a_reconstruction_alone(self):
    _, run = autoencoder()
    found = answers_lib.Answers(run).sentence(TEXT)
    self.assertEqual(found[1:], (run.reconstruct([TEXT])[0], [], None))

  def test_blends_at_the_ends_are_the_reconstructions_of_both(self):
    answers, run = autoencoder()
    ends = [answers.blend(TEXT, OTHER, share) for share in (0, 1)]
    self.assertEqual(ends, run.reconstruct([TEXT, OTHER]))
    self.assertNotEqual(*ends)
    self.assertEqual(
      [answers.blend(TEXT, OTHER, share) for share in (0.0, 0.5, 1.0)],
      run.interpolate(TEXT, OTHER, 3),
    )

  def test_a_latent_that_keeps_its_value_keeps_the_text(self):
    answers, run = autoencoder()
    (kept,) = run.reconstruct([TEXT])
    for latent in range(small_runs.LATENTS):
      value = answers.latent_of(TEXT, latent)
      self.assertEqual(answers.with_latent(TEXT, latent, value), kept)
    (point,) = run.latents_of(run.sentences([TEXT]))
    self.assertEqual(
      [answers.with_latent(TEXT, 1, value) for value in (-4.0, 4.0)],
      moves.traverse(run, point, 1, (-4.0, 4.0)),
    )

  def test_an_attribute_moves_along_the_means_of_its_values(self):
    answers, run = autoencoder()
    name = 'author: x → y'
    self.assertEqual([answers.shifted(TEXT, name, 0)], run.reconstruct([TEXT]))
    points = answers.landmarks.points
    half = len(points) // 2
    way = points[half:].mean(axis=0) - points[:half].mean(axis=0)
    moved = run.latents_of(run.sentences([TEXT])) + 3 * way
    self.assertEqual([answers.shifted(TEXT, name, 3)], run.decode(moved))
    with self.assertRaisesRegex(ValueError, 'no such attribute'):
      answers.shifted(TEXT, 'author: y → z', 1)


class TextTest(parameterized.TestCase):
  def check_next_words(self, answers, run, prime):
    found = answers.next_words(prime, 0)
    expected = run.next_token_log_probs(prime, 0)
    self.assertEqual([w for w, _ in found], [w for w, _ in expected])
    shares = np.array([share for _, share in found])
    np.testing.assert_allclose(
      shares, np.exp([nats for _, nats in expected]), rtol=RTOL
    )
    # Beside them there are the marks that no text has.
    following = np.exp(np.float64(answers._next(run.encoded(prime))))
    marks = following[[vocab.PAD, vocab.BOS]].sum()
    self.assertLess(marks, 0.9)
    self.assertAlmostEqual(shares.sum() + marks, 1.0, delta=RTOL)

  def check_texts(self, answers, run, prime, temperature):
    self.assertEqual(
      answers.write(prime, temperature, 0.9, 3),
      run.sample(
        answers_lib.DRAWN,
        prime=prime,
        temperature=temperature,
        top_p=0.9,
        seed=3,
      ),
    )

  def check_nats(self, answers, run):
    (score,) = run.score([OTHER], per_token=True)
    found = answers.nats(OTHER)
    self.assertEqual([w for w, _ in found], ['c', 'c', '<unk>', '</s>'])
    np.testing.assert_allclose(
      [nats for _, nats in found],
      [nats for _, nats in score.by_token],
      rtol=RTOL,
    )

  def test_next_words_are_the_runs_own_and_sum_to_one(self):
    for prime in ('', 'e d b a'):
      self.check_next_words(*language_model(), prime)

  @pytest.mark.slow
  def test_next_words_of_an_autoencoder_are_its_own(self):
    for prime in ('', 'e d b a'):
      self.check_next_words(*autoencoder(), prime)

  def test_texts_are_those_that_the_run_writes(self):
    self.check_texts(*autoencoder(), 'a b', 0.8)

  @pytest.mark.slow
  def test_all_texts_are_those_that_the_run_writes(self):
    for answers, run in (autoencoder(), language_model()):
      for prime, temperature in itertools.product(('', 'a b'), (0.0, 0.8)):
        self.check_texts(answers, run, prime, temperature)

  def test_nats_are_those_of_the_score(self):
    self.check_nats(*language_model())

  @pytest.mark.slow
  def test_nats_of_an_autoencoder_are_those_of_the_score(self):
    self.check_nats(*autoencoder())

  def test_words_that_the_vocabulary_lacks_are_named_once(self):
    answers, _ = language_model()
    self.assertEqual(answers.unknown('a zebra b yak zebra'), ['zebra', 'yak'])
    self.assertEqual(answers.unknown(' '), [])


class LabelsTest(parameterized.TestCase):
  def test_labels_are_predicted_as_the_run_does(self):
    run = small_runs.make_run('classification', ('good', 'bad', 'dull'))
    answers = answers_lib.Answers(run)
    found = dict(answers.predict(TEXT))
    expected = np.exp(np.float64(run.predict([TEXT])[0]))
    np.testing.assert_allclose(
      [found[name] for name in run.labels], expected, rtol=RTOL
    )
    self.assertAlmostEqual(sum(found.values()), 1.0, delta=RTOL)
    self.assertEqual(max(found, key=found.get), answers.predict(TEXT)[0][0])

  @pytest.mark.slow
  def test_texts_of_a_label_are_of_its_model(self):
    run = small_runs.make_run('labelled_language_model', ('good', 'bad'))
    answers = answers_lib.Answers(run)
    self.assertEqual(answers.labels_written, ('good', 'bad'))
    self.assertAlmostEqual(
      sum(share for _, share in answers.predict(TEXT)), 1.0, delta=RTOL
    )
    written = {x: answers.write('', 1, 1, 0, x) for x in ('', 'good', 'bad')}
    self.assertEqual(written[''], run.sample(answers_lib.DRAWN))
    self.assertNotEqual(written['good'], written['bad'])
    with self.assertRaisesRegex(ValueError, 'no such label'):
      answers.write('', 1, 1, 0, 'dull')

  def test_words_are_tagged_as_the_run_does(self):
    run = small_runs.make_tagger(self.create_tempdir())
    answers = answers_lib.Answers(run)
    words = ['Berg', 'saw', 'Anna']
    (expected,) = run.tag([words])
    found = answers.tag('Berg saw Anna')
    self.assertEqual([row[0] for row in found], words)
    self.assertEqual(tuple(row[1] for row in found), expected.tags)
    np.testing.assert_allclose(
      [row[2] for row in found], expected.probabilities, rtol=RTOL
    )
    self.assertEqual(answers.tag(''), [])

  @pytest.mark.slow
  def test_sources_are_translated_as_the_run_does(self):
    run = small_runs.make_run('seq2seq', **{'corpus.max_length': 12})
    answers = answers_lib.Answers(run)
    text, nats = answers.translate(TEXT)
    (expected,) = run.translate([TEXT])
    self.assertEqual(text, expected.text)
    self.assertAlmostEqual(nats, expected.nats, delta=RTOL * expected.nats)


class ReadersTest(parameterized.TestCase):
  def test_twenty_readers_at_once_get_their_own_answers(self):
    answers, _ = autoencoder()
    texts = small_runs.TEXTS
    self.assertLen({*texts}, 20)

    def ask(number):
      text, other = texts[number], texts[-number]
      return (
        answers.sentence(text),
        answers.blend(text, other, 0.5),
        answers.write(text, 1.0, 1.0, number),
        answers.next_words(text),
      )

    alone = [ask(number) for number in range(20)]
    self.assertGreater(len({found[0].reconstruction for found in alone}), 4)
    with futures.ThreadPoolExecutor(20) as pool:
      together = list(pool.map(ask, range(20)))
    self.assertEqual(together, alone)

  @pytest.mark.slow
  def test_nothing_is_compiled_after_warming_up(self):
    answers = answers_lib.Answers(
      small_runs.make_run('sentence_vae'),
      autoencoder()[0].landmarks,
    )
    answers.warm_up()
    programs = answers.run.programs._made
    before = {name: made._cache_size() for name, made in programs.items()}
    self.assertGreater(sum(before.values()), 8)
    for length in (1, 20, 63, 80):
      text = ' '.join('abcde'[i % 5] for i in range(length))
      answers.sentence(text)
      answers.blend(text, 'a', 0.3)
      answers.with_latent(text, 0, 1.0)
      answers.shifted(text, 'author: x → y', 1.0)
      answers.write(text, 0.5, 0.9, 7)
      answers.next_words(text)
      answers.nats(text)
    answers.write('', 0.5, 0.9, 7)
    answers.next_words('')
    after = {name: made._cache_size() for name, made in programs.items()}
    self.assertEqual(after, before)

  def test_what_is_shown_says_which_run_it_is(self):
    answers, run = autoencoder()
    about = dict(answers.about('runs/one'))
    self.assertEndsWith(about['run'], '/runs/one')
    self.assertIn('sentence_vae, gru', about['model'])
    self.assertIn('9 words', about['text'])
    self.assertIn('20 different sentences', about['map'])
    self.assertTrue(answers.can(base.HasLatents, base.Generates))
    self.assertIn(
      'not at hand', dict(answers_lib.Answers(run).about('x'))['map']
    )


class RefusalsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('', 'is empty'),
    (' \x00\n ', 'is empty'),
    (None, 'is empty'),
    (7, 'is no text'),
    ('x' * 4_001, '4,001 characters; at most 4,000'),
    ('a ' * 99, '100 tokens; at most 96'),
  )
  def test_a_text_that_cannot_be_read_is_refused(self, text, message):
    answers, _ = autoencoder()
    for ask in (
      answers.sentence,
      answers.nats,
      lambda text: answers.blend('a', text, 0.5),
      lambda text: answers.with_latent(text, 0, 0),
    ):
      with self.assertRaisesRegex(ValueError, message):
        ask(text)

  @parameterized.parameters(
    (None, 1, 0),
    ('1', 1, 0),
    (float('nan'), 1, 0),
    (-0.1, 1, 0),
    (99, 1, 0),
    (1, 1.1, 0),
    (1, 1, 0.5),
    (1, 1, -1),
    (1, 1, True),
    (1, 1, 2**31),
  )
  def test_numbers_outside_their_limits_are_refused(self, *settings):
    answers, _ = language_model()
    with self.assertRaisesRegex(ValueError, 'number'):
      answers.write('a', *settings)

  @parameterized.parameters((small_runs.LATENTS, 0), (-1, 0), (0, 9))
  def test_latents_that_are_none_are_refused(self, latent, value):
    answers, _ = autoencoder()
    with self.assertRaisesRegex(ValueError, 'is not a number from'):
      answers.with_latent(TEXT, latent, value)

  def test_control_characters_become_spaces_and_markup_stays_text(self):
    self.assertEqual(typed.text('a\x00b\x1b[0m\u202ec\ud800', 'x'), 'a b [0m c')
    self.assertEqual(typed.text('a\nb ', 'x', lines=True), 'a\nb ')
    answers, run = language_model()
    self.assertEqual(answers.nats('a\x07b'), answers.nats('a b'))
    self.assertEqual(
      answers.unknown('<b>a</b>'), run.protocol.tokenise('<b>a</b>')
    )


if __name__ == '__main__':
  absltest.main()
