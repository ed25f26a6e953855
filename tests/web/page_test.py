"""The shell of all pages: escaped, self-contained, with a policy that holds."""

import base64
import hashlib
import json
import re

from absl.testing import absltest, parameterized

from rnnvae_jax.web import page


def digests(kind, text):
  """What a browser computes of the elements of a page, and what is allowed."""
  bodies = re.findall(rf'<{kind}>(.*?)</{kind}>', text, re.S)
  found = {
    base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    for body in bodies
  }
  policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
  allowed = re.search(rf"{kind}-src ((?:'sha256-[^']+' ?)+)", policy)
  return found, {
    *re.findall(r"'sha256-([^']+)'", allowed[1])
  } if allowed else {}


class PageTest(parameterized.TestCase):
  def test_the_policy_allows_the_own_style_and_script_alone(self):
    text = page.document('t', '<p>é</p>', 'p { color: red; }', 'let a = 1;\n')
    for kind in ('style', 'script'):
      found, allowed = digests(kind, text)
      self.assertLen(found, 1)
      self.assertEqual(found, allowed)
    policy = re.search(r'Policy" content="([^"]*)"', text)[1]
    self.assertIn("default-src 'none'", policy)
    self.assertNotIn('unsafe', policy)
    self.assertNotIn('http', policy)

  def test_a_page_without_a_script_allows_none(self):
    text = page.document('t', '')
    self.assertNotIn('<script', text)
    self.assertNotIn('script-src', text)

  def test_a_title_is_text(self):
    text = page.document('<b>"&', '')
    self.assertIn('<title>&lt;b&gt;&quot;&amp;</title>', text)

  @parameterized.parameters('</script>', '<!--<script>', '\u2028', '"\\')
  def test_data_are_read_as_they_were_and_never_end_their_element(self, value):
    text = page.data({'a': [value, 1.5]}, 'b')
    (content,) = re.findall(r'^<script [^>]*>(.*)</script>$', text)
    self.assertNotIn('<', content)
    self.assertEqual(json.loads(content), {'a': [value, 1.5]})

  def test_numbers_that_json_lacks_are_refused(self):
    with self.assertRaises(ValueError):
      page.data([float('nan')], 'b')

  def test_a_table_names_its_rows_and_columns(self):
    text = page.table(('a', '#b'), [('x', '1')], 'c')
    self.assertIn('<caption>c</caption>', text)
    self.assertIn('<th scope="col" class="number">b</th>', text)
    self.assertIn('<th scope="row">x</th><td class="number">1</td>', text)


def luminance(colour):
  """Of WCAG 2, of '#rgb' or '#rrggbb'."""
  digits = (
    colour[1:] if len(colour) == 7 else ''.join(c * 2 for c in colour[1:])
  )
  parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
  linear = [
    x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
  ]
  weighted = zip((0.2126, 0.7152, 0.0722), linear, strict=True)
  return sum(w * x for w, x in weighted)


class ColoursTest(parameterized.TestCase):
  @parameterized.parameters(0, 1)
  def test_texts_have_contrast_in_both_schemes(self, scheme):
    block = re.findall(r':root \{(.*?)\}', page.source('page.css'), re.S)[
      scheme
    ]
    colours = dict(re.findall(r'--(\w+): (#\w+);', block))
    for text in ('ink', 'soft', 'link'):
      for back in ('paper', 'panel'):
        one, other = sorted(luminance(colours[n]) for n in (text, back))
        ratio = (other + 0.05) / (one + 0.05)
        self.assertGreaterEqual(ratio, 4.5, (text, back))
    for back in ('added', 'removed'):
      one, other = sorted(luminance(colours[n]) for n in ('ink', back))
      self.assertGreaterEqual((other + 0.05) / (one + 0.05), 4.5, back)


if __name__ == '__main__':
  absltest.main()
