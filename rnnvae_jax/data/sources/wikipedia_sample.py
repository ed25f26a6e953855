"""Articles of the English Wikipedia, from the dump's slice in gensim.

An article's title determines the split of all its sentences; repeated sentences
are kept once. The text is licensed under CC BY-SA.
"""

import bz2
from collections.abc import Iterator
import html
import re

from rnnvae_jax.data import file_source, protocols
from rnnvae_jax.data.sources import base

# Replaces markup that cannot be converted; its sentence is not used.
_GAP = '\N{OBJECT REPLACEMENT CHARACTER}'
_TEMPLATE = re.compile(r'\{\{([^{}]*)\}\}')
# Names of templates that are notes, which are removed without a gap.
_NOTE = re.compile(
  r'according|better source|bibleref|by whom|cit|clarify|clear|dubious|efn'
  r'|failed verif|harv|inflation-fn|nbsp|note|page needed|qualify|refn|rp$|sfn'
  r'|#tag:ref|unreliable|update|vague|verify|weasel|when|where|which|who'
)
_DASHES = ('snd', 'ndash', 'spaced ndash', 'mdashb')
_FORMULA = re.compile(r'(?s)<(math|chem|code|sub|sup)\b[^>]*>.*?</\1>')
_DISPLAY = re.compile(
  r'(?s)<(gallery|timeline|source|pre|blockquote|poem|imagemap)\b.*?</\1>'
)
_IMAGE = re.compile(
  r'(?i)\[\[(?:file|image):(?:[^\[\]]|\[\[[^\[\]]*\]\]|\[[^\[\]]*\])*\]\]'
)
_GAP_IN_BRACKETS = re.compile(rf' ?\([^()]*{_GAP}[^()]*\)| ?\(\s*\)')
_WHOLE = re.compile(r'["“(]?[A-Z0-9].*[.!?]["”)\']*')
_LEFTOVER = re.compile(rf'[{_GAP}|{{}}<>=\[\]\\*_^~]|//| [,;:.)]|\( |\(,|,,')


def _template_text(match: re.Match[str]) -> str:
  name, *arguments = match[1].split('|')
  name = name.strip().lower()
  if _NOTE.match(name):
    return ''
  if name in ('nowrap', 'sc', 'small') and arguments:
    return arguments[-1]
  if name in ("'", "'s"):
    return name
  return ' – ' if name in _DASHES else _GAP


def _is_prose(sentence: str) -> bool:
  """Whether a sentence is complete and not a caption, list or formula."""
  letters = sum(c == ' ' or (c.isascii() and c.isalpha()) for c in sentence)
  return (
    len(sentence.split()) >= 5
    and _WHOLE.fullmatch(sentence) is not None
    and not _LEFTOVER.search(sentence)
    and letters >= 0.85 * len(sentence)
    and sentence.count('(') == sentence.count(')')
    and sentence.count('"') % 2 == 0
  )


def wikipedia_sentences(markup: str) -> Iterator[str]:
  """Yields the sentences of an article that can be read without markup."""
  from gensim.corpora import wikicorpus  # Takes a second, so only if used.

  text = html.unescape(markup).replace('\N{NO-BREAK SPACE}', ' ')
  for pattern in (wikicorpus.RE_P0, wikicorpus.RE_P1, _DISPLAY, _IMAGE):
    text = pattern.sub('', text)  # Comments, footnotes, displays, images.
  text = _FORMULA.sub(_GAP, text)
  filled = 1
  while filled:  # Templates nest: the innermost first.
    text, filled = _TEMPLATE.subn(_template_text, text)
  text = re.sub("'{2,}", '', wikicorpus.filter_wiki(text))
  text = _GAP_IN_BRACKETS.sub('', text)
  for paragraph in text.split('\n'):
    if re.match(r'["“A-Z]', paragraph):  # No list and no heading.
      yield from filter(_is_prose, protocols.split_sentences(paragraph))


def records(path: str) -> Iterator[tuple[str, base.Record]]:
  """Yields (split, record) of every sentence of a dump."""
  from gensim.corpora import wikicorpus

  seen = set()
  with bz2.open(path) as f:
    articles = wikicorpus.extract_pages(f, filter_namespaces=('0',))
    for title, markup, _ in articles:
      for sentence in wikipedia_sentences(markup):
        if sentence not in seen:
          seen.add(sentence)
          yield base.split_of(title, salt='1'), {'text': sentence}


SOURCE = file_source.FileSource(
  name='wikipedia_sample',
  summary='articles of the English Wikipedia, part of gensim',
  package='gensim',
  records=records,
  raw=(
    base.RawFile(
      (
        'test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302'
        '-shortened.bz2',
      ),
      'a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d',
      1_695_871,
    ),
  ),
)
