"""Modules of `data` import each other in one direction."""

import ast
import graphlib
import pathlib

from absl.testing import absltest

from rnnvae_jax.data import corpora

FOLDER = pathlib.Path(corpora.__file__).parent


def arrows():
  """By module, what it imports of the folder, inside functions as well."""
  names = {
    '.'.join(path.relative_to(FOLDER).with_suffix('').parts): path
    for path in FOLDER.rglob('*.py')
    if path.name != '__init__.py'
  }
  found = {}
  for name, path in names.items():
    found[name] = set()
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.ImportFrom):
        for alias in node.names:
          dotted = f'{node.module}.{alias.name}'
          target = dotted.removeprefix('rnnvae_jax.data.')
          found[name] |= {target} & set(names)
  return found


class ImportsTest(absltest.TestCase):
  def test_there_is_no_circle(self):
    found = arrows()
    self.assertIn('sources.base', found['corpora'])
    self.assertIn('prepared', found['file_source'])  # Inside a function.
    graphlib.TopologicalSorter(found).prepare()  # Raises CycleError.

  def test_packages_hold_no_code(self):
    for path in FOLDER.rglob('__init__.py'):
      (node,) = ast.parse(path.read_text()).body
      self.assertIsInstance(node.value, ast.Constant)


if __name__ == '__main__':
  absltest.main()
