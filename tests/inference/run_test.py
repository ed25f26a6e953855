"""A trained run as an object, against the model asked token by token."""

import itertools
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.config import build as config_build
from rnnvae_jax.data import corpora, vocab
from rnnvae_jax.inference import evaluate
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.tasks import base

pytestmark = pytest.mark.usefixtures('compile_once')

WORDS = ('a', 'b', 'c', 'd', 'e')
LINES = ('a b e', 'c', 'd d zebra a b c a')  # One word is unknown.


def log_softmax(logits):
  logits = np.float64(logits)
  return logits - np.logaddexp.reduce(logits)


def make_run(kind, kind_of_vocab='word', tokens=WORDS, **changes):
  config = config_build.default(kind)
  values = {
    'corpus.protocol': 'mikolov',
    'model.cell': 'gru',
    'model.embedding_size': 6,
    'model.hidden_size': 7,
    'model.latent_size': 5,
    'model.encoder_hidden_size': 10,
    'evaluate.iw_samples': 4,
    **changes,
  }
  known = config_build.flatten(config)
  config.update_from_flattened_dict(
    {key: value for key, value in values.items() if key in known}
  )
  words = vocab.Vocabulary(kind_of_vocab, (*vocab.SPECIALS, *tokens))
  task = config_build.task(kind).build(config, words)
  params = jax.jit(task.init)(jax.random.key(0))
  params = jax.tree.map(lambda x: 3 * x, params)
  return run_lib.Run(
    config, words, (), task, params, task.initial_extras(), 'none'
  )


def fond_of_unknown_words(run):
  """Its output layer would rather write UNK than anything else."""
  inner = run.params['params']
  bias = inner['output_bias'].at[vocab.UNK].set(50.0)
  run.params = {'params': inner | {'output_bias': bias}}
  return run


def log_probs_along(run, ids, latents=None):
  """float64[T + 1, V]: what follows on the begin mark and on each id."""
  step, rows = jax.jit(run.task.step), []
  z = None if latents is None else jnp.asarray(latents[None])
  carry = run.task.start(run.params, 1, z)
  for token in [run.begin_mark, *ids]:
    carry, logits = step(run.params, carry, jnp.array([token]), z)
    rows.append(log_softmax(logits[0]))
  return np.stack(rows)


def nats_of(run, ids, latents=None):
  """The nats of each token of a sentence."""
  rows = log_probs_along(run, ids[:-1], latents)
  return -rows[np.arange(len(ids)), ids]


