"""How tags mark spans: IOB1, BIO and BIOES, checked, converted and compared.

A tag is `O`, outside of any span, or a prefix, a hyphen and the span's type:

  iob1   I-X in a span; B-X at the start of one that follows another of its type
  bio    B-X at the start of a span, I-X in the rest
  bioes  B-X, I-X and E-X at the start, in the middle and at the end of a span
         of several words, S-X on a span of one word
  none   tags that mark no spans, such as parts of speech
"""

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnvae_jax.config import schema

SCHEMES = ('none', 'iob1', 'bio', 'bioes')
OUTSIDE = 'O'
_PREFIXES = {'iob1': 'BI', 'bio': 'BI', 'bioes': 'BIES'}
# Kinds of wrong spans; see `mistakes`.
MISTAKES = ('type', 'boundary', 'type and boundary', 'missed', 'spurious')


@schema.fragment('corpus')
class TagConfig:
  """Keys of tasks that read the field 'tags'; see `corpora.build`."""

  tag_scheme: str = schema.field(
    'none',
    "How tags of the text mark spans; 'none': they mark none.",
    choices=SCHEMES,
  )
  learnt_scheme: str = schema.field(
    '',
    "The scheme that tags are converted to; '': they stay as they are.",
    choices=('', *SCHEMES[1:]),
    only_if=schema.none_of('corpus.tag_scheme', 'none'),
  )
  word_column: int = schema.field(
    1,
    'Which column of a text in columns has the words; -1: the last.',
    only_if=schema.is_set('corpus.columns'),
    free=schema.Free.OTHER_TEXT,
  )
  tag_column: int = schema.field(
    -1,
    'Which column has the tags; 1 is the first, -1 the last.',
    only_if=schema.is_set('corpus.columns'),
    free=schema.Free.OTHER_TEXT,
  )
  whole_vocabulary: bool = schema.field(
    False,
    'The vocabulary has the words of all splits, so that those without a '
    'training example have their pretrained vectors.',
  )
  max_characters: int = schema.field(
    24,
    'Characters of a word that are read; of a longer one half are its first, '
    'half its last.',
    low=2,
    tiny=7,
  )


class Span(NamedTuple):
  """Neighbouring words and what they are."""

  start: int  # The first word.
  stop: int  # The word after the last.
  type: str


def parts(tag: str) -> tuple[str, str]:
  """The prefix and the type of a tag; 'O' and '' outside of spans."""
  prefix, _, kind = tag.partition('-')
  return prefix, kind


def spans(tags: Sequence[str]) -> list[Span]:
  """The spans of a sentence, in any scheme, whether the tags are legal or not.

  As conlleval has it, a tag in a span begins one if the span before it has
  ended or has another type.
  """
  found, start = [], 0
  before, kind = OUTSIDE, ''
  for place, tag in enumerate((*tags, OUTSIDE)):
    prefix, now = parts(tag)
    begins = prefix != OUTSIDE and (
      before in (OUTSIDE, 'E', 'S') or prefix in 'BS' or now != kind
    )
    if before != OUTSIDE and (begins or prefix == OUTSIDE):
      found.append(Span(start, place, kind))
    if begins:
      start = place
    before, kind = prefix, now
  return found


def tags_of(found: Iterable[Span], length: int, scheme: str) -> list[str]:
  """The tags of a sentence's spans, which do not overlap, in their order."""
  tags = [OUTSIDE] * length
  last = Span(0, 0, '')
  for span in found:
    start, stop, kind = span
    inside = stop - start
    prefixes = ['I'] * inside
    touches = last.stop == start and last.type == kind
    if scheme == 'bioes':
      prefixes[0], prefixes[-1] = 'B', 'E'
      if inside == 1:
        prefixes = ['S']
    elif scheme == 'bio' or touches:
      prefixes[0] = 'B'
    tags[start:stop] = [f'{prefix}-{kind}' for prefix in prefixes]
    last = span
  return tags


def convert(tags: Sequence[str], scheme: str) -> list[str]:
  """A sentence's tags in another scheme, with the same spans."""
  return tags_of(spans(tags), len(tags), scheme)


def is_allowed(before: str, after: str, scheme: str) -> bool:
  """Whether one tag may follow another; '' stands beyond an end."""
  if scheme == 'none':
    return True
  prefix, kind = parts(before or OUTSIDE)
  following, now = parts(after or OUTSIDE)
  same = prefix != OUTSIDE and following != OUTSIDE and kind == now
  if scheme == 'iob1':
    return following != 'B' or same
  if scheme == 'bio':
    return following != 'I' or same
  goes_on = following in ('I', 'E')
  return goes_on and same if prefix in ('B', 'I') else not goes_on


