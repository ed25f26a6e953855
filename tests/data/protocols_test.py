"""Tokenisation protocols."""

import subprocess
import sys

from absl.testing import absltest, parameterized

from rnnvae_jax.data import protocols
from rnnvae_jax.data.protocols import PROTOCOLS

PLAIN = PROTOCOLS['plain']

PROSE = """
  Mr. Smith paid $1,200.50 (about 3.5% more) to J. R. Ewing. He left at 5 p.m.
  on Monday. The U.S. army, e.g. Gen. Grant, won. "It is over," he said. "Go
  home!" They didn't, isn’t it? He lives in the U.S. The city is big… Built ca.
  1920 by the Ford Motor Co. in Detroit (see Fig. 3. It is old), it stands. No.
  5 is alive. But no. That was 10:30 on Jan. 5. The dogs' owner can't say
  O'Brien's name. Salmon P. Chase and George W. Bush agreed? Yes.
"""
SENTENCES = (
  'Mr. Smith paid $1,200.50 (about 3.5% more) to J. R. Ewing.',
  'He left at 5 p.m. on Monday.',
  'The U.S. army, e.g. Gen. Grant, won.',
  '"It is over," he said.',
  '"Go home!"',
  "They didn't, isn’t it?",
  'He lives in the U.S.',
  'The city is big…',
  'Built ca. 1920 by the Ford Motor Co. in Detroit (see Fig. 3. It is old), it'
  ' stands.',
  'No. 5 is alive.',
  'But no.',
  'That was 10:30 on Jan. 5.',
  "The dogs' owner can't say O'Brien's name.",
  'Salmon P. Chase and George W. Bush agreed?',
  'Yes.',
)


class PlainTest(parameterized.TestCase):
  def test_splits_prose_where_sentences_end(self):
    self.assertSequenceEqual(PLAIN.split(PROSE), SENTENCES)

  def test_splitting_a_sentence_again_changes_nothing(self):
    for sentence in SENTENCES:
      self.assertEqual(PLAIN.split(sentence), [sentence])

  @parameterized.parameters('', '  \n ')
  def test_blank_text_has_no_sentence(self, text):
    self.assertEqual(PLAIN.split(text), [])

  @parameterized.parameters(
    ('Mr. Smith paid $1,200.50.', 'mr. smith paid $ 1,200.50 .'),
    ('At 5 p.m. J. R. left the U.S.', 'at 5 p.m. j. r. left the u.s.'),
    ("They didn't; isn’t it?", "they did n't ; is n't it ?"),
    ("O'Brien's dogs' bone", "o'brien 's dogs ' bone"),
    ('AT&T (3.5%) well-known…', 'at&t ( 3.5 % ) well-known ...'),
    ('“Go!” – at 10:30', '" go ! " – at 10:30'),
    ('See http://a.com/b?c=1.', 'see http://a.com/b?c=1 .'),
    ('a <unk> b', 'a <unk> b'),
    ('Café in the 1890s.', 'café in the 1890s .'),
    ('..."a" . Mr', '... " a " . mr'),
  )
  def test_tokenises(self, text, want):
    self.assertEqual(PLAIN.tokenise(text), want.split())

  @parameterized.parameters(
    # Of Devanagari; decomposed accents; Persian with a joiner; Thai.
    ('नमस्ते दुनिया, हिन्दी।', 'नमस्ते दुनिया , हिन्दी ।'),
    ('Cafe\u0301 nai\u0308ve', 'café naïve'),
    ('می\u200cخواهم', 'می\u200cخواهم'),
    ('สวัสดี', 'สวัสดี'),
    ('İzmir', 'i\u0307zmir'),
    # A family, two flags, a skin colour, a keycap.
    ('ok👨\u200d👩\u200d👧\u200d👦!', 'ok 👨\u200d👩\u200d👧\u200d👦 !'),
    ('🇫🇷🇩🇪👍🏽1\ufe0f\u20e3', '🇫🇷 🇩🇪 👍🏽 1\ufe0f\u20e3'),
    # Letters beyond ASCII are read by the same rules as those within.
    ('Où est-ce, é.g. 3,5 x²? D’été', "où est-ce , é.g. 3,5 x² ? d'été"),
  )
  def test_marks_and_joiners_stay_with_their_letters(self, text, want):
    self.assertEqual(PLAIN.tokenise(text), want.split(' '))

  def test_one_letter_in_two_spellings_is_one_word(self):
    composed, decomposed = 'caf\u00e9', 'cafe\u0301'
    self.assertEqual(PLAIN.tokenise(decomposed), PLAIN.tokenise(composed))

  def test_ascii_is_read_alike_in_other_company(self):
    # The text with another letter goes through the rules of all of Unicode.
    for sentence in (*SENTENCES, "a.b. x_y 3.5% -- ... http://a.b/c. n't"):
      ours = PLAIN.tokenise(sentence.lower())
      theirs = PLAIN.tokenise(f'é {sentence.lower()}')
      self.assertEqual(theirs, ['é', *ours])

  @parameterized.parameters(
    *('a', 'a.', '.', '(', '(a. B ', "a'", '"', 'A! '),
    'é',
    'é.',
    'ह\u093f',
    '👍🏽',
  )
  def test_a_very_long_line_keeps_all_its_characters(self, part):
    text = part * 30_000
    tokens = [t for s in PLAIN.split(text) for t in PLAIN.tokenise(s)]
    self.assertEqual(''.join(tokens), text.replace(' ', '').lower())

  def test_joined_tokens_read_like_text(self):
    tokens = PLAIN.tokenise(SENTENCES[0])
    self.assertEqual(PLAIN.join(tokens), SENTENCES[0].lower())
    self.assertEqual(PLAIN.join(PLAIN.tokenise('"Go, Al!"')), '"go, al!"')
    self.assertEqual(PLAIN.join([]), '')

  def test_tokenising_joined_tokens_changes_nothing(self):
    for sentence in SENTENCES:
      tokens = PLAIN.tokenise(sentence)
      self.assertEqual(PLAIN.tokenise(PLAIN.join(tokens)), tokens)


