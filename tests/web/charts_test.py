"""Charts: points where arithmetic puts them, none outside of its frame."""

import html
import json
import math
import re

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.web import charts, drawing


def points(text):
  """The points that a reader can visit."""
  (content,) = re.findall(r'class="points"[^>]*>(.*?)</script>', text)
  return json.loads(content)


class TicksTest(parameterized.TestCase):
  @parameterized.parameters(
    (0.0, 1.0), (-3.2, 17.0), (1e-7, 3e-7), (99_000.0, 1e6), (41.03, 41.07)
  )
  def test_they_are_round_even_and_within_the_range(self, low, high):
    found = drawing.ticks(low, high)
    self.assertBetween(len(found), 2, 6)
    self.assertGreaterEqual(found[0], low - 1e-9 * high)
    self.assertLessEqual(found[-1], high + 1e-9 * high)
    step = found[1] - found[0]
    np.testing.assert_allclose(np.diff(found), step, rtol=1e-6)
    leading = step / 10 ** math.floor(math.log10(step) + 1e-9)
    self.assertLess(min(abs(leading - f) for f in (1, 2, 5)), 1e-6)

  @parameterized.parameters(
    (0, '0'),
    (20_000, '20,000'),
    (131.52556, '131.5'),
    (0.0345, '0.03450'),
    (2.5e-7, '2.5e-07'),
    (-6.25, '-6.250'),
  )
  def test_numbers_have_four_digits_that_count(self, value, want):
    self.assertEqual(drawing.number_text(value), want)

  def test_a_window_leaves_out_far_outliers_above(self):
    low, high = drawing.window([*range(20), 1e6])
    self.assertLess(high, 40)
    self.assertBetween(low, -3, 0)
    low, high = drawing.window([0.0, 1.0, 2.0, math.inf, math.nan])
    self.assertBetween(high, 2.0, 2.2)

  def test_a_constant_has_a_window(self):
    for value in (0.0, 5.0, -5.0):
      low, high = drawing.window([value, value])
      self.assertLess(low, value)
      self.assertGreater(high, value)


class LinesTest(absltest.TestCase):
  def test_points_are_in_proportion(self):
    text = charts.lines(
      't', [charts.Series('a', [0, 1, 4], [2.0, 4.0, 3.0], True)], 'x', 'y'
    )
    (x0, y0, label, number), (x1, y1, *_), (x2, y2, *_) = points(text)
    self.assertAlmostEqual((x1 - x0) / (x2 - x0), 1 / 4, delta=0.002)
    self.assertAlmostEqual((y0 - y2) / (y0 - y1), 1 / 2, delta=0.002)
    self.assertEqual((label, number), ('a: 2 at x 0', 0))

  def test_what_is_no_number_breaks_the_line(self):
    nan = math.nan
    text = charts.lines(
      't', [charts.Series('a', range(5), [1, nan, 2, 3, nan])], 'x', 'y'
    )
    path = re.search(r'class="line c0" d="([^"]*)"', text)[1]
    self.assertEqual(re.sub(r'[^ML]', '', path), 'MML')
    self.assertLen(points(text), 3)

  def test_a_single_value_is_in_the_middle(self):
    series = [charts.Series('a', [7], [3.0], True)]
    ((x, y, *_),) = points(charts.lines('t', series, 'x', 'y'))
    self.assertAlmostEqual(x, (52 + 360 - 12) / 2)
    self.assertAlmostEqual(y, (10 + 220 - 36) / 2)

  def test_no_numbers_are_no_chart(self):
    series = [charts.Series('a', [1], [math.nan])]
    self.assertEqual(charts.lines('t', series, 'x', 'y'), '')

  def test_points_of_outliers_stay_within_the_frame(self):
    values = [1e9, *np.linspace(1, 2, 30)]
    series = [charts.Series('a', range(31), values, True)]
    text = charts.lines('t', series, 'x', 'y')
    self.assertTrue(all(0 < y < 220 for _, y, *_ in points(text)))
    self.assertStartsWith(points(text)[0][2], 'a: 1,000,000,000')
    # Its mark says that it is not where it seems.
    self.assertEqual(text.count(' hollow'), 1)
    self.assertIn('above the frame', text)

  def test_values_of_marked_lines_are_a_table(self):
    text = charts.lines(
      't',
      [
        charts.Series('a', [1, 2], [0.5, 0.25], True),
        charts.Series('b', [2, 3], [7.0, math.inf], True),
        charts.Series('c', [1], [9.0]),
      ],
      'x',
      'y',
    )
    rows = re.findall(r'<tr>(.*?)</tr>', text)
    cells = [re.sub(r'<[^>]+>', '|', row).strip('|') for row in rows]
    self.assertEqual(
      [re.sub(r'\|+', '|', cell) for cell in cells],
      ['x|a|b', '1|0.5000', '2|0.2500|7', '3|inf'],
    )