def fault(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
  """The first word whose tag breaks a scheme, and why; None if none does."""
  if scheme == 'none':
    return None
  before = ''
  for place, tag in enumerate(tags):
    prefix, kind = parts(tag)
    is_tag = tag == OUTSIDE or (
      len(prefix) == 1 and prefix in _PREFIXES[scheme] and kind
    )
    if not is_tag:
      listed = ', '.join(f'{letter}-X' for letter in _PREFIXES[scheme])
      return place, f'{tag!r} is no tag of {scheme}: O, {listed}'
    if not is_allowed(before, tag, scheme):
      after = f'follow {before!r}' if before else 'begin a sentence'
      return place, f'in {scheme} {tag!r} must not {after}'
    before = tag
  if tags and not is_allowed(before, '', scheme):
    return len(tags) - 1, f'in {scheme} {before!r} must not end a sentence'
  return None


def fitting(sentences: Iterable[Sequence[str]]) -> list[str]:
  """The schemes that all of these sentences' tags are legal in."""
  kept = list(sentences)
  return [
    scheme
    for scheme in SCHEMES[1:]
    if not any(fault(tags, scheme) for tags in kept)
  ]


def check(where: str, sentences: Sequence[Sequence[str]], scheme: str) -> None:
  """Raises ValueError for the first tag that breaks the scheme.

  Args:
    where: the file or the corpus and its split, for the message.
    sentences: the tags of each sentence.
    scheme: one of `SCHEMES`.
  """
  for number, tags in enumerate(sentences, 1):
    found = fault(tags, scheme)
    if found:
      others = fitting(sentences)
      hint = f' All tags are legal in {" and in ".join(others)}.'
      raise ValueError(
        f'{where}, sentence {number}, word {found[0] + 1}: {found[1]}.'
        + (hint if others else '')
      )


class Allowed(NamedTuple):
  """Which moves a scheme allows, over tags in the order of their ids."""

  transitions: np.ndarray  # bool[K, K], the column's tag after the row's.
  start: np.ndarray  # bool[K]
  end: np.ndarray  # bool[K]


def allowed(names: Sequence[str], scheme: str) -> Allowed:
  """Which moves a scheme allows.

  Args:
    names: of the tags.
    scheme: one of `SCHEMES`.
  """
  table = [[is_allowed(i, j, scheme) for j in names] for i in names]
  return Allowed(
    np.array(table),
    np.array([is_allowed('', name, scheme) for name in names]),
    np.array([is_allowed(name, '', scheme) for name in names]),
  )


# -- figures -------------------------------------------------------------------


def span_figures(
  gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> dict[str, Any]:
  """Precision, recall and F1 of spans, in per cent, as conlleval counts them.

  A span is right if both of its ends and its type are.

  Args:
    gold: the tags of each sentence.
    predicted: the tags that were predicted.

  Returns:
    precision, recall and f1 of all spans, 0 where they are 0 / 0; spans, by
    type the same with count, predicted and right; and mistakes, how many of
    each kind of `MISTAKES`.
  """
  count: collections.Counter[str] = collections.Counter()
  given: collections.Counter[str] = collections.Counter()
  right: collections.Counter[str] = collections.Counter()
  wrong: collections.Counter[str] = collections.Counter()
  for tags, others in zip(gold, predicted, strict=True):
    ours, theirs = spans(tags), spans(others)
    count.update(span.type for span in ours)
    given.update(span.type for span in theirs)
    right.update(span.type for span in set(ours) & set(theirs))
    wrong.update(kind for kind, *_ in mistakes(ours, theirs))
  total = (sum(counts.values()) for counts in (right, given, count))
  return {
    **_shares(*total),
    'spans': {
      kind: {
        'count': count[kind],
        'predicted': given[kind],
        'right': right[kind],
        **_shares(right[kind], given[kind], count[kind]),
      }
      for kind in sorted({*count, *given})
    },
    'mistakes': {kind: wrong[kind] for kind in MISTAKES},
  }


def _shares(right: int, predicted: int, count: int) -> dict[str, Any]:
  percent = lambda part, whole: 100.0 * part / whole if whole else 0.0
  return {
    'precision': percent(right, predicted),
    'recall': percent(right, count),
    'f1': percent(2 * right, predicted + count),
  }


def mistakes(
  gold: Sequence[Span], predicted: Sequence[Span]
) -> list[tuple[str, Span | None, Span | None]]:
  """What is wrong with the predicted spans of a sentence.

  Returns:
    (kind, gold span, predicted span), by position. 'type': the ends are right;
    'boundary': the type is right, and the spans overlap; 'type and boundary':
    they overlap; 'missed' and 'spurious': no span overlaps that is not right.
  """
  ours = sorted(set(gold) - set(predicted))
  theirs = sorted(set(predicted) - set(gold))
  found: list[tuple[str, Span | None, Span | None]] = []
  rules: tuple[tuple[str, Callable[[Span, Span], bool]], ...] = (
    ('type', lambda a, b: a[:2] == b[:2]),
    ('boundary', lambda a, b: _overlap(a, b) and a.type == b.type),
    ('type and boundary', _overlap),
  )
  for kind, fits in rules:
    for span in list(ours):
      other = next((b for b in theirs if fits(span, b)), None)
      if other is not None:
        found.append((kind, span, other))
        ours.remove(span)
        theirs.remove(other)
  found += [('missed', span, None) for span in ours]
  found += [('spurious', None, span) for span in theirs]
  return sorted(found, key=_place)


def _place(mistake: tuple[str, Span | None, Span | None]) -> Span:
  _, span, other = mistake
  found = span or other
  assert found is not None
  return found


def _overlap(a: Span, b: Span) -> bool:
  return a.start < b.stop and b.start < a.stop
