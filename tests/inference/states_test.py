"""States after texts and steered text, against a loop in NumPy."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.inference import run as run_lib
from rnnvae_jax.inference import states, steering, units

import helpers
import tolerances

pytestmark = pytest.mark.usefixtures('compile_once')

EMBEDDING, HIDDEN, LONGEST = 5, 7, 160
TEXTS = ('naïve<br />fun', 'b', ' two\nlines ', 'x' * (LONGEST - 3))
# Products of a step, and as many steps as a text has; states are at most 1, or
# in c somewhat more.
TOLERANCE = tolerances.chain(EMBEDDING + HIDDEN, HIDDEN, LONGEST)


def make_run(protocol='reviews', stream=True, cell='mlstm', tokens=()):
  config = helpers.make_config(
    'language_model',
    **{
      'corpus.protocol': protocol,
      'corpus.stream': stream,
      'model.cell': cell,
      'model.embedding_size': EMBEDDING,
      'model.hidden_size': HIDDEN,
      'generate.max_length': 12,
    },
  )
  kind = 'byte' if protocol in ('bytes', 'reviews') else 'word'
  if kind == 'byte':
    vocab = vocab_lib.Vocabulary.build('byte', ())
  else:
    vocab = vocab_lib.Vocabulary(kind, (*vocab_lib.SPECIALS, *tokens))
  task = helpers.make_task(config, vocab)
  params = jax.jit(task.init)(jax.random.key(0))
  params = jax.tree.map(lambda x: 2 * x, params)
  return run_lib.Run(config, vocab, (), task, params, {}, 'none')


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


class Loop:
  """A byte model's multiplicative LSTM, step by step in float64."""

  def __init__(self, run, clamp=None):
    leaves = jax.tree_util.tree_leaves_with_path(run.params)
    self.weights = {
      path[-1].key: np.asarray(leaf, np.float64) for path, leaf in leaves
    }
    self.clamp = clamp
    self.h = np.zeros(HIDDEN)
    self.c = self.held(np.zeros(HIDDEN))

  def held(self, c):
    c = c.copy()
    if self.clamp is not None:
      c[self.clamp[0]] = self.clamp[1]
    return c

  def read(self, token):
    """Reads a token; returns the logits of the next one."""
    weights = self.weights
    x = weights['embedding'][token] @ weights['kernel'] + weights['bias']
    u = weights['recurrent_kernel']
    m = x[:HIDDEN] * (self.h @ u[:, :HIDDEN])
    gates = x[HIDDEN:] + m @ u[:, HIDDEN:]
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * self.c + sigmoid(i) * np.tanh(g)
    self.h = sigmoid(o) * np.tanh(c)
    self.c = self.held(c)
    return self.h @ weights['output_kernel'] + weights['output_bias']


def ids_of(text):
  """What a byte model reads: a line end, a space, the text, a space."""
  return [4 + byte for byte in f'\n {text} '.encode()]


