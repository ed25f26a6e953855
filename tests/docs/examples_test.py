"""The notebook runs as it is, and does what it says."""

import contextlib
import io
import json
import os
import pathlib
import runpy
from unittest import mock

from absl.testing import absltest
import matplotlib
import pytest

from benchmarks import first_evening

EXAMPLES = pathlib.Path(__file__).parents[2] / 'examples'
NOTEBOOK = EXAMPLES / 'quickstart.ipynb'
SAMPLES = """Samples at temperature 1.0

the cook ate .
a boat sailed .

Interpolations between samples of the prior, most likely

the cook ate .
the boat ate .

a tree .
a rose .
"""


def cells(kind):
  notebook = json.loads(NOTEBOOK.read_text(encoding='utf-8'))
  return [
    ''.join(cell['source'])
    for cell in notebook['cells']
    if cell['cell_type'] == kind
  ]


def validation(elbo, reconstruction, kl):
  return {
    'valid/elbo': elbo,
    'valid/reconstruction': reconstruction,
    'valid/kl': kl,
  }


class QuickstartTest(absltest.TestCase):
  def test_outputs_are_not_committed(self):
    notebook = json.loads(NOTEBOOK.read_text(encoding='utf-8'))
    for cell in notebook['cells']:
      self.assertFalse(cell.get('outputs'))
      self.assertIsNone(cell.get('execution_count'))

  @pytest.mark.slow
  def test_its_cells_run_in_order(self):
    folder = self.create_tempdir().full_path
    names = {'__name__': '__main__'}
    printed = io.StringIO()
    backend = matplotlib.get_backend()
    matplotlib.use('agg')
    self.addCleanup(matplotlib.use, backend)
    self.enter_context(mock.patch.dict(os.environ, MPLBACKEND='agg'))
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
      for number, code in enumerate(cells('code')):
        exec(compile(code, f'cell {number}', 'exec'), names)
    sentences, run = names['sentences'], names['run']
    self.assertEqual(
      names['means'].shape, (len(sentences), run.config.model.latent_size)
    )
    for sentence in sentences:
      self.assertIn(sentence, printed.getvalue())
      self.assertEqual(run.score([sentence])[0].unknown, 0)  # Known words.
    self.assertLen(names['blend'], 1)
    picture = pathlib.Path(folder, 'runs', 'quickstart', 'quickstart.png')
    self.assertGreater(picture.stat().st_size, 0)


class PlotRunTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.script = runpy.run_path(str(EXAMPLES / 'plot_run.py'))
    self.workdir = pathlib.Path(self.create_tempdir().full_path)
    records = [
      {'step': 1, 'train/loss': 9.0},
      {'step': 1, **validation(8.0, 7.0, 1.0)},
      {'step': 2, **validation(6.0, 5.0, 1.5)},
    ]
    lines = (json.dumps(record) + '\n' for record in records)
    (self.workdir / 'metrics.jsonl').write_text(''.join(lines))
    (self.workdir / 'samples.txt').write_text(SAMPLES)
    (self.workdir / 'results.json').write_text('{}')

  def test_it_reads_validations_alone(self):
    found = self.script['validations'](self.workdir)
    self.assertEqual([record['valid/elbo'] for record in found], [8, 6])

  def test_it_reads_samples_and_the_shortest_interpolation(self):
    (_, samples), (title, between) = self.script['written'](self.workdir, 1)
    self.assertEqual(samples, ['the cook ate .'])
    self.assertStartsWith(title, 'Interpolations')
    self.assertEqual(between, ['a tree .', 'a rose .'])

  def test_it_reads_the_report_of_a_run_as_it_reads_the_run(self):
    found = first_evening.records(self.workdir)
    path = self.workdir / 'report.json'
    path.write_text(json.dumps({'ours': found}))
    validations, written = self.script['validations'], self.script['written']
    self.assertEqual(validations(path), validations(self.workdir))
    self.assertEqual(written(path, 2), written(self.workdir, 2))

  def test_it_draws_a_picture(self):
    path = self.workdir / 'run.png'
    self.script['draw'](self.workdir, path)
    self.assertEqual(path.read_bytes()[1:4], b'PNG')


if __name__ == '__main__':
  absltest.main()
