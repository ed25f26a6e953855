"""Tables as Markdown say what was measured, how, and what was not."""

import pathlib
from unittest import mock

from absl.testing import absltest, parameterized

from rnnvae_jax.results import render, tables


def measured(published, curve=None, **figures):
  row = {
    'published': published,
    'source': 'nowhere',
    'ours': {
      name: {'mean': value, 'std': None, 'seeds': 1}
      for name, value in figures.items()
    },
    'command': 'run --rows=a',
    'device': 'cpu',
    'wall_seconds': 90,
    'environment': {'cores': 1},
    'commits': ['0123456789-dirty', 'abcdefabcdef'],
  }
  return row if curve is None else row | {'curve': curve}


TABLE = {
  'table': 'toy',
  'protocol': 'A toy.',
  'plot': ['minutes', 'valid_perplexity'],
  'rows': {
    'lstm': measured(
      {'valid_perplexity': 7.5}, [[1, 99.0], [2, 8.0]], valid_perplexity=8.0
    ),
    'unseen': {'published': {'test_perplexity': 5.0}, 'source': 'a paper'},
    'ngrams': measured({}, valid_perplexity=9.0),
    'endless': measured({}, valid_perplexity=None),
    'idle': {'published': {}, 'source': 'none'},
  },
}


class SectionTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.lines = render.section(TABLE).splitlines()

  def test_published_stands_before_ours(self):
    self.assertIn('| `lstm` | 7.5 / 8.00 |  | nowhere |', self.lines)
    self.assertIn('| `unseen` |  | 5.0 / - | a paper |', self.lines)

  def test_the_conditions_of_a_row_are_one_line(self):
    commits = '`01234567-dirty`, `abcdefab`'
    row = f'| `lstm` | cpu | 1 | 1.5 | {commits} |  |'
    self.assertIn(row, self.lines)
    self.assertLen([x for x in self.lines if x.startswith('| `unseen`')], 1)

  @parameterized.parameters(
    ({'note': 'Stopped and resumed.'}, 'Stopped and resumed'),
    (
      {'outdated': ['a.b was 1, is 2', 'c was 3, is 4']},
      'measured with settings that have since changed '
      '(a.b was 1, is 2, c was 3, is 4)',
    ),
    (
      {'diverged_seeds': [1, 3]},
      'diverged with seed 1, 3, which the means leave out',
    ),
    ({'environment': None}, 'nothing else of the environment was recorded'),
    (
      {'note': 'Slow', 'diverged_seeds': [0]},
      'Slow; diverged with seed 0, which the means leave out',
    ),
  )
  def test_remarks_end_the_line(self, change, remark):
    rows = {'a': TABLE['rows']['lstm'] | change}
    text = render.section(TABLE | {'rows': rows})
    (line,) = [x for x in text.splitlines() if x.startswith('| `a` | cpu')]
    self.assertEndsWith(line, f' | {remark} |')

  def test_a_row_whose_seeds_all_diverged_has_conditions(self):
    rows = {'a': {'published': {}, 'source': 'none', 'diverged_seeds': [0]}}
    text = render.section(TABLE | {'rows': rows})
    self.assertIn('| `a` |  |  |  |  | diverged with seed 0', text)
    self.assertNotIn('Not measured', text)

  def test_rows_that_were_not_run_have_their_command(self):
    self.assertIn('Not measured yet: `unseen`, `idle`.', self.lines)
    command = tables.command('toy', ['unseen', 'idle'], 1)
    self.assertIn('--rows=unseen,idle --seeds=1', command)
    self.assertIn(f'{command}  # not run yet', self.lines)
    done = {name: TABLE['rows'][name] for name in ('lstm', 'ngrams')}
    self.assertNotIn('not run', render.section(TABLE | {'rows': done}))

  def test_minutes_keep_the_digits_before_the_point(self):
    minutes = [render._minutes(60 * m) for m in (0.0333, 1.5, 9.64, 27.3, 124)]
    self.assertEqual(minutes, ['0.033', '1.5', '9.6', '27', '124'])

  def test_null_is_infinite(self):
    self.assertIn('| `endless` | - / inf |', render.section(TABLE))
    figure = {'m': {'mean': None, 'std': None, 'seeds': 2}}
    self.assertEqual(render._cell({'m': 'inf'}, figure, 'm'), 'inf / inf')

  def test_a_bound_is_called_one(self):
    ours = measured({}, test_perplexity=9.0, test_elbo=50.0, test_kl=1.0)[
      'ours'
    ]
    cell = lambda metric: render._cell({}, ours, metric)
    self.assertEqual(cell('test_perplexity'), '- / 9.00 (bound)')
    self.assertEqual(cell('test_kl'), '- / 1.00')
    ours['test_bits_per_character'] = ours['test_kl']
    self.assertEqual(cell('test_bits_per_character'), '- / 1.0000')
    del ours['test_elbo']
    self.assertEqual(cell('test_perplexity'), '- / 9.00')
    ours['test_kl_standard_error'] = ours['test_kl']
    self.assertEqual(cell('test_kl'), '- / 1.00 (sampled)')

  def test_commands_that_differ_in_the_row_alone_are_joined(self):
    rows = {
      name: {'command': f'run --rows={name} --seeds={seeds}'}
      for name, seeds in (('a', 1), ('b', 2), ('c', 1))
    }
    rows |= {'d': {'published': {}}, 'e': {'command': 'by hand'}}
    self.assertEqual(
      render._commands(rows),
      ['run --rows=a,c --seeds=1', 'run --rows=b --seeds=2', 'by hand'],
    )


class DocumentTest(absltest.TestCase):
  def test_has_all_tables_and_plots_by_relative_paths(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    where = tables.Store(root / 'some' / 'tables', root / 'RESULTS.md')
    other = {'table': 'other', 'protocol': 'Another.', 'rows': {}}
    for table in (TABLE, other):
      tables.write(table, where)
    render.document(where)
    text = where.document.read_text()
    self.assertIn('`some/tables/`', text)
    self.assertIn('## toy', text)
    self.assertIn('![toy](some/tables/toy.png)', text)
    self.assertTrue((root / 'some' / 'tables' / 'toy.png').exists())
    self.assertLess(text.index('## other'), text.index('## toy'))

  def test_the_committed_document_is_what_the_files_render_to(self):
    root = pathlib.Path(render.__file__).parent.parent.parent
    committed = root / 'RESULTS.md'
    if not committed.exists():
      self.skipTest('not in the source tree')
    folder = pathlib.Path(self.create_tempdir().full_path)
    copy = tables.Store(
      folder / 'benchmarks' / 'results' / 'tables', folder / 'RESULTS.md'
    )
    copy.folder.mkdir(parents=True)
    for path in (root / 'benchmarks' / 'results' / 'tables').glob('*.json'):
      (copy.folder / path.name).write_text(path.read_text())
    with mock.patch.object(render.plots, 'draw', return_value=True):
      render.document(copy)
    self.assertEqual(copy.document.read_text(), committed.read_text())


if __name__ == '__main__':
  absltest.main()
