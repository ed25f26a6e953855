"""The notebook runs as it is, and does what it says."""

import contextlib
import io
import json
import os
import pathlib
from unittest import mock

from absl.testing import absltest
import matplotlib
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / 'examples' / 'quickstart.ipynb'


def cells(kind):
  notebook = json.loads(NOTEBOOK.read_text(encoding='utf-8'))
  return [
    ''.join(cell['source'])
    for cell in notebook['cells']
    if cell['cell_type'] == kind
  ]


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


if __name__ == '__main__':
  absltest.main()
