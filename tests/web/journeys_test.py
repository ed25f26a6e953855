"""A reader's way through the report, in a headless Chromium.

Fails on any error on the console and on any request but that for the page.
$RNNVAE_REPORT_RUN names the folder of a real run that takes the place of the
made-up one; with $RNNVAE_SCREENSHOTS pictures are written into that folder.
"""

import os
import pathlib
import tempfile
import unittest

from absl.testing import absltest, parameterized
import numpy as np

from rnnvae_jax.analysis import activations, tagged_text
from rnnvae_jax.web import report
from tests.web import browser, workdirs

_RUN = os.environ.get('RNNVAE_REPORT_RUN', '')
_PICTURES = os.environ.get('RNNVAE_SCREENSHOTS', '')


def setUpModule():
  if not browser.program():
    raise unittest.SkipTest(
      'no Chromium: apt-get install chromium, or chromium-headless-shell'
    )
  global chromium, root, _started
  _started = browser.started()
  chromium = _started.__enter__()
  root = tempfile.TemporaryDirectory()


def tearDownModule():
  _started.__exit__(None, None, None)
  root.cleanup()


def written(kind):
  """The report of a folder of this kind."""
  if kind == 'vae' and _RUN:
    return pathlib.Path(report.write(_RUN))
  folder = pathlib.Path(root.name, kind)
  if not folder.exists():
    folder.mkdir()
    getattr(workdirs, kind)(folder)
  return pathlib.Path(report.write(str(folder)))


class GuardTest(absltest.TestCase):
  def test_errors_and_requests_of_a_page_are_found(self):
    path = pathlib.Path(root.name, 'bad.html')
    path.write_text(
      '<img src="http://127.0.0.1:9/a.png">'
      '<script>console.error("x"); throw new Error("y");</script>'
    )
    found = chromium.open(path).problems()
    for kind in 'exception', 'console', 'log':
      self.assertTrue(any(line.startswith(kind) for line in found), kind)
    self.assertIn('request: http://127.0.0.1:9/a.png', found)


