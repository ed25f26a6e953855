"""Figures in documents are what their files say."""

import json
import math
import pathlib
from unittest import mock

from absl.testing import absltest, parameterized

from benchmarks import device_tables, render_figures

DEFINITIONS = """
[constants]
events = "10 / 4"

[figures]
perplexity = ["ours('toy/a/test_perplexity')", ".2f"]
gain = ["events * log(ours('toy/a/test_perplexity') / 50)", ".3f"]
behind = [
  "ours('toy/a/test_perplexity') - published('toy/a/test_perplexity')", "+.1f"
]
minutes = ["minutes('toy/a')", ".0f"]
ratio = ["entry('speed', 'peers/x B2 T3/ms') / entry('speed', 'ours')", ".2f"]
share = ["-1 * -(2 ** 2) / max(8, 4)", ".0%"]
slowest = ["lowest('step_256', 'ratio/torch_best')", ".2f"]
fastest = ["highest('step_256', 'ratio/torch_best')", ".2f"]
one = ["highest('step_256', 'ratio/flax_rnn')", ".2f"]
nowhere = ["lowest('step_256', 'ratio/other')", ".2f"]
absent = ["entry('speed', 'theirs')", ".2f"]
text = ["entry('speed', 'name')", ".2f"]
"""
TABLE = {
  'rows': {
    'a': {
      'published': {'test_perplexity': 80.0},
      'ours': {'test_perplexity': {'mean': 87.125}},
      'wall_seconds': 1351,
    }
  }
}
# Of two CPUs, the first of which was measured before its model was recorded.
STEPS = {
  'unnamed-x': {
    'ours': {'tokens_per_second': {'median': 2000.4}, 'share_of_limit': 0.5},
    'ratio': {'torch_best': 1.5, 'flax_rnn': 3.0},
    'environment': {'device': 'cpu: cpu'},
  },
  'maker-9': {
    'ours': {'tokens_per_second': {'median': 1000}, 'share_of_limit': 0.754},
    'ratio': {'torch_best': 1.25},
    'environment': {'device': 'cpu: Maker (9)', 'products': 'Eigen'},
  },
}
SPEED = {'name': 'x', 'ours': 124.0, 'peers': {'x B2 T3': {'ms': 212.65}}}


class FiguresTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    (self.root / 'docs').mkdir()
    (self.root / 'docs' / 'figures.toml').write_text(DEFINITIONS)
    folder = self.root / 'benchmarks' / 'results' / 'tables'
    folder.mkdir(parents=True)
    (folder / 'toy.json').write_text(json.dumps(TABLE))
    (folder.parent / 'speed.json').write_text(json.dumps(SPEED))
    for cpu, report in STEPS.items():
      path = folder.parent / 'cpu' / cpu / 'step_256.json'
      path.parent.mkdir(parents=True)
      path.write_text(json.dumps(report))
    self.figures = render_figures.Figures(self.root)

  @parameterized.parameters(
    ('perplexity', '87.12'),  # 87.125 is exact, and half to even.
    ('gain', f'{2.5 * math.log(87.125 / 50):.3f}'),
    ('behind', '+7.1'),
    ('minutes', '23'),
    ('ratio', '1.71'),  # 1.71492: never rounded up.
    ('share', '50%'),
    ('slowest', '1.25'),
    ('fastest', '1.50'),
    ('one', '3.00'),  # Only one CPU has it.
  )
  def test_are_computed_from_the_files(self, name, text):
    self.assertEqual(self.figures.text(name), text)

  @parameterized.parameters(
    ('unknown', "does not define the figure 'unknown'"),
    ('absent', 'theirs'),
    ('nowhere', 'ratio/other'),
    ('text', 'no number'),
  )
  def test_that_cannot_be_computed_are_refused(self, name, message):
    with self.assertRaisesRegex(ValueError, message):
      self.figures.text(name)

  @parameterized.parameters(
    "open('x')", 'events.real', '[1][0]', 'events if 1 else 2', '().__class__'
  )
  def test_expressions_are_arithmetic_alone(self, expression):
    with self.assertRaisesRegex(ValueError, 'is not allowed'):
      self.figures.evaluate(expression)

  def test_replace_what_is_marked(self):
    before = (
      'A <!-- figure perplexity -->99<!-- /figure --> and '
      '**<!-- figure ratio --><!-- /figure -->** in 3.5 lines.'
    )
    after = render_figures.render(before, self.figures)
    self.assertEqual(
      after,
      'A <!-- figure perplexity -->87.12<!-- /figure --> and '
      '**<!-- figure ratio -->1.71<!-- /figure -->** in 3.5 lines.',
    )
    self.assertEqual(render_figures.render(after, self.figures), after)

  def test_a_table_has_a_row_for_each_cpu_slowest_first(self):
    before = 'A\n<!-- table steps -->\nold\n<!-- /table -->\nB'
    after = render_figures.render(before, self.figures)
    lines = after.splitlines()
    self.assertEqual(
      lines[:2] + lines[-2:],
      [*before.splitlines()[:2], *before.splitlines()[3:]],
    )
    self.assertEqual(
      lines[4:-2],
      [
        '| 256, float32 | Maker (9) | Eigen | 1,000 | 75% |  | 1.25 |  |  |',
        '| 256, float32 | unnamed x |  | 2,000 | 50% |  | 1.50 | 3.00 |  |',
      ],
    )
    self.assertEqual(render_figures.render(after, self.figures), after)
    with self.assertRaisesRegex(ValueError, "no table 'other'"):
      render_figures.render(before.replace('steps', 'other'), self.figures)

  def test_the_folder_of_a_cpu_is_its_model(self):
    device = 'cpu: AMD EPYC (family 25, model 1)'
    slug = device_tables.slug({'device': device})
    self.assertEqual(slug, 'amd-epyc-family-25-model-1')

  @parameterized.parameters(
    '<!-- table steps -->\nold',
    '<!-- figure ratio -->1.71',
    '1.71<!-- /figure -->',
    '<!-- figure ratio -->1<!-- figure ratio -->2<!-- /figure -->',
    '<!-- figure a b -->1<!-- /figure -->',
  )
  def test_marks_that_are_not_closed_are_refused(self, text):
    with self.assertRaisesRegex(ValueError, 'not closed'):
      render_figures.render(text, self.figures)

  def test_decimals_without_a_mark_are_listed(self):
    text = (
      'Of 10,000 words .25 are\n`--rate=0.5`, [1.5](file_2.5.md),\n'
      '```\n0.75\n```\n'
      '<!-- figure ratio -->1.71<!-- /figure -->, version 1.2.3, or 7.25.\n'
    )
    self.assertEqual(
      render_figures.unmarked(text), [(1, '.25'), (2, '1.5'), (6, '7.25')]
    )

  def test_check_writes_nothing_and_fails_on_a_difference(self):
    readme = self.root / 'README.md'
    text = '<!-- figure ratio -->9<!-- /figure -->'
    readme.write_text(text)
    with (
      mock.patch.object(render_figures, 'ROOT', self.root),
      mock.patch.object(render_figures, 'Figures', lambda: self.figures),
      mock.patch.object(render_figures, 'documents', lambda: [readme]),
    ):
      self.assertEqual(render_figures.main(['--check']), 1)
      self.assertEqual(readme.read_text(), text)
      self.assertEqual(render_figures.main([]), 0)
      self.assertEqual(render_figures.main(['--check']), 0)
    self.assertIn('1.71', readme.read_text())


class DocumentsTest(absltest.TestCase):
  def test_every_definition_has_a_value(self):
    figures = render_figures.Figures()
    for name in figures:
      self.assertRegex(figures.text(name), r'\d')

  def test_every_marked_figure_is_what_its_file_says(self):
    figures = render_figures.Figures()
    for path in render_figures.documents():
      text = path.read_text(encoding='utf-8')
      self.assertEqual(render_figures.render(text, figures), text, path)


if __name__ == '__main__':
  absltest.main()
