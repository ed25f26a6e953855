r"""Tokenisation protocols, which define what a token is.

Likelihoods are comparable only within one protocol. Every protocol predicts the
tokens of a sentence and one end mark, which is counted. In `characters` and
`bytes` white space is text; in the others it separates tokens.

  mikolov     words separated by white space; `<unk>` and `N` are ordinary text
  tweet       NLTK's TweetTokenizer, lower case; words seen once are unknown
  plain       raw English: sentences are split, words lower-cased, punctuation
              and clitics ("n't", "'s") are tokens; letters keep their combining
              marks, and an emoji is one token
  characters  Unicode code points
  bytes       the bytes of the UTF-8 text
  reviews     the bytes of a stream of texts, one a line: line breaks of HTML
              become spaces, its entities the characters that they stand for,
              and a space stands before and after each text (Radford et al.,
              arXiv:1704.01444)
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import html
import importlib
import importlib.util
import os
import re
import sys
import types
from typing import Any
import unicodedata

import regex


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Functions that turn text into tokens and back.

  Attributes:
    name: the protocol's key in `PROTOCOLS`.
    kind: the kind of its vocabulary: 'word', 'character' or 'byte'.
    min_count: words seen less often in the training text are unknown, unless
      the config sets another limit.
    split: line of raw text -> its sentences.
    tokenise: sentence -> its tokens.
    join: tokens -> readable text, for printing.
    line: line of raw text -> the text of a stream that it becomes.
  """

  name: str
  kind: str
  min_count: int
  split: Callable[[str], list[str]]
  tokenise: Callable[[str], list[str]]
  join: Callable[[Sequence[str]], str]
  line: Callable[[str], str] = str


# -- plain English ------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


# A full stop after these never ends a sentence: a name or an example follows.
_TITLES = _words("""
  mr mrs ms messrs dr prof st sen rep gov gen brig col maj capt lt cmdr sgt adm
  rev hon pres fr mt ft vs cf ca viz e.g i.e approx
""")
# A full stop after these ends a sentence unless a number follows.
_NUMBERED = _words("""
  no nos vol vols pp fig figs eq ch sec jan feb mar apr jun jul aug sept sep oct
  nov dec
""")
# A full stop after these, or after initials, ends a sentence if the next word
# is one of `_OPENERS`.
_ABBREVIATIONS = _words("""
  jr sr inc corp co ltd bros dept univ assn est etc ph.d al ed eds trans ave
  blvd mon tue tues wed thu thurs fri
""")
_OPENERS = _words("""
  the a an this that these those it its he she they we you i his her their our
  my there here in on at by for from with as after before during since when
  while where although though if but and or so yet however moreover thus
  therefore meanwhile some many most both each one another such according under
  until because despite today later then what who why how not no
""")
_DOTTED = _TITLES | _NUMBERED | _ABBREVIATIONS
# Repeats are bounded so that a long line without spaces costs linear time.
_BOUNDARY = re.compile(
  r'(?P<word>[^\s.!?…]{0,40}+(?:\.[^\s.!?…]{1,9}){0,4})'
  r'(?P<mark>[.!?…]{1,9})["\'”’»)\]]{0,9} '
  r'(?=["\'“‘«(\[]{0,9}(?P<next>[A-Z0-9À-ÖØ-Þ]\w{0,40}))'
)
_INITIALS = re.compile(r'(?:[^\W\d_]\.)*[^\W\d_]')


def _ends_sentence(match: re.Match[str]) -> bool:
  """Whether the mark that `_BOUNDARY` found ends its sentence."""
  if match['mark'] != '.':
    return True
  word = match['word'].lstrip('"\'“‘«([').lower()
  if word in _TITLES:
    return False
  if word in _NUMBERED:
    return not match['next'][0].isdigit()
  if word in _ABBREVIATIONS or _INITIALS.fullmatch(word):
    return match['next'].lower() in _OPENERS
  return True


