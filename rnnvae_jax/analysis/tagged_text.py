"""A page that shows a text with its tagged spans, coloured by confidence."""

from collections.abc import Iterable, Sequence
import itertools
from typing import NamedTuple

from rnnvae_jax.web import page as pages

# The lowest probability of each level and its colours, from the least certain
# on: one hue that darkens, so that levels differ without colour vision, and
# text that contrasts with it by at least 4.5 to 1. Each span also says its
# probability.
LEVELS = (
  (0.0, '#ffffff', '#000000'),
  (0.5, '#deebf7', '#000000'),
  (0.7, '#9ecae1', '#000000'),
  (0.9, '#2171b5', '#ffffff'),
  (0.99, '#08306b', '#ffffff'),
)


class Marked(NamedTuple):
  """Neighbouring words with a type."""

  start: int  # The first word.
  stop: int  # The word after the last.
  type: str
  probability: float


class Sentence(NamedTuple):
  words: Sequence[str]
  spans: Sequence[Marked]  # They do not overlap, and are in their order.


def level(probability: float) -> int:
  """The index of a probability's level in `LEVELS`."""
  return sum(probability >= lowest for lowest, *_ in LEVELS) - 1


def page(title: str, sentences: Iterable[Sentence]) -> str:
  """Renders a page that needs no network and no script.

  The sentences are a numbered list; the keyboard moves from span to span.

  Args:
    title: of the page.
    sentences: in their order; those without words keep their number.
  """
  levels = '\n'.join(
    f'.l{number} {{ background: {back}; color: {text}; }}'
    for number, (_, back, text) in enumerate(LEVELS)
  )
  bounds = [lowest for lowest, *_ in LEVELS] + [1.0]
  legend = ' '.join(
    f'<span class="key l{number}">{low:.0%} to {high:.0%}</span>'
    for number, (low, high) in enumerate(itertools.pairwise(bounds))
  )
  items = '\n'.join(f'<li>{_sentence(one)}</li>' for one in sentences)
  body = f"""<h1>{pages.escape(title)}</h1>
<p>The probability of a span is that of the least certain of its tags:
{legend}</p>
<ol>
{items}
</ol>"""
  return pages.document(title, body, _STYLES + levels)


def _sentence(sentence: Sentence) -> str:
  parts: list[str] = []
  place = 0
  for span in sentence.spans:
    parts += map(pages.escape, sentence.words[place : span.start])
    parts.append(_marked(sentence.words[span.start : span.stop], span))
    place = span.stop
  parts += map(pages.escape, sentence.words[place:])
  return ' '.join(parts)


def _marked(words: Sequence[str], span: Marked) -> str:
  text = pages.escape(' '.join(words))
  kind = pages.escape(span.type)
  return (
    f'<mark class="l{level(span.probability)}" tabindex="0">{text} '
    f'<small>{kind}&nbsp;{span.probability:.0%}</small></mark>'
  )


_STYLES = """
body { line-height: 2; max-width: 50rem; }
mark, .key { border: 1px solid #08306b; border-radius: .3rem;
  padding: .1rem .3rem; }
"""
