"""Schemes of tags: checks, conversions, and spans as conlleval counts them."""

import itertools

from absl.testing import absltest, parameterized

from rnnvae_jax.data import schemes

TAGS = ('O', 'B-A', 'I-A', 'B-B', 'I-B')
BIOES = ('O', *(f'{p}-{t}' for p in 'BIES' for t in 'AB'))


def sequences(tags, longest):
  for length in range(longest + 1):
    yield from itertools.product(tags, repeat=length)


def conlleval(tags):
  """Spans by the rules of conlleval's startOfChunk and endOfChunk."""
  found, start = [], None
  before, kind = 'O', ''
  for place, tag in enumerate((*tags, 'O')):
    prefix, _, now = tag.partition('-')
    ends = (before, prefix) in (
      ('B', 'B'),
      ('B', 'O'),
      ('I', 'B'),
      ('I', 'O'),
    ) or (before != 'O' and kind != now)
    begins = (before, prefix) in (
      ('B', 'B'),
      ('I', 'B'),
      ('O', 'B'),
      ('O', 'I'),
    ) or (prefix != 'O' and kind != now)
    if ends and start is not None:
      found.append((start, place, kind))
      start = None
    if begins:
      start = place
    before, kind = prefix, now
  return found


def is_legal(tags, scheme):
  return schemes.fault(tags, scheme) is None


class SpansTest(parameterized.TestCase):
  def test_of_any_tags_are_those_of_conlleval(self):
    for tags in sequences(TAGS, 5):
      self.assertEqual(schemes.spans(tags), conlleval(tags), tags)

  @parameterized.product(source=schemes.SCHEMES[1:], to=schemes.SCHEMES[1:])
  def test_conversion_loses_nothing_and_gives_legal_tags(self, source, to):
    tags = BIOES if source == 'bioes' else TAGS
    count = 0
    for sentence in sequences(tags, 4):
      if not is_legal(sentence, source):
        continue
      converted = schemes.convert(sentence, to)
      self.assertTrue(is_legal(converted, to), (sentence, converted))
      self.assertEqual(schemes.spans(converted), schemes.spans(sentence))
      self.assertEqual(schemes.convert(converted, source), list(sentence))
      count += 1
    self.assertGreater(count, 20)

  @parameterized.parameters(*schemes.SCHEMES[1:])
  def test_legal_tags_are_those_that_some_spans_have(self, scheme):
    # Spans that cannot be told apart in iob1 if they differ: none.
    made = set()
    for tags in sequences(BIOES, 3):
      if is_legal(tags, 'bioes'):
        made.add(tuple(schemes.convert(tags, scheme)))
    for tags in sequences({*TAGS, *BIOES}, 3):
      self.assertEqual(is_legal(tags, scheme), tags in made, tags)

  @parameterized.parameters(*schemes.SCHEMES)
  def test_moves_are_those_of_legal_sequences(self, scheme):
    names = TAGS if scheme in ('iob1', 'bio') else BIOES
    moves = schemes.allowed(names, scheme)
    for tags in sequences(range(len(names)), 3):
      if not tags:
        continue
      can = moves.start[tags[0]] and moves.end[tags[-1]]
      can = can and all(
        moves.transitions[pair] for pair in itertools.pairwise(tags)
      )
      self.assertEqual(can, is_legal([names[i] for i in tags], scheme))

  @parameterized.parameters(
    ('bio', ('O', 'I-A'), r"word 2: in bio 'I-A' must not follow 'O'"),
    ('bio', ('I-A',), r"word 1: .*'I-A' must not begin a sentence"),
    ('bioes', ('S-A', 'B-A'), r"word 2: .*'B-A' must not end a sentence"),
    ('bio', ('O', 'S-A'), r"word 2: 'S-A' is no tag of bio: O, B-X, I-X"),
    ('bio', ('B',), r"word 1: 'B' is no tag of bio"),
    ('iob1', ('O', 'B-A'), r'word 2: .* All tags are legal in bio\.'),
  )
  def test_the_first_wrong_tag_is_named(self, scheme, tags, message):
    with self.assertRaisesRegex(ValueError, 'text, sentence 2, ' + message):
      schemes.check('text', [('O',), tags], scheme)


class FiguresTest(parameterized.TestCase):
  @parameterized.parameters(*schemes.SCHEMES[1:])
  def test_gold_tags_score_100(self, scheme):
    gold = [schemes.convert(('B-A', 'I-A', 'B-A', 'O', 'B-B'), scheme), []]
    figures = schemes.span_figures(gold, gold)
    self.assertEqual(figures['f1'], 100.0)
    self.assertEqual(figures['spans']['A']['count'], 2)
    self.assertFalse(any(figures['mistakes'].values()))

  def test_counts_by_hand(self):
    gold = [('B-A', 'I-A', 'O', 'B-B', 'O', 'B-A'), ('B-B', 'I-B', 'O')]
    given = [('B-A', 'O', 'O', 'B-A', 'O', 'B-A'), ('O', 'I-A', 'B-B')]
    figures = schemes.span_figures(gold, given)
    # One of four gold spans is among the five that were predicted.
    self.assertAlmostEqual(figures['precision'], 100 / 5)
    self.assertAlmostEqual(figures['recall'], 100 / 4)
    self.assertAlmostEqual(figures['f1'], 200 / 9)
    self.assertEqual(
      figures['mistakes'],
      {
        'type': 1,
        'boundary': 1,
        'type and boundary': 1,
        'missed': 0,
        'spurious': 1,
      },
    )
    self.assertEqual(figures['spans']['B']['right'], 0)

  def test_without_spans_shares_are_0_as_in_conlleval(self):
    figures = schemes.span_figures([('O', 'O')], [('O', 'O')])
    self.assertEqual(figures['f1'], 0.0)
    self.assertEqual(figures['spans'], {})


if __name__ == '__main__':
  absltest.main()