def split_sentences(text: str) -> list[str]:
  """Splits English prose at full stops, question and exclamation marks.

  Marks inside brackets and full stops of titles, abbreviations, initials and
  decimals are ignored. A closing quote stays with its sentence.
  """
  text = ' '.join(text.split())
  sentences: list[str] = []
  start = seen = depth = 0
  for match in _BOUNDARY.finditer(text):
    end = match.end()
    depth += text.count('(', seen, end) - text.count(')', seen, end)
    seen = end
    # A bracket without a closing one nearby is a smiley or a mistake.
    if depth > 0 and text.find(')', end, end + 200) >= 0:
      continue
    if _ends_sentence(match):
      sentences.append(text[start:end].strip())
      start, depth = end, 0
  return [s for s in (*sentences, text[start:]) if s]


_CLITIC = r"n't|'(?:s|re|ve|ll|d|m)"


def _token_pattern(
  library: Any, letter: str, alnum: str, symbol: str, no_word: str
):
  """The pattern of a token, given the patterns of its parts."""
  return library.compile(
    rf"""
    <unk>
    | (?:https?://|www\.)[^\s"<>]*[^\s"<>.,;:!?)\]']
    | (?:{letter}\.){{2,}}{no_word}  # u.s., e.g.
    | {alnum}+(?:(?:[-'&]|(?<=\d)[.,:/](?=\d)){alnum}+)*
    | (?:{_CLITIC}){no_word}
    | \.{{2,}} | -{{2,}} | {symbol}
    """,
    library.VERBOSE,
  )


_ASCII_TOKEN = _token_pattern(
  re, letter=r'[^\W\d_]', alnum=r'[^\W_]', symbol=r'\S', no_word=r'(?!\w)'
)
# Letters and digits with their combining marks and joiners (Unicode Standard
# Annex 29), as in Devanagari, decomposed accents and Persian. It is twice as
# slow, so it is used only for text that is not ASCII.
_MARKS = r'[\p{M}\u200c\u200d]*+'
_TOKEN = _token_pattern(
  regex,
  letter=rf'(?:[\p{{L}}\p{{Nl}}\p{{No}}]{_MARKS})',
  alnum=rf'(?:[\p{{L}}\p{{N}}]{_MARKS})',
  symbol=r'(?![\s\x1c-\x1f])\X',  # A grapheme, such as a flag or an emoji.
  no_word=r'(?![\p{L}\p{N}\p{M}_])',
)
_WORD_AND_CLITIC = re.compile(rf'(.+?)({_CLITIC})')
_FOLD = str.maketrans(
  {'’': "'", '‘': "'", '“': '"', '”': '"', '…': '...', '‐': '-', '‑': '-'}
)


def tokenise_plain(sentence: str) -> list[str]:
  """Lower-cased words, numbers, clitics and punctuation marks."""
  tokens: list[str] = []
  text = sentence.translate(_FOLD).lower()
  pattern = _ASCII_TOKEN
  if not text.isascii():
    pattern = _TOKEN
    # The same word, whether accents are code points of their own or not.
    text = unicodedata.normalize('NFC', text)
  last = len(text.rstrip(' "\')]')) - 1
  for match in pattern.finditer(text):
    token = match[0]
    if "'" in token and (parts := _WORD_AND_CLITIC.fullmatch(token)):
      tokens.extend(parts.groups())
    elif (
      # The full stop of 'mr.' or an initial is part of the token, unless it
      # ends the sentence.
      token == '.'
      and 0 < match.start() < last
      and text[match.start() - 1] != ' '
      and (tokens[-1] in _DOTTED or _INITIALS.fullmatch(tokens[-1]))
    ):
      tokens[-1] += '.'
    else:
      tokens.append(token)
  return tokens


_LEANS_LEFT = re.compile(rf"[.,;:!?%)\]}}']|\.\.+|{_CLITIC}")
_LEANS_RIGHT = frozenset('([{$£€#@¿¡')