class JourneyTest(parameterized.TestCase):
  def open(self, kind, script=True):
    self.page = chromium.open(written(kind), script)
    return self.page

  def tearDown(self):
    self.assertEqual(self.page.problems(), [])
    super().tearDown()

  def picture(self, name, **options):
    if _PICTURES:
      self.page.picture(pathlib.Path(_PICTURES, f'{name}.png'), **options)

  def tip(self):
    return self.page.text('.tip')

  def test_a_point_of_a_curve_is_shown_under_the_pointer(self):
    page = self.open('vae')
    self.assertEqual(self.tip(), '')
    page.hover('#curves .plot .mark')
    self.assertRegex(self.tip(), r'^validation: [\d.,]+ at update [\d,]+$')
    page.hover('h1')
    self.assertEqual(self.tip(), '')

  def test_the_keyboard_moves_along_a_curve(self):
    page = self.open('vae')
    page.hover('#curves figcaption')
    page.evaluate("document.querySelector('#curves .term').focus()")
    self.assertNotEqual(self.tip(), '')  # The explanation.
    page.press('Tab')
    first = self.tip()
    self.assertRegex(first, '^validation: .* at update ')
    page.press('ArrowRight')
    second = self.tip()
    self.assertNotEqual(first, second)
    page.press('ArrowLeft')
    self.assertEqual(self.tip(), first)
    page.press('Escape')
    self.assertEqual(self.tip(), '')

  def test_a_figure_explains_itself_under_the_pointer_and_by_keyboard(self):
    page = self.open('vae')
    page.size(1180, 1200)
    page.hover('.card .term')
    hovered = self.tip()
    self.picture('report')
    self.assertGreater(len(hovered), 30)
    box = page.evaluate(
      "(() => { const b = document.querySelector('.tip').getBoundingClientRect"
      '(); return [b.left, b.right, innerWidth]; })()'
    )
    self.assertGreaterEqual(box[0], 0)
    self.assertLessEqual(box[1], box[2])
    page.hover('h1')
    self.assertEqual(self.tip(), '')
    page.focus('.card .term')
    self.assertEqual(self.tip(), hovered)
    page.press('Escape')
    self.assertEqual(self.tip(), '')

  def test_every_explanation_is_a_stop_of_the_tab_key(self):
    page = self.open('classifier')
    stops = page.evaluate("document.querySelectorAll('main .term').length")
    page.evaluate("document.querySelector('nav a:last-child').focus()")
    seen = set()
    for _ in range(4 * stops):
      page.press('Tab')
      number = page.evaluate(
        "[...document.querySelectorAll('main .term')].indexOf("
        'document.activeElement)'
      )
      if number >= 0:
        seen.add(number)
        self.assertNotEqual(self.tip(), '')
    shown = page.evaluate(
      "[...document.querySelectorAll('main .term')].filter("
      "e => !e.closest('details:not([open])')).length"
    )
    self.assertLen(seen, shown)

  def test_the_map_shows_the_sentence_under_the_pointer(self):
    page = self.open('vae')
    page.size(1000, 860)
    page.hover('.map .points .mark')
    sentence = self.tip()
    self.assertIn(': ', sentence.splitlines()[-1])
    page.focus('.map .plot')
    page.press('ArrowRight')
    page.press('ArrowUp')
    self.assertNotEqual(self.tip(), '')
    self.picture('report_map')

  def test_a_search_fades_other_sentences_and_lists_what_it_finds(self):
    page = self.open('vae')
    total = page.evaluate("document.querySelectorAll('.map .mark').length")
    word = 'the'
    page.focus('.map [name=search]')
    page.write(word)
    texts = page.evaluate(
      "JSON.parse(document.querySelector('.map-data').textContent).texts"
    )
    found = sum(word in text.lower() for text in texts)
    self.assertBetween(found, 1, len(texts) - 1)
    self.assertEqual(
      page.text('.map .found'), f'{found:,} of {len(texts):,} sentences'
    )
    count = "document.querySelectorAll('.map .points .out').length"
    self.assertEqual(page.evaluate(count), len(texts) - found)
    page.press('Tab')  # Into the map, then to the first result.
    page.press('Tab')
    listed = page.evaluate('document.activeElement.innerText')
    self.assertIn(word, listed.lower())
    self.assertIn(listed.split()[0], self.tip())
    self.picture('report_search')
    page.evaluate("document.querySelector('.map [name=search]').value = ''")
    page.focus('.map [name=search]')
    page.write('zzz')
    self.assertStartsWith(page.text('.map .found'), '0 of')
    self.assertLess(0, total)

  def test_another_label_changes_marks_and_legend(self):
    page = self.open('vae')
    names = page.evaluate(
      "[...document.querySelectorAll('.map [name=label] option')].map("
      'o => o.value)'
    )
    self.assertGreater(len(names), 1)
    marks = (
      "[...document.querySelectorAll('.map .points .mark')].map("
      "m => m.getAttribute('href')).join()"
    )
    before = page.evaluate(marks), page.text('.map .key')
    page.focus('.map [name=label]')
    page.press('ArrowDown')
    self.assertEqual(
      page.evaluate("document.querySelector('.map [name=label]').value"),
      names[1],
    )
    after = page.evaluate(marks), page.text('.map .key')
    self.assertNotEqual(before[0], after[0])
    self.assertNotEqual(before[1], after[1])

  def test_another_plane_moves_the_points(self):
    page = self.open('vae')
    places = (
      "[...document.querySelectorAll('.map .points .mark')].map("
      "m => m.getAttribute('x')).join()"
    )
    before = page.evaluate(places)
    page.click('.map label:last-of-type [name=plane]')
    self.assertNotEqual(page.evaluate(places), before)

  def test_the_config_is_folded_and_opens_by_keyboard(self):
    page = self.open('vae')
    shown = "document.querySelector('#config details tr').checkVisibility()"
    self.assertFalse(page.evaluate(shown))
    page.focus('#config summary')
    page.press('Enter')
    self.assertTrue(page.evaluate(shown))
    self.assertIn('train.batch_size', page.text('#config details'))

  @parameterized.parameters('vae', 'classifier', 'tagger', 'search')
  def test_nothing_of_a_run_is_run_and_nothing_leaves_the_window(self, kind):
    page = self.open(kind)
    self.assertNotIn('owned', page.evaluate('document.title'))
    for width in (1280, 390):
      page.size(width, 844)
      over = page.evaluate('document.documentElement.scrollWidth')
      self.assertLessEqual(over, width)
      self.picture(f'report_{kind}_{width}', whole=True)
    page.size(1280, 844)
    page.scheme('dark')
    dark = page.evaluate('getComputedStyle(document.body).backgroundColor')
    self.picture(f'report_{kind}_dark', whole=True)
    page.scheme('light')
    self.assertNotEqual(
      page.evaluate('getComputedStyle(document.body).backgroundColor'), dark
    )
    self.assertStartsWith(page.paper(), b'%PDF')

  def test_a_point_of_a_search_shows_its_trial(self):
    page = self.open('search')
    page.hover('#search .panels .plot .mark')
    self.assertStartsWith(self.tip(), 'trial ')
    page.focus('#search .chart.wide .plot')
    page.press('ArrowRight')
    page.hover('#search .chart.wide .plot')
    self.assertLessEqual(
      page.evaluate("document.querySelectorAll('.line.on').length"), 1
    )

  def test_is_whole_without_scripts(self):
    page = self.open('vae', script=False)
    self.assertIn('Samples at temperature', page.text('#texts'))
    self.assertGreater(
      page.evaluate("document.querySelectorAll('.map .mark').length"), 50
    )
    self.assertFalse(
      page.evaluate("document.querySelector('.controls').offsetHeight")
    )
    page.focus('.card .term')
    self.assertGreater(
      page.evaluate("document.querySelector('.card .note').offsetHeight"), 0
    )

  def test_other_pages_run_within_their_policy(self):
    folder = pathlib.Path(root.name)
    (folder / 'trace.html').write_text(
      activations.page(
        'a "b" c',
        np.array([[0.5], [-1.0], [0.0], [1.0], [0.0], [0.0], [1.0]]),
        ['u'],
        {'p': [(0, 1.0)]},
      )
    )
    self.page = chromium.open(folder / 'trace.html')
    colours = self.page.evaluate(
      "[...document.querySelectorAll('#text span')].map("
      's => s.style.backgroundColor)'
    )
    self.assertLen(colours, 7)
    self.assertIn('40, 90, 220', colours[0])
    self.assertIn('220, 60, 40', colours[1])
    self.assertEqual(self.page.problems(), [])
    sentence = tagged_text.Sentence(
      ('Anna', 'left'), (tagged_text.Marked(0, 1, 'PER', 0.95),)
    )
    (folder / 'tags.html').write_text(tagged_text.page('t', [sentence]))
    self.page = chromium.open(folder / 'tags.html')
    self.assertIn(
      '33, 113, 181',
      self.page.evaluate(
        "getComputedStyle(document.querySelector('mark')).backgroundColor"
      ),
    )


if __name__ == '__main__':
  absltest.main()