class DecodeTest(parameterized.TestCase):
  @parameterized.parameters('', 'b e')
  def test_greedy_text_is_the_likeliest_token_after_token(self, prime):
    run = make_run('language_model', **{'generate.max_length': 11})
    (got,) = run.decode_ids(None, 1, temperature=0.0, prime=prime)
    begun = list(run.vocab.encode(prime.split()))
    self.assertEqual(list(got[: len(begun)]), begun)
    want = []
    while len(want) < 11 and vocab.EOS not in want:
      log_probs = log_probs_along(run, [*begun, *want])[-1]
      log_probs[[vocab.PAD, vocab.BOS, vocab.UNK]] = -np.inf
      want.append(int(np.argmax(log_probs)))
    self.assertEqual(list(got[len(begun) :]), want)

  def test_unknown_words_are_written_only_where_that_is_allowed(self):
    run = fond_of_unknown_words(make_run('language_model'))
    some = np.concatenate(run.sample_ids(5, forbid_unk=False))
    none = np.concatenate(run.sample_ids(5))
    self.assertEqual(set(some.tolist()), {vocab.UNK})
    self.assertNotIn(vocab.UNK, none)

  @pytest.mark.slow
  def test_a_row_does_not_depend_on_how_many_there_are(self):
    run = make_run('sentence_vae')
    many = run.sample(21)
    self.assertLen(many, 21)
    self.assertEqual(run.sample(3), many[:3])

  def test_latents_of_another_size_and_unknown_options_are_errors(self):
    run = make_run('sentence_vae')
    with self.assertRaisesRegex(ValueError, r'\(2, 4\), not \(N, 5\)'):
      run.decode(np.zeros((2, 4)))
    with self.assertRaisesRegex(ValueError, "Did you mean 'temperature'"):
      run.sample(1, temprature=0.5)
    with self.assertRaisesRegex(ValueError, 'needs temperature = 0'):
      run.sample(1, beam_size=3)

  @pytest.mark.slow
  def test_a_stream_of_characters_writes_its_own_context_first(self):
    run = make_run(
      'language_model',
      'character',
      ('\n', *'abcde'),
      **{
        'corpus.stream': True,
        'corpus.protocol': 'characters',
        'generate.max_length': 9,
      },
    )
    with mock.patch.object(
      run.programs, 'decode', wraps=run.programs.decode
    ) as decode:
      run.sample(2)
      warm_up, written = (call.args[1] for call in decode.call_args_list)
      run.sample(2, prime='ab')
      (primed,) = (call.args[1] for call in decode.call_args_list[2:])
    line_end = run.begin_mark
    self.assertEqual(run.vocab.tokens[line_end], '\n')
    for before, after in zip(warm_up, written, strict=True):
      self.assertEqual(list(before), [line_end])
      self.assertLen(after, 1 + 64 + 1)
      self.assertEqual(after[-1], line_end)
    # Two samples have two contexts, and a prime needs none.
    self.assertNotEqual(list(written[0]), list(written[1]))
    self.assertEqual(list(primed[0]), [line_end, *run.vocab.encode(list('ab'))])


class TracedOnceTest(absltest.TestCase):
  @pytest.mark.slow
  def test_a_second_call_of_the_same_shape_does_not_trace_again(self):
    run = make_run('sentence_vae')
    calls = (
      lambda text: run.encode([text, 'c']),
      lambda text: run.sample(5),
      lambda text: run.reconstruct([text]),
      lambda text: run.score([text, 'c'], per_token=True),
      lambda text: run.next_token_log_probs(text),
      lambda text: run.fill_in(f'{text} ___'),
    )
    traced = []
    for name in ('_encode', 'step', 'evaluate'):
      function = getattr(run.task, name)

      def counting(*args, function=function, **kwargs):
        traced.append(function)
        return function(*args, **kwargs)

      setattr(run.task, name, counting)
    run.task.latents = run.task.latents._replace(encode=run.task._encode)
    for call in calls:
      traced.clear()
      call('a b e')
      self.assertNotEmpty(traced)
      traced.clear()
      call('d d c a')  # Other words, and one more of them.
      self.assertEmpty(traced)