class ScatterTest(absltest.TestCase):
  def test_sums_are_the_same_along_a_guide(self):
    made = [charts.Point(0.0, 10.0, 'p'), charts.Point(8.0, 30.0, 'q', 1, True)]
    text = charts.scatter('t', made, ['a', 'b'], 'x', 'y', sums=True)
    (x0, y0, *_), (x1, y1, *_) = points(text)
    value_x = lambda x: 8 * (x - x0) / (x1 - x0)
    value_y = lambda y: 10 + 20 * (y - y0) / (y1 - y0)
    guides = re.findall(
      r'class="guide" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"/>'
      r'<text[^>]*>([\d.]+)<',
      text,
    )
    self.assertGreater(len(guides), 2)
    for *places, total in guides:
      a, b, c, d = map(float, places)
      for x, y in ((a, b), (c, d)):
        # Places are rounded to a tenth of a pixel.
        self.assertAlmostEqual(
          value_x(x) + value_y(y), float(total), delta=0.02
        )
    self.assertEqual(text.count(' hollow'), 1)

  def test_points_outside_of_the_frame_are_counted(self):
    made = [charts.Point(i, i % 3, 'p') for i in range(20)]
    made.append(charts.Point(5, 1e6, 'far'))
    text = charts.scatter('t', made, ['a'], 'x', 'y')
    self.assertIn('drawn at its edge: 1.', text)
    self.assertEqual(points(text)[-1][1], 10)
    text = charts.scatter('t', made[:-1], ['a'], 'x', 'y')
    self.assertNotIn('edge', text)

  def test_names_are_text(self):
    text = charts.scatter('t', [charts.Point(1, 2, '<i>')], ['<b>'], '<u>', '&')
    self.assertNoCommonElements(
      set(re.findall(r'<(\w+)', text)), {'i', 'b', 'u'}
    )
    self.assertEqual(points(text)[0][2], '<i>')


class BarsTest(absltest.TestCase):
  def test_heights_are_in_proportion_and_below_zero_they_hang(self):
    text = charts.bars('t', [4.0, 2.0, -1.0], ['3', '0', '1'], 'latent', 'kl')
    bars = re.findall(
      r'class="bar"[^>]* y="([\d.]+)"[^>]*height="([\d.]+)"', text
    )
    (top, tall), (_, middle), (low, short) = (map(float, bar) for bar in bars)
    self.assertAlmostEqual(tall / middle, 2, delta=0.01)
    self.assertAlmostEqual(tall / short, 4, delta=0.02)
    self.assertAlmostEqual(low, top + tall, delta=0.11)
    self.assertEqual(points(text)[1][2], 'latent 0: 2')


class CoordinatesTest(absltest.TestCase):
  def test_a_line_meets_each_axis_at_its_share(self):
    axes = [
      charts.Coordinate(name, [(0.0, 'low'), (1.0, 'high')]) for name in 'ab'
    ]
    text = charts.coordinates(
      't', axes, [([0.0, 1.0], ['p', 'q'], 4, False)], 'trials'
    )
    ticks = re.findall(r'y="([\d.]+)" text-anchor="end">(\w+)', text)
    places = {name: float(y) - 3 for y, name in ticks}
    (_, first, *_), (_, second, *_) = points(text)
    self.assertAlmostEqual(first, places['low'], delta=0.11)
    self.assertAlmostEqual(second, places['high'], delta=0.11)
    self.assertIn('data-series="0"', html.unescape(text))


if __name__ == '__main__':
  absltest.main()