class StatesTest(parameterized.TestCase):
  @parameterized.parameters('reviews', 'bytes')
  def test_features_are_those_of_a_loop_over_bytes(self, protocol):
    run = make_run(protocol)
    wanted, lasts = [], []
    for text in ('naïve fun', 'b', 'two lines', TEXTS[3]):
      loop, after = Loop(run), []
      for token in ids_of(text):
        loop.read(token)
        after.append(loop.c)
      wanted.append(np.stack(after))
      lasts.append(after[-1])
    reader = states.Reader(run.task)
    ids = states.inputs(run, TEXTS)
    np.testing.assert_array_equal(ids[0], ids_of('naïve fun'))
    found = reader.after(run.params, ids)
    np.testing.assert_allclose(found, lasts, rtol=TOLERANCE, atol=TOLERANCE)
    followed = reader.during(run.params, ids)
    for got, want in zip(followed, wanted, strict=True):
      np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE)

  def test_other_texts_change_nothing(self):
    run = make_run()
    reader = states.Reader(run.task)
    ids = states.inputs(run, TEXTS)
    together = reader.after(run.params, ids)
    for number, alone in enumerate(ids):
      found = reader.after(run.params, [alone])
      np.testing.assert_allclose(
        found[0], together[number], rtol=TOLERANCE, atol=TOLERANCE
      )

  @parameterized.parameters('gru', 'elman')
  def test_a_word_model_reads_plain_words(self, cell):
    run = make_run('mikolov', stream=False, cell=cell, tokens=('a', 'b'))
    (ids,) = states.inputs(run, ['b a zebra'])
    self.assertEqual(list(ids), [vocab_lib.BOS, 5, 4, vocab_lib.UNK])
    carry = run.task.start(run.params, 1, None)
    for token in ids:
      carry, _ = run.task.step(run.params, carry, jnp.array([token]))
    found = states.Reader(run.task).after(run.params, [ids])
    np.testing.assert_allclose(
      found[0], carry[0][0][0][0], rtol=TOLERANCE, atol=TOLERANCE
    )

  def test_models_without_a_state_are_refused(self):
    run = make_run('mikolov', stream=False, tokens=('a',), cell='feed_forward')
    with self.assertRaisesRegex(ValueError, 'feed_forward'):
      states.check(run)

  def test_characters_know_their_tokens(self):
    run = make_run()
    text, places = units.spelling(run, 'aé\nb')
    self.assertEqual(text, ' aé b ')
    np.testing.assert_array_equal(places, [1, 2, 4, 5, 6, 7])
    run = make_run('mikolov', stream=False, tokens=('a', 'bc'))
    text, places = units.spelling(run, 'bc  a')
    self.assertEqual(text, 'bc a ')
    np.testing.assert_array_equal(places, [1, 1, 1, 2, 2])


class SteeringTest(parameterized.TestCase):
  def test_text_is_that_of_a_loop_whose_unit_is_overwritten(self):
    run = make_run()
    held = steering.clamped(run, 3, 0.0)
    texts = set()
    for value in (-4.0, 4.0):
      steering.set_value(held, value)
      (got,) = held.decode_ids(None, 1, temperature=0.0, prime='\nGood')
      texts.add(tuple(got))
      loop = Loop(run, clamp=(3, value))
      begun = [4 + byte for byte in b'\nGood']
      for token in [run.begin_mark, *begun[:-1]]:
        loop.read(token)
      want, token = list(begun), begun[-1]
      for _ in range(12):
        logits = loop.read(token)
        logits[:4] = -np.inf  # Marks, which a stream has none of.
        token = int(np.argmax(logits))
        want.append(token)
      self.assertEqual(list(got), want)
    self.assertLen(texts, 2)

  def test_the_unit_stays_and_the_others_move(self):
    run = make_run()
    held = steering.clamped(run, 3, 2.5)
    carry = held.task.start(held.params, 2)
    before = np.asarray(states.last_layer_state(carry))
    np.testing.assert_array_equal(before[:, 3], 2.5)
    step = jax.jit(held.task.step)
    for token in (20, 90, 33):
      carry, _ = step(held.params, carry, jnp.array([token, token + 1]))
      after = np.asarray(states.last_layer_state(carry))
      np.testing.assert_array_equal(after[:, 3], 2.5)
      self.assertTrue((np.delete(after != before, 3, axis=1)).all())
      before = after

  def test_a_clamp_is_a_unit_and_a_value(self):
    self.assertEqual(steering.parse('17=-2.5'), (17, -2.5))
    for wrong in ('17', 'x=1', '3=', '-1=2', '3=a'):
      with self.assertRaisesRegex(ValueError, "is not 'UNIT=VALUE'"):
        steering.parse(wrong)
    with self.assertRaisesRegex(ValueError, '0 to 6'):
      steering.clamped(make_run(), 7, 1.0)


if __name__ == '__main__':
  absltest.main()
