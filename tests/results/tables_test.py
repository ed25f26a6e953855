"""Tables are found wherever the program is started, and kept."""

import os
import pathlib
from unittest import mock

from absl.testing import absltest

from rnnvae_jax.results import tables

TABLE = """
PROTOCOL = {protocol!r}
ROWS = {{'a': {{'published': {{}}, 'source': 'none'}}}}

def get_config(tail):
  return tail
"""


class FindTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    for folder in ('source', 'here', 'package'):
      (self.root / folder / 'papers').mkdir(parents=True)
    folders = [self.root / name for name in ('source', 'here', 'package')]
    self.enter_context(
      mock.patch.object(tables, 'config_folders', lambda: folders)
    )

  def write(self, path, protocol=''):
    text = TABLE.format(protocol=protocol)
    (self.root / path).write_text(text)

  def test_the_first_folder_with_a_table_defines_it(self):
    self.write('package/toy.py', 'of the package')
    self.assertEqual(tables.load('toy').protocol, 'of the package')
    self.write('here/papers/toy.py', 'of this folder')
    self.assertEqual(tables.load('toy').protocol, 'of this folder')
    self.write('source/toy.py', 'of the source tree')
    self.assertEqual(tables.load('toy').protocol, 'of the source tree')

  def test_a_config_without_rows_is_no_table(self):
    (self.root / 'here' / 'plain.py').write_text('def get_config(tail): pass')
    self.write('here/toy.py')
    with self.assertRaisesRegex(ValueError, "'plain' is unknown. Known: toy"):
      tables.load('plain')

  def test_the_searched_folders_are_named_where_none_has_a_table(self):
    with self.assertRaisesRegex(ValueError, f'Searched: .*{self.root}/package'):
      tables.load('toy')

  def test_figures_go_to_the_repository_of_the_config_or_the_workdir(self):
    self.write('here/toy.py')
    table = tables.load('toy')
    where = tables.store(table, 'runs')
    self.assertEqual(where.folder, pathlib.Path('runs/tables'))
    (self.root / 'benchmarks' / 'results').mkdir(parents=True)
    where = tables.store(table, 'runs')
    self.assertEqual(where.folder, self.root / 'benchmarks/results/tables')
    self.assertEqual(where.document, self.root / 'RESULTS.md')


class FoldersTest(absltest.TestCase):
  def test_do_not_depend_on_the_current_folder_but_for_one(self):
    before = tables.config_folders()
    folder = self.create_tempdir().full_path
    self.addCleanup(os.chdir, os.getcwd())
    os.chdir(folder)
    source, here, package = tables.config_folders()
    self.assertEqual((source, package), (before[0], before[2]))
    self.assertEqual(here, pathlib.Path.cwd() / 'configs')


class SpreadTest(absltest.TestCase):
  def test_infinite_figures_are_null_in_a_file(self):
    spread = tables.spread([float('inf'), 3.0])
    self.assertEqual(spread, {'mean': None, 'std': None, 'seeds': 2})
    self.assertEqual(spread, tables.spread([None, 3.0]))
    spread = tables.spread([2.0, 4.0])
    self.assertEqual(spread, {'mean': 3.0, 'std': 2.0**0.5, 'seeds': 2})


if __name__ == '__main__':
  absltest.main()
