"""Properties of text by hand; ranking of planted units; the page."""

import base64
import json
import re

from absl.testing import absltest
import numpy as np

from rnnvae_jax.analysis import activations


def marks(text, name):
  """Where a property is on, as a string of 0 and 1."""
  values = activations.properties(text)[name]
  return ''.join(str(int(v)) for v in values)


class PropertiesTest(absltest.TestCase):
  def test_the_line_position_counts_from_its_beginning(self):
    self.assertEqual(marks('ab\n\ncd', 'line_position'), '120012')

  def test_quotes_open_and_close_and_a_blank_line_closes(self):
    self.assertEqual(marks('a "b" "c\n\nd', 'quotes'), '00110011100'[:11])
    self.assertEqual(marks('“b” c', 'quotes'), '11000')
    self.assertEqual(marks('"a\\"b"', 'quotes'), '111110')

  def test_brackets_nest_and_a_stray_one_does_not_count(self):
    self.assertEqual(marks(')a(b[c]d)e', 'brackets'), '0011111100')
    self.assertEqual(marks('[:-(] (a', 'brackets'), '11110000')
    self.assertEqual(marks('([)]', 'brackets'), '1100')

  def test_comments_are_those_of_c(self):
    self.assertEqual(marks('a/*b*/c//d\ne', 'comments'), '011111011100'[:12])

  def test_an_if_statement_is_its_condition(self):
    self.assertEqual(marks('if (a(b)) c', 'if_statements'), '00011111000')
    self.assertEqual(marks('elif (a) b', 'if_statements'), '0' * 10)
    self.assertEqual(marks('if (:-( a)\nb', 'if_statements'), '0' * 12)
    self.assertEqual(marks('if (a', 'if_statements'), '0' * 5)


class RankingTest(absltest.TestCase):
  def test_planted_units_come_first(self):
    text = 'x = (1 + 2)\n"and so on"\nif (y) z\n' * 30
    rng = np.random.default_rng(0)
    of_text = activations.properties(text)
    traces = rng.normal(size=(len(text), 40))
    planted = {'quotes': 7, 'brackets': 3, 'line_position': 21}
    for name, unit in planted.items():
      sign = -1 if name == 'brackets' else 1
      traces[:, unit] = sign * of_text[name] + 0.1 * traces[:, unit]
    ranked = activations.ranking(traces, of_text, count=4)
    # Comments never change here.
    self.assertEqual(set(ranked), set(of_text) - {'comments'})
    for name, unit in planted.items():
      best, correlation = ranked[name][0]
      self.assertEqual(best, unit)
      wanted = np.corrcoef(traces[:, unit], of_text[name])[0, 1]
      self.assertAlmostEqual(correlation, wanted)
      self.assertEqual(correlation < 0, name == 'brackets')
    self.assertLen(ranked['quotes'], 4)

  def test_a_unit_that_never_moves_follows_nothing(self):
    ranked = activations.ranking(np.ones((5, 2)), {'p': np.arange(5.0)})
    self.assertEqual([r for _, r in ranked['p']], [0.0, 0.0])


class PageTest(absltest.TestCase):
  def test_holds_text_and_traces_and_loads_nothing(self):
    text = 'a </script> "b"\n'
    traces = np.stack([np.linspace(-2, 2, len(text)), np.ones(len(text))], 1)
    page = activations.page(text, traces, ['u', 'v'], {'quotes': [(0, 0.5)]})
    both = activations.page(
      text, traces, ['u', 'v'], {'a': [(1, 0.5), (0, 0.1)]}
    )
    self.assertNotRegex(page, r'(src|href)=')
    content = re.search(r'application/json">(.*?)</script>', page)[1]
    held = json.loads(content)
    self.assertEqual(held['text'], text)
    self.assertEqual(held['count'], 1)
    self.assertEqual(held['groups'][0]['units'][0]['label'], 'u, r = +0.500')
    held = json.loads(re.search(r'application/json">(.*?)</script>', both)[1])
    colours = np.frombuffer(base64.b64decode(held['traces']), np.int8)
    colours = colours.reshape(len(text), held['count'])
    v, u = (unit['place'] for unit in held['groups'][0]['units'])
    np.testing.assert_array_equal(colours[:, v], 127)  # Of its own largest.
    np.testing.assert_array_equal(
      colours[:, u], np.round(127 * np.linspace(-1, 1, len(text)))
    )


if __name__ == '__main__':
  absltest.main()
