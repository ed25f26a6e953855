"""What tasks that give text a likelihood say of it."""

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.data import corpora
from rnnvae_jax.data import vocab as vocab_lib
from rnnvae_jax.tasks import _likelihood

WORDS = np.int32([5, vocab_lib.UNK, 6, vocab_lib.EOS, 7, vocab_lib.EOS])


def split_of(tokens, lengths, bos=vocab_lib.BOS):
  lengths = np.int32(lengths)
  starts = np.cumsum(lengths) - lengths
  return corpora.Split(
    np.int32(tokens), starts.astype('i4'), lengths, 0, 0, {}, bos
  )


def vocabulary(kind, tokens):
  return vocab_lib.Vocabulary(kind, (*vocab_lib.SPECIALS, *tokens))


class ExactFiguresTest(absltest.TestCase):
  def test_of_sentences(self):
    values = {'nll': np.float64([6.0, 3.0])}
    got = _likelihood.exact_figures(values, split_of(WORDS, [4, 2]))
    self.assertEqual(got['sentences'], 2)
    self.assertEqual(got['perplexity'], np.exp(9 / 6))
    self.assertEqual(got['perplexity_without_eos'], np.exp(9 / 4))
    self.assertEqual(got['unknown_share'], 1 / 6)
    self.assertEqual(got['estimator'], 'exact')
    self.assertNotIn('bits_per_character', got)
    self.assertNotIn('backward_perplexity', got)

  def test_of_two_directions(self):
    values = {'nll': np.float64([6.0, 3.0]), 'backward_nll': np.ones(2)}
    got = _likelihood.exact_figures(values, split_of(WORDS, [4, 2]))
    self.assertEqual(got['backward_perplexity'], np.exp(2 / 6))

  def test_a_stream_s_bits_are_those_of_a_character(self):
    text = 'aé€b'
    in_bytes = text.encode()
    tokens = sorted({chr(byte) for byte in in_bytes})
    vocab = vocabulary('byte', tokens)
    ids = vocab.encode(chr(byte) for byte in in_bytes)
    split = split_of(ids, [len(ids)], bos=ids[0])
    self.assertFalse(split.ends)
    values = {'nll': np.float64([8 * np.log(2)])}
    got = _likelihood.exact_figures(values, split, vocab)
    self.assertEqual(got['tokens'], 7)
    self.assertAlmostEqual(got['bits_per_token'], 8 / 7)
    self.assertAlmostEqual(got['bits_per_character'], 8 / 4)
    vocab = vocabulary('character', sorted(set(text)))
    split = split_of(vocab.encode(text), [4], bos=5)
    got = _likelihood.exact_figures(values, split, vocab)
    self.assertAlmostEqual(got['bits_per_character'], 8 / 4)


class WarningsTest(parameterized.TestCase):
  @parameterized.parameters((0.0, 0), (0.06, 0), (0.15, 0), (0.4, 1))
  def test_many_unknown_tokens_make_a_likelihood_say_little(self, share, count):
    said = _likelihood.unknown_warnings({'unknown_share': share})
    self.assertLen(said, count)
    for line in said:
      self.assertIn(f'{share:.1%}', line)

  def test_what_was_not_counted_is_not_warned_of(self):
    self.assertEmpty(_likelihood.unknown_warnings({}))


class ReportTest(absltest.TestCase):
  def test_is_of_a_sentence_or_of_a_token_of_a_stream(self):
    figures = {
      'nll_per_sentence': 12.5,
      'nll_per_token': 2.5,
      'perplexity': 12.18,
    }
    self.assertIn('2.5000 nats a token', _likelihood.report(figures))
    figures['perplexity_without_eos'] = 22.0
    self.assertIn('12.500 nats a sentence', _likelihood.report(figures))


if __name__ == '__main__':
  absltest.main()
