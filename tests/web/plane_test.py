"""The explorer's map: every sentence at its place, and nothing but text."""

import re
from xml.etree import ElementTree

from absl.testing import absltest
import numpy as np

from rnnvae_jax.web import landmarks, plane


def made(count, labels):
  places = np.stack([np.linspace(-3, 5, count), np.linspace(2, -2, count)], 1)
  found = landmarks.Landmarks(
    **{
      **dict.fromkeys(landmarks.Landmarks._fields),
      'texts': [f'<b> & {i}' for i in range(count)],
      'places': places.astype(np.float32),
      'labels': labels,
    }
  )
  return places, found


def marks(svg):
  """(x, y, colour, title) of each mark with a title, as a parser reads it."""
  found = []
  for path in ElementTree.fromstring(svg).findall('path'):
    x, y = map(float, re.findall(r'[-\d.]+', path.get('transform')))
    found.append((x, y, path.get('fill'), path.find('title').text))
  return found


class PlaneTest(absltest.TestCase):
  def test_marks_are_where_the_sentences_are(self):
    places, found = made(9, {'topic': ['a', 'b', 'b'] * 3})
    drawn = marks(plane.Plane(found).draw())
    self.assertLen(drawn, 9)
    x, y = np.array([mark[:2] for mark in drawn]).T
    # Linear, to the right and upwards, within the tenth that is written.
    for pixels, place, sign in ((x, places[:, 0], 1), (y, places[:, 1], -1)):
      slope = (pixels[-1] - pixels[0]) / (place[-1] - place[0])
      self.assertGreater(sign * slope, 0)
      line = pixels[0] + slope * (place - place[0])
      np.testing.assert_allclose(pixels, line, atol=0.2)
    self.assertEqual([mark[3] for mark in drawn], list(found.texts))
    colours = [mark[2] for mark in drawn]
    self.assertEqual(colours, [*colours[:2], colours[1]] * 3)
    self.assertNotEqual(colours[0], colours[1])

  def test_the_legend_names_the_label_and_its_values(self):
    _, found = made(4, {'many': list('abcd'), 'x<y': ['a', '', 'a', 'a']})
    found = found._replace(
      labels={'one': ['a'] * 4, 'x<y': ['a', '', 'a', 'a']}
    )
    svg = plane.Plane(found).draw('me & you', (0.0, 0.0))
    root = ElementTree.fromstring(svg)
    written = [text.text for text in root.findall('text')]
    self.assertEqual(written, ['x<y:', 'a', 'none', 'this sentence'])
    (here,) = [g for g in root.findall('g') if g.get('class') == 'here']
    self.assertEqual(here.find('title').text, 'me & you')

  def test_sentences_without_labels_and_a_reader_far_away(self):
    _, found = made(3, {})
    root = ElementTree.fromstring(plane.Plane(found).draw('', (1e9, -1e9)))
    _, _, width, height = map(float, root.get('viewBox').split())
    circle = root.find('g[@class="here"]/circle')
    self.assertBetween(float(circle.get('cx')), 0, width)
    self.assertBetween(float(circle.get('cy')), 0, height)
    self.assertEqual(root.find('text').text, 'sentences')

  def test_only_some_of_many_are_drawn(self):
    _, found = made(1201, {'topic': ['a', 'b', 'b'] * 400 + ['a']})
    drawn = marks(plane.Plane(found).draw())
    self.assertBetween(len(drawn), 250, 500)
    self.assertEqual(drawn[0][3], '<b> & 0')


if __name__ == '__main__':
  absltest.main()
