"""Features of words against Python's own view of their spellings."""

import itertools

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from rnnvae_jax.data import spellings, vocab
from rnnvae_jax.models import word_features

WORDS = (
  *('Oslo', 'oslo', 'OSLO', 'McKay', 'iPod', '1999', '3.14', '12-year', '.'),
  *('A', 'a', '7', 'B2B', '-', 'Élan', 'élan', 'in', 'Oslo-in', 'X1999', 'Dr.'),
)
KINDS = {
  'numeric': ('1999', '7'),
  'mainly numeric': ('3.14', 'X1999'),
  'lower': ('oslo', '12-year', 'a', 'élan', 'in'),
  'upper': ('OSLO', 'A', 'B2B'),
  'initial': ('Oslo', 'Élan', 'Oslo-in', 'Dr.'),
  'mixed': ('McKay', 'iPod'),
  'none': ('.', '-'),
}

# One compilation instead of one for each operation.
hashed = jax.jit(word_features.hashed, static_argnums=(3, 4))


def spelt(sentences, length, width=8):
  """chars, chars_mask, mask and the alphabet of sentences."""
  words = [*itertools.chain.from_iterable(sentences)]
  known = vocab.Vocabulary('word', (*vocab.SPECIALS, *dict.fromkeys(words)))
  speller = spellings.Speller(known, width)
  chars = np.zeros((len(sentences), length, width), np.int32)
  mask = np.zeros(chars.shape, bool)
  for row, sentence in enumerate(sentences):
    found = speller.chars(sentence)
    chars[row, : len(sentence)] = found.chars[1:]
    counts = found.lengths[1:, None]
    mask[row, : len(sentence)] = np.arange(width)[None] < counts
  is_word = np.arange(length)[None] < np.array([[len(s)] for s in sentences])
  alphabet = word_features.alphabet(speller.characters)
  return tuple(map(jnp.asarray, (chars, mask, is_word))), alphabet


def shape(word):
  kind = lambda c: (
    'd' if c.isdigit() else 'X' if c.isupper() else 'x' if c.isalpha() else '.'
  )
  return ''.join(map(kind, word))


def templates(words, t):
  """The features of a word as values that are equal where they should be."""
  at = lambda by, f=str: f(words[t + by]) if 0 <= t + by < len(words) else None
  short = lambda word: ''.join(c for c, _ in itertools.groupby(shape(word)))
  return [
    *(at(by) for by in (-2, -1, 0, 1, 2)),
    *(at(by, str.lower) for by in (-1, 0, 1)),
    *(at(by, short) for by in (-1, 0, 1)),
    at(0, shape),
    *(words[t][:n] for n in range(1, 5)),
    *(words[t][-n:] for n in range(1, 5)),
    *((at(by), words[t]) for by in (-1, 1)),
    *((at(by, short), at(0, short)) for by in (-1, 1)),
  ]


class WordFeaturesTest(absltest.TestCase):
  def test_kinds_are_those_of_capitals_and_digits(self):
    (chars, mask, _), alphabet = spelt([WORDS], len(WORDS) + 1)
    kinds = jax.jit(word_features.kinds, static_argnums=2)
    got = np.asarray(kinds(chars, mask, alphabet)[0])
    names = [word_features.KINDS[k] for k in got]
    want = {word: kind for kind, words in KINDS.items() for word in words}
    self.assertEqual(dict(zip(WORDS, names, strict=False)), want)
    self.assertEqual(names[-1], 'none')

  def test_features_are_equal_where_the_words_are(self):
    sentences = [WORDS, WORDS[::-1], ('Oslo', 'in', 'Oslo'), ('in',)]
    size = 2**31 - 1  # So many that none of a few hundred share one.
    arrays, alphabet = spelt(sentences, len(WORDS) + 2)
    got = np.asarray(hashed(*arrays, alphabet, size))
    ids, values = {}, {}
    for row, words in enumerate(sentences):
      for t in range(len(words)):
        want = templates(words, t)
        self.assertLen(got[row, t], len(want))
        for number, pair in enumerate(zip(got[row, t], want, strict=True)):
          feature, value = int(pair[0]), (number, pair[1])
          self.assertEqual(ids.setdefault(value, feature), feature, value)
          self.assertEqual(values.setdefault(feature, value), value)
    self.assertGreater(len(ids), 300)

  def test_padding_and_the_range_of_numbers(self):
    sentences = [('Oslo', 'in'), ('A', 'a', '1999')]
    few, alphabet = spelt(sentences, 3)
    many, _ = spelt(sentences, 7, 12)
    a, b = (np.asarray(hashed(*x, alphabet, 50)) for x in (few, many))
    np.testing.assert_array_equal(a[0, :2], b[0, :2])
    np.testing.assert_array_equal(a[1], b[1, :3])
    self.assertTrue(np.all((a >= 0) & (a < 50)))


if __name__ == '__main__':
  absltest.main()
