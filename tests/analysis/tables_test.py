"""Tables say what was measured and what was not, and draw the same."""

import pathlib

from absl.testing import absltest

from rnnvae_jax.analysis import plots, tables


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


class SectionTest(absltest.TestCase):
  def test_published_stands_before_ours(self):
    lines = tables.section(TABLE).splitlines()
    commits = '`01234567-dirty`, `abcdefab`'
    row = f'| `lstm` | 7.5 / 8.00 |  | nowhere | 1.5 | {commits} |'
    self.assertIn(row, lines)
    self.assertIn('| `unseen` |  | 5.0 / - | a paper |  |  |', lines)

  def test_what_was_not_run_has_its_command(self):
    lines = tables.section(TABLE).splitlines()
    self.assertIn('Not measured yet: `unseen`, `idle`.', lines)
    command = tables.command('toy', ['unseen', 'idle'], 1)
    self.assertIn('--rows=unseen,idle --seeds=1', command)
    self.assertIn(f'{command}  # not run yet', lines)
    done = {name: TABLE['rows'][name] for name in ('lstm', 'ngrams')}
    self.assertNotIn('not run', tables.section(TABLE | {'rows': done}))

  def test_minutes_keep_the_digits_before_the_point(self):
    minutes = [tables._minutes(60 * m) for m in (0.0333, 1.5, 9.64, 27.3, 124)]
    self.assertEqual(minutes, ['0.033', '1.5', '9.6', '27', '124'])

  def test_null_is_infinite(self):
    self.assertIn('| `endless` | - / inf |', tables.section(TABLE))
    figure = {'m': {'mean': None, 'std': None, 'seeds': 2}}
    self.assertEqual(tables._cell({'m': 'inf'}, figure, 'm'), 'inf / inf')

  def test_a_bound_is_called_one(self):
    ours = measured({}, test_perplexity=9.0, test_elbo=50.0, test_kl=1.0)[
      'ours'
    ]
    cell = lambda metric: tables._cell({}, ours, metric)
    self.assertEqual(cell('test_perplexity'), '- / 9.00 (bound)')
    self.assertEqual(cell('test_kl'), '- / 1.00')
    ours['test_bits_per_character'] = ours['test_kl']
    self.assertEqual(cell('test_bits_per_character'), '- / 1.0000')
    del ours['test_elbo']
    self.assertEqual(cell('test_perplexity'), '- / 9.00')
    ours['test_kl_standard_error'] = ours['test_kl']
    self.assertEqual(cell('test_kl'), '- / 1.00 (sampled)')

  def test_commands_that_differ_in_the_row_alone_are_one(self):
    row = lambda name, device: {
      'command': f'run --rows={name} --seeds=1',
      'device': device,
      'ours': {},
    }
    rows = {
      'a': row('a', 'cpu'),
      'b': row('b', 'gpu'),
      'c': row('c', 'cpu'),
      'd': {'published': {}},
      'e': {'command': 'by hand', 'device': 'cpu', 'ours': {}},
    }
    self.assertEqual(
      tables._commands(rows),
      [
        'run --rows=a,c --seeds=1  # cpu',
        'run --rows=b --seeds=1  # gpu',
        'by hand  # cpu',
      ],
    )


class PlotTest(absltest.TestCase):
  def test_training_is_a_curve_and_where_it_ended_as_published(self):
    _, axes = plots.pyplot().subplots()
    rows = {name: TABLE['rows'][name] for name in ('lstm', 'ngrams')}
    rows['uniform'] = measured({}, valid_perplexity=99.0)  # Off the picture.
    tables._draw_training(axes, rows, 'valid_perplexity')
    curve, published, counts = axes.get_lines()
    self.assertEqual(list(curve.get_ydata()), [99.0, 8.0])
    self.assertEqual(set(published.get_ydata()), {7.5})
    self.assertEqual(set(counts.get_ydata()), {9.0})
    self.assertAlmostEqual(axes.get_ylim()[1], 12.0)
    plots.pyplot().close()

  def test_says_whether_there_was_anything_to_draw(self):
    path = pathlib.Path(self.create_tempdir().full_path, 'toy.png')
    self.assertTrue(tables.plot(TABLE, path))
    self.assertTrue(path.exists())
    rows = {'idle': TABLE['rows']['idle']}
    self.assertFalse(tables.plot(TABLE | {'rows': rows}, path))


if __name__ == '__main__':
  absltest.main()
