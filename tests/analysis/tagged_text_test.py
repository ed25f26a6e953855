"""The page of tagged text: complete, escaped, self-contained, with contrast."""

import html.parser
import itertools

from absl.testing import absltest, parameterized

from rnnvae_jax.analysis import tagged_text

SENTENCES = [
  tagged_text.Sentence(
    ('<b>Anna</b>', '&', 'Berg', 'left', '"Oslo"', '.'),
    (
      tagged_text.Marked(0, 3, 'PER<x>', 0.523),
      tagged_text.Marked(4, 5, 'LOC', 1.0),
    ),
  ),
  tagged_text.Sentence((), ()),
  tagged_text.Sentence(('no', 'TITLE', '{title}'), ()),
]


class Reader(html.parser.HTMLParser):
  """What a browser would show: list items, marks and attributes."""

  def __init__(self):
    super().__init__()
    self.items, self.marks, self.attributes, self.open = [], [], [], []

  def handle_starttag(self, tag, attrs):
    self.attributes += attrs
    if tag == 'li':
      self.items.append('')
    if tag == 'mark':
      self.marks.append((dict(attrs), ''))
    if tag != 'meta':
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if 'li' in self.open:
      self.items[-1] += data
    if 'mark' in self.open:
      attributes, text = self.marks[-1]
      self.marks[-1] = attributes, text + data


def luminance(colour):
  """Of WCAG 2."""
  parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
  linear = [
    x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
  ]
  return sum(
    w * x for w, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
  )


class PageTest(parameterized.TestCase):
  def test_shows_all_words_with_their_spans_and_no_markup_of_theirs(self):
    reader = Reader()
    text = tagged_text.page('a <script> & b', SENTENCES)
    reader.feed(text)
    self.assertEmpty(reader.open)
    self.assertNotIn('script>', text.replace('&lt;script&gt;', ''))
    self.assertEqual(
      [item.replace('\xa0', ' ') for item in reader.items],
      [
        '<b>Anna</b> & Berg PER<x> 52% left "Oslo" LOC 100% .',
        '',
        'no TITLE {title}',
      ],
    )
    self.assertEqual([mark['class'] for mark, _ in reader.marks], ['l1', 'l4'])

  def test_needs_no_network_and_is_read_by_keyboard(self):
    reader = Reader()
    text = tagged_text.page('a', SENTENCES)
    reader.feed(text)
    names = {name for name, _ in reader.attributes}
    self.assertNoCommonElements(names, {'src', 'href', 'onclick'})
    self.assertNotIn('url(', text)
    self.assertTrue(all(mark['tabindex'] == '0' for mark, _ in reader.marks))

  def test_levels_differ_in_brightness_and_text_has_contrast(self):
    backs = []
    for _, back, text in tagged_text.LEVELS:
      one, other = sorted((luminance(back), luminance(text)))
      self.assertGreaterEqual((other + 0.05) / (one + 0.05), 4.5)
      backs.append(luminance(back))
    for lighter, darker in itertools.pairwise(backs):
      self.assertGreater((lighter + 0.05) / (darker + 0.05), 1.2)

  @parameterized.parameters((0.0, 0), (0.5, 1), (0.899, 2), (0.9, 3), (1.0, 4))
  def test_levels_begin_at_their_lowest_probability(self, probability, want):
    self.assertEqual(tagged_text.level(probability), want)


if __name__ == '__main__':
  absltest.main()