class EncodeTest(absltest.TestCase):
  @pytest.mark.slow
  def test_is_the_posterior_of_each_text_in_the_order_given(self):
    run = make_run('sentence_vae')
    texts = ['a b e', 'c', 'd d a b c a a b c d', 'b']
    means, log_variances = run.encode(texts)
    for i, text in enumerate(texts):
      ids = jnp.array([[*run.vocab.encode(text.split()), vocab.EOS]])
      outputs = run.task.model.apply(
        run.params, ids, jnp.ones(ids.shape, bool), method='encode'
      )
      want = run.task.family.read(outputs, run.extras['posterior'])
      # Padding may change the order of a sum of 10 products, no more.
      np.testing.assert_allclose(means[i], want.mean[0], rtol=1e-4, atol=1e-5)
      np.testing.assert_allclose(
        log_variances[i], want.log_var[0], rtol=1e-4, atol=1e-5
      )

  def test_a_blank_text_is_an_error_unless_it_is_a_sentence(self):
    run = make_run('sentence_vae')
    with self.assertRaisesRegex(ValueError, 'text 1 of 2 is blank'):
      run.encode(['a', ' '])
    run = make_run('sentence_vae', **{'corpus.blank_lines': 'sentence'})
    self.assertEqual(run.encode(['a', ' '])[0].shape, (2, 5))

  def test_a_language_model_has_no_latents(self):
    run = make_run('language_model')
    message = 'needs a run that encodes text .*; this one is a language_model'
    for act in (
      lambda: run.encode(['a']),
      lambda: run.decode(np.zeros((1, 5))),
      lambda: run.reconstruct(['a']),
      lambda: run.interpolate('a', 'b'),
      lambda: run.prior_latents(2),
    ):
      with self.assertRaisesRegex(ValueError, message):
        act()
    with self.assertRaisesRegex(ValueError, 'gives a sentence a label'):
      run.predict(['a'])

  @pytest.mark.slow
  def test_an_interpolation_goes_from_one_reconstruction_to_the_other(self):
    run = make_run('sentence_vae')
    way = run.interpolate('a b e', 'c', steps=5)
    self.assertLen(way, 5)
    self.assertEqual([way[0], way[-1]], run.reconstruct(['a b e', 'c']))

  @pytest.mark.slow
  def test_a_posterior_sample_has_its_mean_and_differs_from_row_to_row(self):
    run = make_run('sentence_vae')
    count = 600
    sentences = [run.vocab.encode(['a', 'b', 'e'])] * count
    mean = run.latents_of(sentences)
    np.testing.assert_allclose(mean, np.tile(mean[:1], (count, 1)), rtol=1e-5)
    drawn = run.latents_of(sentences, drawn=True)
    width = drawn.std(axis=0)
    self.assertGreater(width.min(), 0.05)
    error = np.abs(drawn.mean(axis=0) - mean[0])
    np.testing.assert_array_less(error, 5 * width / count**0.5)


class ScoreTest(parameterized.TestCase):
  def test_a_language_model_says_its_own_log_probabilities(self):
    run = make_run('language_model')
    texts = [LINES[0], '', *LINES[1:]]
    scores = run.score(texts, per_token=True)
    self.assertEqual([s.text for s in scores], texts)
    self.assertEqual([s.tokens for s in scores], [4, 0, 2, 8])
    self.assertEqual([s.unknown for s in scores], [0, 0, 0, 1])
    self.assertIsNone(scores[1].nats)
    self.assertEmpty(scores[1].by_token)
    for line, got in zip(texts, scores, strict=True):
      self.assertEqual(got.estimator, 'exact')
      if not line:
        continue
      ids = [*run.vocab.encode(line.split()), vocab.EOS]
      want = nats_of(run, ids)
      self.assertEqual(
        [token for token, _ in got.by_token], [run.vocab.tokens[i] for i in ids]
      )
      np.testing.assert_allclose(
        [nats for _, nats in got.by_token], want, rtol=1e-5, atol=1e-4
      )
      np.testing.assert_allclose(got.nats, want.sum(), rtol=1e-5, atol=1e-4)

  def test_a_blank_text_that_is_a_sentence_is_its_end_mark(self):
    run = make_run('language_model', **{'corpus.blank_lines': 'sentence'})
    (got,) = run.score(['  '])
    self.assertEqual(got.tokens, 1)
    want = nats_of(run, [vocab.EOS])
    np.testing.assert_allclose(got.nats, want.sum(), rtol=1e-5)

  @pytest.mark.slow
  def test_a_vae_says_the_importance_weighted_bound(self):
    run = make_run('sentence_vae')
    split = corpora.encode_lines(LINES, 'mikolov', run.vocab)
    corpus = corpora.Corpus('toy', 'mikolov', run.vocab, {'test': split})
    figures = evaluate.evaluate_split(run, corpus, 'test')
    scores = run.score(LINES)
    self.assertEqual({s.estimator for s in scores}, {'iwae_4'})
    got = float(np.mean([s.nats for s in scores]))
    self.assertAlmostEqual(got, figures['iwae_nll'], delta=1e-3)
    self.assertLess(got, figures['elbo'] - 1e-2)

  def test_nats_of_a_vae_s_tokens_are_those_at_the_posterior_mean(self):
    run = make_run('sentence_vae')
    (got,) = run.score([LINES[0]], per_token=True)
    ids = [*run.vocab.encode(LINES[0].split()), vocab.EOS]
    want = nats_of(run, ids, run.encode([LINES[0]])[0][0])
    np.testing.assert_allclose(
      [nats for _, nats in got.by_token], want, rtol=1e-4, atol=1e-4
    )