class UnknownPatternTest(absltest.TestCase):
  def test_finds_marks_that_are_words(self):
    pattern = protocols.unknown_pattern(protocols.UNKNOWN_MARKERS)
    text = 'a [UNK], _UNK @UNK@. <UNK> b_UNK _UNKs UNK <unk> [unk]'
    want = 'a ?, ? ?. ? b_UNK _UNKs UNK <unk> [unk]'
    self.assertEqual(pattern.sub('?', text), want)

  def test_of_no_marks_finds_none(self):
    self.assertIsNone(protocols.unknown_pattern([]).search('a b'))


class ProtocolsTest(parameterized.TestCase):
  @parameterized.parameters('characters', 'bytes')
  def test_white_space_is_text_to_characters(self, name):
    split = PROTOCOLS[name].split
    self.assertEqual(split('  x = 1  '), ['  x = 1  '])
    self.assertEqual(split(' \t'), [])

  @parameterized.parameters('mikolov', 'tweet')
  def test_takes_a_line_for_a_sentence(self, name):
    split = PROTOCOLS[name].split
    self.assertEqual(split(' One line. Two \n'), ['One line. Two'])
    self.assertEqual(split(' \t\n'), [])

  @parameterized.parameters('characters', 'bytes')
  def test_joining_restores_the_text(self, name):
    text = 'Ærø — 日本 😀\u2028x\x0c.'
    rules = PROTOCOLS[name]
    self.assertEqual(rules.join(rules.tokenise(text)), text)

  def test_counts_what_it_says(self):
    text = 'é日😀'
    self.assertLen(PROTOCOLS['characters'].tokenise(text), 3)
    self.assertLen(PROTOCOLS['bytes'].tokenise(text), 2 + 3 + 4)

  def test_bytes_that_are_no_text_print(self):
    self.assertEqual(PROTOCOLS['bytes'].join(['a', '\xff', '<unk>']), 'a�<unk>')

  def test_mikolov_splits_at_white_space_only(self):
    tokens = PROTOCOLS['mikolov'].tokenise("the <unk> N u.s. 's")
    self.assertEqual(tokens, ['the', '<unk>', 'N', 'u.s.', "'s"])

  def test_the_tokenizer_of_tweets_leaves_nltk_whole(self):
    code = """
import sys
from rnnvae_jax.data import protocols
text = "@You I'm soooo happy :-) http://a.b/c #tag"
tokens = protocols.PROTOCOLS['tweet'].tokenise(text)
assert not any(name.startswith(('nltk', 'scipy.stats')) for name in sys.modules)
from nltk.tokenize import TweetTokenizer, word_tokenize
assert tokens == TweetTokenizer(preserve_case=False).tokenize(text), tokens
protocols._tweet_tokenizer.cache_clear()  # As where NLTK is imported before.
assert tokens == protocols.PROTOCOLS['tweet'].tokenise(text)
"""
    done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    self.assertEqual(done.returncode, 0, done.stderr)

  def test_tweet_is_that_of_nltk_in_lower_case(self):
    tokens = PROTOCOLS['tweet'].tokenise('the <unk> N u.s. @You #tag :-)')
    want = ['the', '<unk>', 'n', 'u', '.', 's', '.', '@you', '#tag', ':-)']
    self.assertEqual(tokens, want)

  def test_only_words_have_a_least_count_above_one(self):
    counts = {name: p.min_count for name, p in PROTOCOLS.items()}
    twice = {'tweet': 2, 'plain': 2}
    self.assertEqual(counts, dict.fromkeys(PROTOCOLS, 1) | twice)

  def test_a_review_is_one_line_between_spaces_without_html(self):
    line = PROTOCOLS['reviews'].line
    text = 'Good<br /><BR>film &amp;\tbook\r\n\n<b>it</b> is. '
    self.assertEqual(line(text), ' Good film & book <b>it</b> is. ')
    self.assertEqual(line(line(text)), line(text))
    self.assertEqual(line(' <br/> '), '')
    for name, rules in PROTOCOLS.items():
      if name != 'reviews':
        self.assertEqual(rules.line(text), text)


if __name__ == '__main__':
  absltest.main()
