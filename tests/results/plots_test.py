"""Plots of tables show each measured row."""

import pathlib

from absl.testing import absltest

from rnnvae_jax.analysis import plots as plots_lib
from rnnvae_jax.results import plots


def measured(published=(), curve=None, **figures):
  row = {
    'published': dict(published),
    'ours': {name: {'mean': value} for name, value in figures.items()},
  }
  return row if curve is None else row | {'curve': curve}


class TrainingTest(absltest.TestCase):
  def test_is_a_curve_or_an_end_beside_what_was_published(self):
    _, axes = plots_lib.pyplot().subplots()
    self.addCleanup(plots_lib.pyplot().close)
    rows = {
      'lstm': measured(
        {'valid_perplexity': 7.5}, [[1, 99.0], [2, 8.0]], valid_perplexity=8.0
      ),
      'counted': measured(valid_perplexity=9.0),
      'uniform': measured(valid_perplexity=99.0),  # Off the picture.
    }
    plots._draw_training(axes, rows, 'valid_perplexity')
    curve, published, end = axes.get_lines()
    self.assertEqual(list(curve.get_ydata()), [99.0, 8.0])
    self.assertEqual(set(published.get_ydata()), {7.5})
    self.assertEqual(set(end.get_ydata()), {9.0})
    self.assertAlmostEqual(axes.get_ylim()[1], 1.6 * 7.5)


class TradeTest(absltest.TestCase):
  def test_is_a_curve_for_each_control_in_the_order_of_its_rate(self):
    _, axes = plots_lib.pyplot().subplots()
    self.addCleanup(plots_lib.pyplot().close)
    rows = {
      'a_b_2': measured(kl=2.0, rec=5.0),
      'a_b_1': measured(kl=1.0, rec=7.0),
      'c_3': measured(kl=3.0, rec=4.0),
    }
    plots._draw_trade(axes, rows, 'kl', 'rec')
    first, second = axes.get_lines()
    self.assertEqual(first.get_label(), 'a b')
    self.assertEqual(list(first.get_xdata()), [1.0, 2.0])
    self.assertEqual(list(first.get_ydata()), [7.0, 5.0])
    self.assertEqual(list(second.get_xdata()), [3.0])


class DrawTest(absltest.TestCase):
  def test_says_whether_there_was_anything_to_draw(self):
    path = pathlib.Path(self.create_tempdir().full_path, 'toy.png')
    table = {'table': 'toy', 'plot': ['minutes', 'loss'], 'rows': {}}
    for rows in ({'idle': {}}, {'endless': measured(loss=None)}):
      self.assertFalse(plots.draw(table | {'rows': rows}, path))
    self.assertFalse(path.exists())
    rows = {'a': measured(curve=[[1, 2.0]], loss=2.0)}
    self.assertTrue(plots.draw(table | {'rows': rows}, path))
    self.assertTrue(path.exists())


if __name__ == '__main__':
  absltest.main()