def join_plain(tokens: Sequence[str]) -> str:
  """Joins tokens into readable text.

  Punctuation is attached to its word; quotes open and close alternately.
  """
  pieces: list[str] = []
  glued = True  # Whether the next token follows without a space.
  in_quotes = False
  for token in tokens:
    if token == '"':
      leans_left, leans_right = in_quotes, not in_quotes
      in_quotes = not in_quotes
    else:
      leans_left = _LEANS_LEFT.fullmatch(token) is not None
      leans_right = token in _LEANS_RIGHT
    if not (glued or leans_left):
      pieces.append(' ')
    pieces.append(token)
    glued = leans_right
  return ''.join(pieces)


# -- the others ---------------------------------------------------------------


def _one_sentence(text: str) -> list[str]:
  text = text.strip()
  return [text] if text else []


def _as_given(text: str) -> list[str]:
  """The line with its white space; no sentence if it is blank."""
  return [text] if text.strip() else []


@functools.cache
def _tweet_tokenizer():
  """NLTK's tokenizer, and its pattern of emoticons, which keep their case."""
  casual = _nltk_casual()
  return casual.TweetTokenizer(preserve_case=True), casual.EMOTICON_RE


def _nltk_casual():
  """`nltk.tokenize.casual`, if possible without the rest of NLTK.

  NLTK's `__init__` takes two seconds, as it imports scipy.stats and much more,
  of which this module needs nothing. So empty packages stand in its place for a
  moment.
  """
  if 'nltk' not in sys.modules:
    spec = importlib.util.find_spec('nltk')
    folders = list(spec.submodule_search_locations or ()) if spec else []
    try:
      for name, *below in (('nltk',), ('nltk.tokenize', 'tokenize')):
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(path, *below) for path in folders]
        sys.modules[name] = package
      return importlib.import_module('nltk.tokenize.casual')
    except (ImportError, AttributeError):  # Another version needs the rest.
      pass
    finally:  # Whoever imports NLTK gets all of it.
      for name in [n for n in sys.modules if n.partition('.')[0] == 'nltk']:
        del sys.modules[name]
  return importlib.import_module('nltk.tokenize.casual')


def _tokenise_tweet(sentence: str) -> list[str]:
  # As with preserve_case=False, which tries the pattern on every token, a
  # quarter of the time: few have capitals.
  tokenizer, emoticon = _tweet_tokenizer()
  return [
    token if (low := token.lower()) == token or emoticon.search(token) else low
    for token in tokenizer.tokenize(sentence)
  ]


def _tokenise_bytes(sentence: str) -> list[str]:
  return list(sentence.encode().decode('latin-1'))


def _join_bytes(tokens: Sequence[str]) -> str:
  # A model may generate bytes that are not UTF-8; they print as U+FFFD.
  return ''.join(tokens).encode('latin-1').decode(errors='replace')


_HTML_BREAK = re.compile(r'<\s*br\s*/?\s*>', re.IGNORECASE)


def review_line(text: str) -> str:
  """The text on one line without HTML, a space before and after it."""
  words = html.unescape(_HTML_BREAK.sub(' ', text)).split()
  return f' {" ".join(words)} ' if words else ''


PROTOCOLS = {
  p.name: p
  for p in (
    Protocol('mikolov', 'word', 1, _one_sentence, str.split, ' '.join),
    Protocol('tweet', 'word', 2, _one_sentence, _tokenise_tweet, ' '.join),
    Protocol('plain', 'word', 2, split_sentences, tokenise_plain, join_plain),
    Protocol('characters', 'character', 1, _as_given, list, ''.join),
    Protocol('bytes', 'byte', 1, _as_given, _tokenise_bytes, _join_bytes),
    Protocol(
      'reviews', 'byte', 1, _as_given, _tokenise_bytes, _join_bytes, review_line
    ),
  )
}


# -- marks of unknown words ----------------------------------------------------

UNKNOWN_MARKERS = ('[UNK]', '@UNK@', '<UNK>', '_UNK')


def unknown_pattern(markers: Sequence[str]) -> re.Pattern[str]:
  """Matches these marks of unknown words if they are separate words."""
  listed = '|'.join(map(re.escape, markers)) or '(?!)'  # Never matches.
  return re.compile(rf'(?<!\w)(?:{listed})(?!\w)')