class NextTest(parameterized.TestCase):
  @parameterized.parameters('', 'b e', 'a b c d e a b c d e')
  def test_probabilities_are_those_of_the_model_s_steps(self, prefix):
    run = make_run('language_model')
    got = run.next_token_log_probs(prefix, count=0)
    want = log_probs_along(run, run.vocab.encode(prefix.split()))[-1]
    legal = [vocab.EOS, vocab.UNK, *range(4, 9)]
    order = sorted(legal, key=lambda i: -want[i])
    self.assertEqual(
      [token for token, _ in got], [run.vocab.tokens[i] for i in order]
    )
    np.testing.assert_allclose(
      [nats for _, nats in got], want[order], rtol=1e-5, atol=1e-5
    )
    self.assertEqual(run.next_token_log_probs(prefix, 3), got[:3])


class FillTest(parameterized.TestCase):
  @parameterized.parameters('language_model', 'sentence_vae')
  def test_candidates_are_those_of_brute_force(self, kind):
    run = make_run(kind)
    got = run.fill_in('a ___ c ____ b', count=6, shortlist=100)
    every = [
      (f'a {first} c {second} b', (first, second))
      for first, second in itertools.product(WORDS, repeat=2)
    ]
    # A list of one text, whose noise is that of all candidates.
    nats = [run.score([text])[0].nats for text, _ in every]
    best = sorted(zip(nats, every, strict=True))[:6]
    self.assertEqual([f.text for f in got], [text for _, (text, _) in best])
    self.assertEqual([f.words for f in got], [words for _, (_, words) in best])
    np.testing.assert_allclose(
      [f.nats for f in got], [nats for nats, _ in best], rtol=1e-4
    )

  def test_a_short_list_has_the_likeliest_words_after_the_left_context(self):
    run = make_run('language_model')
    following = log_probs_along(run, run.vocab.encode(['a']))[-1]
    best = sorted(range(4, 9), key=lambda i: -following[i])[:2]
    got = run.fill_in('a ___ c', shortlist=2)
    self.assertCountEqual(
      [f.words for f in got], [(run.vocab.tokens[i],) for i in best]
    )

  def test_a_text_without_a_blank_is_an_error(self):
    run = make_run('language_model')
    with self.assertRaisesRegex(ValueError, 'has no blank'):
      run.fill_in('a b')


class FirstWord(base.Task, base.Predicts):
  """A toy classifier: the label is the parity of the first word's id."""

  labels = ('even', 'odd')

  def evaluate(self, *args):
    raise NotImplementedError

  def summarise(self, *args):
    raise NotImplementedError

  def predict(self, params, batch, extras):
    odd = batch['targets'][:, 0] % 2
    share = jnp.where(odd[:, None] == jnp.arange(2)[None, :], 0.9, 0.1)
    return jnp.log(share)


class PredictTest(absltest.TestCase):
  def test_log_probabilities_are_the_task_s_in_the_order_given(self):
    run = make_run('language_model')
    run.task = FirstWord()
    texts = ['b a', 'a', 'e d c b a b c', 'c']
    want = [run.vocab.encode(text.split())[0] % 2 for text in texts]
    got = run.predict(texts)
    self.assertEqual(got.shape, (4, 2))
    np.testing.assert_array_equal(np.argmax(got, axis=1), want)
    np.testing.assert_allclose(np.max(got, axis=1), np.log(0.9), rtol=1e-6)


if __name__ == '__main__':
  absltest.main()
